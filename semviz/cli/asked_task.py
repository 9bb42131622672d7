"""The task that `semviz report` is asked about."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from semviz.cli.report import as_number
from semviz.common import checks
from semviz.common.errors import SemvizError, TaskError

if TYPE_CHECKING:
    from semviz.tasks.task import Task

_OF_FILES = ("label", "prompt", "words", "test", "validation", "max_tokens", "separator", "encoding", "rows")


def asked_task(options: argparse.Namespace) -> Task:
    """Return a packaged task, or one from a file or a dataset.

    Raises:
        SemvizError: If there is no such task, or an option does not fit it.
    """
    from semviz.tasks.data_files import HUB, is_file_name
    from semviz.tasks.labels import WordsError
    from semviz.tasks.packaged import load_task
    from semviz.tasks.task import Task

    name = str(options.task)
    given: dict[str, Any] = {key: getattr(options, key, None) for key in _OF_FILES}
    if not (name.startswith(HUB) or is_file_name(name)):
        for key, value in given.items():
            if value is not None:
                raise SemvizError(
                    f"--{key.replace('_', '-')} is for a .csv file and the like; pass --task=FILE.csv, or hf:id."
                )
        return load_task(name)
    prompt, words = given["prompt"], given["words"]
    if prompt is not None:  # a shell hands on a backslash and a letter
        given["prompt"] = prompt.replace("\\n", "\n").replace("\\t", "\t")
    if given["separator"] == "\\t":
        given["separator"] = "\t"
    for key in ("test", "validation"):
        if given[key] is not None:
            given[key] = as_number(given[key])
    if words is not None:
        if given["label"] is None:
            raise SemvizError("--words is for a file with labels; pass their column too: --label=COLUMN.")
        given["words"] = _pairs(words)
    try:
        return Task.from_file(name, text=options.text, **given)
    except WordsError as error:
        labels = checks.short_repr(sorted(label.strip() for label in error.labels))
        raise SemvizError(
            f"--words={words} has words for the labels {checks.short_repr(sorted(given['words']))}, and the file has "
            f"the labels {labels}; pass one pair for each, separated by commas."
        ) from error
    except TaskError as error:
        raise TaskError(f"--task={checks.short_repr(name)[1:-1]}: {error}") from error


def _pairs(words: str | Mapping[str, str]) -> dict[str, str]:
    """Parse `"1=sad,5=happy"` into a word for each label; a configuration may have a table instead."""
    if isinstance(words, Mapping):
        return dict(words)
    pairs: dict[str, str] = {}
    for pair in words.split(","):
        label, _, word = (part.strip() for part in pair.partition("="))
        if not (label and word):
            raise SemvizError(
                f'--words={words}: {pair.strip()!r} is no label=word; pass pairs such as "1=sad,5=happy", with words '
                "that contain no comma."
            )
        if label in pairs:
            raise SemvizError(f"--words={words} has two words for the label {label!r}; pass one for each label.")
        pairs[label] = word
    return pairs
