"""What a scope costs: FLOPs, bytes by part and expected seconds, to compare with what was measured."""

# ruff: noqa: D102 - the members of Measured are documented where they are made: Run.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semviz.common import checks, formats
from semviz.common.errors import SemvizError
from semviz.lm.block_parts import check_modules
from semviz.scopes.cost_units import units
from semviz.scopes.methods import find_method
from semviz.scopes.methods.peft_configs import as_method

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from peft import PeftConfig

    from semviz.lm.model import LanguageModel
    from semviz.scopes.scope import Scope
    from semviz.tasks.task import Task
    from semviz.tasks.tokenizing import Encoded

_FLOAT = 4
_MOMENTS = 2  # of AdamW
_LOGITS = 3  # the logits, their softmax, its gradient


class Measured(Protocol):
    """What costs read from a finished run; `semviz.Run` has it."""

    @property
    def scope(self) -> Scope: ...
    @property
    def method(self) -> str: ...
    @property
    def modules(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def epochs(self) -> float: ...
    @property
    def cached(self) -> bool: ...
    @property
    def seconds(self) -> float: ...
    @property
    def peak_bytes(self) -> int: ...


@dataclass(frozen=True)
class Cost:
    """What one training run is expected to cost.

    Attributes:
        scope: What trains.
        method: As in `finetune`.
        units: Forward passes of an average block for one token of the training data: prefix, forward, backward.
        flops: Floating-point operations of the whole run.
        flops_per_token: The same per token that is trained on.
        share: Units relative to full finetuning for the same epochs.
        memory: Bytes by part: weights (with the copy of the trained ones), gradients, optimizer, activations, logits,
            cache (on the CPU).
    """

    scope: Scope
    method: str
    units: dict[str, float]
    flops: float
    flops_per_token: float
    share: float
    memory: dict[str, int]

    @property
    def bytes(self) -> int:
        """All parts of the memory together."""
        return sum(self.memory.values())

    def frame(self) -> pd.DataFrame:
        """One row per part of the memory: part, bytes."""
        return pd.DataFrame({"part": list(self.memory), "bytes": list(self.memory.values())})

    def __repr__(self) -> str:
        """One line: scope, share of full finetuning, FLOPs a token, bytes."""
        return (
            f"Cost({self.scope.label}, {self.method}: {formats.percent(self.share)} of full finetuning, "
            f"{formats.si(self.flops_per_token)} FLOPs a token, {formats.size(self.bytes)})"
        )

    def _repr_html_(self) -> str:
        from semviz.common.html_repr import line_and_table

        return line_and_table(repr(self), self.frame())


@dataclass(frozen=True, eq=False)
class Costs:
    """Prices of one model on one task, measured in one small forward pass; made by `semviz.estimate_costs`.

    Attributes:
        scopes: The scope above every boundary 0…L−1.
        block_flops: Forward FLOPs of each block for one token, shape (L,); matrix products and attention.
        head_flops: Forward FLOPs of the head for one position.
        block_bytes: Bytes of activations that each block keeps for its backward pass, for one token, shape (L,).
        tokens: Tokens in the training rows.
        targets: Positions among them that have a target, at which the head runs.
        longest_batch: Tokens in the largest padded batch of a training step.
        batch_targets: Targets in it.
        vocabulary: V.
        state_bytes: Bytes of one token's state.
        weight_bytes: Bytes of one weight; their mean where some are quantised.
        part_counts: Unique parameters of each part of blocks 1…L, by its name in `semviz.lm.block_parts.PARTS`.
    """

    scopes: tuple[Scope, ...]
    block_flops: NDArray[np.float64] = field(repr=False)
    head_flops: float
    block_bytes: NDArray[np.float64] = field(repr=False)
    tokens: int
    targets: int
    longest_batch: int
    batch_targets: int
    vocabulary: int
    state_bytes: int
    weight_bytes: float
    part_counts: Mapping[str, tuple[int, ...]] = field(repr=False, default_factory=dict)

    @property
    def head(self) -> float:
        """h: the head's forward pass per token of training data, in units."""
        return self.head_flops * self.targets / self.tokens / float(self.block_flops.mean())

    def of(
        self,
        scope: Scope,
        *,
        method: str | PeftConfig = "full",
        modules: str = "all",
        epochs: float = 3,
        cached: bool = True,
        checkpointing: bool = False,
    ) -> Cost:
        """Price one run.

        Args:
            scope: What trains.
            method: As in `finetune`.
            modules: As in `finetune`; gradients cost what the part's share of the block's weights is.
            epochs: Passes over the training rows.
            cached: Whether the frozen prefix runs once.
            checkpointing: As in `finetune`.

        Raises:
            SemvizError: If the scope is for a model of another depth, the method is unknown or epochs are not positive.
        """
        from semviz.scopes.scope import check_scope

        if check_scope("scope", scope).n_blocks != len(self.block_flops):
            raise SemvizError(
                f"The scope is for {scope.n_blocks} blocks and the prices for {len(self.block_flops)}; pass a scope of "
                "the same model."
            )
        method = as_method(method)
        parts = find_method(method).parts if check_modules(modules) == "all" else (modules,)
        epochs = checks.positive("epochs", epochs)
        mean = float(self.block_flops.mean())
        block_units = (self.block_flops / mean).tolist()
        run_units = units(
            scope,
            epochs=epochs,
            cached=cached,
            method=method,
            head=self.head,
            blocks=block_units,
            checkpointing=checkpointing,
            trained_share=self._shares(parts),
        )
        full = sum(units(self.scopes[0], epochs=epochs, head=self.head, blocks=block_units).values())
        total = sum(run_units.values())
        return Cost(
            scope=scope,
            method=method,
            units=run_units,
            flops=total * mean * self.tokens,
            flops_per_token=total * mean / epochs,
            share=total / full,
            memory=self._memory(
                scope, method, parts, cached=cached and scope.boundary > 0, checkpointing=checkpointing
            ),
        )

    def frame(
        self, *, epochs: float = 3, cached: bool = True, method: str | PeftConfig = "full", modules: str = "all"
    ) -> pd.DataFrame:
        """One row per boundary: units by what they are spent on, share of full finetuning, FLOPs a token, bytes."""
        rows = []
        for scope in self.scopes:
            cost = self.of(scope, epochs=epochs, cached=cached, method=method, modules=modules)
            row = {"boundary": scope.boundary, "trainable": scope.trainable, **cost.units, "share": cost.share}
            rows.append({**row, "flops_per_token": cost.flops_per_token, "bytes": cost.bytes})
        return pd.DataFrame(rows)

    def beside(self, runs: Iterable[Measured]) -> pd.DataFrame:
        """Compare predicted and measured, one row per run; seconds are predicted from the run of full finetuning.

        Returns:
            Columns scope, method, seed, predicted_seconds, seconds, ratio (measured over predicted), predicted_bytes
            (gradients, optimizer, activations, logits: what training adds), peak_bytes (measured).

        Raises:
            SemvizError: If no run trained all blocks.
        """
        runs = list(runs)
        full = [run for run in runs if run.scope == self.scopes[0] and run.method == "full" and run.modules == "all"]
        if not full:
            raise SemvizError("No run trained all blocks, so there is nothing to scale by; pass Scope.full(model) too.")
        full_units = sum(sum(self.of(run.scope, epochs=run.epochs).units.values()) for run in full)
        unit_seconds = sum(run.seconds for run in full) / full_units
        rows = []
        for run in runs:
            cost = self.of(run.scope, method=run.method, modules=run.modules, epochs=run.epochs, cached=run.cached)
            predicted = unit_seconds * sum(cost.units.values())
            added = ("gradients", "optimizer", "activations", "logits")
            rows.append(
                {
                    "scope": run.scope.label,
                    "method": run.method,
                    "seed": run.seed,
                    "predicted_seconds": predicted,
                    "seconds": run.seconds,
                    "ratio": run.seconds / predicted,
                    "predicted_bytes": sum(cost.memory[part] for part in added),
                    "peak_bytes": run.peak_bytes,
                }
            )
        return pd.DataFrame(rows)

    def _shares(self, parts: Sequence[str] | None) -> list[float] | None:
        """Share of each block's weights that train where some of its parts do, shape (L,); None for all."""
        if parts is None or not self.part_counts:
            return None
        of_parts = np.sum([self.part_counts[part] for part in parts], axis=0)
        return (of_parts / np.maximum(np.sum(list(self.part_counts.values()), axis=0), 1)).tolist()

    def _memory(
        self, scope: Scope, method: str, parts: Sequence[str] | None, *, cached: bool, checkpointing: bool
    ) -> dict[str, int]:
        shares = self._shares(parts)
        if shares is None:
            trainable = scope.trainable
        else:
            inside = sum(scope.parts.blocks[b - 1] for b in scope.blocks)
            trainable = (
                scope.trainable - inside + round(sum(scope.parts.blocks[b - 1] * shares[b - 1] for b in scope.blocks))
            )
        price, trained = find_method(method).price, trainable * _FLOAT
        own = np.asarray(scope.blocks) - 1
        saved = self.block_bytes[scope.boundary :].sum()
        if checkpointing:
            # A trained block keeps its input, and the rest only while it is recomputed.
            saved += self.block_bytes[own].max() + self.state_bytes * len(own) - self.block_bytes[own].sum()
        return {
            "weights": int(scope.parts.total * self.weight_bytes) + int(trained * price.copies),
            "gradients": int(trained * price.gradients),
            "optimizer": int(trained * _MOMENTS * price.moments),
            "activations": int(saved * self.longest_batch),
            "logits": self.batch_targets * self.vocabulary * _FLOAT * _LOGITS,
            "cache": self.tokens * self.state_bytes if cached else 0,
        }

    def __repr__(self) -> str:
        """One line: what a token costs in full finetuning, and how much of it the head is."""
        full = self.of(self.scopes[0])
        return (
            f"Costs({len(self.scopes)} blocks, head {self.head:.2f} units; full finetuning "
            f"{formats.si(full.flops_per_token)} FLOPs a token, {formats.size(full.bytes)})"
        )

    def _repr_html_(self) -> str:
        from semviz.common.html_repr import line_and_table

        return line_and_table(repr(self), self.frame().round(3))


def estimate_costs(model: LanguageModel, task: Task, *, batch_size: int = 32) -> Costs:
    """Price every scope of a model on a task.

    One small forward pass measures what each block costs: torch counts the operations, and autograd the bytes it saves.

    Args:
        model: A loaded model; it is not changed.
        task: Its training rows say how many tokens and targets there are.
        batch_size: Rows per step.

    Raises:
        TaskError: If the task does not fit the model.
        SemvizError: If batch_size is less than 1.
    """
    from semviz.lm.model import check_model
    from semviz.tasks.task import check_task
    from semviz.tasks.tokenizing import encode

    check_model(model)
    check_task(task)
    batch_size = checks.whole_number("batch_size", batch_size, minimum=1)
    return price_scopes(model, encode(model, task, "train"), batch_size=batch_size)


def price_scopes(model: LanguageModel, encoded: Encoded, *, batch_size: int = 32) -> Costs:
    """Do what `estimate_costs` does, with tokenized training rows."""
    from semviz.lm.block_parts import counts_by_part
    from semviz.lm.raw_storage import mean_weight_bytes
    from semviz.scopes.flop_counting import count_flops
    from semviz.scopes.scope import Scope
    from semviz.tasks.streaming import longest_first

    flops, saved_bytes = count_flops(model, encoded)
    longest = longest_first(encoded)[:batch_size]
    targets = int(encoded.counted.flat.sum())
    itemsize = model.model.dtype.itemsize
    return Costs(
        scopes=tuple(Scope.suffixes(model)),
        block_flops=flops,
        head_flops=2.0 * model.anatomy.vocabulary * model.anatomy.width,
        block_bytes=saved_bytes,
        tokens=encoded.tokens,
        targets=targets,
        longest_batch=int(encoded.ids.lengths[longest[0]]) * len(longest),
        batch_targets=sum(int(encoded.counted[int(row)].sum()) for row in longest),
        vocabulary=model.anatomy.vocabulary,
        state_bytes=model.anatomy.width * itemsize,
        weight_bytes=mean_weight_bytes(model.model, model.parts.total),
        part_counts=counts_by_part(model.anatomy),
    )
