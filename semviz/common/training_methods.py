"""The registry of training methods: how each one trains, what it costs, and how menus and pictures show it.

An entry is plain data and functions, so pictures can read it where torch is not even imported. The methods that semviz
brings are in `semviz.scopes.methods`, a file each; others may add their own with `register`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from semviz.common import checks
from semviz.common.errors import SemvizError

# A torch.nn.Module and a torch.nn.Parameter: this module must load without torch, types included.
Module: TypeAlias = Any
Parameter: TypeAlias = Any
Schedule: TypeAlias = Callable[[int], Collection[int] | None]

FULL = "full"
"""The method that trains the weights themselves: what others are compared with."""
SITUATIONS = ("processes", "head", "checkpointing")
"""What a method may refuse to be combined with: several processes, a scope with the head, checkpointing."""


@dataclass(frozen=True)
class MethodPrice:
    """What a method costs, in shares of what training all weights of the same scope costs.

    The adapters' own weights are so few that they are not counted.

    Attributes:
        gradient_flops: Share of the operations for the gradients of the scope's weights.
        copies: Share of the scope's weights that are kept in a copy of their own.
        gradients: Share of the bytes of gradients.
        moments: Share of the bytes of the optimizer's moments.
    """

    gradient_flops: float = 1.0
    copies: float = 1.0
    gradients: float = 1.0
    moments: float = 1.0


@dataclass(frozen=True)
class Mark:
    """How pictures mark a method's points; what is empty is that of the scope, as for training all weights.

    Attributes:
        symbol: Name of a Plotly symbol, such as `"hexagon"`.
        fill: Ending of the symbol's name: hollow, with a dot, or both.
        colour: Role of a colour in `semviz.figures.drawing.themes.Theme`, such as `"group5"`.
    """

    symbol: str = ""
    fill: Literal["", "-open", "-dot", "-open-dot"] = ""
    colour: str = ""


UNKNOWN_MARK = Mark(fill="-open")
"""Mark of a method that is not registered here."""


@dataclass(frozen=True, kw_only=True)
class TrainingMethod:
    """One way to train a scope.

    Attributes:
        key: Name in `finetune(method=…)`, in stored runs and in pictures.
        title: Name in menus.
        short_title: Name in tables; the title where it is empty.
        own_weights: Whether the scope's own weights train, in a copy; without, they stay the user's own and frozen, and
            `prepare` adds what trains.
        prepare: Called with the network, the scope's modules in it and a seed: changes them and returns the parameters
            that train. The modules are the scope's blocks, or with `modules="attention"` and the like what is of this
            part inside them, and the final norm and the head too where these are part of the scope and `own_weights`
            is set. None trains all weights of these modules.
        merged: Called with a trained module: returns a copy of it with the names and shapes that it had before
            `prepare`. None where these have not changed.
        parts: Which parts of the blocks train (of `semviz.lm.block_parts.PARTS`); None for all. Of a final norm
            and a head the norms train where these are among them, and otherwise all.
        schedule: Called with the number of trained blocks, the steps and a seed: returns a function from the number of
            a step to the blocks that train from it on, counted from 0, or None where they stay. None trains all of
            them at every step.
        price: What it costs.
        rate_factor: Factor of the first learning rate to try, against training all weights.
        mark: How pictures mark it.
        refuses: What it cannot be combined with (of `SITUATIONS`), and the rest of the sentence that says so after
            `method="…"`: why, and what to pass.
        place: Orders menus and lists; equal places are in the order of registration.
    """

    key: str
    title: str
    short_title: str = ""
    own_weights: bool = True
    prepare: Callable[[Module, Sequence[Module], int], Iterable[Parameter]] | None = None
    merged: Callable[[Module], Module] | None = None
    parts: tuple[str, ...] | None = None
    schedule: Callable[[int, int, int], Schedule] | None = None
    price: MethodPrice = MethodPrice()
    rate_factor: float = 1.0
    mark: Mark = UNKNOWN_MARK
    refuses: Mapping[str, str] = field(default_factory=dict)
    place: float = 100.0

    def __post_init__(self) -> None:
        """Check what would only be missed when it is used.

        Raises:
            SemvizError: If the key cannot name a method, a situation is unknown, or nothing would train.
        """
        if not isinstance(self.key, str) or not re.fullmatch(r"[\w-]+", self.key):
            raise SemvizError(f"{checks.named_repr('key', self.key)} cannot name a method; pass a name such as norms.")
        checks.positive("rate_factor", self.rate_factor)
        for situation in self.refuses:
            checks.one_of("a situation in refuses", situation, SITUATIONS)
        if not self.own_weights and (self.prepare is None or self.merged is None):
            raise SemvizError(
                f"{self.key!r} trains no weights of the scope; pass prepare=, which adds what trains, and merged=, "
                "which merges it into them."
            )


class ConfiguredMethod(str):
    """A method that a configuration describes, such as one of peft's: its text works wherever a method's key does.

    Methods of equal configurations have equal texts, and those of others have others.
    """

    method: TrainingMethod
    """What `find_method` finds."""
    config: Mapping[str, str]
    """The configuration: JSON texts by field."""

    def __new__(cls, text: str, method: TrainingMethod, config: Mapping[str, str]) -> ConfiguredMethod:
        """Make the text that stands for a method."""
        made = super().__new__(cls, text)
        made.method, made.config = method, dict(config)
        return made

    def __getnewargs__(self) -> tuple[str, TrainingMethod, Mapping[str, str]]:  # type: ignore[override]
        """What to make it from in another process."""
        return str(self), self.method, self.config


METHODS: dict[str, TrainingMethod] = {}
"""All methods by their key, in the order of menus."""


def register(method: TrainingMethod) -> TrainingMethod:
    """Add a method; it then works in `finetune`, `sweep`, prices, stored runs, menus and pictures.

    Raises:
        SemvizError: If the key is taken.
    """
    if method.key in METHODS:
        raise SemvizError(
            f"There is a training method {method.key!r} already; pass another key, or take that one out with "
            f"METHODS.pop({method.key!r})."
        )
    # In place, since others hold this dict.
    ordered = sorted((*METHODS.values(), method), key=lambda other: other.place)
    METHODS.clear()
    METHODS.update({other.key: other for other in ordered})
    return method


def find_method(key: str) -> TrainingMethod:
    """A method by its key, or the one that a configuration describes.

    Raises:
        SemvizError: If there is none.
    """
    return key.method if isinstance(key, ConfiguredMethod) else METHODS[checks.one_of("method", key, METHODS)]


def short_title_of(key: str) -> str:
    """Name of a method in tables; the key of one that is not registered here."""
    method = METHODS.get(key)
    return key if method is None else method.short_title or method.title


def mark_of(key: str) -> Mark:
    """How pictures mark a method; one that is not registered here is hollow."""
    if isinstance(key, ConfiguredMethod):
        return key.method.mark
    if key in METHODS:
        return METHODS[key].mark
    return Mark() if key == FULL else UNKNOWN_MARK
