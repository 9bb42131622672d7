"""`recommend()`: which blocks to train, from a trace alone or from measured probes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.gains.recommendation import Recommendation, check_terms
from semviz.gains.scaling_law import EPSILON

if TYPE_CHECKING:
    from semviz.lm.model import LanguageModel
    from semviz.tasks.task import Task


def recommend(
    model: LanguageModel,
    task: Task,
    *,
    evidence: Literal["profile", "probes"] = "probes",
    epsilon: float = EPSILON,
    weight: float | None = None,
    epochs: float = 3,
    store: str | Path | None = None,
    budget: float | str | None = None,
    progress: bool = True,
    **options: Any,
) -> Recommendation:
    """Say which blocks to train, from a trace alone or from measured probes.

    The profile explains, the probes decide: a trace costs one forward pass and can mislead; probes are short finetunes,
    and the boundary that they recommend is one of them.

    Args:
        model: A loaded model.
        task: A task.
        evidence: `"probes"` (`semviz.probe`) or `"profile"` (`semviz.trace` and its gain; SALF-style, our reading).
        epsilon: ε, the share of full finetuning's benefit that may be given up for a larger frozen prefix.
        weight: λ: choose the largest benefit − λ·cost instead, of the boundaries that ε led to where they are measured.
        epochs: Passes over the training rows, for the probes and for the cost.
        store: Folder of finished runs, for the probes.
        budget: Seconds, or a text such as `"10 min"`, for the probes, as in `probe`.
        progress: Show progress bars.
        options: Further options of `probe` or `trace`.

    Raises:
        SemvizError: If the evidence is unknown, ε or λ is out of range, or as in `probe`.
    """
    epsilon, weight = check_terms(epsilon, weight)
    epochs = checks.positive("epochs", epochs)
    from semviz.experiments.probing import INSTEAD, OPTIONS, probe
    from semviz.traces.tracing import trace

    for_probes = [*checks.options_of(probe), *OPTIONS]
    if checks.one_of("evidence", evidence, ("profile", "probes")) == "profile":
        if budget is not None:
            raise SemvizError('budget= is for evidence="probes"; pass samples= to trace fewer rows in less time.')
        checks.known_options(
            options,
            checks.options_of(trace),
            of='evidence="profile"',
            instead=dict.fromkeys(for_probes, 'evidence="probes" with it'),
        )
        gain = trace(model, task, progress=progress, **options).gain()
        return gain.recommend(epsilon=epsilon, weight=weight, epochs=epochs)
    for_profile = dict.fromkeys(checks.options_of(trace), 'evidence="profile" with it')
    checks.known_options(options, for_probes, of='evidence="probes"', instead=INSTEAD | for_profile)
    probes = probe(
        model, task, epsilon=epsilon, epochs=epochs, store=store, budget=budget, progress=progress, **options
    )
    return probes.recommend(weight=weight)
