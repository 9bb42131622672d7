"""One row of a task as a model reads it, token by token: the prompt, and the tokens that stand for each label."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from semviz.common import checks
from semviz.common.errors import TaskError
from semviz.common.token_text import decode, short_label
from semviz.lm.model import check_model
from semviz.tasks.tokenizing import encode

if TYPE_CHECKING:
    from semviz.lm.model import LanguageModel
    from semviz.tasks.task_like import TaskLike

_SHOWN = 60  # tokens of a prompt, the last ones


@dataclass(frozen=True, eq=False)
class Look:
    """What a model reads of one row.

    Attributes:
        title: Task, split and row.
        how: How the row is scored, in words.
        tokens: One row per token: part (`prompt`, or the name of a label; `(prompt)` if a label is called "prompt"),
            token_id, token, and scored (whether it is a target that counts; of a label, when the row has this label).
    """

    title: str
    how: str
    tokens: pd.DataFrame = field(repr=False)

    def frame(self) -> pd.DataFrame:
        """One row per token: columns part, token_id, token, scored."""
        return self.tokens.copy()

    def _lines(self) -> dict[str, str]:
        """The tokens of each part in one line."""
        lines: dict[str, str] = {}
        for part, tokens in self.tokens.groupby("part", sort=False)["token"]:
            shown = [short_label(text, width=24) for text in tokens[-_SHOWN:]]
            lines[str(part)] = " · ".join(["…", *shown] if len(tokens) > _SHOWN else shown)
        return lines

    def __repr__(self) -> str:
        """A line on the row, then one for the prompt and one for each label."""
        lines = self._lines()
        width = max(map(len, lines))
        return "\n".join([f"Look({self.title}; {self.how})", *(f"  {part:{width}}  {lines[part]}" for part in lines)])

    def _repr_html_(self) -> str:
        from semviz.common.html_repr import line_and_table

        lines = self._lines()
        table = pd.DataFrame({"tokens": list(lines.values())}, index=pd.Index(lines, name="part"))
        return line_and_table(f"{self.title}; {self.how}", table)


def look(model: LanguageModel, task: TaskLike, row: int, split: str) -> Look:
    """Read one row of a task; see `Task.look`."""
    check_model(model)
    part = task.split(split)
    row = checks.whole_number("row", row, maximum=len(part) - 1, error=TaskError)
    encoded = encode(model, task, split)
    ids, counted, how = encoded.ids[row], encoded.counted[row], "every next token is scored"
    own = "prompt"
    while own in task.labels:
        own = f"({own})"
    parts = {own: (ids.tolist(), [False, *counted[:-1].tolist()])}
    if task.labels:
        reading = encoded.readings[encoded.reading[row]]
        prompt = ids[: len(ids) - len(reading.words[encoded.labels[row]]) + 1].tolist()
        parts = {own: (prompt, [False] * len(prompt))}
        parts |= {name: (list(word), [True] * len(word)) for name, word in zip(task.labels, reading.words, strict=True)}
        scored = f"whole words by the {task.scoring} of" if encoded.whole_words else "first tokens by"
        label, join = task.labels[part.labels[row]], "a blank" if reading.join else "no blank"
        how = f"label {label!r}; {scored} log-probabilities, {join} before the word"
    frames = [
        pd.DataFrame(
            {"part": name, "token_id": token_ids, "token": decode(model.tokenizer, token_ids), "scored": flags}
        )
        for name, (token_ids, flags) in parts.items()
    ]
    return Look(f"{task.name}/{split} row {row}", how, pd.concat(frames, ignore_index=True))
