"""A folder of finished runs: a JSON file each, and a safetensors file where weights are kept; whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from semviz.errors import SemvizError
from semviz.files import replace_file, replacing
from semviz.run import Run
from semviz.version import __version__

if TYPE_CHECKING:
    from torch import Tensor

_FORMAT = 2


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

    def add(self, run: Run) -> Run:
        """Write a run; a run with the same key is replaced.

        Returns:
            The run, with its weights in the store instead of in memory.
        """
        content = {"format": _FORMAT, "semviz": __version__, "run": run.record()}
        if run.weights:
            # First, since a run is finished once its JSON file is there.
            with replacing(self._weights(run.key)) as temporary:
                _save({name: value.contiguous() for name, value in run.weights.items()}, temporary)
        replace_file(self._path(run.key), json.dumps(content, indent=1))
        return replace(run, weights=StoredWeights(self._weights(run.key))) if run.weights else run

    def has(self, key: str) -> bool:
        """Whether a run is finished."""
        return self._path(key).is_file()

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
            if content["format"] < _FORMAT:
                raise SemvizError(
                    f"{path} was written by an older semviz ({content['semviz']}); delete it or pass another store."
                )
            if content["format"] > _FORMAT:
                raise SemvizError(
                    f"{path} was written by semviz {content['semviz']}; update semviz, or pass another store."
                )
            run = Run.from_record(content["run"])
            weights = self._weights(key)
            return replace(run, weights=StoredWeights(weights)) if weights.is_file() else run
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise SemvizError(f"{path} is no run file ({error!r}); delete it or pass another store.") from error

    def keys(self) -> list[str]:
        """Keys of the finished runs, the oldest first."""
        paths = [path for path in self.folder.glob("*.json") if not path.name.startswith(".")]
        return [path.stem for path in sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name))]

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _weights(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


def _save(weights: dict[str, Tensor], path: str) -> None:
    """Write tensors; a full disk is then told like any other."""
    from safetensors.torch import save_file

    try:
        save_file(weights, path)
    except SafetensorError as error:
        raise OSError(str(error)) from error


class StoredWeights(Mapping[str, "Tensor"]):
    """Trained tensors of a stored run by name, read from the file when they are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as file:
            self._names = tuple(file.keys())

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        with self._open() as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _open(self) -> Any:
        try:
            return safe_open(self.path, framework="pt")
        except (OSError, SafetensorError) as error:
            raise SemvizError(
                f"{self.path} cannot be read ({error}); delete it and its .json and run again."
            ) from error
