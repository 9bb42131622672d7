"""torch.compile for the trained blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from semviz.common import checks

if TYPE_CHECKING:
    from semviz.finetuning.suffix_model import Suffix

FIELDS = ("torch_compile", "torch_compile_backend", "torch_compile_mode")
"""Arguments that ask for it."""


def compile_blocks(suffix: Suffix, arguments: Mapping[str, Any]) -> str:
    """Compile the trained blocks, if the arguments ask for it: one by one, since they are alike.

    Returns:
        Why they were not compiled, in a sentence; empty if they were, or nobody asked.

    Raises:
        SemvizError: If there is no such backend or mode.
    """
    if not any(arguments.get(name) for name in FIELDS):
        return ""
    backend = arguments.get("torch_compile_backend") or "inductor"
    checks.one_of("torch_compile_backend", backend, torch.compiler.list_backends(exclude_tags=()))
    options: dict[str, Any] = {"backend": backend}
    if arguments.get("torch_compile_mode") is not None:
        from torch._inductor import list_mode_options

        options["mode"] = checks.one_of("torch_compile_mode", arguments["torch_compile_mode"], list_mode_options())
    try:
        torch.compile(_twice, **options)(torch.ones(2, device=next(suffix.parameters()).device))
    except Exception as error:  # no compiler, or one that fails
        why = checks.first_line(getattr(error, "inner_exception", error)).rstrip(".")
        return f"Its blocks were not compiled: {why}."
    for block in suffix.trained:
        block.compile(**options)
    return ""


def run_as_written(suffix: Suffix) -> None:
    """Take the compiled blocks back: scoring would compile them anew, for batches of other shapes."""
    for block in suffix.trained:
        block._compiled_call_impl = None


def _twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2
