"""Which tokens stand for a label: its word as the tokenizer reads it in place, behind the prompt at hand.

The rule, for each sample:

1. Prompt and word are joined as a writer would join them (`semviz.tasks.joins`): with a blank, or without. A word that
   brings its own boundary (a leading blank, an added token) gets none.
2. The tokens of a word are those of prompt + join + word beyond those of the prompt. The prompt's own must stay.
3. A token that is only a blank belongs to no word. If all words of the sample begin with the same one (`Ġ` before each
   digit), it goes to the prompt. If only some do, the other join is taken, by which all words can be read.
4. If no join works, the sample is refused, with its text and the word.

A tokenizer looks at a limited part of what precedes: text is split into pieces from left to right, and each piece is
read alone. So the words are read once for each distinct *ending* of the prompts (their last piece), behind a whole
prompt that has it. Tokenizers that do not split, or do not say where, are asked for every prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from semviz.common.checks import short_repr
from semviz.common.errors import TaskError
from semviz.common.token_text import decode
from semviz.tasks.joins import natural_join
from semviz.tasks.prompts import sample_named
from semviz.tasks.special_tokens import read

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from semviz.tasks.prompts import Prompts
    from semviz.tasks.task_like import TaskLike

_NAMED = 5  # label words in a message
_END_PLAINLY = "end prompt and texts with a word or a colon, without a space after it"

Ids = tuple[int, ...]
Ending = tuple[str, str, Ids]


@dataclass(frozen=True)
class Reading:
    """The label words as they are read behind some prompts.

    Attributes:
        join: What stands between prompt and word: a blank or nothing.
        blank: Ids of a blank that all words begin with; it is read as the prompt's last token.
        words: Ids of each label word, in the order of the labels.
    """

    join: str
    blank: Ids
    words: tuple[Ids, ...]

    @property
    def distinct(self) -> bool:
        """Whether the first tokens alone tell the words apart."""
        return len({word[0] for word in self.words}) == len(self.words)


@dataclass
class LabelReader:
    """Reads a task's label words behind prompts.

    Attributes:
        tokenizer: The tokenizer.
        task: The task.
        readings: The distinct readings so far.
        of_rows: For each prompt so far, which of them it has.
    """

    tokenizer: PreTrainedTokenizerBase
    task: TaskLike
    readings: dict[Reading, int] = field(default_factory=dict)
    of_rows: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._added = tuple(self.tokenizer.get_added_vocab())
        # A word may complete an added token that the prompt has begun, however long ago.
        self._begun = {token[:end].lower() for token in self._added for end in range(1, len(token))}
        self._longest = max(map(len, self._added), default=0)
        self._begins = tuple({token[0].lower() for token in self._added})
        self._of_endings: dict[Ending, int] = {}
        self._has_own_join = [word[0].isspace() or word.startswith(self._added) for word in self.task.words]

    def add(self, prompts: Prompts) -> None:
        """Read the words behind these prompts.

        Raises:
            TaskError: If words cannot be read behind a prompt.
        """
        endings = [self._ending(prompts, i) for i in range(len(prompts.ids))]
        new: dict[Ending, int] = {}
        for i, ending in enumerate(endings):
            if ending not in self._of_endings:
                new.setdefault(ending, i)
        if new:
            rows = list(new.values())
            texts, ids = [prompts.texts[i] for i in rows], [prompts.ids[i] for i in rows]
            read_here = self._read(texts, ids, [ending[0] for ending in new])
            for ending, i, reading in zip(new, rows, read_here, strict=True):
                if reading is None:
                    raise self._refusal(prompts, i)
                self._of_endings[ending] = self.readings.setdefault(reading, len(self.readings))
        self.of_rows += [self._of_endings[ending] for ending in endings]

    def _ending(self, prompts: Prompts, i: int) -> Ending:
        """What decides how a word is read behind a prompt: the join, and the last piece as text and as ids."""
        prompt, ids = prompts.texts[i], prompts.ids[i]
        join = "" if prompt.endswith(self._added) else natural_join(prompt)
        whole: Ending = (join, prompt, ())
        encodings = prompts.encoding.encodings
        if not encodings or not ids or i in prompts.cut or self._has_begun(prompt):
            return whole
        encoding = encodings[i]
        piece = encoding.token_to_word(len(ids) - 1)
        while piece:
            tokens = encoding.word_to_tokens(piece)
            if tokens is not None:
                tail = prompt[encoding.word_to_chars(piece)[0] :]
                # Where blanks end the prompt, they are split in view of what follows.
                if tokens[0] and tail.strip():
                    return join, tail, tuple(ids[tokens[0] :])
            piece -= 1
        return whole

    def _has_begun(self, prompt: str) -> bool:
        """Whether the prompt ends in the beginning of an added token."""
        end = prompt[-self._longest :].lower() if self._longest else ""
        return any(c in end for c in self._begins) and any(end[i:] in self._begun for i in range(len(end)))

    def _read(self, prompts: list[str], ids: list[list[int]], joins: list[str]) -> list[Reading | None]:
        """Read the words behind some prompts, by the join that belongs there, or else by the other one."""
        readings = self._read_joined(prompts, ids, joins)
        # Nobody writes a second blank.
        again = [i for i, r in enumerate(readings) if r is None and not prompts[i][-1:].isspace()]
        others = ["" if joins[i] else " " for i in again]
        tried = self._read_joined([prompts[i] for i in again], [ids[i] for i in again], others) if again else []
        for i, reading in zip(again, tried, strict=True):
            readings[i] = reading
        return readings

    def _read_joined(self, prompts: list[str], ids: list[list[int]], joins: list[str]) -> list[Reading | None]:
        words = self._tokens_of_words(prompts, ids, joins)
        firsts = {word[0] for row in words for word in row if word}
        blanks = self._blanks(firsts)
        readings: list[Reading | None] = []
        for join, row in zip(joins, words, strict=True):
            if not all(row):
                readings.append(None)
                continue
            blank: Ids = ()
            while all(len(word) > 1 and word[0] == row[0][0] for word in row) and row[0][0] in blanks:
                blank, row = (*blank, row[0][0]), [word[1:] for word in row]
                blanks |= self._blanks({word[0] for word in row})
            fits = all(word[0] not in blanks for word in row)
            readings.append(Reading(join, blank, tuple(row)) if fits else None)
        return readings

    def _tokens_of_words(self, prompts: list[str], ids: list[list[int]], joins: list[str]) -> list[list[Ids]]:
        """Ids of each word behind each prompt; none where the prompt's own would change."""
        pairs = list(zip(self.task.words, self._has_own_join, strict=True))
        texts = [
            prompt + ("" if has_own else join) + word
            for prompt, join in zip(prompts, joins, strict=True)
            for word, has_own in pairs
        ]
        rows = iter(read(self.tokenizer, texts)["input_ids"])
        return [
            [tuple(row[len(own) :]) if row[: len(own)] == own else () for row in (next(rows) for _ in pairs)]
            for own in ids
        ]

    def _blanks(self, ids: Iterable[int]) -> set[int]:
        """Those ids that are only a blank.

        A part of a character may have no text of its own; so may the sign of a blank, with a tokenizer that strips it.
        """
        listed = list(ids)
        texts = decode(self.tokenizer, listed)
        pieces = self.tokenizer.convert_ids_to_tokens(listed)
        return {
            i
            for i, text, piece in zip(listed, texts, pieces, strict=True)
            if (text or piece.replace("▁", " ")).isspace()
        }

    def _refusal(self, prompts: Prompts, i: int) -> TaskError:
        """Why the words cannot be read behind a prompt."""
        prompt, ids = prompts.texts[i], prompts.ids[i]
        words = self._tokens_of_words([prompt], [ids], [natural_join(prompt)])[0]
        sample = sample_named(self.task, prompts.split, prompts.rows[i])
        sample = f"{sample}, which ends in {short_repr(prompt[-24:])},"
        colon = "" if prompt.endswith((":", "：")) else "end the prompt with a colon, or "
        joined = next((w for w, own in zip(self.task.words, words, strict=True) if not own), None)
        if joined is not None:
            plain = prompt[-1].isalnum() or not colon
            advice = f"{colon}pass words={{label: word}} with other words" if plain else _END_PLAINLY
            return TaskError(
                f"The tokenizer joins the end of {sample} with the label word {joined!r}, or splits it anew before it; "
                f"{advice}."
            )
        blanks = self._blanks({own[0] for own in words})
        apart = [w for w, own in zip(self.task.words, words, strict=True) if own[0] in blanks]
        others = [w for w, own in zip(self.task.words, words, strict=True) if own[0] not in blanks]
        differ = f"{_listed(apart)} with a token of its own for the blank, and {_listed(others)} without"
        if not others:  # different blanks, or words of blanks only
            differ = f"{_listed(apart)} with tokens of their own for the blank, which differ"
        return TaskError(
            f"Behind {sample} the tokenizer reads {differ}; {colon}pass words={{label: word}} that are all read alike, "
            "such as digits only or words only."
        )


def _listed(words: Sequence[str]) -> str:
    """Name some label words, the first ones of many."""
    shown = ", ".join(map(repr, words[:_NAMED])) + (", …" if len(words) > _NAMED else "")
    return f"the label word {shown}" if len(words) == 1 else f"the label words {shown}"


def check_readings(
    tokenizer: PreTrainedTokenizerBase, task: TaskLike, readings: Sequence[Reading], *, whole: bool
) -> None:
    """Refuse label words that the tokenizer does not know or that no score could tell apart.

    Args:
        tokenizer: The tokenizer.
        task: The task.
        readings: How its words are read.
        whole: Whether words are scored whole, rather than by their first token.

    Raises:
        TaskError: If a scored token is the unknown one, two words are read alike, or one begins another.
    """
    for reading in readings:
        for word, ids in zip(task.words, reading.words, strict=True):
            unknown = tokenizer.unk_token_id in (ids if whole else ids[:1])
            if unknown and str(tokenizer.unk_token) not in word:
                raise TaskError(
                    f"The tokenizer does not know the label word {word!r}; pass words={{label: word}} with words it "
                    "knows."
                )
        order = sorted(range(len(task.words)), key=lambda i: reading.words[i])
        for one, other in pairwise(order) if whole else ():
            short, long = reading.words[one], reading.words[other]
            if short == long:
                raise TaskError(
                    f"The tokenizer reads the label words {task.words[one]!r} and {task.words[other]!r} alike; pass "
                    "words={label: word} with words that differ for it."
                )
            if long[: len(short)] == short:
                raise TaskError(
                    f"The label word {task.words[one]!r} is the beginning of {task.words[other]!r}, so it could never "
                    "be the less probable one; pass words={label: word} that show where they end, such as "
                    f"{task.words[one] + '.'!r} and {task.words[other] + '.'!r}."
                )
