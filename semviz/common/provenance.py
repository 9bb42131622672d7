"""`Source`: which model and task a result was made from; names are for people, and only hashes are compared."""

from __future__ import annotations

from dataclasses import dataclass

from semviz.common.checks import short_repr
from semviz.common.errors import SemvizError


@dataclass(frozen=True)
class Source:
    """Which model and task a result was made from; what is unknown is empty.

    Attributes:
        model, task: Names, for people.
        model_hash: `LanguageModel.hash`.
        task_hash: `Task.lineage`: the hash of the content, and before it, with a slash, that of the whole task of which
            it is a subset.
    """

    model: str = ""
    model_hash: str = ""
    task: str = ""
    task_hash: str = ""

    def check(self, what: str, expected: Source, instead: str, *, same_rows: bool = False) -> None:
        """Check that a result is of the expected model and task.

        Where a hash is unknown, as in files of before, results that should be of the same rows are told apart by their
        names, and others pass.

        Args:
            what: The result, as the message names it.
            expected: What it should be of.
            instead: What to pass instead.
            same_rows: Whether a subset of the task, or the whole of it, is refused too.

        Raises:
            SemvizError: If it is of another.
        """
        parts = [
            ("model", self.model, self.model_hash, expected.model, expected.model_hash),
            ("task", self.task, self.task_hash, expected.task, expected.task_hash),
        ]
        for part, name, digest, other_name, other_digest in parts:
            known = bool(digest and other_digest)
            if known:
                differs = _own(digest) != _own(other_digest)
                related = bool(set(digest.split("/")) & set(other_digest.split("/")))
                refused = differs and not (related and not same_rows)
            else:
                refused = same_rows and name != other_name and bool(name and other_name)
            if refused:
                why = _DIFFERS[part] if known else "and nothing else is known of them"
                raise SemvizError(
                    f"{what} is of the {part} {_named(name, digest)} and not of {_named(other_name, other_digest)}, "
                    f"{why}; {instead}."
                )


_DIFFERS = {
    "model": "which differs in its weights, config, adapters, tokenizer or hooks",
    "task": "which differs in its texts, labels or options",
}


def _own(digest: str) -> str:
    return digest.rpartition("/")[2]


def _named(name: str, digest: str) -> str:
    return f"{short_repr(name)} ({_own(digest)[:6]})" if digest else short_repr(name)


def source_of(result: object) -> Source:
    """Return what a result was made from; unknown for what does not say so."""
    source = getattr(result, "source", None)
    return source if isinstance(source, Source) else Source()
