"""`ViewState`: what is shown of an opened task, and what the next finetune would train."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.figures.samples import Order
from semviz.scopes.scope import Scope
from semviz.study.opened_sample import open_sample, open_text
from semviz.study.settings import Settings

if TYPE_CHECKING:
    from semviz.finetuning.recipe import Recipe
    from semviz.gains.gain import Gain
    from semviz.lm.model import LanguageModel
    from semviz.study.opened_sample import Sample
    from semviz.study.opened_task import OpenedTask, Vocabulary
    from semviz.tasks.task import Task
    from semviz.traces.trace import Trace

Change = Literal["task", "view", "sample", "cell", "scope", "settings", "progress", "job", "runs", "difference"]


class ViewState:
    """What the user has chosen; observers are notified of every change.

    Attributes:
        model: The model, which is never changed.
        opening: The task, its traces, gain and costs.
        metric: Key of the metric that the heatmaps show.
        vocab: The vocabulary that states are compared with: `"full"`, or `"labels"` for the label words only.
        order: Order of the samples, as in `Trace.sample_heatmap`; None leaves it to the figure.
        sample: The opened sample.
        cell: Position and space of the clicked cell; None before the first click.
        start: First token that is shown of a long sample; None leaves it to the figure.
        boundary: k, the number of frozen blocks.
        theta: θ, the freeze threshold that corresponds to it.
        settings: How the next finetune is done.
    """

    def __init__(self, model: LanguageModel, opening: OpenedTask) -> None:
        """Set every choice to its default."""
        self.model = model
        self._observers: list[Callable[[Change], None]] = []
        self._set_task(opening)

    def _set_task(self, opening: OpenedTask) -> None:
        """Switch to a task, with every choice at its default."""
        self.opening = opening
        self.metric = opening.traces["full"].default_metric
        self.order: Order | None = None
        self._set_vocab("full")
        self.settings = Settings.of_epochs(3, rows=self.rows)
        self.boundary = self.gain.boundary
        self.theta = self.gain.theta_of(self.boundary)

    def _set_vocab(self, vocab: Vocabulary) -> None:
        """Show the trace over this vocabulary, starting with its first sample."""
        self.vocab: Vocabulary = vocab
        self.sample: Sample = self._open(next(iter(self.trace.detailed), self.numbers[0]))
        self.cell: tuple[int, int] | None = None
        self.start: int | None = None

    # What is open.

    @property
    def task(self) -> Task:
        """The task."""
        return self.opening.task

    @property
    def gain(self) -> Gain:
        """Gain of the trace over the full vocabulary."""
        return self.opening.gain

    @property
    def trace(self) -> Trace:
        """The trace that is shown."""
        return self.opening.traces[self.vocab]

    @property
    def numbers(self) -> list[int]:
        """Numbers of the traced samples within their split."""
        return [int(n) for n in self.trace.positions["sample"].unique()]

    @property
    def rows(self) -> int:
        """Number of training rows."""
        return len(self.opening.bench.part("train", 0).encoded)

    @property
    def scope(self) -> Scope:
        """What the next finetune trains: the blocks above the boundary."""
        return Scope.above(self.model, self.boundary)

    @property
    def recipe(self) -> Recipe:
        """How the next finetune is done, from the settings and the number of training rows."""
        return self.settings.recipe(self.rows)

    @property
    def epochs(self) -> float:
        """Passes over the training rows in the settings' steps."""
        return self.settings.epochs(self.rows)

    # What to show.

    def show(self, *, metric: str | None = None, order: Order | None = None) -> None:
        """Choose the metric and the order of the samples; None keeps the current one.

        Raises:
            SemvizError: If the metric was not traced, or there is no such order for this task.
        """
        if order is not None and (not isinstance(order, str) or order not in self.orders):
            raise SemvizError(
                f"order={checks.short_repr(order)} does not apply to this task; pass one of {self.orders}."
            )
        self.metric = self.trace.check(self.metric if metric is None else metric)
        self.order = self.order if order is None else order
        self._notify("view")

    @property
    def orders(self) -> list[str]:
        """Orders of the samples that make sense for this task."""
        unknown = set() if self.task.labels else {"label", "correct"}
        if math.isnan(self.opening.traces["full"].accuracy):  # label words are scored whole
            unknown.add("correct")
        return [order for order in get_args(Order) if order not in unknown]

    def open(self, number: int) -> None:
        """Open a sample token by token.

        Raises:
            TaskError: If there is no such sample.
        """
        self.sample, self.cell, self.start = self._open(number), None, None
        self._notify("sample")

    def read(self, text: str, label: str | None = None) -> None:
        """Open a text as if it were a row of the task with this label; None compares each token with the next.

        Raises:
            TaskError: If the text is empty or too long, or the label is unknown.
        """
        self.sample = open_text(self.model, self.task, self.trace, text, label)
        self.cell = self.start = None
        self._notify("sample")

    def begin(self, start: int) -> None:
        """Show a long sample starting at this token.

        Raises:
            SemvizError: If the sample has no such token.
        """
        self.start = checks.whole_number("start", start, maximum=self.sample.tokens - 1)
        self._notify("sample")

    def point(self, position: int, space: int) -> None:
        """Choose a position of the opened sample and a space.

        Raises:
            SemvizError: If they do not exist.
        """
        rows = self.sample.trace.positions
        positions = rows.loc[rows["sample"] == self.sample.number, "position"].tolist()
        is_position = checks.is_whole(position) and position in positions
        if not (is_position and checks.is_whole(space) and 0 <= space <= self.model.n_blocks):
            raise SemvizError(
                f"position={checks.short_repr(position)}, space={checks.short_repr(space)} is not a cell; pass one of "
                f"the positions {checks.short_repr(positions)} and a space from 0 to {self.model.n_blocks}."
            )
        self.cell = int(position), int(space)
        self._notify("cell")

    def _open(self, number: int) -> Sample:
        return open_sample(self.model, self.task, self.trace, number)

    # Which blocks train.

    def freeze(self, boundary: int) -> None:
        """Freeze blocks 1…k, where k is the boundary.

        Raises:
            ScopeError: If k lies outside 0…L−1.
        """
        self.theta, self.boundary = self.gain.theta_of(boundary), int(boundary)
        self._notify("scope")

    def threshold(self, theta: float) -> None:
        """Move the freeze threshold θ, and the boundary with it.

        Raises:
            SemvizError: If θ lies outside [0, 1].
        """
        self.boundary, self.theta = self.gain.threshold(theta), float(theta)
        self._notify("scope")

    def set(self, **changes: Any) -> None:
        """Change how the next finetune is done: `steps`, `lr`, `method`, `seed`, `batch_size`.

        Raises:
            SemvizError: If there is no such setting, or a value is out of range.
        """
        for name in changes:
            checks.one_of("a setting's name", name, Settings.__dataclass_fields__)
        self.settings = replace(self.settings, **changes)
        self._notify("settings")

    def observe(self, observer: Callable[[Change], None]) -> Callable[[], None]:
        """Call a function after every change with the name of what changed; jobs call it from their own thread.

        Returns:
            A function that ends the observation.

        Raises:
            SemvizError: If the observer cannot be called.
        """
        if not callable(observer):
            raise SemvizError(
                f"{checks.named_repr('observer', observer)}; pass a function of one argument, the name of what changed."
            )
        self._observers.append(observer)
        return lambda: self._observers.remove(observer) if observer in self._observers else None

    def _notify(self, change: Change) -> None:
        for observer in tuple(self._observers):
            observer(change)
