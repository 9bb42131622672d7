"""The options of a command of ms-swift's within a shell script."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise

_PROGRAMS, _ACTIONS = ("swift", "megatron"), ("sft", "pt", "rlhf")
# What a shell reads next: a redirection, with `&1` or else the next word as its target; the end of a command; a
# comment; or a word, of quoted and plain pieces. shlex knows neither where a command ends nor where a comment begins.
_TOKEN = re.compile(
    r"""
    (?P<blank>(?:[ \t\r]|\\\r?\n)+)
    |(?P<redirection>(?:\d+(?=[<>])|&(?=>))?(?:>>|<<<|<<-?|<>|>\||[<>])(?P<target>&[\d-]+|&)?)
    |(?P<end>[|&;()\n]+)
    |(?P<comment>(?<![^\s;|&()])\#[^\n]*)
    |(?P<word>(?:
        \\. | '[^']*' | "(?:\\.|[^"\\])*" | \$\([^()]*\) | \$\{[^}]*\} | `[^`]*` | [^\s\\'"`|&;()<>]
    )+)
    |(?P<odd>.)
    """,
    re.VERBOSE | re.DOTALL,
)


def swift_options(script: str) -> tuple[list[tuple[str, str | list[str]]], int]:
    """Read the options of the first command such as `swift sft --tuner_type full`.

    Args:
        script: Text of the script, with other commands before and after it, pipes and redirections.

    Returns:
        Names and values in their order, those that are given twice too, and the number of such commands; nothing for
        another text.
    """
    found = [(words, start) for words in _commands(script) if (start := _start(words)) is not None]
    if not found:
        return [], 0
    words, start = found[0]
    options: list[tuple[str, list[str]]] = []
    for word in words[start:]:
        if word.startswith("--"):
            name, has_value, value = word[2:].partition("=")
            options.append((name, [value] if has_value else []))
        elif options:
            options[-1][1].append(word)
    return [(name, values[0] if len(values) == 1 else values) for name, values in options], len(found)


def _start(words: list[str]) -> int | None:
    """Where the options of ms-swift begin in a command."""
    return next((i + 2 for i, (one, two) in enumerate(pairwise(words)) if one in _PROGRAMS and two in _ACTIONS), None)


def _commands(script: str) -> list[list[str]]:
    """Split a script into commands, each a list of its words; empty if it is no script."""
    commands: list[list[str]] = [[]]
    is_target = False
    for token in _TOKEN.finditer(script):
        kind = token.lastgroup if token["redirection"] is None else "redirection"
        if kind == "odd":
            return []
        if kind == "end":
            commands.append([])
            is_target = False
        elif kind == "redirection":
            is_target = token["target"] in (None, "&")
        elif kind == "word":
            if not is_target:
                commands[-1].append(_unquoted(token["word"]))
            is_target = False
    return commands


def _unquoted(word: str) -> str:
    try:
        return " ".join(shlex.split(word))
    except ValueError:
        return word
