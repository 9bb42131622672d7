"""A task's splits as one model reads them, with each frozen block run at most once over them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from semviz.common import memory
from semviz.finetuning.prefix_cache import Collator, PrefixCache, SplitWithStates, cache_bytes, edits_of, run_prefix
from semviz.tasks.streaming import pad_id
from semviz.tasks.tokenizing import Encoded, encode

if TYPE_CHECKING:
    from semviz.common.progress import Control
    from semviz.lm.model import LanguageModel
    from semviz.tasks.task import Task

SPLITS = ("train", "validation", "test")
_SHARE = 0.25  # of the memory that is free: what states may take


class EncodedTask:
    """A task's splits as one model reads them, with each frozen block run at most once over them.

    A boundary's states are made from those of the next smaller boundary that is there, or by one pass that also fills
    the larger boundaries which were announced, if all fit into memory.

    Attributes:
        refused: Why prefixes are not cached although that was asked for; empty if they are.
    """

    def __init__(
        self,
        model: LanguageModel,
        task: Task,
        *,
        cache: bool = True,
        room: float | None = None,
        control: Control | None = None,
        progress: bool = True,
    ) -> None:
        """Tokenize the task.

        Args:
            model: A loaded model.
            task: The task.
            cache: Whether to cache prefixes at all.
            room: Bytes of states that may be held in memory, beyond which they are kept in mapped temporary files; a
                quarter of the free memory by default.
            control: To watch passes and to stop them.
            progress: Show progress bars.

        Raises:
            TaskError: If the task does not fit the model.
        """
        self.model, self.task, self.control, self.progress = model, task, control, progress
        self.room = _SHARE * memory.free() if room is None else room
        self._caching, self.refused = cache, ""
        self._encoded = {name: _with_targets(encode(model, task, name)) for name in SPLITS}
        self._caches: dict[str, dict[int, PrefixCache]] = {name: {} for name in SPLITS}
        self._announced: tuple[int, ...] = ()
        self._edits = edits_of(model)

    def announce(self, boundaries: Iterable[int]) -> None:
        """Say which boundaries will be asked for, so that one pass can fill them where memory allows."""
        self._announced = tuple(sorted({k for k in boundaries if k > 0}))

    def part(self, split: str, boundary: int) -> SplitWithStates:
        """One split with its states at a boundary."""
        encoded = self._encoded[split]
        if boundary == 0 or not self._caching:
            return SplitWithStates(encoded)
        edits = edits_of(self.model)
        if edits != self._edits:
            self._edits = edits
            self._forget()
        if boundary not in self._caches[split]:
            self._fill(split, boundary)
        return SplitWithStates(encoded, self._caches[split][boundary])

    def refuse(self, why: str) -> None:
        """Stop caching, since the model cannot be resumed from one state."""
        self.refused, self._caching = why, False
        self._forget()

    def _forget(self) -> None:
        for caches in self._caches.values():
            caches.clear()

    def collator(self, part: SplitWithStates) -> Collator:
        """The collator for one part."""
        return Collator(part, pad=pad_id(self.model))

    def _fill(self, split: str, boundary: int) -> None:
        """Make the states at a boundary, and at announced ones above it if all of them fit into memory."""
        encoded, caches = self._encoded[split], self._caches[split]
        above = [k for k in self._announced if k >= boundary]
        each = sum(cache_bytes(self.model, e) for e in self._encoded.values())
        fits = boundary in self._announced and each * len(self._announced) <= self.room
        kept = [c for s, found in self._caches.items() if fits or s != split for c in found.values()]
        held = sum(cache.nbytes for cache in kept if cache.folder is None)
        start = caches.get(max((k for k in caches if k < boundary), default=0))
        made = run_prefix(
            self.model,
            encoded,
            above if fits else [boundary],
            start=start,
            room=self.room - held,
            control=self.control,
            progress=self.progress,
        )
        if not fits:
            caches.clear()
        caches |= made


def _with_targets(encoded: Encoded) -> Encoded:
    """Leave out samples with nothing to learn: a text of one token has no next one."""
    rows = [row for row, counted in enumerate(encoded.counted) if counted.any()]
    return encoded if len(rows) == len(encoded) else encoded.take(rows)
