"""semviz: see where to finetune a causal language model.

SALF-style, our reading of *A Semantic-based Layer Freezing Approach to Efficient Fine-Tuning of Language Models*
(arXiv 2406.11753). The public names are imported when they are first used, so `import semviz` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from semviz.version import __version__

if TYPE_CHECKING:
    from semviz.baselines import baseline_scopes as baseline_scopes
    from semviz.calibration import calibrate as calibrate
    from semviz.costs import estimate_costs as estimate_costs
    from semviz.differences import TraceDifference as TraceDifference
    from semviz.errors import Cancelled as Cancelled
    from semviz.errors import SemvizError as SemvizError
    from semviz.explorer import Explorer as Explorer
    from semviz.finetuning import finetune as finetune
    from semviz.gains import Gain as Gain
    from semviz.metrics import METRICS as METRICS
    from semviz.metrics import metric as metric
    from semviz.models import LanguageModel as LanguageModel
    from semviz.models import load_model as load_model
    from semviz.probes import Probes as Probes
    from semviz.probes import probe as probe
    from semviz.progress import Control as Control
    from semviz.progress import Progress as Progress
    from semviz.recommendations import Recommendation as Recommendation
    from semviz.recommendations import recommend as recommend
    from semviz.report import write_report as write_report
    from semviz.run import Run as Run
    from semviz.run import load_run as load_run
    from semviz.runs import Runs as Runs
    from semviz.scopes import Scope as Scope
    from semviz.study import Study as Study
    from semviz.sweeps import sweep as sweep
    from semviz.tasks import Task as Task
    from semviz.tasks import load_task as load_task
    from semviz.traces import Trace as Trace
    from semviz.tracing import trace as trace

_HOMES = {
    "Cancelled": "errors",
    "Control": "progress",
    "Explorer": "explorer",
    "Gain": "gains",
    "LanguageModel": "models",
    "METRICS": "metrics",
    "Probes": "probes",
    "Progress": "progress",
    "Recommendation": "recommendations",
    "Run": "run",
    "Runs": "runs",
    "Scope": "scopes",
    "SemvizError": "errors",
    "Study": "study",
    "Task": "tasks",
    "Trace": "traces",
    "TraceDifference": "differences",
    "baseline_scopes": "baselines",
    "calibrate": "calibration",
    "estimate_costs": "costs",
    "finetune": "finetuning",
    "load_model": "models",
    "load_run": "run",
    "load_task": "tasks",
    "metric": "metrics",
    "probe": "probes",
    "recommend": "recommendations",
    "sweep": "sweeps",
    "trace": "tracing",
    "write_report": "report",
}
__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'semviz' has no attribute {name!r}")
    return getattr(import_module(f"semviz.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
