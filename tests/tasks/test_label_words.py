"""Label words × prompts × tokenizers: what stands for a label is its word, as it is read in place, or it is refused."""

from __future__ import annotations

import copy
import random
from functools import cache
from itertools import combinations

import pytest
from tokenizer_kinds import KINDS, SMOLLM2, bpe, tokenizer
from transformers import ByT5Tokenizer

from semviz.common.errors import TaskError
from semviz.tasks.joins import natural_join
from semviz.tasks.label_words import LabelReader
from semviz.tasks.prompts import read_prompts
from semviz.tasks.special_tokens import read
from semviz.tasks.splits import Split
from semviz.tasks.task import Task
from semviz.tasks.tokenizing import encode

WORDS = (
    *("0", "1", "7", "10", "42", "3.5", "5G", "fibre", "many", "yes", "no", "Yes", "NO", "positive", "negative"),
    *("very good", "very bad", "not good", "well-made", "up-to-date", "好", "坏", "积极", "消极", "😀", "👍🏽"),
    *("a", "b", "Z", " yes", " good", '"', "'quoted'", "(x)", "<good>", "<bad>", "EOS", "naïve"),
)
PROMPTS = (
    *("{text}\nLabel:", "{text} Sentiment:", "{text}", "Review: {text}", "{text} ", "{text}\n", "{text}\n\n"),
    *('{text} It was "', "{text} It was (", "评论：{text}\n情感：", "{text} The count is"),
    *("BOS{text} Label:", "user\n{text}EOS\nassistant\n", "{text}EOS"),
)
TEXTS = ("the film was great", "a bad thing!", "很好。", "1 star")
OPENING = ('It was "', "(", "：", "。", " ", "\n", "EOS")


def special(tok, text):
    return text.replace("BOS", str(tok.bos_token)).replace("EOS", str(tok.eos_token))


def is_blank(tok, token_id):
    piece = tok.convert_ids_to_tokens(token_id)
    return not piece.replace("Ġ", " ").replace("▁", " ").replace("Ċ", " ").strip()


class Oracle:
    """Which join is right, from strings and pieces alone."""

    def __init__(self, tok):
        self.tok, self.added = tok, tuple(tok.get_added_vocab())
        self.plain = cache(lambda text: tok(text, add_special_tokens=False)["input_ids"])

    def written(self, prompt, word, join):
        return prompt + ("" if word[0] == " " or word.startswith(self.added) else join) + word

    def readable(self, prompt, pair, join):
        own, blanks = self.plain(prompt), []
        for word in pair:
            ids = self.plain(self.written(prompt, word, join))
            rest = ids[len(own) :]
            if ids[: len(own)] != own or all(is_blank(self.tok, i) for i in rest):
                return False
            blanks.append(rest[: next(i for i, token in enumerate(rest) if not is_blank(self.tok, token))])
        return blanks[0] == blanks[1]

    def join(self, prompt, pair, natural):
        joins = [natural] if prompt[-1].isspace() else [natural, "" if natural else " "]
        return next((join for join in joins if self.readable(prompt, pair, join)), None)


@pytest.mark.parametrize("kind", KINDS)
def test_every_pair_of_words_is_read_in_place_or_refused_for_a_reason(kind):
    if kind == "SmolLM2" and not SMOLLM2.exists():
        pytest.skip("SmolLM2 is not at hand: ../shared/real/get_smollm2.py makes its folder")
    tok = tokenizer(kind)
    oracle, words, read = Oracle(tok), [special(tok, word) for word in WORDS], 0
    for template in PROMPTS:
        for i, pair in enumerate(combinations(words, 2)):
            split = Split(TEXTS[i % 4 : i % 4 + 1], (0,))
            task = Task("t", special(tok, template), ("a", "b"), pair, {"train": split})
            one, reader = next(read_prompts(tok, task, split, 10**6)), LabelReader(tok, task)
            prompt = one.texts[0]
            natural = "" if template.endswith(OPENING) or prompt.endswith("。") else " "
            expected = oracle.join(prompt, pair, natural)
            try:
                reader.add(one)
            except TaskError as refusal:
                error = str(refusal)
            else:
                error = ""
            assert bool(error) == (expected is None), (template, pair, prompt)
            if error:
                assert "sample 0" in error
                assert any(repr(word) in error for word in pair)
                continue
            (reading,) = reader.readings
            assert reading.join == expected, (template, pair, prompt)
            for word, ids in zip(pair, reading.words, strict=True):
                assert [*one.ids[0], *reading.blank, *ids] == oracle.plain(oracle.written(prompt, word, reading.join))
                assert not is_blank(tok, ids[0])
            read += 1
    assert read > 0.6 * len(PROMPTS) * (len(WORDS) * (len(WORDS) - 1) // 2)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_once_for_an_ending_is_what_each_prompt_says(kind):
    """The words are read once for all prompts that end alike: a prompt of its own must give the same."""
    if kind == "SmolLM2" and not SMOLLM2.exists():
        pytest.skip("SmolLM2 is not at hand: ../shared/real/get_smollm2.py makes its folder")
    tok = tokenizer(kind)
    pieces = [
        "the film",
        " was",
        "great",
        "!",
        "\n",
        " ",
        "\n\n",
        "很好",
        "7",
        "12",
        "</s>",
        "<go",
        "😀",
        "'",
        '"',
        "x",
    ]
    pieces += ["was", " x", "(was", "go", " go", " \n", "\t"]
    made = random.Random(0)
    texts = tuple("a" + "".join(made.choices(pieces, k=made.randint(1, 6))) for _ in range(120))
    for template in ("{text}", "{text}\nLabel:", "{text} It was", "{text}<", '{text}"'):
        for words in (("positive", "negative"), ("1", "many"), ("<good>", "bad"), ("od>", "d>"), ("\nyes", "\n\n no")):
            alone = []
            for text in texts:
                task = Task("t", template, ("a", "b"), words, {})
                reader = LabelReader(tok, task)
                try:
                    reader.add(next(read_prompts(tok, task, Split((text,)), 10**6)))
                except TaskError:
                    alone.append(None)
                else:
                    alone.append(next(iter(reader.readings)))
            fine = tuple(text for text, reading in zip(texts, alone, strict=True) if reading is not None)
            task, reader = (
                Task("t", template, ("a", "b"), words, {}),
                LabelReader(tok, Task("t", template, ("a", "b"), words, {})),
            )
            for prompts in read_prompts(tok, task, Split(fine), 10**6):
                reader.add(prompts)
            found = [list(reader.readings)[i] for i in reader.of_rows]
            assert found == [reading for reading in alone if reading is not None]
            for text in (text for text, reading in zip(texts, alone, strict=True) if reading is None):
                with pytest.raises(TaskError):
                    reader.add(next(read_prompts(tok, task, Split((text,)), 10**6)))


def test_an_added_token_that_a_prompt_has_begun_is_seen_through_its_last_piece():
    tok = bpe()
    tok.add_tokens(["ab (cd"])
    task = Task("t", "{text} (", ("a", "b"), ("cd", "xy"), {})
    reader = LabelReader(tok, task)
    reader.add(next(read_prompts(tok, task, Split(("zz", "yy", "yy ab")), 100)))
    # Without a blank the last one would become the added token.
    assert [list(reader.readings)[i].join for i in reader.of_rows] == ["", "", " "]


def test_the_words_are_read_once_where_all_prompts_end_alike(monkeypatch):
    """So that a split's label words cost next to nothing beside its texts."""
    tok = tokenizer("byte-level")
    task = Task("t", "{text}\nLabel:", ("a", "b"), ("positive", "negative"), {})
    count = 0

    def counted(tokenizer, texts):
        nonlocal count
        count += len(texts)
        return read(tokenizer, texts)

    monkeypatch.setattr("semviz.tasks.label_words.read", counted)
    reader = LabelReader(tok, task)
    texts = tuple(f"text {i} is {'so' * (i % 7)} long" for i in range(500))
    for prompts in read_prompts(tok, task, Split(texts), 10**6):
        reader.add(prompts)
    assert len(reader.of_rows) == 500
    assert count == 2


@pytest.mark.parametrize(
    "prompt",
    [
        "Label:",
        "It was",
        'He said "no"',
        'He said "no."',
        'He said "no,"',
        "He don't say 'no,'",
        '"x", and "no:"',
        "don't",
        '{"label": "good"}',
        '["good"]',
        '"yes"\n"no,"',
        "**Label:**",
        "**Good** and **bad**",
        "~~no~~",
        "__Label:__",
        "```x```",
        "`x`",
        "<b>so</b>",
        "3 > 2",
        "<br/>",
        "5 <6>",
        '5"',
        "James'",
        '"good (very)"',
        "say ''no.''",
        "so -",
        "x =",
        "text =>",
        "good!",
        "100%",
        "5",
    ],
)
def test_a_blank_stands_where_a_writer_puts_one(prompt):
    assert natural_join(prompt) == " "


@pytest.mark.parametrize("prompt", ["great 😀", "기분:", "기분", "he’s “so”", "(so)", "naïve", "Ответ:", "الجواب:"])
def test_a_blank_stands_where_a_writer_of_any_script_puts_one(prompt):
    assert natural_join(prompt) == " "


@pytest.mark.parametrize(
    "prompt",
    [
        *("Stars:\n", "A: ", "A:\t", 'It was "', "It was '", 'Label:"', "It was “", "«", "(", "{", "price: $", "tag #"),
        *(
            '["good","',
            '"good","',
            '"good.","',
            '"good (so)","',
            'a,b,"',
            '1.5,"',
            '"say no",2,"',
            '[{"a": 1},"',
            '[[1],"',
        ),
        *(
            '"two\nlines","',
            '"don\'t","',
            "'don't','",
            "['don't','",
            '{"label":"',
            '{"text": "no.","label":"',
            "{'label':'",
        ),
        *('["', "('", '{"', '"label"="', 'f("', "**Label:** **", "{text}\n**", "~~", "**a** **", "**(", "__x__ __"),
        *(
            "so <label>",
            "<",
            '<a href="x">',
            "<label>",
            "<|assistant|>",
            "so\n<|im_start|>",
            "<SEP>",
            "x\n```",
            "Label: `",
        ),
        *(
            "Label: ```",
            'Label: """',
            "Label:`",
            "(`",
            "and/",
            "non-",
            "x=",
            "情感:",
            "情感：",
            "很好。",
            "気分は",
            "ดี",
            "¿",
            "very_",
            "「",
        ),
    ],
)
def test_no_blank_stands_where_nobody_writes_one(prompt):
    assert natural_join(prompt) == ""


def test_words_that_no_score_tells_apart_are_refused_in_words(tiny):
    def encoded(words):
        texts = ["the cat was good", "the dog was bad"] * 6
        return encode(tiny, Task.from_texts(texts, ["yes", "no"] * 6, prompt="{text} mood :", words=words), "train")

    with pytest.raises(TaskError, match=r"'good' is the beginning of 'good cat'.*'good\.'"):
        encoded({"yes": "good", "no": "good cat"})
    with pytest.raises(TaskError, match=r"reads the label words .* alike"):
        encoded({"yes": "good  cat", "no": "good cat"})
    with pytest.raises(TaskError, match="does not know the label word 'good zebra'"):
        encoded({"yes": "good zebra", "no": "good cat"})


def test_a_blank_that_all_words_share_ends_the_prompt():
    """README's stars: each digit has a token of its own for the blank before it, and no label is that blank."""
    tok = tokenizer("byte-level, digits apart")
    task = Task("t", "{text}\nStars:", tuple("12345"), tuple("12345"), {})
    reader = LabelReader(tok, task)
    reader.add(next(read_prompts(tok, task, Split(("the film was great",)), 100)))
    (reading,) = reader.readings
    assert tok.convert_ids_to_tokens(list(reading.blank)) == ["Ġ"]
    assert [tok.convert_ids_to_tokens(list(word)) for word in reading.words] == [[digit] for digit in "12345"]


@pytest.mark.parametrize(
    ("words", "apart"), [("-1 0 1", "the label words '0', '1' with"), ("-1 1", "the label word '1' with")]
)
def test_words_that_are_read_unlike_are_named(words, apart):
    """After a colon, advice to end in a colon would be none."""
    tok, words = copy.deepcopy(tokenizer("byte-level, digits apart")), tuple(words.split())
    tok.add_tokens([":-", "s-", " -"])  # SmolLM2 has such tokens: no join reads all words alike
    splits = {"train": Split(("the film",), (0,)), "test": Split(("a film",), (0,))}
    for template, has_advice in (("{text}\nStars:", False), ("{text} stars", True)):
        task = Task("t", template, words, words, splits)
        with pytest.raises(TaskError, match="read alike") as refusal:
            read_all(tok, task, "test")
        assert apart in str(refusal.value)
        assert "the label word '-1' without" in str(refusal.value)
        assert "sample 0 of the test split of task 't'" in str(refusal.value)
        assert ("end the prompt with a colon" in str(refusal.value)) == has_advice


@pytest.mark.parametrize(
    ("template", "advice"),
    [
        ("{text} ab", "before it; end the prompt with a colon, or pass words="),
        ("{text} ab:", "before it; pass words="),
        ("{text} ab (", "end prompt and texts with a word"),
    ],
)
def test_who_ends_a_prompt_plainly_is_not_told_to_do_so(template, advice):
    tok, end = copy.deepcopy(tokenizer("byte-level")), template[len("{text} ") :]
    tok.add_tokens([f"{end}xy", f"{end} xy"])
    task = Task("t", template, ("a", "b"), ("xy", "cd"), {"train": Split(("the film",), (0,))})
    with pytest.raises(TaskError, match=rf"joins the end of .* with the label word 'xy'.*{advice}"):
        read_all(tok, task, "train")


def read_all(tok, task, split):
    reader = LabelReader(tok, task)
    for prompts in read_prompts(tok, task, task.split(split), 10**6, split=split):
        reader.add(prompts)
    return [list(reader.readings)[i] for i in reader.of_rows]


@pytest.mark.parametrize("pair", [("好", "坏"), ("😀", "😢"), ("é", "e"), ("ß", "yes"), ("0", "many"), ("à", "å")])
@pytest.mark.parametrize("prompt", ["{text} L:", "情感：{text}", '{text} "', "{text} ", "{text}\n"])
def test_a_part_of_a_character_is_no_blank(pair, prompt):
    """ByT5 reads bytes, and a byte that is not a whole character decodes to nothing."""
    tok = ByT5Tokenizer()
    texts = ("the film", "好 x", "a 5")
    task = Task("t", prompt, ("a", "b"), pair, {"train": Split(texts, (0, 1, 0))})
    for text, reading in zip(texts, read_all(tok, task, "train"), strict=True):
        written = prompt.replace("{text}", text) + reading.join
        for word, ids in zip(pair, reading.words, strict=True):
            assert list(ids) == [byte + 3 for byte in word.encode()]
            before = tok(prompt.replace("{text}", text), add_special_tokens=False)["input_ids"]
            assert [*before, *reading.blank, *ids] == [byte + 3 for byte in (written + word).encode()]
