"""Checks of arguments, one function for each kind, so that all error messages have the same form.

A message names the argument, shows what was passed (`short_repr`) and says what to pass instead. A valid value comes
back as a plain Python value, so that NumPy's numbers and Python's give the same keys.
"""

from __future__ import annotations

import inspect
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
_LONGEST_NAME = 255  # bytes
# Hub tokens, bearer headers and passwords in URLs: libraries put them into their error messages.
# A Path has only one of the two slashes left.
_URL = re.compile(r"[A-Za-z][\w+.-]+://|(https?|ftp|file|hf|s3|gs|gcs|az|abfss?|hdfs|ssh|git):/|hf:", re.IGNORECASE)
_SECRET = re.compile(r"\bhf_[A-Za-z0-9]{10,}|(?<=Bearer )\S+|(?<=://)[^/\s@]+(?=@)")
MAX_SEED = 2**32 - 1
"""The largest seed that NumPy, and so Trainer, accepts."""


def short_repr(value: Any, *, width: int = _WIDTH) -> str:
    r"""Return a value's repr for a message: one line, not too long, with invisible characters escaped.

    Example:
        >>> short_repr("a\u202eb")
        "'a\\u202eb'"
    """
    try:
        # A string may be megabytes long.
        text = repr(value[: width + 1] if isinstance(value, str | bytes | list | tuple) else value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return _single_line(text, width)


def first_line(error: object) -> str:
    """Return the first line of a library's error message in the form of `short_repr`, or the error's class name."""
    text = str(error).strip()
    return _single_line(text.splitlines()[0], 300) if text else type(error).__name__


def _single_line(text: str, width: int) -> str:
    # The cut bounds the work only: what ends up within the width was searched for secrets as a whole.
    line = " ".join(_SECRET.sub("‹secret›", text[: 4 * width]).split())
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    return line if len(line) <= width else line[: width - 1] + "…"


def named_repr(name: str, value: Any) -> str:
    """Return how a message names an argument: `samples='3' (str)`, with the class where the value alone may mislead."""
    plain = value is None or isinstance(value, bool | int | float)
    return f"{name}={short_repr(value)}" + ("" if plain else f" ({type(value).__name__})")


def is_whole(value: Any) -> bool:
    """Tell whether a value is a whole number of Python, NumPy or torch; True and 3.0 do not count."""
    try:
        operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool | np.bool_)


def whole_number(
    name: str, value: Any, *, minimum: int = 0, maximum: int | None = None, error: type[SemvizError] = SemvizError
) -> int:
    """Return a whole number within a range; True and 3.0 are refused.

    Raises:
        SemvizError: If the value is anything else; `error` gives another class.
    """
    whole = operator.index(value) if is_whole(value) else minimum - 1
    if whole < minimum or (maximum is not None and whole > maximum):
        span = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise error(f"{named_repr(name, value)}; pass a whole number {span}.")
    return whole


def number(name: str, value: Any, instead: str, *, fits: Callable[[float], bool] = math.isfinite) -> float:
    """Return a number that fits; True is refused, and `fits` must refuse NaN.

    Raises:
        SemvizError: If the value is anything else; the message says what to pass instead.
    """
    try:
        # NumPy's numbers are registered as Real too; a huge int overflows as a float.
        as_float = float(value) if not isinstance(value, bool) and isinstance(value, Real) else math.nan
    except OverflowError:
        as_float = math.nan
    if not fits(as_float):
        raise SemvizError(f"{named_repr(name, value)}; pass {instead}.")
    return as_float


def positive(name: str, value: Any, instead: str = "a positive number") -> float:
    """Return a finite number above 0.

    Raises:
        SemvizError: If the value is anything else.
    """
    return number(name, value, instead, fits=lambda x: math.isfinite(x) and x > 0)


def learning_rate(value: Any) -> Any:
    """Return a learning rate as a float, or `"auto"`.

    Raises:
        SemvizError: If it is neither.
    """
    is_word = isinstance(value, str) and value == "auto"
    return value if is_word else positive("lr", value, 'a positive number such as 1e-3, or "auto"')


def one_of(name: str, value: Any, choices: Iterable[str], *, error: type[SemvizError] = SemvizError) -> str:
    """Return a word that is one of the choices.

    Raises:
        SemvizError: If it is not; `error` gives another class. The message lists the choices.
    """
    words = list(choices)
    if not isinstance(value, str) or value not in words:
        raise error(f"{name}={short_repr(value)} is unknown; pass one of {words}.")
    return value


def options_of(function: Callable[..., Any]) -> list[str]:
    """Names of a function's keyword-only arguments."""
    parameters = inspect.signature(function).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


def known_options(
    options: Mapping[str, Any],
    known: Iterable[str],
    *,
    of: str,
    instead: Mapping[str, str] | None = None,
    error: type[SemvizError] = SemvizError,
) -> None:
    """Refuse options that a function would pass on to another one that does not know them.

    Args:
        options: What was passed.
        known: Names of those that can be passed on.
        of: What they are options of, in words.
        instead: What to do instead of passing some of the others, after "pass", by name.
        error: The class of the error.

    Raises:
        SemvizError: If one is not known.
    """
    for name in options:
        if name not in known:
            listed = f"one of {', '.join(f'{option}=' for option in sorted(known))}"
            raise error(f"{name}= is not for {of}; pass {(instead or {}).get(name, listed)}.")


def flag(name: str, value: Any) -> bool:
    """Return True or False unchanged; a string such as "no", which Python counts as true, is refused.

    Raises:
        SemvizError: If it is neither.
    """
    if not isinstance(value, bool):
        raise SemvizError(f"{named_repr(name, value)}; pass True or False.")
    return value


def of_class(name: str, value: Any, kind: type | tuple[type, ...], instead: str) -> Any:
    """Return an object of a class, or None where NoneType is among the classes.

    Raises:
        SemvizError: If it is of another class; the message says what to pass instead.
    """
    if not isinstance(value, kind):
        raise SemvizError(f"{named_repr(name, value)}; pass {instead}.")
    return value


def as_list(name: str, value: Any, instead: str, *, error: type[SemvizError] = SemvizError) -> list[Any]:
    """Return the items of an iterable as a list; a string or a mapping counts as one thing and is refused.

    Raises:
        SemvizError: If it is not an iterable; `error` gives another class.
    """
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise error(f"{named_repr(name, value)}; pass {instead}.")
    try:
        return list(value)
    except TypeError as problem:  # a zero-dimensional array
        raise error(f"{named_repr(name, value)}; pass {instead}.") from problem


def one_text(name: str, value: Any, *, empty: bool = False) -> str:
    """Return a text that a tokenizer can read.

    Raises:
        TaskError: If it is not a string, cannot be encoded, or is empty without `empty`.
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


def texts(name: str, value: Any, *, of: str = "") -> list[str]:
    """Return a list of one or more texts that a tokenizer can read.

    Args:
        name: What messages call the list.
        value: The list.
        of: Where it is from, in messages: nothing, or words such as ` of train`.

    Raises:
        TaskError: If the list is empty, or an item is not such a text.
    """
    items = as_list(name, value, "a list of texts", error=TaskError)
    if not items:
        raise TaskError(f"{name}{of} is empty; pass at least a few texts.")
    return [one_text(f"{name}[{i}]{of}", item) for i, item in enumerate(items)]


def as_path(name: str, value: Any) -> Path:
    """Return a path that the file system accepts, with `~` for the home folder expanded as the shell does.

    Raises:
        SemvizError: If it is not a path, is empty, contains a null character, or is a URL.
    """
    try:
        raw_path = os.fspath(value)
        if not raw_path or b"\0" in os.fsencode(raw_path):
            raise ValueError
        path = Path(os.path.expanduser(os.fsdecode(raw_path)))
        too_long = any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts)
    except (TypeError, ValueError) as problem:
        raise SemvizError(f"{named_repr(name, value)} is not a path; pass the name of a file or folder.") from problem
    if _URL.match(os.fsdecode(raw_path)):
        raise SemvizError(
            f"{named_repr(name, value)} is a URL; pass the path of a file or folder on this machine, such as a "
            "download of it."
        )
    if too_long:
        raise SemvizError(
            f"{name}={short_repr(value)} has a name of more than {_LONGEST_NAME} bytes in it, which file systems do "
            "not allow; pass a shorter one."
        )
    return path


def require_attributes(name: str, value: Any, attributes: Collection[str], instead: str) -> None:
    """Refuse an object that lacks an attribute.

    Raises:
        SemvizError: If one is missing; the message says what to pass instead.
    """
    if any(not hasattr(value, attribute) for attribute in attributes):
        raise SemvizError(f"{named_repr(name, value)}; pass {instead}.")
