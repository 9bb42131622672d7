"""A folder of finished runs: one JSON file per run, and a safetensors file if weights are kept, written atomically."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.common.files import atomic_write, digest_of, digest_of_file, write_text_file
from semviz.common.folders import check_place
from semviz.common.json_shapes import (
    AMOUNT,
    COUNT,
    FLAG,
    NATURAL,
    NUMBER,
    POSITIVE,
    SHARE,
    TEXT,
    ListOf,
    MapOf,
    Record,
    constant,
    one_of,
    text_of,
)
from semviz.experiments.stored_weights import save_weights, with_stored
from semviz.finetuning.run import Run
from semviz.lm.parts import PARTS
from semviz.scopes.methods import METHODS
from semviz.scopes.scope import Scope
from semviz.version import __version__

_FORMAT = 5
_OLDEST, _FIRST_SIGNED = 2, 3
_KEY = text_of("1 to 64 letters, digits, hyphens and underscores", r"[\w-]{1,64}")
_DIGEST = text_of("32 hex digits", "[0-9a-f]{32}")
_CONFIGURED = ("peft_config", "parts")  # files of format 5 from before methods were configured lack them
_SCOPE = Record({"blocks": ListOf(NATURAL), "n_blocks": NATURAL, "parts": PARTS, "tail": FLAG, "head": FLAG}, of=Scope)
_CURVE = {
    "step": ListOf(COUNT).described("Optimizer steps made before."),
    "loss": ListOf(NUMBER).described("Mean training loss since the entry before, nats."),
}
RUN = Record(
    {
        "key": _KEY,
        "model": TEXT.described("Name of the model."),
        "task": TEXT,
        "score": one_of("accuracy", "loss"),
        "scope": _SCOPE,
        "method": TEXT,  # of a method that is registered when it is read
        "seed": COUNT,
        "lr": POSITIVE,
        "rates": MapOf(NUMBER),
        "epochs": POSITIVE,
        "steps": COUNT,
        "batch_size": NATURAL,
        "accuracy": SHARE,
        "loss": NUMBER,
        "validation": NUMBER,
        "validation_loss": NUMBER,
        "validation_rows": ListOf(NUMBER),
        "f1": SHARE.or_none,
        "auroc": NUMBER.or_none,
        "rows": ListOf(NUMBER),
        "trainable": COUNT,
        "seconds": AMOUNT,
        "prefix_seconds": AMOUNT,
        "search_seconds": AMOUNT,
        "tokens_per_second": AMOUNT,
        "peak_bytes": COUNT,
        "cached": FLAG,
        "curve": Record(
            {
                **_CURVE,
                "accuracy": ListOf(NUMBER).described(
                    "Share of the targets of the batches since the entry before that were ranked first."
                ),
            }
        ),
        "note": TEXT,
        "environment": MapOf(TEXT),
        "model_hash": TEXT,
        "task_hash": TEXT,
        "arguments": MapOf(TEXT),
        "trial_steps": COUNT,
        "peft_config": MapOf(TEXT),
        "parts": ListOf(one_of("attention", "mlp")),
    },
    of=Run,
    optional=_CONFIGURED,
)
"""What a file holds of a `Run`."""
RUN_FILE = Record(
    {
        "format": constant(_FORMAT).described("Version of this layout; a reader refuses a higher one."),
        "semviz": TEXT.described("Version that wrote it."),
        "digest": _DIGEST.described("BLAKE2b (16 bytes) of `json.dumps(run, sort_keys=True)`."),
        "weights": _DIGEST.or_none.described("The same of the safetensors file; null where no weights were kept."),
        "run": RUN.described("One finetune."),
    }
)
"""A run's JSON file."""
_HEADER = Record({"format": COUNT, "semviz": TEXT})
_SIGNED = Record({name: RUN_FILE.fields[name] for name in ("digest", "weights")})
# Before rates were tried in short trainings, before runs said what they were made from, and before they had the
# accuracy of their training.
_LATER = {
    4: (*_CONFIGURED, "trial_steps"),
    3: (*_CONFIGURED, "trial_steps", "model_hash", "task_hash", "arguments"),
}
_RUN_FIELDS = {
    version: {name: shape for name, shape in RUN.fields.items() if name not in later}
    for version, later in {**_LATER, 2: _LATER[3], _FORMAT: ()}.items()
}
_RUNS_OF = {
    2: Record({"run": Record({**_RUN_FIELDS[2], "curve": Record(_CURVE)})}),
    3: Record({"run": Record(_RUN_FIELDS[3])}),
    4: Record({"run": Record(_RUN_FIELDS[4])}),
    _FORMAT: RUN_FILE,
}


class Store:
    """A folder of finished runs, by key."""

    def __init__(self, folder: str | os.PathLike[str], *, weights: bool = False) -> None:
        """Open a folder, making it if missing.

        Args:
            folder: Where it is.
            weights: Whether runs are needed with their weights; those that were kept without do not count then.

        Raises:
            SemvizError: If the folder cannot be made.
        """
        self.folder, self._with_weights = checks.as_path("store", folder), weights
        self._make()

    def _make(self) -> None:
        try:
            check_place(self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
        except SemvizError as error:
            raise SemvizError(f"Cannot make the store {self.folder}: {error}") from error
        except OSError as error:
            raise SemvizError(
                f"Cannot make the store {self.folder}: {error}. Pass a folder that can be written."
            ) from error

    def add(self, run: Run) -> Run:
        """Write a run; a run with the same key is replaced.

        Returns:
            The run, with its weights in the store instead of in memory.

        Raises:
            SemvizError: If the run's key cannot be a file name, or the folder is full or cannot be written.
        """
        self._make()  # it may have been moved or removed since
        record, digest = run.record(), None
        if run.weights:
            # First, since a run counts as finished once its JSON file exists.
            with atomic_write(self._weights(run.key)) as temporary:
                save_weights(run, temporary)
                digest = digest_of_file(Path(temporary))
        content = {
            "format": _FORMAT,
            "semviz": __version__,
            "digest": _digest(record),
            "weights": digest,
            "run": record,
        }
        write_text_file(self._path(run.key), json.dumps(content, indent=1))
        return with_stored(run, self._weights(run.key), digest) if run.weights else run

    def has(self, key: str) -> bool:
        """Whether a run is finished, with its weights where these are needed."""
        return self._path(key).is_file() and (not self._with_weights or self._weights(key).is_file())

    def find(self, key: str) -> Run | None:
        """Read a finished run, or return None.

        Raises:
            SemvizError: If its file cannot be read, is damaged, or was written by a newer semviz.
        """
        path = self._path(key)
        if not self.has(key):
            return None
        try:
            content = json.loads(path.read_bytes())
            _HEADER.check(content)
        except (OSError, ValueError, RecursionError, MemoryError) as error:
            raise SemvizError(  # which may be anybody's file
                f"{path} is not one of semviz's runs ({checks.first_line(error)}); move it elsewhere, or pass another "
                "store."
            ) from error
        version, writer = content["format"], checks.short_repr(content["semviz"])
        if version < _OLDEST:
            raise SemvizError(f"{path} was written by an older semviz ({writer}); delete it or pass another store.")
        if version > _FORMAT:
            raise SemvizError(f"{path} was written by semviz {writer}; update semviz, or pass another store.")
        try:
            _RUNS_OF[version].check(content)
            record = content["run"]
            if not record.get("peft_config"):
                one_of(*METHODS).check(record["method"], "run.method")
            if version >= _FIRST_SIGNED or "digest" in content:
                _SIGNED.check(content)
                if content["digest"] != _digest(record):
                    raise ValueError("it was changed after it was written")
            if record["key"] != key:
                raise ValueError(f"it holds the run {checks.short_repr(record['key'])}")
            run = Run.from_record({name: record[name] for name in _RUN_FIELDS[version] if name in record})
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise _unreadable(path, error) from error
        weights, digest = self._weights(key), content.get("weights")
        if not weights.is_file() or (version >= _FIRST_SIGNED and digest is None):
            return run
        return with_stored(run, weights, digest)

    def keys(self) -> list[str]:
        """Keys of the finished runs, the oldest first."""
        paths = [path for path in self.folder.glob("*.json") if not path.name.startswith(".")]
        return [path.stem for path in sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name))]

    def _path(self, key: str, ending: str = "json") -> Path:
        # A key may come from a file, and one with a path in it would lead out of the folder.
        if not _KEY.fits(key):
            raise SemvizError(f"{checks.named_repr('key', key)} is not the key of a run; pass one of Store.keys().")
        return self.folder / f"{key}.{ending}"

    def _weights(self, key: str) -> Path:
        return self._path(key, "safetensors")


def _digest(record: dict[str, Any]) -> str:
    """Compute the digest of a run's record, whatever the layout of its JSON file."""
    return digest_of(json.dumps(record, sort_keys=True).encode())


def _unreadable(path: Path, error: Exception) -> SemvizError:
    return SemvizError(f"{path} is not a run file ({checks.first_line(error)}); delete it or pass another store.")
