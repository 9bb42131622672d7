"""Which weights other trainers train by their own rules, given their configs and a model's parameter names.

After axolotl/utils/freeze.py, llamafactory/model/adapter.py and swift's tuner.py; tests hold them against exports.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.scopes.config_files import as_flag, as_list
from semviz.scopes.config_values import as_integer, as_names, as_number

if TYPE_CHECKING:
    from torch import nn

_RANGE = re.compile(r"^(.+)\[([0-9]*)(?::([0-9]*))?\]$")


@dataclass
class Trained:
    """What a config trains.

    Attributes:
        how: In words.
        counts: Numbers that train of each parameter, by its name in the model, or in the adapted model.
        warnings: What is probably not meant, in sentences.
        adapted: Whether these are parameters of adapters.
    """

    how: str
    counts: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    adapted: bool = False


@dataclass(frozen=True)
class Named:
    """The parameters of a model.

    Attributes:
        sizes: Numbers in each parameter, each once under its first name, in the model's order.
        lengths: Length of the first dimension of each.
        blocks: Names of the blocks.
        config: The model's config.
        tied: Name of the head's weight where it is tied to the embeddings; empty else.
    """

    sizes: Mapping[str, int]
    lengths: Mapping[str, int]
    blocks: tuple[str, ...]
    config: Any
    tied: str

    @classmethod
    def of(cls, network: nn.Module, blocks: tuple[str, ...]) -> Named:
        """Read them off a model."""
        parameters = dict(network.named_parameters())
        every = dict(network.named_parameters(remove_duplicate=False))
        head: Any = network.get_output_embeddings()  # type: ignore[operator]
        tied = [name for name, p in every.items() if head is not None and p is head.weight and name not in parameters]
        return cls(
            {name: p.numel() for name, p in parameters.items()},
            {name: len(p) if p.ndim else 1 for name, p in parameters.items()},
            blocks,
            network.config,
            tied[0] if tied else "",
        )

    def block(self, name: str) -> int:
        """Number of the block that a parameter is in, from 1; 0 outside."""
        return next((i for i, block in enumerate(self.blocks, start=1) if name.startswith(f"{block}.")), 0)

    def hint(self, matches: Callable[[str], object]) -> str:
        """Say why a pattern that is meant for the head matches nothing."""
        return " The head is tied to the embeddings and has no name of its own." if matches(self.tied or " ") else ""


def of_axolotl(config: Mapping[str, Any], names: Named) -> Trained:
    """`freeze_layers_except`: patterns match from a name's start, periods are literal, a final `[a:b]` means rows."""
    given = config.get("unfrozen_parameters")
    if not given:
        everything = Trained("all weights", dict(names.sizes))
        if "unfrozen_parameters" in config:
            everything.warnings.append("unfrozen_parameters is empty and freezes nothing; all weights train.")
        return everything
    found = Trained("the weights that unfrozen_parameters matches")
    if isinstance(given, str):
        found.warnings.append("unfrozen_parameters: axolotl stops at a text; write a list of patterns.")
    for pattern in as_names(config, "unfrozen_parameters"):
        if not pattern.strip():
            found.warnings.append("unfrozen_parameters: '' matches every parameter, so all weights train.")
        rows = _RANGE.match(pattern)
        base, start, end = rows.groups() if rows else (pattern, None, None)
        compiled = _compiled(re.sub(r"\.(?!\+)", lambda _: r"\.", base), pattern)
        matched = [name for name in names.sizes if compiled.match(name)]
        if not matched:
            found.warnings.append(f"unfrozen_parameters: {pattern!r} matches no parameter.{names.hint(compiled.match)}")
        found.warnings += _also_longer(base, pattern, matched, names)
        for name in matched:
            share = 1.0 if not rows else _rows(start, end, names.lengths[name]) / names.lengths[name]
            found.counts[name] = max(found.counts.get(name, 0), round(names.sizes[name] * share))
    return found


def _rows(start: str | None, end: str | None, length: int) -> int:
    if end is None and start:
        return 1
    first, last = int(start or 0), min(int(end) if end else length, length)
    return max(0, last - first)


def _also_longer(base: str, pattern: str, matched: list[str], names: Named) -> list[str]:
    """Say that a number at the end of a pattern is the beginning of longer ones: `layers.1` of `layers.10`."""
    if not re.search(r"[\d\])]$", base):
        return []
    closed = _compiled(re.sub(r"\.(?!\+)", lambda _: r"\.", base) + r"[^\d]", pattern)
    extra = sorted({names.block(name) for name in matched if not closed.match(name)} - {0})
    if not extra:
        return []
    return [
        f"unfrozen_parameters: {pattern!r} also matches {_numbers(extra)}, whose numbers begin alike; end it in a "
        f"period: {base + '.'!r}."
    ]


def of_llama_factory(config: Mapping[str, Any], names: Named) -> Trained:
    """`_setup_freeze_tuning`: every parameter whose name contains the number of a layer, or the name of a module."""
    if as_flag(config.get("use_llama_pro", False)):
        raise SemvizError("The config adds blocks to the model (use_llama_pro), which is not checked; leave it out.")
    text = getattr(names.config, "text_config", names.config)
    layers = next((n for n in (getattr(text, k, None) for k in ("num_hidden_layers", "num_layers", "n_layer")) if n), 0)
    n = as_integer(config, "freeze_trainable_layers", 2)
    numbers = range(max(0, layers - n), layers) if n > 0 else range(min(-n, layers))
    modules = as_list(config.get("freeze_trainable_modules", "all")) or ["all"]
    extra = as_list(config.get("freeze_extra_modules"))
    hidden, outside = _llama_factory_modules(names)
    found = Trained(f"the weights of {'the last' if n > 0 else 'the first'} {len(numbers)} blocks, by parts of names")
    for key, given, known in (
        ("freeze_trainable_modules", [m for m in modules if m != "all"], hidden),
        ("freeze_extra_modules", extra, outside),
    ):
        for module in given:
            if module not in known:
                found.warnings.append(
                    f"{key}: LLaMA-Factory stops, since there is no module {module!r}; there are "
                    f"{', '.join(sorted(known))}."
                )
    if abs(n) > layers:
        found.warnings.append(f"freeze_trainable_layers: {n}, but the model has {layers} blocks, so all of them train.")
    wanted = [f".{i}.{'' if module == 'all' else module}" for i in numbers for module in modules]
    found.counts = {name: size for name, size in names.sizes.items() if any(part in name for part in (*wanted, *extra))}
    own = {names.blocks[i] for i in numbers if i < len(names.blocks)}
    for part in (*wanted, *extra):
        odd = [m for m in found.counts if part in m and names.block(m) and names.blocks[names.block(m) - 1] not in own]
        if odd:
            found.warnings.append(f"{part!r} is also part of {odd[0]} and {len(odd) - 1} other names in frozen blocks.")
    return found


def _llama_factory_modules(names: Named) -> tuple[set[str], set[str]]:
    hidden, outside = set(), set()
    for name in names.sizes:
        if ".0." in name:
            hidden.add(name.split(".0.")[-1].split(".")[0])
        elif ".1." in name:
            hidden.add(name.split(".1.")[-1].split(".")[0])
        if not re.search(r"\.\d+\.", name):
            outside.add(name.split(".")[-2])
    return hidden, outside


def of_swift(config: Mapping[str, Any], names: Named) -> Trained:
    """`freeze_parameters` and then `activate_parameters`: what is frozen first may be made to train again."""
    sizes = list(names.sizes.values())
    ratio = as_number(config, "freeze_parameters_ratio", 0.0)
    first = bisect_right(list(accumulate(sizes)), int(sum(sizes) * ratio)) if ratio > 0 else 0
    frozen = set(list(names.sizes)[:first])
    found = Trained("the weights that are left by freeze_parameters and trainable_parameters")
    by_list: dict[str, set[str]] = {}
    for key, activates in (("freeze_parameters", False), ("trainable_parameters", True)):
        for text, matches in _swift_patterns(config, key):
            hit = {name for name in names.sizes if matches(name)}
            if not hit:
                found.warnings.append(f"{text} matches no parameter.{names.hint(matches)}")
            by_list.setdefault(key, set()).update(hit)
            frozen = frozen - hit if activates else frozen | hit
    again = by_list.get("freeze_parameters", set()) & by_list.get("trainable_parameters", set())
    if again:
        found.warnings.append(
            f"{len(again)} parameters that freeze_parameters freezes train all the same, since trainable_parameters is "
            f"read after it: {min(again)}."
        )
    if "trainable_parameters" in by_list and "freeze_parameters" not in by_list and not ratio:
        found.warnings.append(
            "trainable_parameters does nothing, since nothing is frozen; set freeze_parameters_ratio to 1 too."
        )
    found.counts = {name: size for name, size in names.sizes.items() if name not in frozen}
    return found


def _swift_patterns(config: Mapping[str, Any], key: str) -> list[tuple[str, Callable[[str], bool]]]:
    patterns: list[tuple[str, Callable[[str], bool]]] = [
        (f"{key}: {beginning!r}", lambda name, beginning=beginning: name.startswith(beginning))  # type: ignore[misc]
        for beginning in _words(config.get(key))
    ]
    regex = config.get(f"{key}_regex")
    if regex:
        if not isinstance(regex, str):
            raise SemvizError(f"{key}_regex: {checks.short_repr(regex)} is not one regular expression; write one text.")
        compiled = _compiled(regex, regex)
        patterns.append((f"{key}_regex: {regex!r}", lambda name: bool(compiled.search(name))))
    return patterns


def _words(value: Any) -> list[str]:
    return value.split() if isinstance(value, str) else as_list(value)


def _compiled(pattern: str, shown: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise SemvizError(f"{checks.short_repr(shown)} is not a regular expression ({error}); mend it.") from error


def _numbers(blocks: list[int]) -> str:
    listed = ", ".join(map(str, blocks[:4]))
    return f"block{'s' if len(blocks) > 1 else ''} {listed}{', …' if len(blocks) > 4 else ''}"
