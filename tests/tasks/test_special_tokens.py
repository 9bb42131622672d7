"""What a tokenizer adds is told apart from what a text says, and no cut goes through a character."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from small import plain_text, tiny_llama
from tokenizer_kinds import KINDS, SMOLLM2, tokenizer
from transformers import PreTrainedTokenizer

import semviz as sv
from semviz.common.errors import TaskError
from semviz.tasks.prompts import read_prompts
from semviz.tasks.special_tokens import leading_tokens, with_leading
from semviz.tasks.splits import Split
from semviz.tasks.task import Task
from semviz.tasks.tokenizing import NO_TARGET, encode

BEGINNING = {
    "metaspace, bos": "<s>",
    "metaspace, not split": "<s>",
    "bos and eos": "<s>",
    "unigram": "<s>",
    "word level": "<s>",
}
BEGINNING |= {"word piece, [CLS] and [SEP]": "[CLS]", "demo": "<bos>"}


def made(kind):
    if kind == "SmolLM2" and not SMOLLM2.exists():
        pytest.skip("SmolLM2 is not at hand: ../shared/real/get_smollm2.py makes its folder")
    tok = tokenizer(kind)
    model = tiny_llama(vocab_size=len(tok), max_position_embeddings=4096, blocks=2)
    return sv.load_model((model, tok), general_text=plain_text())


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_is_read_whole_and_what_is_added_is_no_target(kind):
    model = made(kind)
    tok = model.tokenizer
    bos, eos = str(tok.bos_token), str(tok.eos_token)
    added = BEGINNING.get(kind)
    texts = ["the film was great", f"{bos}the film was great", f"the film{eos}", f"a bad film{eos}the film{eos}\n"] * 3
    encoded = encode(model, Task.from_texts(texts, validation=["x y"], test=["x y"]), "train")
    for text, ids, targets, counted, special in zip(
        texts, encoded.ids, encoded.targets, encoded.counted, encoded.special, strict=True
    ):
        pieces = tok.convert_ids_to_tokens(ids.tolist())
        # One <bos>, whoever wrote it; each end of the text that the text says, and none that it does not.
        assert pieces.count(bos) == (1 if added else text.count(bos))
        assert pieces.count(eos) == text.count(eos)
        assert special.tolist() == [(i == 0 and added is not None) or t == tok.unk_token for i, t in enumerate(pieces)]
        known = [t != tok.unk_token for t in pieces]
        np.testing.assert_array_equal(targets[:-1], np.where(known[1:], ids[1:], NO_TARGET))
        np.testing.assert_array_equal(counted, (targets != NO_TARGET) & ~special)
        assert (targets == tok.eos_token_id).sum() == text.count(eos)
        body = tok(text, add_special_tokens=False)["input_ids"]
        assert ids.tolist()[-len(body) :] == body


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_is_read_behind_the_prompts_own_end_of_turn(kind):
    model = made(kind)
    tok = model.tokenizer
    labels = ["positive", "negative"] * 6
    task = Task.from_texts(["the film was great"] * 12, labels, prompt="{text}" + str(tok.eos_token))
    try:
        encoded = encode(model, task, "train")
    except TaskError as error:
        # These two know "positive" only in the middle of a text, or not at all.
        assert kind in ("metaspace, not split", "demo"), error  # noqa: PT017
        return
    last = len(encoded.ids[0]) - len(encoded.readings[0].words[encoded.labels[0]])
    kept = encoded.ids[0][: last + 1 - len(encoded.readings[0].blank)]
    assert kept[-1] == tok.eos_token_id


def test_a_leading_token_is_put_where_it_is_missing():
    assert with_leading((), [5, 6]) == [5, 6]
    assert with_leading((1,), [5, 6]) == [1, 5, 6]
    assert with_leading((1,), [1, 6]) == [1, 6]
    assert with_leading((1, 2), [1, 2, 6]) == [1, 2, 6]
    assert with_leading((1, 2), [2, 6]) == [1, 2, 6]
    assert with_leading((1, 2), []) == [1, 2]
    assert leading_tokens(tokenizer("bos and eos")) == (2,)
    assert leading_tokens(tokenizer("eos")) == ()


def test_an_unknown_token_that_the_text_says_is_a_target():
    model = made("word level")
    unknown = model.tokenizer.unk_token_id
    for text, count in (("the film <unk> great", 1), ("the zebra was great", 0)):
        encoded = encode(model, Task.from_texts([text] * 8), "train")
        assert (encoded.ids[0] == unknown).sum() == 1
        assert (encoded.targets[0] == unknown).sum() == count


class Letters(PreTrainedTokenizer):
    """One character, one token: a tokenizer in Python, which says nothing about places."""

    vocab_files_names: ClassVar[dict[str, str]] = {}

    def __init__(self, **options):
        self.letters = {letter: i for i, letter in enumerate(["<unk>", "</s>", *" abcdefghijklmnopqrstuvwxyz:?!é😀好"])}
        super().__init__(unk_token="<unk>", eos_token="</s>", pad_token="</s>", **options)

    @property
    def vocab_size(self):
        return len(self.letters)

    def get_vocab(self):
        return dict(self.letters)

    def _tokenize(self, text, **_):
        return list(text)

    def _convert_token_to_id(self, token):
        return self.letters.get(token, 0)

    def _convert_id_to_token(self, index):
        return list(self.letters)[index]

    def build_inputs_with_special_tokens(self, ids, other=None):
        return [*ids, 1]


HARD = "naïve 😀😀 👨‍👩‍👧 好的 x\u0301 " * 6 + "�"


@pytest.mark.parametrize("kind", [*KINDS, "in Python"])
@pytest.mark.parametrize("prompt", ["{text}", "Review: {text}\nLabel:"])
def test_a_cut_text_is_a_beginning_of_the_text(kind, prompt):
    tok = Letters() if kind == "in Python" else made(kind).tokenizer
    longest = len(tok(prompt.replace("{text}", HARD))["input_ids"])
    for labels in ((), ("a", "b")):
        for limit in range(12, min(60, longest)):
            task = Task("t", prompt, labels, labels, {}, limit)
            try:
                chunk = next(read_prompts(tok, task, Split((HARD,), (0,) if labels else ()), limit))
            except TaskError as error:
                assert "no room" in str(error)  # noqa: PT017 (most limits leave room)
                continue
            before, after = prompt.split("{text}")
            text = chunk.texts[0].removeprefix(before)
            text = text[: len(text) - len(after)]
            assert text
            assert HARD.startswith(text)
            ids = with_leading(leading_tokens(tok), chunk.ids[0])
            assert len(ids) <= limit
            assert chunk.ids[0] == tok(chunk.texts[0], add_special_tokens=False)["input_ids"]
            if "byte-level" in kind or kind in ("SmolLM2", "eos"):
                decoded = tok.decode(chunk.ids[0]).removeprefix(" ")
                assert decoded == chunk.texts[0]
                assert ("�" in decoded) == ("�" in text)
                # No more is cut than a character and the tokens beside it.
                assert limit - len(ids) <= 6


@pytest.mark.parametrize("kind", [*KINDS, "in Python"])
@pytest.mark.parametrize("copies", [2, 3, 5])
def test_a_text_that_stands_in_the_prompt_several_times_is_cut_no_shorter_than_needed(kind, copies):
    tok = Letters() if kind == "in Python" else made(kind).tokenizer
    prompt = " and ".join(["{text}"] * copies) + " Label:"
    text = "the film was great and so so well"

    def length(end):
        return len(tok(prompt.replace("{text}", text[:end]))["input_ids"])

    most = max(len(tok(prompt.replace("{text}", text[:end]), add_special_tokens=False)["input_ids"]) for end in (0, 8))
    for limit in range(most + 4, length(None) + 4):
        task = Task("t", prompt, (), (), {}, limit)
        chunk = next(read_prompts(tok, task, Split((text,)), limit))
        assert len(with_leading(leading_tokens(tok), chunk.ids[0])) <= limit
        kept = next(end for end in range(len(text), -1, -1) if chunk.texts[0] == prompt.replace("{text}", text[:end]))
        spare = limit - len(with_leading(leading_tokens(tok), chunk.ids[0]))
        # One token more of each copy would not fit; where a part of a word is a token, a few more.
        assert kept == len(text) or spare < copies * 3


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_sample_is_named_with_its_split(split):
    model = made("byte-level")
    good, bad = (["a b"] * 4, ["yes", "no"] * 2), {"empty": "", "long": "a b " * 3000}
    for text, words in (
        (bad["long"], "Sample 2 of the {} split of task 'texts' has "),
        ("a ", "sample 2 of the {} split"),
    ):
        rows = (["a b", "b a", text, "a b"], ["yes", "no"] * 2)
        parts = {"train": good, "validation": good, "test": good, split: rows}
        (texts, labels), prompt = parts.pop("train"), "{text}" if text == "a " else "{text} L:"
        with pytest.raises(TaskError, match=words.format(split)):
            encode(model, Task.from_texts(texts, labels, prompt=prompt, **parts), split)


def test_labels_are_read_by_a_tokenizer_in_python():
    tok = Letters()
    model = sv.load_model((tiny_llama(vocab_size=len(tok), blocks=2), tok), general_text=plain_text())
    texts = ["ab", "cd ef", "gh!"] * 6
    encoded = encode(model, Task.from_texts(texts, ["yes", "no"] * 9, prompt="{text} ok?"), "train")
    assert tok.convert_ids_to_tokens(encoded.ids[0].tolist())[-2:] == ["?", " "]
    assert tok.convert_ids_to_tokens(encoded.label_ids.tolist()) == ["n", "y"]


def test_a_word_of_several_tokens_fits_behind_a_prompt_that_fills_the_context():
    tok = tokenizer("byte-level")
    model = sv.load_model(
        (tiny_llama(vocab_size=len(tok), blocks=2, max_position_embeddings=24), tok), general_text=plain_text()
    )
    texts, labels = ["the film was great " * 9, "a bad thing " * 9] * 6, ["yes", "no"] * 6
    words = {"yes": "very very good", "no": "very very bad"}
    options = {"prompt": "{text}\nLabel:", "words": words}
    encoded = encode(model, Task.from_texts(texts, labels, max_tokens=24, **options), "train")
    assert max(encoded.ids.lengths) <= 24
    assert tok.decode(encoded.ids[0]).endswith(("Label: very very",))
    with pytest.raises(TaskError, match="max_tokens"):
        encode(model, Task.from_texts(texts, labels, **options), "train")
