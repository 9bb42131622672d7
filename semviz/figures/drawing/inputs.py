"""What the pictures need of a gain and a set of runs, and the checks of what callers pass."""

# ruff: noqa: D102 - the members are documented where they are made: Gain and Runs.

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from semviz.common import token_text
from semviz.common.errors import SemvizError
from semviz.common.metric_facts import MetricFacts
from semviz.traces.deviations import Deviations
from semviz.traces.difference import TraceDifference

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[Any]


class GainLike(Protocol):
    """Layer gains and the boundary they recommend, as `semviz.gains.gain.Gain` holds them."""

    @property
    def metric(self) -> str: ...
    @property
    def facts(self) -> MetricFacts: ...
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
    def flat(self) -> bool: ...
    @property
    def fitted(self) -> Floats: ...
    @property
    def predicted(self) -> Floats: ...
    @property
    def message(self) -> str: ...
    def frame(self) -> pd.DataFrame: ...


class RunsLike(Protocol):
    """Measured finetuning runs, as `semviz.experiments.sweep.Runs` holds them."""

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


class ProbesLike(Protocol):
    """What a few short runs predict of every boundary: a share of full finetuning's improvement."""

    @property
    def model(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def n_blocks(self) -> int: ...
    @property
    def benefit(self) -> Floats:
        """Predicted share by boundary, shape (L+1,)."""
        ...

    @property
    def low(self) -> Floats: ...
    @property
    def high(self) -> Floats: ...
    @property
    def points(self) -> pd.DataFrame:
        """The probe runs: columns boundary, benefit, low, high."""
        ...

    @property
    def boundary(self) -> int: ...
    @property
    def epsilon(self) -> float:
        """Share of full finetuning's improvement that may be given up."""
        ...

    @property
    def message(self) -> str: ...


class AgreementLike(Protocol):
    """Predicted beside measured benefit, for several sources of evidence."""

    @property
    def model(self) -> str: ...
    @property
    def task(self) -> str: ...
    def frame(self) -> pd.DataFrame:
        """Columns source, boundary, predicted, measured, low, high (95 % interval of what was measured)."""
        ...

    def spearman(self) -> pd.DataFrame:
        """Columns source, rho, low, high, unit (of the prediction; ``benefit`` where it is a share of it)."""
        ...


class ComparisonLike(Protocol):
    """Paired differences of scopes from one reference scope."""

    @property
    def model(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def score(self) -> str: ...
    @property
    def reference(self) -> str: ...
    def frame(self) -> pd.DataFrame:
        """Columns name, scope, method, difference, low, high, verdict (better, worse or undecided), seeds."""
        ...


class Labelled(Protocol):
    """A scope's name."""

    @property
    def label(self) -> str: ...


@runtime_checkable
class RunLike(Protocol):
    """One finetune with its training loss, as `semviz.finetuning.run.Run` holds it."""

    @property
    def model(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def scope(self) -> Labelled: ...
    @property
    def method(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def curve(self) -> pd.DataFrame:
        """Columns step and loss."""
        ...


def with_unit(facts: MetricFacts) -> str:
    """Return a metric's axis title, such as ``semantic deviation (nats)``."""
    return f"{facts.title} ({facts.unit})" if facts.unit else facts.title


def difference_of(trace: Deviations) -> TraceDifference | None:
    """Return the trace if it is a difference of two, else None."""
    return trace if isinstance(trace, TraceDifference) else None


def models_of(difference: TraceDifference) -> str:
    """Say which model minus which, such as ``tuned − base``; hashes tell models of one name apart. Not escaped."""
    metas = difference.after.meta, difference.before.meta
    names = [token_text.show(str(meta["model"]), width=32) for meta in metas]
    if names[0] == names[1]:
        names = [f"{name} ({str(meta['model_hash'])[:6]})" for name, meta in zip(names, metas, strict=True)]
    # No-break spaces, so that a title is not cut inside the difference.
    return "\u00a0−\u00a0".join(names)


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
