"""What a run says beside its numbers: what was done otherwise than asked, and in which environment."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import torch

from semviz.tasks.neighbours import Reading
from semviz.version import __version__

if TYPE_CHECKING:
    from semviz.lm.model import LanguageModel
    from semviz.scopes.scope import Scope


def remarks(model: LanguageModel, scope: Scope, reading: Reading) -> list[str]:
    """Sentences on what is done otherwise than by a plain loop over batches."""
    found = []
    if reading is Reading.BY_LENGTH:
        found.append(
            "Rows of different length were read apart, since the numbers of a text follow the longest one beside it."
        )
    elif reading is Reading.ALONE:
        found.append("Rows were read one at a time, since the numbers of a text depend on those beside it.")
    config = model.model.config.get_text_config(decoder=True)
    weight = getattr(config, "router_aux_loss_coef", None) or getattr(config, "aux_loss_alpha", None)
    if getattr(config, "output_router_logits", False) and weight:
        found.append(
            f"The experts' auxiliary loss, which the model's config asks for (weight {weight:g}), was left out."
        )
    parameters = [p for module in scope.modules(model) for p in module.parameters()]
    of_modules = [m for block in scope.modules(model) for m in block.modules()]
    if any(p._backward_hooks or getattr(p, "_post_accumulate_grad_hooks", None) for p in parameters) or any(
        m._backward_hooks or m._backward_pre_hooks for m in of_modules
    ):
        found.append("Hooks that you have set on gradients of the model did not run.")
    return found


def environment(model: LanguageModel) -> dict[str, str]:
    """Versions and device, as a stored run names them."""
    import transformers

    device = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else platform.machine()
    return {
        "semviz": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "device": f"{model.device.type} ({device}, {torch.get_num_threads()} threads)",
        "dtype": str(model.model.dtype).removeprefix("torch."),
    }
