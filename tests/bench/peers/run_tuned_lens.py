"""Per-position, per-layer cross-entropy and rank by tuned-lens: `PredictionTrajectory` with a `LogitLens`.

Writes besides `ce` and `rank` (both as the package gives them, its ranks from 1 made ranks from 0) `rank_larger`: how
many tokens have a strictly larger log-probability. The package sorts, and equal log-probabilities come in any order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from measuring import measure, parse_arguments, write
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tuned_lens.plotting import PredictionTrajectory


def main() -> None:
    arguments = parse_arguments(__doc__)
    from transformers import AutoModelForCausalLM
    from tuned_lens.nn.lenses import LogitLens
    from tuned_lens.plotting import PredictionTrajectory

    model = AutoModelForCausalLM.from_pretrained(arguments.model).eval()
    lens = LogitLens.from_model(model)

    def trajectory(row: NDArray[np.int64]) -> PredictionTrajectory:
        # It takes one sequence at a time. Without a tokenizer it makes no labels for figures, which take longer still.
        return PredictionTrajectory.from_lens_and_model(
            lens, model, input_ids=row[:-1].tolist(), targets=row[1:].tolist()
        )

    def compute(batch: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        entropies, ranks = [], []
        for row in batch:
            traced = trajectory(row)
            entropies.append(traced.cross_entropy().stats.T)
            ranks.append(traced.rank().stats.T - 1)
        return np.stack(entropies), np.stack(ranks)

    ids, arrays, facts = measure(arguments, compute)
    rows = ids.reshape(-1, ids.shape[-1])
    larger = np.stack([count_larger(trajectory(row)) for row in rows]).reshape(arrays["rank"].shape)
    facts["per_layer_order"] = [*map(str, range(arrays["ce"].shape[-1] - 1)), "output"]
    facts["rank_is"] = "the package's 1-based rank less 1: double argsort of log-probabilities, equal ones in any order"
    facts["rank_differs_from_larger"] = float((arrays["rank"] != larger).mean())
    write(arguments, "tuned-lens", {**arrays, "rank_larger": larger.astype(np.float32)}, facts)


def count_larger(traced: PredictionTrajectory) -> NDArray[np.int64]:
    """How many tokens have a larger log-probability than the target, shape (T-1, L+1)."""
    of_target = np.take_along_axis(traced.log_probs, traced.targets[None, :, None], axis=-1)
    return (traced.log_probs > of_target).sum(-1).T


if __name__ == "__main__":
    main()
