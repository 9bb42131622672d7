"""Per-position, per-layer cross-entropy and rank by TransformerLens: a `TransformerBridge`, in one of two ways.

stack: `run_with_cache`, `accumulated_resid(apply_ln=True)`, `unembed`, as `accumulated_resid` documents it.
logit_lens: the package's own `logit_lens`, there since 4.2, which does all of it in chunks and keeps the targets only.
"""

from __future__ import annotations

import numpy as np
from measuring import measure, parse_arguments, write
from numpy.typing import NDArray


def main() -> None:
    arguments = parse_arguments(__doc__, way={"choices": ["stack", "logit_lens"], "default": "stack"})
    import torch
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.tools.analysis import logit_lens

    model = TransformerBridge.boot_transformers(str(arguments.model), device="cpu")
    order: list[str] = []

    def stack(inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        _, cache = model.run_with_cache(inputs)
        states, order[:] = cache.accumulated_resid(apply_ln=True, return_labels=True)
        logits = model.unembed(states)
        index = targets.expand(len(order), *targets.shape)[..., None]
        # The documentation sorts the whole vocabulary for a rank; counting is faster and takes less.
        ranks = (logits > logits.gather(-1, index)).sum(-1)
        return -logits.log_softmax(-1).gather(-1, index)[..., 0], ranks

    def chunks(inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        result = logit_lens(model, inputs, positions=None, targets=targets, return_type="log_probs")
        order[:] = result.labels
        return -result.values[..., 0], result.rank_trajectory()

    way = {"stack": stack, "logit_lens": chunks}[arguments.way]

    @torch.no_grad()
    def compute(batch: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        ids = torch.from_numpy(batch)
        entropies, ranks = way(ids[:, :-1], ids[:, 1:])
        return entropies.movedim(0, -1).numpy(), ranks.movedim(0, -1).numpy()

    _, arrays, facts = measure(arguments, compute)
    facts["way"] = arguments.way
    facts["per_layer_order"] = order
    facts["rank_is"] = "the number of strictly larger logits"
    write(arguments, "transformer-lens", arrays, facts)


if __name__ == "__main__":
    main()
