"""Simple ways to choose n blocks to train: the baselines that a recommendation has to beat."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn

from semviz.common import checks
from semviz.common.errors import ModelError, ScopeError, SemvizError
from semviz.common.progress import progress_bar
from semviz.lm.copies import private_copy
from semviz.lm.eval_mode import evaluating
from semviz.lm.model import check_model
from semviz.lm.position_state import fresh_positions
from semviz.lm.quantization import first_quantised
from semviz.lm.surroundings import default_surroundings
from semviz.lm.threads import on_fitting_threads
from semviz.lm.truncation import with_network
from semviz.scopes.scope import Scope
from semviz.tasks.neighbours import Reading, groups, how_to_read
from semviz.tasks.streaming import pad_batch, pad_id
from semviz.tasks.tokenizing import Encoded, encode

if TYPE_CHECKING:
    from semviz.lm.model import LanguageModel
    from semviz.tasks.task import Task

_ROWS_PER_STEP = 8  # a step keeps the activations of all blocks


def baseline_scopes(
    model: LanguageModel, task: Task, size: int, *, seed: int = 0, progress: bool = True
) -> dict[str, Scope]:
    """Choose blocks by each baseline.

    Args:
        model: A loaded model; it is not changed.
        task: The task, for `gradient`.
        size: How many blocks train.
        seed: Seed of `random`, and of the rows that `gradient` reads.
        progress: Show progress bars.

    Returns:
        `random`, `spectrum`, `gradient` and `top` (the upper `size` blocks), each of `size` blocks, and `half`
        (`Scope.half`), of ⌈L/2⌉.

    Raises:
        ScopeError: If `size` lies outside 1…L.
        ModelError, TaskError: As in `spectrum_scores` and `gradient_scores`.
    """
    return {
        "random": random_blocks(model, size, seed=seed),
        "spectrum": spectrum_blocks(model, size, progress=progress),
        "gradient": gradient_blocks(model, task, size, seed=seed, progress=progress),
        "top": Scope.above(model, model.n_blocks - size),
        "half": Scope.half(model),
    }


def random_blocks(model: LanguageModel, size: int, *, seed: int = 0) -> Scope:
    """Choose distinct blocks at random; the same seed gives the same blocks.

    Raises:
        ScopeError: If `size` lies outside 1…L.
    """
    size = _checked_size(model, size)
    drawn = np.random.default_rng(checks.whole_number("seed", seed)).choice(model.n_blocks, size, replace=False)
    return Scope.of(model, (drawn + 1).tolist())


def spectrum_blocks(model: LanguageModel, size: int, *, progress: bool = True) -> Scope:
    """Choose the blocks with the highest `spectrum_scores`; among equals, the upper ones.

    Raises:
        ScopeError: If `size` lies outside 1…L.
        ModelError: As in `spectrum_scores`.
    """
    size = _checked_size(model, size)
    return _highest_scoring(model, spectrum_scores(model, progress=progress), size)


def gradient_blocks(
    model: LanguageModel, task: Task, size: int, *, rows: int = 64, seed: int = 0, progress: bool = True
) -> Scope:
    """Choose the blocks with the highest `gradient_scores`; among equals, the upper ones.

    Raises:
        ScopeError: If `size` lies outside 1…L.
        ModelError, SemvizError, TaskError: As in `gradient_scores`.
    """
    size = _checked_size(model, size)
    return _highest_scoring(model, gradient_scores(model, task, rows=rows, seed=seed, progress=progress), size)


@on_fitting_threads
@default_surroundings()
def spectrum_scores(model: LanguageModel, *, progress: bool = True) -> NDArray[np.float64]:
    """Rank blocks by the signal-to-noise ratio of their weight matrices: Spectrum-like, from the weights alone.

    The original (Spectrum, arXiv 2406.06623, as in `spectrum.py`): for each matrix, σ is the interquartile range of its
    singular values over 1.349, the threshold σ·(1 + √(shorter side / longer side)), the ratio the sum of the singular
    values above the threshold over the sum of the others (over 1 if there is none), divided by the largest; matrices
    are ranked among those of their kind (`mlp.down_proj`), and the top share of each kind trains, individually.

    Our reading, since a scope has whole blocks: a matrix is scored by its rank among those of its kind, (rank − ½) /
    number of blocks that have the kind, and a block by the mean over its kinds. All experts of a block are one kind, by
    their mean ratio, fused into one tensor or not. Vectors, single rows and biases are not ranked.

    Quirks of the original rule: dividing by the largest singular value prefers matrices of small scale, and makes a
    ratio fall when a few strong directions are added to the same noise; and no singular value of a wide random matrix,
    such as 32 × 128, lies below the threshold, so that its ratio is taken over 1. The rule prefers a low noise level.

    Args:
        model: A loaded model, in any floating-point dtype; computed in float64, one matrix at a time.
        progress: Show a progress bar.

    Returns:
        Shape (L,), in [0, 1], the highest train; 0 for a block without matrices.

    Raises:
        ModelError: If the model is offloaded or quantized, or a weight is not finite.
    """
    _check_weights(model)
    kinds: dict[str, dict[int, list[float]]] = {}
    matrices = [(index, name, p) for index, block in enumerate(model.anatomy.blocks) for name, p in _matrices(block)]
    with progress_bar(len(matrices), "Singular values", unit="weights", show=progress) as bar:
        for index, name, parameter in matrices:
            stack = parameter.detach().reshape(-1, *parameter.shape[-2:])
            if not torch.isfinite(stack).all():
                raise ModelError(f"{name} of block {index + 1} is not finite; load a model whose weights are numbers.")
            # Numbers in a name count experts that are separate modules.
            kind = re.sub(r"\.\d+(?=\.)", ".*", name)
            kinds.setdefault(kind, {}).setdefault(index, []).extend(_signal_to_noise(matrix) for matrix in stack)
            bar.update()
    block_ranks: list[list[float]] = [[] for _ in range(model.n_blocks)]
    for ratios in kinds.values():
        kind_ranks = rankdata([np.mean(ratio) for ratio in ratios.values()])
        for index, rank in zip(ratios, kind_ranks, strict=True):
            block_ranks[index].append((rank - 0.5) / len(ratios))
    return np.asarray([np.mean(ranks) if ranks else 0.0 for ranks in block_ranks])


@on_fitting_threads
@default_surroundings()
def gradient_scores(
    model: LanguageModel, task: Task, *, rows: int = 64, seed: int = 0, progress: bool = True
) -> NDArray[np.float64]:
    """Score blocks by their relative gradient norm on a task, ‖g‖ / ‖θ‖.

    The original (surgical finetuning, arXiv 2210.11466, `Auto-RGN`): the ratio of each tensor, averaged over batches
    and updated every epoch, scales that tensor's learning rate. Our reading, since a scope has whole blocks and is
    chosen once: g is the gradient of the mean loss over all sampled rows, before any training, and a block's norms are
    over all its parameters. The loss is that of finetuning: cross-entropy at the counted targets.

    A copy that shares the weights is used, so the model stays as it is. It needs memory for the gradients of all
    blocks, in float32.

    Args:
        model: A loaded model.
        task: Its `train` split is read.
        rows: How many training rows at most, drawn without replacement.
        seed: Which rows.
        progress: Show a progress bar.

    Returns:
        Shape (L,), ≥ 0, the highest train.

    Raises:
        ModelError: If the model is offloaded or quantized, or a gradient is not finite.
        SemvizError: If `rows` is not a whole number of at least 1.
        TaskError: If the task does not fit the model.
    """
    _check_weights(model)
    encoded = _sample_rows(encode(model, task, "train"), rows, seed)
    copied = with_network(model, private_copy(model))
    blocks = [list(block.parameters()) for block in copied.anatomy.blocks]
    # Blocks may share tensors.
    unique = list({id(p): p.requires_grad_() for block in blocks for p in block}.values())
    reading = how_to_read(model, encoded)
    found = _gradients(copied, encoded, unique, reading, progress)
    norms = {id(p): float(g.norm()) for p, g in zip(unique, found, strict=True)}
    gradients = np.asarray([math.hypot(*(norms[id(p)] for p in block)) for block in blocks])
    if not np.isfinite(gradients).all():
        broken = (np.flatnonzero(~np.isfinite(gradients)) + 1).tolist()
        raise ModelError(f'The gradients of blocks {broken} are not finite; load the model with dtype="float32".')
    weights = np.asarray([math.hypot(*(float(p.detach().float().norm()) for p in block)) for block in blocks])
    return gradients / np.maximum(weights, np.finfo(np.float32).tiny)


def _checked_size(model: LanguageModel, size: int) -> int:
    """Check a size, and return it as a plain integer."""
    blocks = check_model(model).n_blocks
    if not checks.is_whole(size) or not 1 <= size <= blocks:
        raise ScopeError(
            f"size={checks.short_repr(size)}; pass how many of the blocks train, a whole number from 1 to {blocks}."
        )
    return int(size)


def _check_weights(model: LanguageModel) -> None:
    """Refuse weights that are offloaded or quantized."""
    if any(p.is_meta for p in model.model.parameters()):
        raise ModelError("The model is offloaded, so its weights cannot be read; load it whole, without device_map.")
    if quantised := first_quantised(model.anatomy.blocks):
        raise ModelError(
            f"The blocks have quantized weights ({quantised}); load the model in a floating-point dtype, not quantized."
        )


def _highest_scoring(model: LanguageModel, scores: NDArray[np.float64], size: int) -> Scope:
    """Choose the blocks with the highest score; among equals, the upper ones, since they are cheaper to train."""
    order = sorted(range(model.n_blocks), key=lambda i: (scores[i], i), reverse=True)
    return Scope.of(model, [i + 1 for i in order[:size]])


def _matrices(block: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters that are matrices or stacks of them (fused experts), by name; not convolutions of depth 1."""
    for name, p in block.named_parameters():
        if p.ndim >= 2 and min(p.shape[-2:]) > 1 and not name.endswith("bias"):
            yield name, p


def _signal_to_noise(matrix: Tensor) -> float:
    """Spectrum's normalised ratio of one matrix, shape (n, m) in either orientation; 0 for zeros."""
    values = _singular_values(matrix)
    largest = float(values[-1])
    if largest == 0:
        return 0.0
    low, high = np.quantile(values, [0.25, 0.75])
    threshold = (high - low) / 1.349 * (1 + math.sqrt(min(matrix.shape) / max(matrix.shape)))
    above = values > threshold
    noise = float(values[~above].sum()) if not above.all() else 1.0
    return float(values[above].sum()) / noise / largest if noise else math.inf


def _singular_values(matrix: Tensor) -> NDArray[np.float64]:
    """Singular values, ascending, shape (min(n, m),): by the Gram matrix in float64, several times faster than an SVD.

    Exact to about 1e-8 of the largest, which sums and quartiles do not notice.
    """
    # Metal has no float64.
    precise = (matrix.cpu() if matrix.device.type == "mps" else matrix).double()
    wide = precise if precise.shape[0] <= precise.shape[1] else precise.T
    return torch.linalg.eigvalsh(wide @ wide.T).clamp_min(0).sqrt().cpu().numpy()


def _sample_rows(encoded: Encoded, rows: int, seed: int) -> Encoded:
    """Draw some of the samples that have a target, in order of length."""
    if not checks.is_whole(rows) or rows < 1:
        raise SemvizError(
            f"rows={checks.short_repr(rows)}; pass how many training rows to read, a whole number of at least 1."
        )
    usable = np.asarray([row for row, counted in enumerate(encoded.counted) if counted.any()])
    drawn = np.random.default_rng(checks.whole_number("seed", seed)).choice(
        usable, min(int(rows), len(usable)), replace=False
    )
    return encoded.take(drawn[np.argsort(encoded.ids.lengths[drawn], kind="stable")])


def _gradients(
    model: LanguageModel, encoded: Encoded, parameters: Sequence[Tensor], reading: Reading, progress: bool
) -> list[Tensor]:
    """Gradients of the mean loss over all counted targets, in float32 or better."""
    targets = int(encoded.counted.flat.sum())
    with (
        evaluating(model.model),
        fresh_positions(model.model) as positions,
        progress_bar(len(encoded), "Gradients", unit="rows", show=progress) as bar,
    ):
        sums = [torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32)) for p in parameters]
        for start in range(0, len(encoded), _ROWS_PER_STEP):
            lengths = torch.as_tensor(encoded.ids.lengths[start : start + _ROWS_PER_STEP])
            for together in groups(lengths, reading):
                positions.restart()
                loss = _summed_loss(model, encoded, start + together.numpy()) / targets
                # Experts that no token reached have no gradient.
                for total, gradient in zip(sums, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
                    if gradient is not None:
                        total += gradient
            bar.update(len(lengths))
    return [total.detach() for total in sums]


def _summed_loss(model: LanguageModel, encoded: Encoded, rows: NDArray[np.int64]) -> Tensor:
    """Cross-entropy in nats at the counted targets of some samples, summed."""
    anatomy = model.anatomy
    batch = pad_batch(encoded, rows, pad=pad_id(model), device=model.device)
    states: dict[int, Tensor] = {}
    with anatomy.tap(states.__setitem__):
        anatomy.body(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
    part = encoded.take(rows)
    counted = part.counted.flat
    owners, positions = (torch.as_tensor(x[counted]) for x in (part.counted.owners, part.counted.positions))
    # The head runs at these positions only: a prompt's other positions have nothing to predict.
    logits = anatomy.readout(states[anatomy.n_blocks][owners, positions])
    targets = torch.as_tensor(part.targets.flat[counted]).long().to(logits.device)
    return nn.functional.cross_entropy(logits, targets, reduction="sum")
