"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from semviz.checks import path_of
from semviz.errors import SemvizError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[str]:
    """Give a temporary name in the same folder to write to; rename it to `path` on leaving without an exception.

    Raises:
        SemvizError: If the folder is missing or cannot be written; the old file, if any, is then as it was.
    """
    target = path_of("path", path)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        os.close(handle)
        try:
            yield name
            with open(name, "rb") as file:
                os.fsync(file.fileno())
            # mkstemp makes private files; these are meant to be read like any other.
            os.chmod(name, 0o644)
            os.replace(name, target)
        except BaseException:
            with suppress(OSError):  # what went wrong first is what should be told
                os.unlink(name)
            raise
    except OSError as error:
        raise SemvizError(
            f"Cannot write {target}: {error.strerror or error}. Pass a path in a folder that can be written."
        ) from error


def replace_file(path: str | os.PathLike[str], text: str) -> Path:
    """Write a text file whole, or leave what was there.

    Raises:
        SemvizError: If the folder is missing or cannot be written; the old file, if any, is then as it was.
    """
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    return Path(path)
