"""What a `Task` is made of, checked: prompt, labels, their words, and three splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from semviz.common import checks
from semviz.common.errors import TaskError
from semviz.tasks.columns import TEXT
from semviz.tasks.labels import check_classes, label_name, words_of_labels
from semviz.tasks.splits import Split, check_split, draw_rows, held_back, is_share, make_split
from semviz.tasks.task_like import Scoring


@dataclass(frozen=True)
class TaskParts:
    """The checked content of a task; the attributes are those of `Task`."""

    prompt: str
    labels: tuple[str, ...]
    words: tuple[str, ...]
    splits: Mapping[str, Split]
    max_tokens: int | None
    scoring: Scoring
    remarks: tuple[str, ...] = ()


def check_parts(
    texts: Any,
    labels: Any,
    *,
    prompt: Any,
    words: Any,
    test: Any,
    validation: Any,
    max_tokens: Any,
    scoring: Any,
    seed: Any,
    stratify: Any,
    of: str,
) -> TaskParts:
    """Check what `Task.from_texts` is passed, and hold out the splits that are not.

    Args:
        texts: As there.
        labels: As there.
        prompt: As there.
        words: As there.
        test: As there.
        validation: As there.
        max_tokens: As there.
        scoring: As there.
        seed: As there.
        stratify: As there.
        of: Where the texts are from, in messages: nothing, or words such as ` of train`.

    Raises:
        TaskError: As there.
    """
    prompt = prompt if prompt is not None else ("{text}" if labels is None else "{text}\nLabel:")
    if not isinstance(prompt, str) or f"{{{TEXT}}}" not in prompt:
        raise TaskError(
            f"{checks.named_repr('prompt', prompt)} has no place for the text; pass a template with {{text}}."
        )
    checks.one_text("prompt", prompt)
    seed = checks.whole_number("seed", seed, error=TaskError)
    checks.flag("stratify", stratify)
    if max_tokens is not None:
        max_tokens = checks.whole_number("max_tokens", max_tokens, minimum=2, error=TaskError)
    checks.one_of("scoring", scoring, get_args(Scoring), error=TaskError)
    names: tuple[str, ...] = ()
    sure = words is not None
    if labels is not None:
        labels = checks.as_list("labels", labels, "one label for each text", error=TaskError)
        labels = [label_name(f"labels[{i}]{of}", label, sure=sure) for i, label in enumerate(labels)]
        names = tuple(sorted(set(labels)))
        if len(names) < 2:
            count = "1 class" if names else "0 classes"
            raise TaskError(f"labels{of} has {count} ({', '.join(names)}); pass at least two.")
    label_words = words_of_labels(words, names)
    train = make_split(texts, labels, names, "texts", of=of)
    if len(train) < 4:
        raise TaskError(f"Got {len(train)} texts{of}; pass at least 4, preferably a few hundred.")
    if names and not sure:
        check_classes(names, len(train))
    passed = {"test": test, "validation": validation}
    splits = {
        key: check_split(key, part, names, sure=sure)
        for key, part in passed.items()
        if part is not None and not is_share(part)
    }
    shares = {key: None if part is None else float(part) for key, part in passed.items() if key not in splits}
    drawn = draw_rows(range(len(train)), train.labels if stratify else (), shares, seed=seed)
    splits |= {key: train.take(rows) for key, rows in drawn.items()}
    return TaskParts(
        prompt,
        names,
        label_words,
        {key: splits[key] for key in ("test", "validation", "train")},
        max_tokens,
        scoring,
        remarks=tuple(held_back(drawn, shares, len(train))),
    )


def notes_on(splits: Mapping[str, Split], labels: tuple[str, ...]) -> list[str]:
    """What is odd about some splits, in sentences: texts that are in two of them, labels that training never sees."""
    notes = []
    for name, others in (("validation", ["train"]), ("test", ["train", "validation"])):
        others = [other for other in others if other in splits]
        seen = {text for other in others for text in splits[other].texts}
        twice = sum(text in seen for text in splits[name].texts) if name in splits else 0
        if twice:
            notes.append(
                f"{twice:,} of {len(splits[name]):,} {name} texts {'is' if twice == 1 else 'are'} also in "
                f"{' or '.join(others)}, so scores on {name} rows are too good for new texts."
            )
    if labels and "train" in splits:
        trained = set(splits["train"].labels)
        missing = [name for i, name in enumerate(labels) if i not in trained]
        if missing:
            notes.append(f"No training row has the label {', '.join(map(repr, missing))}.")
    return notes
