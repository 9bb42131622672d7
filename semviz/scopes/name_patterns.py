"""Names of modules as regular expressions that every trainer reads alike."""

from __future__ import annotations

from collections.abc import Iterable
from re import escape


def patterns_by_stem(names: Iterable[str]) -> list[str]:
    """One regular expression for all names with the same stem: `model[.]layers[.](3|4)`.

    A period is written `[.]`, which neither axolotl nor a shell, YAML or Python string changes.
    """
    leaves: dict[str, list[str]] = {}
    for name in names:
        stem, _, leaf = name.rpartition(".")
        leaves.setdefault(stem, []).append(escape(leaf))
    return ["[.]".join([*map(escape, stem.split(".") if stem else ()), alternatives(leaves[stem])]) for stem in leaves]


def alternatives(patterns: list[str]) -> str:
    """One regular expression for several."""
    return patterns[0] if len(patterns) == 1 else f"({'|'.join(patterns)})"
