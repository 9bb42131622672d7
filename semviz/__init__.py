"""semviz: see where to finetune a causal language model.

SALF-style, our reading of *A Semantic-based Layer Freezing Approach to Efficient Fine-Tuning of Language Models*
(arXiv 2406.11753). The public names are imported when they are first used, so `import semviz` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from semviz.version import __version__

if TYPE_CHECKING:
    from semviz.common.errors import Cancelled as Cancelled
    from semviz.common.errors import SemvizError as SemvizError
    from semviz.common.progress import Control as Control
    from semviz.common.progress import Progress as Progress
    from semviz.experiments.plan import Plan as Plan
    from semviz.experiments.planning import plan as plan
    from semviz.experiments.probes import Probes as Probes
    from semviz.experiments.probing import probe as probe
    from semviz.experiments.recommend import recommend as recommend
    from semviz.experiments.runs import Runs as Runs
    from semviz.experiments.sweep import sweep as sweep
    from semviz.explorer import Explorer as Explorer
    from semviz.finetuning.finetune import finetune as finetune
    from semviz.finetuning.run import Run as Run
    from semviz.finetuning.run import load_run as load_run
    from semviz.gains.gain import Gain as Gain
    from semviz.gains.recommendation import Recommendation as Recommendation
    from semviz.lm.model import LanguageModel as LanguageModel
    from semviz.lm.model import load_model as load_model
    from semviz.report.page import write_report as write_report
    from semviz.scopes.baselines import baseline_scopes as baseline_scopes
    from semviz.scopes.config_check import ConfigCheck as ConfigCheck
    from semviz.scopes.config_check import check_config as check_config
    from semviz.scopes.costs import estimate_costs as estimate_costs
    from semviz.scopes.scope import Scope as Scope
    from semviz.study.study import Study as Study
    from semviz.tasks.packaged import load_task as load_task
    from semviz.tasks.task import Task as Task
    from semviz.traces.calibration import calibrate as calibrate
    from semviz.traces.difference import TraceDifference as TraceDifference
    from semviz.traces.metrics import METRICS as METRICS
    from semviz.traces.metrics import metric as metric
    from semviz.traces.trace import Trace as Trace
    from semviz.traces.tracing import trace as trace

_HOMES = {
    "Cancelled": "common.errors",
    "ConfigCheck": "scopes.config_check",
    "Control": "common.progress",
    "Explorer": "explorer",
    "Gain": "gains.gain",
    "LanguageModel": "lm.model",
    "METRICS": "traces.metrics",
    "Plan": "experiments.plan",
    "Probes": "experiments.probes",
    "Progress": "common.progress",
    "Recommendation": "gains.recommendation",
    "Run": "finetuning.run",
    "Runs": "experiments.runs",
    "Scope": "scopes.scope",
    "SemvizError": "common.errors",
    "Study": "study.study",
    "Task": "tasks.task",
    "Trace": "traces.trace",
    "TraceDifference": "traces.difference",
    "baseline_scopes": "scopes.baselines",
    "calibrate": "traces.calibration",
    "check_config": "scopes.config_check",
    "estimate_costs": "scopes.costs",
    "finetune": "finetuning.finetune",
    "load_model": "lm.model",
    "load_run": "finetuning.run",
    "load_task": "tasks.packaged",
    "metric": "traces.metrics",
    "plan": "experiments.planning",
    "probe": "experiments.probing",
    "recommend": "experiments.recommend",
    "sweep": "experiments.sweep",
    "trace": "traces.tracing",
    "write_report": "report.page",
}
__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'semviz' has no attribute {name!r}")
    return getattr(import_module(f"semviz.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
