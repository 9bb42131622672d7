"""Texts of others (names, labels, tokens) are shown letter by letter and never act."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from small import WORDS, plain_text, tiny_llama
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

import semviz as sv
from explorer.apps import pages, pictures, tags, texts, words

IMAGE, SCRIPT, FORMULA, BOLD = "<img/src=x/onerror=alert(1)>", "</script>", "$$x$$", "<b>bold</b>"
NAME = "<img src=x onerror=alert(1)></script><b>$$x$$</b>"
TAGS = {"h2", "b", "p", "div", "span", "strong", "table", "caption", "thead", "tbody", "tr", "th", "td", "code", "pre"}
TAGS |= {"i", "details", "summary"}


@pytest.fixture(scope="module")
def hostile():
    """An Explorer whose every text is hostile: it was read, clicked, finetuned, probed, inspected, and it failed."""
    specials = ["<pad>", "<unk>", "<bos>", "<eos>"]
    vocabulary = [*specials, *WORDS[:-4], IMAGE, SCRIPT, FORMULA, BOLD]
    inner = Tokenizer(WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    inner.pre_tokenizer = WhitespaceSplit()
    inner.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", bos_token="<bos>", eos_token="<eos>"
    )
    model = sv.load_model((tiny_llama(), tokenizer), general_text=plain_text())
    rows = [f"the {FORMULA if i % 2 else BOLD} {IMAGE} {SCRIPT} cat {WORDS[i % 20]}" for i in range(60)]
    task = sv.Task.from_texts(
        rows, [IMAGE if i % 2 else SCRIPT for i in range(60)], prompt="{text} mood :", name=NAME, max_tokens=40
    )
    app = sv.Explorer(replace(model, name=NAME), task, progress=False)
    app.keeping.shown.value = True
    app.study.set(steps=2, lr=1e-3)
    app.study.point(3, 2)
    app.study.probe().result()
    app.study.restore(app.study.history.runs[0].key)
    app.study.inspect(app.study.history.runs[0].key).result()
    yield app
    app.close()


def assert_harmless(source):
    """No tag but our own, no attribute that acts, and what is hostile is there to read."""
    for tag, attributes in tags(source):
        assert tag in TAGS, (tag, source)
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "href", "style")]
    for raw in ("<img", "</script", "<b>bold", "<b>$$"):
        assert raw not in source


def assert_literal(figure):
    """No text of a figure that Plotly would read as a tag, and none that MathJax would read as a formula."""
    known = {"b", "i", "br", "br/", "extra", "span", "sup", "sub", "em"}
    shown = {key: value for key, value in figure["layout"].items() if key != "meta"}
    for text in texts({"data": figure["data"], "layout": shown}):
        assert set(re.findall(r"<\s*/?\s*([a-z]+/?)", text.lower())) <= known, text
        assert "onerror" not in text or "<img" not in text, text
        assert not re.search(r"\$[^$]*\$", text), text
        assert "<b>bold" not in text, text


def test_the_html_of_every_widget_is_escaped(hostile):
    sources = pages(hostile)
    for source in sources:
        assert_harmless(source)
    read = "\n".join(words(source) for source in sources)
    assert "<img src=x onerror=alert(1)></script" in read  # the names of model and task, cut
    for token in (IMAGE[:10], SCRIPT):
        assert token in read


def test_the_figures_have_the_letters_and_nothing_else(hostile):
    named = pictures(hostile)
    for name, picture in named.items():
        assert picture.figure, name
        assert_literal(picture.figure)
        assert_literal({"data": picture.overlay.get("data", []), "layout": picture.overlay.get("layout", {})})
    tokens = json.dumps(named["tokens"].figure)
    assert "&lt;img" in tokens
    assert "&#36;&#36;x&#36;&#36;" in tokens or "&lt;b&gt;bold" in tokens


def test_a_text_of_ones_own_is_harmless_too(hostile):
    hostile.data.label.value = IMAGE
    hostile.data.text.value = f"{NAME} {BOLD} {FORMULA} {IMAGE}"
    assert hostile.study.sample.own
    assert_literal(hostile.look.tokens.figure)
    assert_literal(hostile.look.way.figure)
    for source in pages(hostile):
        assert_harmless(source)


@pytest.mark.parametrize("label", ["Report as HTML"])
def test_the_report_is_harmless(hostile, label):
    page = hostile.keeping.files.press(label).decode()
    assert "onerror=alert" in page
    for raw in ("<img/src", "<img src=x", "<b>bold", "<b>$$"):
        assert raw not in page


def test_the_bundle_is_harmless(hostile):
    source = hostile._repr_mimebundle_()["text/html"]
    assert "<img" not in source
    assert "</script" not in source
    assert NAME in words(source)


def test_errors_are_harmless(hostile, monkeypatch):
    def fail(*_, **__):
        raise ValueError(NAME + BOLD)

    monkeypatch.setattr("semviz.finetuning.scope_trainer.fit", fail)
    hostile.study.set(seed=9)
    hostile.run.click()
    hostile.job.wait(60)
    assert_harmless(hostile.status.value)
    assert NAME in words(hostile.status.value)
    hostile.tuning.lr.value = NAME
    assert_harmless(hostile.status.value)
    assert "onerror" in words(hostile.status.value)


def test_a_file_in_the_store_with_a_hostile_name_is_harmless(tiny, mood, tmp_path):
    (tmp_path / "<img src=x onerror=alert(1)>.json").write_text("{")
    app = sv.Explorer(tiny, mood, store=tmp_path, progress=False)
    assert_harmless(app.status.value)
    assert "onerror" in words(app.status.value)
    app.close()


def test_the_snapshot_is_harmless(hostile):
    figure = json.loads(hostile.snapshot().to_json())
    assert_literal(figure)


def test_the_snapshot_shows_the_view(app):
    app.boundary.value = 3
    app.study.open(50)
    before = app.snapshot()
    assert len(before.data) >= 3
    app.run.click()
    app.job.wait()
    after = app.snapshot()
    assert len(after.data) > len(before.data)
    app.study.read("the cat was good .")
    assert app.snapshot().data
