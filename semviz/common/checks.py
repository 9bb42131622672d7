"""Checks of what callers pass: one for each kind of argument, so that every refusal says the same things.

A message names the argument, says what was got (`shown`) and what to pass. What passes comes back as a plain Python
value, so that numpy's numbers and Python's make the same keys.
"""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from semviz.common.errors import SemvizError, TaskError

_WIDTH = 80
# The hub's tokens, headers with one, and passwords in addresses: libraries put them into their errors.
_SECRET = re.compile(r"\bhf_[A-Za-z0-9]{10,}|(?<=Bearer )\S+|(?<=://)[^/\s@]+(?=@)")
MOST_SEED = 2**32 - 1
"""The largest seed that numpy takes, and so Trainer."""


def short_repr(value: Any, *, width: int = _WIDTH) -> str:
    r"""Return what was got, for a message: one line, not too long, nothing invisible in it.

    Example:
        >>> short_repr("a\u202eb")
        "'a\\u202eb'"
    """
    try:
        # A text may be megabytes long.
        text = repr(value[: width + 1] if isinstance(value, str | bytes | list | tuple) else value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return _line(text, width)


def first_line(error: object) -> str:
    """Return the first line of what a library says went wrong, as `shown` shows it, or the error's name."""
    text = str(error).strip()
    return _line(text.splitlines()[0], 300) if text else type(error).__name__


def _line(text: str, width: int) -> str:
    # What stays within the width has not been cut before it was looked at.
    line = " ".join(_SECRET.sub("‹secret›", text[: 4 * width]).split())
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    return line if len(line) <= width else line[: width - 1] + "…"


def named_repr(name: str, value: Any) -> str:
    """Return an argument as a message begins with it: `samples='3' (str)`; the class where the value may mislead."""
    plain = value is None or isinstance(value, bool | int | float)
    return f"{name}={short_repr(value)}" + ("" if plain else f" ({type(value).__name__})")


def is_whole(value: Any) -> bool:
    """Tell whether a value is a whole number of Python, numpy or torch; True and 3.0 are none."""
    try:
        operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool | np.bool_)


def whole_number(
    name: str, value: Any, *, least: int = 0, most: int | None = None, error: type[SemvizError] = SemvizError
) -> int:
    """Return a whole number in a range; True and 3.0 are none.

    Raises:
        SemvizError: If it is none, or of the class passed.
    """
    found = operator.index(value) if is_whole(value) else least - 1
    if found < least or (most is not None and found > most):
        span = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise error(f"{named_repr(name, value)}; pass a whole number {span}.")
    return found


def number(name: str, value: Any, instead: str, *, fits: Callable[[float], bool] = math.isfinite) -> float:
    """Return a number that fits; True is none, and NaN must not fit.

    Raises:
        SemvizError: If it is none, with what to pass instead.
    """
    try:
        # Also numpy's, which are registered as Real; a float of a huge int overflows.
        found = float(value) if not isinstance(value, bool) and isinstance(value, Real) else math.nan
    except OverflowError:
        found = math.nan
    if not fits(found):
        raise SemvizError(f"{named_repr(name, value)}; pass {instead}.")
    return found


def positive(name: str, value: Any, instead: str = "a positive number") -> float:
    """Return a finite number above 0.

    Raises:
        SemvizError: If it is none.
    """
    return number(name, value, instead, fits=lambda x: math.isfinite(x) and x > 0)


def learning_rate(value: Any) -> Any:
    """Return a learning rate as a float, or `"auto"`.

    Raises:
        SemvizError: If it is neither.
    """
    is_word = isinstance(value, str) and value == "auto"
    return value if is_word else positive("lr", value, 'a positive number such as 1e-3, or "auto"')


def one_of(name: str, value: Any, known: Iterable[str], *, error: type[SemvizError] = SemvizError) -> str:
    """Return a word that is among the known ones.

    Raises:
        SemvizError: If it is not, or of the class passed; the message lists those there are.
    """
    words = list(known)
    if not isinstance(value, str) or value not in words:
        raise error(f"{name}={short_repr(value)} is unknown; pass one of {words}.")
    return value


def flag(name: str, value: Any) -> bool:
    """Return True or False as it is; a text such as "no" would count as true.

    Raises:
        SemvizError: If it is neither.
    """
    if not isinstance(value, bool):
        raise SemvizError(f"{named_repr(name, value)}; pass True or False.")
    return value


def of_class(name: str, value: Any, kind: type | tuple[type, ...], instead: str) -> Any:
    """Return an object of a class, or None where NoneType is among the classes.

    Raises:
        SemvizError: If it is of another one, with what to pass instead.
    """
    if not isinstance(value, kind):
        raise SemvizError(f"{named_repr(name, value)}; pass {instead}.")
    return value


def as_list(name: str, value: Any, instead: str, *, error: type[SemvizError] = SemvizError) -> list[Any]:
    """Return what an iterable holds as a list; a text is one thing, not several, and so is a mapping.

    Raises:
        SemvizError: If it is no iterable, or of the class passed.
    """
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise error(f"{named_repr(name, value)}; pass {instead}.")
    try:
        return list(value)
    except TypeError as problem:  # an array without dimensions
        raise error(f"{named_repr(name, value)}; pass {instead}.") from problem


def one_text(name: str, value: Any, *, empty: bool = False) -> str:
    """Return a text that a tokenizer can read.

    Raises:
        TaskError: If it is none, or is empty and must not be.
    """
    if not isinstance(value, str):
        raise TaskError(f"{name} is {type(value).__name__} {short_repr(value)}; pass text (str).")
    if not (empty or value.strip()):
        raise TaskError(f"{name} is empty; drop the row or pass some text.")
    try:
        value.encode()
    except UnicodeEncodeError as problem:
        raise TaskError(f"{name} holds a lone surrogate; pass text that encodes as UTF-8.") from problem
    return value


def texts(name: str, value: Any) -> list[str]:
    """Return several texts that a tokenizer can read, at least one.

    Raises:
        TaskError: If one is none, or there is none.
    """
    given = as_list(name, value, "a list of texts", error=TaskError)
    if not given:
        raise TaskError(f"{name} is empty; pass at least a few texts.")
    return [one_text(f"{name}[{i}]", item) for i, item in enumerate(given)]


def as_path(name: str, value: Any) -> Path:
    """Return a path that the file system can be asked about.

    Raises:
        SemvizError: If it is no path, is empty, or holds a character that no file name can have.
    """
    try:
        given = os.fspath(value)
        if not given or b"\0" in os.fsencode(given):
            raise ValueError
        return Path(os.fsdecode(given))
    except (TypeError, ValueError) as problem:
        raise SemvizError(f"{named_repr(name, value)} is no path; pass the name of a file or folder.") from problem


def require_attributes(name: str, value: Any, wanted: Collection[str], instead: str) -> None:
    """Refuse an object that lacks what is read of it.

    Raises:
        SemvizError: If an attribute is not there.
    """
    if any(not hasattr(value, attribute) for attribute in wanted):
        raise SemvizError(f"{named_repr(name, value)}; pass {instead}.")
