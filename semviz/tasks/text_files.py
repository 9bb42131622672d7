"""The text of a file, whatever its encoding and compression."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from semviz.common import checks
from semviz.common.errors import TaskError

OPENERS: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
"""How compressed files are opened, by their last ending."""
# The mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ADVICE = "pass encoding= with the one that it is in, or save it as UTF-8"


def read_bytes(path: Path) -> bytes:
    """Return a file's content, unpacked.

    Raises:
        TaskError: If it cannot be read.
    """
    try:
        with OPENERS.get(path.suffix.lower(), open)(path, "rb") as file:
            content: bytes = file.read()
    except FileNotFoundError as error:
        raise TaskError(f"There is no file {checks.short_repr(str(path))}; pass the path of one.") from error
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise TaskError(
            f"{checks.short_repr(str(path))} cannot be read: {checks.first_line(error)}. Pass a file that can be."
        ) from error
    return content


def decode(content: bytes, name: str, encoding: str | None) -> tuple[str, str]:
    """Return a file's text, and a sentence where its encoding was guessed; empty otherwise.

    Args:
        content: The file's content.
        name: What messages call it.
        encoding: Its encoding. None: what a byte order mark says, or else UTF-8, UTF-16, or Windows-1252.

    Raises:
        TaskError: If it is not text in this encoding, or in none of these.
    """
    if encoding is not None:
        return _strictly(content, name, encoding), ""
    for mark, marked in _MARKS:
        if content.startswith(mark):
            return _strictly(content, name, marked), ""
    if b"\0" in content:
        return _wide(content, name)
    try:
        return content.decode(), ""
    except UnicodeDecodeError as error:
        text = content.decode("utf-8", "replace")
        damaged = text.count("\ufffd")
        if sum(not char.isascii() for char in text) > 2 * damaged:
            line = content.count(b"\n", 0, error.start) + 1
            raise TaskError(
                f"{name} is UTF-8 but for {damaged} places, the first of them in line {line}; mend it, or {_ADVICE}."
            ) from error
    try:
        text, guess = content.decode("cp1252"), "Windows-1252"
    except UnicodeDecodeError:  # it leaves five bytes open
        text, guess = content.decode("latin-1"), "Latin-1"
    return text, f"{name} is not UTF-8 and was read as {guess}: where letters with accents look wrong, pass encoding=."


def _strictly(content: bytes, name: str, encoding: str) -> str:
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except (LookupError, TypeError) as error:
        raise TaskError(
            f'{checks.named_repr("encoding", encoding)} is unknown; pass a name such as "utf-8", "latin-1" or "cp1252".'
        ) from error
    except UnicodeError as error:
        raise TaskError(f"{name} is not text in {encoding} ({checks.first_line(error)}); {_ADVICE}.") from error


def _wide(content: bytes, name: str) -> tuple[str, str]:
    """Read UTF-16 without a mark: every other byte of plain letters is a null."""
    first, second = content[::2].count(0), content[1::2].count(0)
    guess = "utf-16-le" if second > first else "utf-16-be"
    if len(content) % 2 == 0 and max(first, second) > len(content) // 8 and min(first, second) == 0:
        return _strictly(content, name, guess), f"{name} has no byte order mark and was read as {guess.upper()}."
    line = content.count(b"\n", 0, content.index(b"\0")) + 1
    raise TaskError(f"{name} has null characters, the first in line {line}, and is no text; {_ADVICE}.")
