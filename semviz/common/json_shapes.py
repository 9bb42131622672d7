"""What a record from a file must look like: files may be damaged, made by others, or made to deceive."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from semviz.common.checks import short_repr


@dataclass(frozen=True)
class Is:
    """One value: what it should be in words, and the test of it."""

    words: str
    fits: Callable[[Any], bool]

    @property
    def or_none(self) -> Is:
        """The same, or null."""
        return Is(f"{self.words} or null", lambda value: value is None or self.fits(value))


@dataclass(frozen=True)
class Each:
    """An object with keys of any name, whose values all have one shape."""

    shape: Any


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finite(value: Any) -> bool:
    # A whole number of JSON may be too large for any float.
    return _number(value) and abs(value) < 1e300


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


TEXT = Is("a text", lambda value: isinstance(value, str))
FLAG = Is("true or false", lambda value: isinstance(value, bool))
COUNT = Is("a whole number of at least 0", _count)
NATURAL = Is("a whole number of at least 1", lambda value: _count(value) and value > 0)
NUMBER = Is("a number", lambda value: _number(value) and (isinstance(value, float) or _finite(value)))
FINITE = Is("a finite number", _finite)
POSITIVE = Is("a positive number", lambda value: _finite(value) and value > 0)
AMOUNT = Is("a number of at least 0", lambda value: _finite(value) and value >= 0)
SHARE = Is("a number from 0 to 1", lambda value: _finite(value) and 0 <= value <= 1)
RIDGE = Is("a number of at least 0", lambda value: _number(value) and not math.isnan(value) and value >= 0)

PARTS = {
    "blocks": [COUNT],
    "tail": COUNT,
    "head": COUNT,
    "embeddings": COUNT,
    "tied_head": COUNT,
    "names": {"blocks": [TEXT], "tail": [TEXT], "head": TEXT, "linears": [TEXT]},
}


def one_of(*words: str) -> Is:
    """One of some words."""
    return Is(f"one of {list(words)}", lambda value: isinstance(value, str) and value in words)


def check(value: Any, shape: Any, name: str = "") -> None:
    """Compare a record with its shape: an `Is`, a list of one shape, an `Each`, or a dict of keys that must be there.

    Raises:
        ValueError: If it has another one, with the place.
    """
    where = f"{name}." if name else ""
    if isinstance(shape, Is):
        if not shape.fits(value):
            raise ValueError(f"{name} is {short_repr(value)} and not {shape.words}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise ValueError(f"{name} is {short_repr(value)} and not a list")
        for i, item in enumerate(value):
            check(item, shape[0], f"{name}[{i}]")
    elif not isinstance(value, dict):
        raise ValueError(f"{name or 'it'} is {short_repr(value)} and not an object with keys")
    elif isinstance(shape, Each):
        for key, item in value.items():
            check(item, shape.shape, f"{where}{short_repr(key)}")
    else:
        for key, inner in shape.items():
            if key not in value:
                raise ValueError(f"{where}{key} is missing")
            check(value[key], inner, f"{where}{key}")
