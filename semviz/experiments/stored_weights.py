"""The safetensors file of a stored run: trained tensors, and the adapters of which they were made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.common.files import digest_of_file
from semviz.finetuning.kept_adapter import KeptAdapter
from semviz.finetuning.run import Run

if TYPE_CHECKING:
    from torch import Tensor

_ADAPTER, _CONFIG = "adapter/", "adapter_config"  # before names in a file; in its metadata


def save_weights(run: Run, path: str) -> None:
    """Write a run's tensors; a full disk raises OSError, as for other files."""
    from safetensors.torch import save_file

    tensors = {name: value.contiguous() for name, value in run.weights.items()}
    metadata = None
    if run.adapter is not None:
        tensors |= {f"{_ADAPTER}{name}": value.contiguous() for name, value in run.adapter.tensors.items()}
        metadata = {_CONFIG: run.adapter.config}
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def with_stored(run: Run, path: Path, digest: str | None) -> Run:
    """Return a run with its tensors in a file."""
    weights = StoredWeights(path, digest)
    if not weights.adapter_config:
        return replace(run, weights=weights, adapter=None)
    adapter = KeptAdapter(weights.adapter_config, StoredWeights(path, digest, beginning=_ADAPTER))
    return replace(run, weights=weights, adapter=adapter)


class StoredWeights(Mapping[str, "Tensor"]):
    """Trained tensors of a stored run by name, read from the file on access.

    The file's digest is checked before the first of them is read.

    Attributes:
        path: The file.
        adapter_config: Text of the configuration of the adapters in it; empty if there are none.
    """

    def __init__(self, path: Path, digest: str | None = None, *, beginning: str = "") -> None:
        """Read which tensors there are.

        Args:
            path: The file.
            digest: Its digest; None where it is not known.
            beginning: Of the names in the file that are meant, and that are left off; the others without one.

        Raises:
            SemvizError: If the file cannot be read.
        """
        self.path, self._unchecked, self._beginning = path, digest, beginning
        with self._open() as file:
            names = [name for name in file.keys() if name.startswith(_ADAPTER) == bool(beginning)]  # noqa: SIM118
            self._names = tuple(name.removeprefix(beginning) for name in names)
            self.adapter_config = (file.metadata() or {}).get(_CONFIG, "")

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        try:
            is_ours = self._unchecked is None or digest_of_file(self.path) == self._unchecked
        except OSError as error:
            raise self._damaged(error) from error
        if not is_ours:
            raise self._damaged("it was changed after it was written")
        self._unchecked = None
        with self._open() as file:
            try:
                tensor: Tensor = file.get_tensor(f"{self._beginning}{name}")
            except (SafetensorError, ValueError, RuntimeError) as error:
                raise self._damaged(error) from error
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _open(self) -> Any:
        try:
            return safe_open(self.path, framework="pt")
        except (OSError, SafetensorError) as error:
            raise self._damaged(error) from error

    def _damaged(self, why: object) -> SemvizError:
        if not self.path.is_file():
            return SemvizError(
                f"{self.path} is not there any more. If its store was moved, move it back, or pass store= its new "
                "folder to sweep, which reads finished runs; otherwise run it again."
            )
        return SemvizError(
            f"{self.path} cannot be read ({checks.first_line(why)}); delete it and its .json and run again."
        )
