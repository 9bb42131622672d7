"""A task's splits as one model reads them, with each frozen block run at most once over them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from semviz.common import memory
from semviz.finetuning.prefix_cache import (
    Collator,
    PrefixCache,
    SplitWithStates,
    cache_bytes,
    run_prefix,
)
from semviz.finetuning.spelled_words import SpelledWords, spell_out
from semviz.lm.copy_proof import Probe
from semviz.tasks.neighbours import Reading, extremes, how_to_read
from semviz.tasks.splits import SPLITS
from semviz.tasks.streaming import pad_batch, pad_id
from semviz.tasks.tokenizing import Encoded, encode

if TYPE_CHECKING:
    from semviz.common.progress import Control
    from semviz.lm.model import LanguageModel
    from semviz.tasks.task import Task

_MEMORY_SHARE = 0.25  # of the free memory, for states


class EncodedTask:
    """A task's splits as one model reads them, with each frozen block run at most once over them.

    A boundary's states are computed from those of the next smaller cached boundary, or in one pass that also fills the
    larger announced boundaries, if all of them fit into memory.

    Attributes:
        why_not_cached: Why prefixes are not cached although caching was requested; empty otherwise.
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
            cache: Whether to cache prefixes.
            room: Bytes of states that may be held in memory, beyond which they are kept in mapped temporary files; a
                quarter of the free memory by default.
            control: To watch passes and to stop them.
            progress: Show progress bars.

        Raises:
            TaskError: If the task does not fit the model.
        """
        self.model, self.task, self.control, self.progress = model, task, control, progress
        self.room = _MEMORY_SHARE * memory.free() if room is None else room
        self._caching, self.why_not_cached = cache, ""
        self._caches: dict[str, dict[int, PrefixCache]] = {name: {} for name in SPLITS}
        self._announced: tuple[int, ...] = ()
        self._model_hash, self._stamp = "", model.stamp
        self._encode()

    @property
    def reading(self) -> Reading:
        """Which rows may be read together."""
        return how_to_read(self.model, *self._encoded.values())

    def probe(self) -> Probe:
        """The longest and the shortest training row."""
        encoded = self._encoded["train"]
        rows = np.asarray(extremes(encoded.ids.lengths, 2))
        batch = pad_batch(encoded, rows, pad=pad_id(self.model), device=self.model.device)
        return Probe(batch.ids, batch.mask)

    def announce(self, boundaries: Iterable[int]) -> None:
        """Say which boundaries will be asked for, so that one pass can fill them where memory allows."""
        self._announced = tuple(sorted({k for k in boundaries if k > 0}))

    def refresh(self, model_hash: str) -> None:
        """Tokenize anew and drop all states if they were made when the model had another hash."""
        if self._model_hash not in ("", model_hash) or self._stamp != self.model.stamp:
            self._drop_caches()
            self._encode()
        self._model_hash = model_hash

    def _encode(self) -> None:
        self._stamp = self.model.stamp
        self._encoded = {name: _only_with_targets(encode(self.model, self.task, name)) for name in SPLITS}
        # Splits that are scored are read with all label words; the training split with each row's own.
        self._words: dict[str, SpelledWords] = {}
        for name in SPLITS:
            if name != "train" and self._encoded[name].whole_words:
                self._words[name] = spell_out(self._encoded[name])
                self._encoded[name] = self._words[name].encoded

    def part(self, split: str, boundary: int) -> SplitWithStates:
        """One split with its states at a boundary."""
        if boundary == 0 or not self._caching:
            return SplitWithStates(self._encoded[split], words=self._words.get(split))
        if self._stamp != self.model.stamp:
            self._drop_caches()
            self._encode()
        if boundary not in self._caches[split]:
            self._fill(split, boundary)
        return SplitWithStates(self._encoded[split], self._caches[split][boundary], self._words.get(split))

    def spelled(self, part: SplitWithStates) -> SplitWithStates:
        """The same part with all label words behind each prompt; of a training split, its states are computed anew."""
        if part.words is not None:
            return part
        words = spell_out(part.encoded)
        if part.cache is None:
            return SplitWithStates(words.encoded, words=words)
        boundary = part.cache.boundary
        caches = run_prefix(self.model, words.encoded, [boundary], control=self.control, progress=self.progress)
        return SplitWithStates(words.encoded, caches[boundary], words)

    def stop_caching(self, why: str) -> None:
        """Stop caching, since the model cannot be resumed from one state."""
        self.why_not_cached, self._caching = why, False
        self._drop_caches()

    def _drop_caches(self) -> None:
        for caches in self._caches.values():
            caches.clear()

    def collator(self, part: SplitWithStates) -> Collator:
        """The collator for one part."""
        return Collator(part, pad=pad_id(self.model))

    def _fill(self, split: str, boundary: int) -> None:
        """Compute the states at a boundary, and at announced ones above it if all of them fit into memory."""
        # Over all splits at once, so that none of them is proven by itself when it is read.
        _ = self.reading
        encoded, caches = self._encoded[split], self._caches[split]
        above = [k for k in self._announced if k >= boundary]
        boundary_bytes = sum(cache_bytes(self.model, e) for e in self._encoded.values())
        fits = boundary in self._announced and boundary_bytes * len(self._announced) <= self.room
        remaining = [c for s, of_split in self._caches.items() if fits or s != split for c in of_split.values()]
        bytes_in_memory = sum(cache.nbytes for cache in remaining if cache.folder is None)
        start = caches.get(max((k for k in caches if k < boundary), default=0))
        computed = run_prefix(
            self.model,
            encoded,
            above if fits else [boundary],
            start=start,
            room=self.room - bytes_in_memory,
            control=self.control,
            progress=self.progress,
        )
        if not fits:
            caches.clear()
        caches |= computed


def with_targets(encoded: Encoded) -> list[int]:
    """Rows of the samples that have a target: a text of one token has no next token."""
    return [row for row, counted in enumerate(encoded.counted) if counted.any()]


def _only_with_targets(encoded: Encoded) -> Encoded:
    rows = with_targets(encoded)
    return encoded if len(rows) == len(encoded) else encoded.take(rows)
