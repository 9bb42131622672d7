"""`check_config()`: which blocks and how many parameters another trainer's config really trains, before it does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from semviz.common import formats
from semviz.scopes.adapter_rules import of_adapters
from semviz.scopes.config_files import AXOLOTL, LLAMA_FACTORY, SWIFT, misspelt, read_config, whose
from semviz.scopes.tuning_kinds import FULL, LORA, does_nothing, kind_of
from semviz.scopes.weight_rules import Named, Trained, of_axolotl, of_llama_factory, of_swift

if TYPE_CHECKING:
    import pandas as pd

_EMBEDDINGS, _HEAD = "embeddings", "head"


@dataclass(frozen=True)
class Part:
    """A part of a model under a config.

    Attributes:
        name: `"block 3"`, `"embeddings"`, `"head"`, or the name of another module, such as `"model.norm"`.
        parameters: Parameters of the model in it.
        trained: How many train, those of adapters included.
    """

    name: str
    parameters: int
    trained: int


@dataclass(frozen=True)
class ConfigCheck:
    """What a config of another trainer trains on a model.

    Attributes:
        config: Name of the file.
        trainer: `"axolotl"`, `"llama-factory"`, `"ms-swift"` or `"peft"`.
        model: Name of the model.
        how: What trains, in words.
        parts: Blocks first, then what is outside them.
        n_blocks: L.
        warnings: What is probably not meant, in sentences; empty if nothing is suspicious.
    """

    config: str
    trainer: str
    model: str
    how: str
    parts: tuple[Part, ...] = field(repr=False)
    n_blocks: int
    warnings: tuple[str, ...] = ()

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks in which something trains, from 1."""
        return tuple(i for i, part in enumerate(self.parts[: self.n_blocks], start=1) if part.trained)

    @property
    def trainable(self) -> int:
        """Parameters that train."""
        return sum(part.trained for part in self.parts)

    @property
    def total(self) -> int:
        """Unique parameters of the model."""
        return sum(part.parameters for part in self.parts)

    def frame(self) -> pd.DataFrame:
        """One row for each part of the model: part, parameters, trained."""
        import pandas as pd

        rows = [(part.name, part.parameters, part.trained) for part in self.parts]
        return pd.DataFrame(rows, columns=["part", "parameters", "trained"])

    def __repr__(self) -> str:
        """Say in a few lines which blocks train, how many parameters, and what is suspicious."""
        outside = [part.name for part in self.parts[self.n_blocks :] if part.trained]
        where = " and ".join(filter(None, [_blocks_named(self.blocks, self.n_blocks), *outside])) or "nothing"
        share = formats.percent(self.trainable / self.total, digits=2) if self.total else ""
        lines = [
            f"{self.config} ({self.trainer}) on {self.model} trains {where}: "
            f"{self.trainable:,} of {self.total:,} parameters ({share}), {self.how}."
        ]
        return "\n".join([*lines, *(f"! {warning}" for warning in self.warnings)])

    def _repr_html_(self) -> str:
        from semviz.common.html_repr import line_and_table

        return line_and_table(repr(self), self.frame())


def check_config(
    config: Any, model: Any = None, *, trainer: str | None = None, trust_remote_code: bool = False
) -> ConfigCheck:
    """Say which blocks and how many parameters another trainer's config trains on a model, by that trainer's own rules.

    No weights are loaded: the model is built from its config alone, so one of 70 billion parameters takes seconds.

    Args:
        config: A file of axolotl or LLaMA-Factory (YAML), of ms-swift (YAML, JSON or a `swift sft` command), an
            adapter's `adapter_config.json` or folder, or a mapping with the same keys.
        model: As for `load_model`; a folder needs only its `config.json`.
        trainer: Whose config it is, where its keys do not tell.
        trust_remote_code: Run Python code from the model's repository.

    Returns:
        A `ConfigCheck`; its `warnings` say what is probably not meant: patterns that match nothing, or more than they
        look like, keys that do nothing, layers that there are not.

    Raises:
        SemvizError: If the config cannot be read, is of no trainer that is known, or asks for what is not checked here.
        ModelError: If there is no such model.
    """
    from semviz.lm.blocks import find_blocks
    from semviz.lm.skeleton import skeleton_of

    content, name, said = read_config(config)
    trainer = whose(content, trainer)
    idle = does_nothing(content, trainer)  # refuses unknown kinds before the model is built
    network, model_name = skeleton_of(model, trust_remote_code=trust_remote_code)
    names = Named.of(network, find_blocks(network))
    sizes = dict(names.sizes)
    places = _places(network)
    found = _applied(trainer, content, network, names)
    found.warnings = [*said, *misspelt(content, trainer), *idle, *found.warnings]
    if not found.counts and not any("peft stops" in warning for warning in found.warnings):
        found.warnings.append("Nothing trains.")
    return ConfigCheck(
        config=name,
        trainer=trainer,
        model=model_name,
        how=found.how,
        parts=_parts(sizes, found, names, places),
        n_blocks=len(names.blocks),
        warnings=tuple(found.warnings),
    )


def _applied(trainer: str, content: dict[str, Any], network: Any, names: Named) -> Trained:
    """Apply the rule of a trainer."""
    kind = kind_of(content, trainer)
    if kind == LORA:
        return of_adapters(trainer, content, network, names)
    if trainer == LLAMA_FACTORY and kind == FULL:
        return Trained("all weights", dict(names.sizes))
    return {AXOLOTL: of_axolotl, LLAMA_FACTORY: of_llama_factory, SWIFT: of_swift}[trainer](content, names)


def _places(network: Any) -> dict[str, str]:
    """Names of the parts outside the blocks, by the beginning of their parameters' names."""
    known = {_EMBEDDINGS: network.get_input_embeddings(), _HEAD: network.get_output_embeddings()}
    modules = {id(module): name for name, module in network.named_modules()}
    return {modules[id(module)]: part for part, module in known.items() if module is not None}


def _parts(sizes: dict[str, int], found: Trained, names: Named, places: dict[str, str]) -> tuple[Part, ...]:
    def place(parameter: str) -> str:
        block = names.block(parameter)
        if block:
            return f"block {block}"
        inside = [part for module, part in places.items() if parameter.startswith(f"{module}.")]
        return inside[0] if inside else parameter.rpartition(".")[0] or parameter

    counts = {f"block {i}": 0 for i in range(1, len(names.blocks) + 1)}
    trained = dict.fromkeys(counts, 0)
    for name, size in sizes.items():
        counts[place(name)] = counts.get(place(name), 0) + size
    for name, size in found.counts.items():
        trained[place(name)] = trained.get(place(name), 0) + size
    order = [*counts, *(part for part in trained if part not in counts)]
    return tuple(Part(part, counts.get(part, 0), trained.get(part, 0)) for part in order)


def _blocks_named(blocks: tuple[int, ...], of: int) -> str:
    runs: list[list[int]] = []
    for block in blocks:
        if runs and block == runs[-1][1] + 1:
            runs[-1][1] = block
        else:
            runs.append([block, block])
    parts = ", ".join(f"{a}–{b}" if a < b else f"{a}" for a, b in runs)
    return f"block{'s' if len(blocks) > 1 else ''} {parts} of {of}" if blocks else ""
