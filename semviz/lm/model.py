"""Load a causal LM: the packaged demo, a folder, a hub id, or objects that are already in memory."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from semviz.common import checks
from semviz.common.errors import ModelError
from semviz.lm.anatomy import Anatomy, find_anatomy
from semviz.lm.identity import Identity
from semviz.lm.load_dispatch import load_from_source, objects_in_memory
from semviz.lm.load_options import check_options, check_unused, one_dtype, resolve_device, resolve_dtype
from semviz.lm.loading import LoadOptions
from semviz.lm.origin import Origin, origin_of
from semviz.lm.parts import Parts, parts_of
from semviz.lm.quantization import keep_as_loaded
from semviz.lm.sources import DEMO
from semviz.lm.surroundings import default_surroundings

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_LAYERS = '; the list of blocks has a name such as "model.layers"'


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A causal LM with its tokenizer and its proven anatomy.

    Attributes:
        model: The `transformers` model, unchanged.
        tokenizer: Its tokenizer.
        name: Its name in tables and figures.
        anatomy: Its blocks, tail and head.
        general_text: Plain text in the model's own language, for temperature, fidelity and centring.
        note: What was done to its weights on loading, such as that they were dequantised; empty if nothing was.
        origin: Where other processes can load it from; None for a model that was in memory.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    anatomy: Anatomy
    general_text: tuple[str, ...]
    note: str = ""
    origin: Origin | None = field(default=None, repr=False)

    @property
    def n_blocks(self) -> int:
        """L, the number of blocks."""
        return self.anatomy.n_blocks

    @property
    def device(self) -> torch.device:
        """Device of the inputs."""
        return self.anatomy.input_device

    @property
    def context(self) -> int:
        """The longest sequence that the model reads, in tokens."""
        limit = self.tokenizer.model_max_length
        # Tokenizers without a limit have 1e30 here.
        return min(self.anatomy.most_positions, int(limit) if limit < 1e9 else 2**31)

    @cached_property
    def parts(self) -> Parts:
        """Names and unique parameters of the parts; a tied head counts with the embeddings."""
        return parts_of(self.anatomy)

    @property
    def hash(self) -> str:
        """Twelve hex digits of all that decides its numbers: weights, config, adapters, tokenizer, hooks and patches.

        Names are no part of it. It follows changes: where a weight was edited, a hook added or another adapter chosen,
        it is computed again.
        """
        return self._identity.hash

    @property
    def vocabulary_hash(self) -> str:
        """Twelve hex digits of which token each id stands for."""
        return self._identity.vocabulary_hash

    @property
    def weights_hash(self) -> str:
        """Hex digits of its weights alone, the same on every machine, also in half precision."""
        return self._identity.weights_hash

    @property
    def stamp(self) -> object:
        """What differs in this process once the model has changed, found without running it: cheaper than the hash."""
        return self._identity.stamp

    @cached_property
    def _identity(self) -> Identity:
        return Identity(self.model, self.tokenizer, self.anatomy)

    def replaced(self, model: PreTrainedModel, *, name: str) -> LanguageModel:
        """Return the same tokenizer and general text with another model of the same architecture."""
        layers = self.anatomy.block_names[0].rpartition(".")[0]
        return LanguageModel(model, self.tokenizer, name, find_anatomy(model, layers=layers), self.general_text)

    def frame(self) -> pd.DataFrame:
        """Return one row per part of the model: part, parameters, share."""
        import pandas as pd

        counts = self.parts
        parts = {f"block {i}": n for i, n in enumerate(counts.blocks, start=1)}
        parts |= {"tail": counts.tail, "head": counts.head, "embeddings": counts.embeddings}
        shares = [n / counts.total for n in parts.values()]
        return pd.DataFrame({"part": list(parts), "parameters": list(parts.values()), "share": shares})

    def _repr_html_(self) -> str:
        from semviz.common.html_repr import line_and_table

        return line_and_table(repr(self), self.frame().round(3))

    def __repr__(self) -> str:
        """Return one line: name, class, blocks, width, parameters, device."""
        millions = self.parts.total / 1e6
        return (
            f"LanguageModel({self.name}: {type(self.model).__name__}, {self.n_blocks} blocks, "
            f"width {self.anatomy.width}, {millions:.2f} M parameters, "
            f"{str(self.model.dtype).removeprefix('torch.')} on {self.device}{self.note and '; '}{self.note})"
        )


@default_surroundings()
def load_model(
    source: Any = None,
    *,
    tokenizer: Any = None,
    base: Any = None,
    gguf_file: str | None = None,
    device: str = "auto",
    device_map: str | dict[str, Any] | None = None,
    dtype: str | torch.dtype = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    layers: str | None = None,
    general_text: list[str] | None = None,
    **options: Any,
) -> LanguageModel:
    """Load a causal LM and prove that its hidden states can be read.

    Args:
        source: None for the packaged demo LM; a folder, a `.gguf` file, an adapter's folder, or a hub id such as
            `"Qwen/Qwen3-0.6B"`; a model of transformers or peft, or `(model, tokenizer)`.
        tokenizer: A tokenizer, or its folder or hub id, where none lies with the model.
        base: For an adapter: its base model, as `source`; by default the one that the adapter names. A model in memory
            is copied.
        gguf_file: Which file of a folder or repository, where it holds several GGUF files. They are dequantised, and
            train like any other model.
        device: `"auto"` takes CUDA, then MPS, then the CPU. Objects in memory stay where they are.
        device_map: Spread a large model over devices as transformers does, for example `"auto"`; instead of `device`.
        dtype: `"auto"` takes bfloat16 on devices that have it and float32 on the CPU. Objects in memory keep theirs.
        revision: Hub revision.
        trust_remote_code: Run Python code from the model's repository. Off by default.
        layers: Dotted name of the list of blocks, where semviz cannot find it.
        general_text: Plain text that the model can read; the package's own English by default.
        options: Others of transformers' `from_pretrained` that are handed on, such as `attn_implementation`,
            `quantization_config`, `subfolder`, `token` and `cache_dir`.

    Returns:
        A `LanguageModel` in eval mode (a model in memory keeps its mode).

    Raises:
        ModelError: If there is no such model, if its files are missing, broken or pickled, if it is not a causal LM, if
            an option is unknown or would do nothing, or if its readout cannot be proven. The message says what to pass.
    """
    checks.flag("trust_remote_code", trust_remote_code)
    texts = {"revision": revision, "layers": layers, "gguf_file": gguf_file}
    for option, value in texts.items():
        checks.of_class(option, value, (str, type(None)), f"a text, or None{_LAYERS if option == 'layers' else ''}")
    own_text = None if general_text is None else tuple(checks.texts("general_text", general_text))
    dtype = one_dtype(dtype, options)
    of_files = {"base": base, "gguf_file": gguf_file, "device_map": device_map, "revision": revision}
    handed_on = check_options(options)
    of_files |= handed_on
    if isinstance(source, LanguageModel):
        given = {"tokenizer": tokenizer, "layers": layers, "general_text": general_text} | of_files
        check_unused(source, source.model, device, dtype, given)
        return source
    if isinstance(source, str | os.PathLike | None):
        how = LoadOptions(device, device_map, dtype, revision, trust_remote_code, tuple(handed_on.items()))
        if isinstance(base, LanguageModel):
            base = (base.model, base.tokenizer)
        model, own_tokenizer, name, note = load_from_source(source, base, gguf_file, tokenizer, how)
        keep_as_loaded(model)
        origin = origin_of(
            source=source,
            tokenizer=tokenizer,
            base=base,
            gguf_file=gguf_file,
            device=device,
            device_map=device_map,
            dtype=resolve_dtype(dtype, resolve_device(device)),
            revision=revision,
            trust_remote_code=trust_remote_code,
            layers=layers,
            general_text=general_text,
            **handed_on,
        )
    else:
        model, own_tokenizer, name = objects_in_memory(source, tokenizer)
        check_unused(model, model, device, dtype, of_files)
        note, origin = "", None
    is_demo = source is None or source == DEMO  # and not any folder of this name
    return LanguageModel(
        model=model,
        tokenizer=own_tokenizer,
        name=name,
        anatomy=find_anatomy(model, layers=layers),
        general_text=own_text or _general_text(is_demo),
        note=note,
        origin=origin,
    )


def check_model(model: Any) -> LanguageModel:
    """Refuse anything but what `load_model` returns.

    Raises:
        ModelError: If it is something else.
    """
    if not isinstance(model, LanguageModel):
        raise ModelError(f"{checks.named_repr('model', model)} is not a loaded model; pass what load_model(…) returns.")
    return model


def _general_text(is_demo: bool) -> tuple[str, ...]:
    """Return plain text that the model can read: the demo LM knows only its own small world."""
    if is_demo:
        from semviz.demo.corpus import general_text

        return tuple(general_text())
    text = (Path(__file__).parent / "general.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)
