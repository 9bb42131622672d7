"""What the pictures need of a trace, a gain and a set of runs, and the checks of what callers pass."""

# ruff: noqa: D102 - the members are documented where they are made: Trace, Gain, Runs and Metric.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from semviz.errors import SemvizError

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[Any]


class TraceLike(Protocol):
    """A trace: every traced position x space, as `semviz.tracing.Trace` holds it."""

    @property
    def positions(self) -> pd.DataFrame: ...
    @property
    def values(self) -> Mapping[str, Floats]: ...
    @property
    def nearest(self) -> NDArray[Any] | None: ...
    @property
    def vocabulary(self) -> Mapping[int, str]: ...
    @property
    def n_blocks(self) -> int: ...
    @property
    def metrics(self) -> Sequence[str]: ...
    @property
    def default_metric(self) -> str: ...
    @property
    def meta(self) -> Mapping[str, Any]: ...
    def profile_frame(self, metric: str, *, seed: int = 0) -> pd.DataFrame: ...


class GainLike(Protocol):
    """Layer gains and the boundary they recommend, as `semviz.gains.Gain` holds them."""

    @property
    def metric(self) -> str: ...
    @property
    def n_blocks(self) -> int: ...
    @property
    def deviation(self) -> Floats: ...
    @property
    def deviation_low(self) -> Floats: ...
    @property
    def deviation_high(self) -> Floats: ...
    @property
    def gains(self) -> Floats: ...
    @property
    def gains_low(self) -> Floats: ...
    @property
    def gains_high(self) -> Floats: ...
    @property
    def boundary(self) -> int: ...
    @property
    def rule(self) -> str: ...
    @property
    def chosen_share(self) -> Floats: ...
    @property
    def beta(self) -> float: ...
    @property
    def r2(self) -> float: ...
    @property
    def nonmonotone(self) -> float: ...
    @property
    def fitted(self) -> Floats: ...
    @property
    def predicted(self) -> Floats: ...
    @property
    def message(self) -> str: ...
    def frame(self) -> pd.DataFrame: ...


class RunsLike(Protocol):
    """Measured finetuning runs, as `semviz.sweeps.Runs` holds them."""

    @property
    def task(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def score(self) -> str: ...
    @property
    def zero_shot(self) -> float | None: ...
    def table(self) -> pd.DataFrame: ...
    def answer(self) -> str: ...


class MetricFacts(Protocol):
    """What a picture says about a metric."""

    @property
    def key(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


def metric_facts(key: str) -> MetricFacts:
    """Look up a metric's title, unit and range."""
    from semviz.metrics import METRICS

    facts: MetricFacts = METRICS[key]
    return facts


def with_unit(facts: MetricFacts) -> str:
    """Return a metric's axis title, such as ``semantic deviation (nats)``."""
    return f"{facts.title} ({facts.unit})" if facts.unit else facts.title


def check_metric(trace: TraceLike, metric: str | None) -> str:
    """Return the metric to draw: the one asked for, or the trace's own choice.

    Raises:
        SemvizError: The trace has no such metric.
    """
    chosen = trace.default_metric if metric is None else metric
    if chosen not in trace.values:
        known = ", ".join(repr(key) for key in trace.metrics)
        raise SemvizError(f"metric={chosen!r} was not traced. Pass one of {known}, or trace again with it.")
    return chosen


def check_boundary(n_blocks: int, boundary: int | None) -> int | None:
    """Return the boundary to draw, checked.

    Raises:
        SemvizError: It is not a number of frozen blocks of this model.
    """
    if boundary is None:
        return None
    # bool is an int in Python, and True is a mistake here, not "1".
    if isinstance(boundary, bool) or not isinstance(boundary, int | np.integer) or not 0 <= boundary <= n_blocks:
        raise SemvizError(
            f"boundary={boundary!r} is not a number of frozen blocks. Pass an int from 0 (train all) to {n_blocks} "
            "(train none)."
        )
    return int(boundary)


def check_count(name: str, value: int) -> int:
    """Return a count of at least 1, checked.

    Raises:
        SemvizError: It is not a positive int.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise SemvizError(f"{name}={value!r} is not a count. Pass an int of at least 1.")
    return int(value)
