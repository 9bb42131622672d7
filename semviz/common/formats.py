"""Numbers formatted for people to read."""

from __future__ import annotations

import math

# The smallest count in a unit, its size, its letter: 0.1 M reads better than 100 k beside 1.7 M.
_SI = ((1e9, 1e9, "B"), (1e5, 1e6, "M"), (1e3, 1e3, "k"))
MISSING = "–"


def si(value: float) -> str:
    """Shorten a count: 1710000 → ``1.71 M``, 500000 → ``0.5 M``.

    Parameters are counted in thousands (k), millions (M) and billions (B), as model names do.
    """
    for start, size, letter in _SI:
        if abs(value) >= start:
            scaled = value / size
            # Two decimals below 1 as well as above it: 0.79 M beside 1.71 M.
            return f"{_significant(scaled, 3 if abs(scaled) >= 1 else 2)} {letter}"
    return _significant(value, 3)


def size(value: float) -> str:
    """Write a number of bytes: 3 400 000 → ``3.4 MB``, in powers of ten."""
    for unit, letters in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= unit:
            return f"{_significant(value / unit, 3)} {letters}"
    return f"{_significant(value, 3)} bytes"


def percent(share: float | None, *, digits: int = 0) -> str:
    """Write a share of 1 as a percentage: 0.497 → ``50 %``."""
    if share is None or not math.isfinite(share):
        return MISSING
    # Adding 0 turns −0 into 0 after rounding.
    return f"{round(100 * share, digits) + 0:.{digits}f} %".replace("-", "−")


def number(value: float | None, *, digits: int = 3) -> str:
    """Write a number to a few significant digits, with an exponent only where it is very large or small."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{_trim(mantissa)}e{int(exponent)}".replace("-", "−")
    return _significant(value, digits)


def seconds(value: float | None) -> str:
    """Write a duration: ``0.42 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value < 10:
        return f"{_significant(value, 2)} s"
    if value < 99.5:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def nice_step(span: float, count: int) -> float:
    """Return a step of 1, 2, 2.5 or 5 times a power of ten that cuts a span into at most ``count`` parts."""
    raw = span / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * (1 - 1e-9))


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    places = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    return _trim(f"{value:,.{places}f}").replace("-", "−")


def _trim(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
