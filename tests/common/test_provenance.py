"""Results of other data are refused in words, and equal content under other names is taken."""

from __future__ import annotations

import re

import pytest

from semviz.common.errors import SemvizError
from semviz.common.provenance import Source, source_of

HERE = Source("checkpoint-100", "aaaaaaaaaaaa", "texts", "111111111111")


@pytest.mark.parametrize(("found", "same_rows"), [
    (HERE, True),
    (Source("renamed", HERE.model_hash, "also renamed", HERE.task_hash), True),
    (Source("renamed", HERE.model_hash, "part", "111111111111/222222222222"), False),
    (Source("renamed", HERE.model_hash, "its whole is another's part", "333333333333/111111111111"), True),
    (Source(), True),
    (Source("of before", "", "of before", ""), False),
    (Source("checkpoint-100", "", "texts", ""), True),
])  # fmt: skip
def test_what_is_taken(found, same_rows):
    for one, two in ((found, HERE), (HERE, found)):
        one.check("it", two, "pass another", same_rows=same_rows)


@pytest.mark.parametrize(("found", "same_rows", "message"), [
    (Source("checkpoint-100", "bbbbbbbbbbbb", "texts", "111111111111"), False,
     "it is of the model 'checkpoint-100' (bbbbbb) and not of 'checkpoint-100' (aaaaaa), which differs in its weights"),
    (Source("checkpoint-100", "aaaaaaaaaaaa", "texts", "222222222222"), False,
     "it is of the task 'texts' (222222) and not of 'texts' (111111), which differs in its texts"),
    (Source("checkpoint-100", "aaaaaaaaaaaa", "texts", "111111111111/222222222222"), True, "the task 'texts' (222222)"),
    (Source("other", "", "texts", ""), True, "it is of the model 'other' and not of 'checkpoint-100' (aaaaaa), and"),
])  # fmt: skip
def test_what_is_refused(found, same_rows, message):
    with pytest.raises(SemvizError, match=re.escape(message)) as refused:
        found.check("it", HERE, "pass another", same_rows=same_rows)
    assert str(refused.value).endswith("; pass another.")


def test_subsets_of_one_task_belong_together_but_are_not_the_same_rows():
    one, two = (Source("m", "a", "t", f"whole/{part}") for part in ("one", "two"))
    one.check("it", two, "pass another")
    with pytest.raises(SemvizError):
        one.check("it", two, "pass another", same_rows=True)


def test_what_does_not_say_what_it_is_of():
    assert source_of(None) == source_of(3) == Source()
