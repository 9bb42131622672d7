"""Values in configs of other trainers, read as the numbers and names that the trainers expect."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from semviz.common import checks
from semviz.common.errors import SemvizError


def as_integer(config: Mapping[str, Any], key: str, usual: int) -> int:
    """Read a whole number, which may be a text.

    Args:
        config: Keys and values.
        key: The key.
        usual: What the trainer takes where the key is not given.

    Raises:
        SemvizError: If it is something else; the message names key and value.
    """
    number = as_number(config, key, usual)
    if number != int(number):
        raise SemvizError(f"{key}: {checks.short_repr(config[key])} is not a whole number; write one, such as {usual}.")
    return int(number)


def as_number(config: Mapping[str, Any], key: str, usual: float) -> float:
    """Read a finite number, which may be a text; as `as_integer`."""
    value = config.get(key, usual)
    number = _number(value)
    if number is None:
        raise SemvizError(f"{key}: {checks.short_repr(value)} is not a number; write one, such as {usual}.")
    return number


def as_integers(config: Mapping[str, Any], key: str) -> int | list[int] | None:
    """Read a whole number, several of them, or nothing.

    Raises:
        SemvizError: If it is something else; the message names key and value.
    """
    value = config.get(key)
    if value is None:
        return None
    many = isinstance(value, list | tuple | set)
    numbers = [_number(item) for item in (value if many else [value])]
    if not all(number is not None and number == int(number) for number in numbers):
        raise SemvizError(
            f"{key}: {checks.short_repr(value)} is not a list of whole numbers; write [0, 1] or the like."
        )
    whole = [int(number) for number in numbers if number is not None]
    return whole if many else whole[0]


def as_names(config: Mapping[str, Any], key: str) -> list[str]:
    """Read a text or a list of texts.

    Raises:
        SemvizError: If it is something else; the message names key and value.
    """
    value = config.get(key)
    if value is None:
        return []
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple | set) or not all(isinstance(name, str) for name in names):
        raise SemvizError(f"{key}: {checks.short_repr(value)} is not a list of names; write one, such as [a, b].")
    return list(names)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
