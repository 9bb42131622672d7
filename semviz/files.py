"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from semviz.errors import SemvizError


def replace_file(path: str | os.PathLike[str], text: str) -> Path:
    """Write a file under a temporary name in the same folder, then rename it.

    Raises:
        SemvizError: If the folder is missing or cannot be written; the old file, if any, is then as it was.
    """
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes private files; these are meant to be read like any other.
            os.chmod(name, 0o644)
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise SemvizError(
            f"Cannot write {target}: {error.strerror or error}. Pass a path in a folder that can be written."
        ) from error
    return target
