from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import synthetic

from semviz.common.errors import SemvizError
from semviz.report.page import write_report


class Page(HTMLParser):
    """Collects what a browser would load, run and show."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts.append(data)
        elif self._open and self._open[-1] != "style":
            self.words.append(data)


@pytest.fixture(scope="module")
def study() -> dict[str, object]:
    return {"trace": synthetic.make_trace(), "gain": synthetic.make_gain(), "runs": synthetic.make_runs()}


@pytest.fixture(scope="module")
def page(study, tmp_path_factory) -> Page:
    path = write_report(tmp_path_factory.mktemp("report") / "mood.html", **study)
    return Page(path.read_text(encoding="utf-8"))


def test_the_answer_comes_first_and_everything_follows_in_order(page):
    order = [
        "keeps 98 % of full finetuning",
        "What was measured",
        "half = profile",
        "Score against cost",
        "Where to cut",
        "Freeze blocks 1–4",
        "Deviation, metric by metric",
        "Samples, token by token",
        "The path to one target",
        "All samples",
        "What was done",
        "Whose method is this?",
    ]
    places = [page.text.index(words) for words in order]
    assert places == sorted(places)
    assert "SALF-style, our reading" in page.text
    assert "arXiv 2406.11753" in page.text
    assert "The profile explains; measured runs decide" in page.text


def test_numbers_are_written_as_people_write_them(page):
    for words in ("1.71 M", "0.79 M", "79.8 % 77.7 % to 81.7 %", "28 s", "1.52 ×", "0.001"):
        assert words in page.text
    assert "nan" not in page.text.lower().replace("finance", "")


def test_nothing_is_loaded_from_anywhere(page):
    for tag, attributes in page.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base")
        assert "src" not in attributes
        assert "href" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_every_picture_has_data_a_name_and_a_text_twin(page):
    figures = json.loads(next(s for s in page.scripts if s.startswith('{"pareto"')))
    assert list(figures) == ["pareto", "gain", "profile", "labels", "tokens0", "tokens1", "transition", "samples"]
    plots = {a["id"]: a for _, a in page.tags if a.get("class") == "plot"}
    assert set(plots) == {f"plot-{key}" for key in figures}
    assert all(a["role"] == "img" and a["aria-label"] for a in plots.values())
    assert sum(tag == "details" for tag, _ in page.tags) == len(figures)
    assert sum(tag == "table" for tag, _ in page.tags) == len(figures) + 1


def test_plotly_is_inlined_once(page):
    assert sum("plotly.js v" in script for script in page.scripts) == 1


def test_both_themes(page, study, tmp_path):
    source = (write_report(tmp_path / "a.html", **study)).read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in source
    assert [a for tag, a in page.tags if tag == "button" and a.get("id") == "theme"]


def test_hostile_texts_stay_texts(tmp_path):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)> $$x$$ \u2028"
    runs = synthetic.make_runs(names={0: "<b>full</b>", 4: "</script>"}, task=evil, model=evil, sentence=evil)
    gain = replace(synthetic.make_gain(), message=evil, rule=evil)
    path = write_report(
        tmp_path / "e.html", trace=synthetic.make_hostile_trace(), gain=replace(gain, **_three()), runs=runs, title=evil
    )
    source = path.read_text(encoding="utf-8")
    parsed = Page(source)
    assert sum(tag == "script" for tag, _ in parsed.tags) == 3
    assert not [tag for tag, _ in parsed.tags if tag in ("img", "b", "i")]
    assert parsed.text.count("<img src=x onerror=alert(1)>") >= 3
    assert source.count("</script>") == 3
    assert re.search(r"\$\$x\$\$", next(s for s in parsed.scripts if s.startswith('{"pareto"'))) is None


def _three() -> dict[str, object]:
    made = synthetic.make_gain(blocks=3, boundary=1)
    kept = ("deviation", "gains", "fitted", "predicted", "chosen_share", "boundary")
    arrays = {
        f"{name}_{end}": getattr(made, f"{name}_{end}") for name in ("deviation", "gains") for end in ("low", "high")
    }
    return {**{name: getattr(made, name) for name in kept}, **arrays}


def test_lone_surrogates_can_be_written(study, tmp_path):
    path = write_report(tmp_path / "s.html", **study, title="\ud800 title")
    assert "\\ud800 title" in path.read_text(encoding="utf-8")


def test_language_modelling_without_intervals_and_without_names(tmp_path):
    runs = synthetic.make_runs(score="loss", zero_shot=2.9)
    bare = replace(runs, frame=runs.frame.drop(columns=["loss_low", "loss_high", "predicted"]))
    path = write_report(tmp_path / "l.html", trace=synthetic.make_text_trace(), gain=synthetic.make_gain(), runs=bare)
    text = Page(path.read_text(encoding="utf-8")).text
    assert "Loss, nats per token" in text
    assert "2.386" in text


def test_a_trace_without_token_detail_and_with_low_fidelity(study, tmp_path):
    trace = synthetic.make_trace(detail=0)
    trace = replace(trace, meta={**trace.meta, "fidelity": 0.58})
    text = Page(write_report(tmp_path / "d.html", **{**study, "trace": trace}).read_text(encoding="utf-8")).text
    assert "No sample was traced at all its tokens" in text
    assert "The path to one target" not in text
    assert "only 58 % of positions" in text


def test_missing_folder_and_folder_as_path(study, tmp_path):
    with pytest.raises(SemvizError, match="does not exist"):
        write_report(tmp_path / "no" / "a.html", **study)
    with pytest.raises(SemvizError, match="is a folder"):
        write_report(tmp_path, **study)


def test_a_failing_write_leaves_the_old_report(study, tmp_path, monkeypatch):
    path = tmp_path / "a.html"
    path.write_text("old")

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(SemvizError, match="No space left on device"):
        write_report(path, **study)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path], "no half-written file stays behind"


def test_an_existing_report_is_replaced(study, tmp_path):
    path = tmp_path / "a.html"
    path.write_text("old")
    assert write_report(str(path), **study) == path
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert list(tmp_path.iterdir()) == [path]
