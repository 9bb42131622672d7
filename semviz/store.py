"""A folder of finished runs, one JSON file each, written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

from semviz.errors import SemvizError
from semviz.files import replace_file
from semviz.run import Run
from semviz.version import __version__

_FORMAT = 1


class Store:
    """Finished runs by key."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Open a folder, making it if missing.

        Raises:
            SemvizError: If the folder cannot be made.
        """
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SemvizError(
                f"Cannot make the store {self.folder}: {error}. Pass a folder that can be written."
            ) from error

    def add(self, run: Run) -> Path:
        """Write a run; a run with the same key is replaced."""
        content = {"format": _FORMAT, "semviz": __version__, "run": run.record()}
        return replace_file(self._path(run.key), json.dumps(content, indent=1))

    def find(self, key: str) -> Run | None:
        """A finished run, or None.

        Raises:
            SemvizError: If its file cannot be read.
        """
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] > _FORMAT:
                raise SemvizError(
                    f"{path} was written by semviz {content['semviz']}; update semviz, or pass another store."
                )
            return Run.from_record(content["run"])
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise SemvizError(f"{path} is no run file ({error!r}); delete it or pass another store.") from error

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"
