"""Heatmaps of deep models: which spaces have a row, where colours end, what stands in the cells."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import plotly.colors
import pytest
import synthetic

from semviz.common.errors import SemvizError
from semviz.common.metric_facts import MetricFacts
from semviz.figures import dark, sample_heatmap, token_heatmap
from semviz.figures.drawing import cell_words, colours, heatmap_rows
from semviz.figures.drawing.heatmap_cells import Place
from semviz.figures.drawing.updates import moved
from semviz.figures.samples import draw_samples
from semviz.figures.tokens import draw_tokens

DRAWS = (token_heatmap, sample_heatmap)


def _cells(figure):
    return next(t for t in figure.data if t.type == "heatmap" and t.name != "missing")


def _made(blocks, **options):
    return synthetic.make_trace(blocks=blocks, samples=12, tokens=12, detail=2, **options)


def _with(trace, key, values):
    return replace(trace, values={key: np.asarray(values, dtype=np.float32)})


# Where the colours end


@pytest.mark.parametrize("candidates", [2, 6, 5_000, 49_152])
def test_blind_guesses_are_those_of_their_definitions(candidates):
    facts = synthetic.make_trace(samples=4, tokens=2, detail=1).facts
    even = np.full(candidates, 1 / candidates)
    for key in ("semantic", "lens"):
        assert facts[key].blind_guess(candidates) == pytest.approx(-np.log(even[0]))
    middle = np.log1p(np.median(np.arange(candidates + 1))) / np.log1p(candidates)
    assert facts["rank"].blind_guess(candidates) == pytest.approx(middle)
    assert facts["target"].blind_guess(candidates) == pytest.approx(1 - math.cos(math.pi / 2))
    assert facts["virtual"].blind_guess(candidates) is None
    for key in ("semantic", "lens", "rank"):
        assert facts[key].blind_guess(None) is None
        assert facts[key].blind_guess(1) is None
        assert facts[key].change().blind_guess(candidates) is None


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("key", ["semantic", "lens", "rank"])
def test_colours_end_at_a_blind_guess_and_say_so(draw, key):
    trace = _made(8, candidates=50)
    guess = trace.facts[key].blind_guess(50)
    figure = draw(trace, metric=key)
    assert _cells(figure).zmax == pytest.approx(guess, abs=1e-5)
    end = dict(zip(_cells(figure).colorbar.tickvals, _cells(figure).colorbar.ticktext, strict=True))[
        _cells(figure).zmax
    ]
    assert end.replace("<br>", " ").endswith(": no better than a blind guess")
    assert end.startswith("≥ ")
    assert "no better than a blind guess" in synthetic.notes(figure)
    rows = _cells(figure).z
    up = [t for t in figure.data if t.name == "above the range"]
    marked = {(round(x), round(y)) for t in up for x, y in zip(t.x, t.y, strict=True)}
    by_row = [i for i, text in enumerate(figure.layout.yaxis.ticktext) if text.startswith("▴")]
    span = _cells(figure).zmax - _cells(figure).zmin
    for y, row in enumerate(rows):
        for x, value in enumerate(row):
            clipped = value is not None and value > guess + 1e-3 * span
            assert y in by_row or ((x, y) in marked) == clipped


def test_a_trace_that_does_not_say_its_candidates_has_no_limit():
    known, unknown = _made(8, candidates=50), _made(8, candidates=None)
    assert colours.colour_range(unknown, "lens")[1] > math.log(50) > 3
    assert colours.colour_range(known, "lens")[1] == pytest.approx(math.log(50), abs=1e-5)
    old = replace(known, meta={k: v for k, v in known.meta.items() if k != "candidates"})
    assert colours.colour_range(old, "lens") == colours.colour_range(unknown, "lens")
    assert "blind guess" not in synthetic.notes(token_heatmap(unknown, metric="lens"))


def test_colours_below_a_blind_guess_are_those_of_the_values():
    wide = _made(8, candidates=10**6)
    assert colours.colour_range(wide, "lens") == colours.colour_range(_made(8, candidates=None), "lens")
    assert "blind guess" not in str(_cells(token_heatmap(wide, metric="lens")).colorbar.ticktext)


def test_where_nothing_is_better_than_a_guess_all_cells_are_marked():
    trace = _made(8, candidates=50)
    figure = token_heatmap(_with(trace, "lens", np.full_like(trace.values["lens"], 20)))
    assert (_cells(figure).zmin, _cells(figure).zmax) == (0, pytest.approx(math.log(50), abs=1e-5))
    assert all(text.startswith("▴") for text in figure.layout.yaxis.ticktext)


@pytest.mark.parametrize("first", [0.0, 12.5, 113.0])
@pytest.mark.parametrize("draw", DRAWS)
def test_space_0_has_no_say_in_the_colours(draw, first):
    trace = _made(30)
    values = np.clip(trace.values["lens"], 1, 11)
    values[:, 0] = first
    made = _with(trace, "lens", values)
    low, high = colours.colour_range(made, "lens")
    without = values.copy()
    without[:, 0] = np.nan
    assert (low, high) == colours.colour_range(_with(trace, "lens", without), "lens")
    sign = "▴" if first > high else "▾" if first < low else ""
    figure = draw(made, metric="lens")
    assert figure.layout.yaxis.ticktext[0] == f"{sign} input 0".strip()


# Which spaces have a row


@pytest.mark.parametrize("blocks", [1, 2, 8, 30, 34, 35, 36, 48, 61, 80, 126])
def test_rows_are_few_enough_to_be_read_and_keep_what_matters(blocks):
    for boundary in (None, 0, 1, blocks // 2, blocks - 1, blocks):
        shown = heatmap_rows.choose_spaces(blocks, boundary=boundary)
        assert list(shown) == sorted(set(shown))
        assert {0, 1, blocks} <= set(shown)
        if boundary is not None:
            assert {boundary, min(boundary + 1, blocks)} <= set(shown)
        assert heatmap_rows.height(len(shown)) / len(shown) >= 14
        assert (shown == tuple(range(blocks + 1))) == (blocks <= 34)
        assert max(np.diff(shown), default=1) <= -(-blocks // 29)


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("blocks", [48, 80])
def test_thin_rows_hold_the_values_of_the_spaces_that_they_name(draw, blocks):
    trace = _made(blocks)
    thin, whole = draw(trace, boundary=31), draw(trace, boundary=31, spaces="all")
    shown = thin.layout.meta["spaces"]
    assert whole.layout.meta["spaces"] == list(range(blocks + 1))
    assert _cells(thin).z == tuple(_cells(whole).z[k] for k in shown)
    names = [text.split(" ")[-1] for text in thin.layout.yaxis.ticktext]
    assert [int(names[i]) for i in range(len(names))] == [shown[i] for i in thin.layout.yaxis.tickvals]
    assert f"{len(shown)} of {blocks + 1} spaces are shown" in synthetic.notes(thin)
    assert 'spaces="all"' in synthetic.notes(thin)
    assert "spaces are shown" not in synthetic.notes(whole)
    assert whole.layout.height > thin.layout.height
    space_field = _cells(thin).hovertemplate.split("at space ")[1].split("<br>")[0]
    number = int(space_field.removeprefix("%{customdata[").removesuffix("]}"))
    assert [int(row[0][number]) for row in _cells(thin).customdata] == shown
    heads = [[cell[0] for cell in row] for row in _cells(thin).customdata]
    assert heads == [[cell[0] for cell in _cells(whole).customdata[k]] for k in shown]
    assert "at space %{y}" in _cells(whole).hovertemplate


@pytest.mark.parametrize("draw", DRAWS)
def test_chosen_spaces(draw):
    trace = _made(12)
    figure = draw(trace, spaces=[12, 3, np.int64(7), 3], boundary=7)
    assert figure.layout.meta["spaces"] == [3, 7, 12]
    assert [text.split(" ")[-1] for text in figure.layout.yaxis.ticktext] == ["3", "7", "12"]
    for wrong in ("most", [], [13], [-1], [1.5], [True], 4):
        with pytest.raises(SemvizError, match="spaces"):
            draw(trace, spaces=wrong)


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("blocks", [36, 48, 80])
def test_the_boundary_parts_frozen_rows_from_trained_ones_wherever_it_moves(draw, blocks):
    figure = draw(_made(blocks), boundary=blocks // 2)
    shown, drawn = figure.layout.meta["spaces"], json.loads(figure.to_json())
    for k in range(blocks + 1):
        changes = moved(drawn, k)["layout"]
        lines = [i for i, shape in enumerate(drawn["layout"]["shapes"]) if shape.get("name") == "boundary"]
        heights = {changes[f"shapes[{i}].{end}"] for i in lines for end in ("y0", "y1")}
        words = {value for key, value in changes.items() if key.endswith("].y")}
        assert len(heights) == 1
        assert words == heights
        (height,) = heights
        assert [row < height for row in range(len(shown))] == [space <= k for space in shown]
        assert float(height) % 1 == 0.5, "between two rows"


def test_a_move_in_thin_rows_is_the_picture_of_these_rows():
    trace = _made(80)
    shown = token_heatmap(trace, boundary=40).layout.meta["spaces"]
    a, b = (json.loads(token_heatmap(trace, boundary=k, spaces=shown).to_json()) for k in (40, 41))
    for key, value in moved(a, 41)["layout"].items():
        kind, number, attribute = key.replace("[", " ").replace("].", " ").split(" ")
        a["layout"][kind][int(number)][attribute] = value
    assert a == b


# Words in the cells


def _written(figure):
    """The word of every cell, from both layers; each cell may have one only."""
    layers = [t for t in figure.data if t.type == "heatmap" and t.text is not None]
    rows = [[[layer.text[r][c] for layer in layers] for c in range(len(layers[0].text[r]))]
            for r in range(len(layers[0].text))]  # fmt: skip
    assert all(sum(map(bool, cell)) <= 1 for row in rows for cell in row)
    return [["".join(cell).replace("\u200b", "") for cell in row] for row in rows]


def test_cells_hold_the_heads_first_choice():
    trace = _made(8)
    figure = token_heatmap(trace, sample=1)
    rows = np.flatnonzero(trace.positions["sample"] == 1)
    for column, row in enumerate(rows):
        for space in range(9):
            word = _written(figure)[space][column]
            if _cells(figure).z[space][column] is None:
                assert not word
            else:
                text = trace.vocabulary[int(trace.top1[row, space])]
                assert word == cell_words.cell_word(text, 820 // 12 // 8)
    assert "In the cells: the token that the head ranks first" in synthetic.notes(figure)


def test_words_stay_out_where_columns_are_narrow_or_nobody_wants_them():
    long = synthetic.make_trace(samples=3, tokens=60, detail=3, words=tuple(f"w{i}" for i in range(60)))
    narrow, asked = token_heatmap(long), token_heatmap(long, words=True)
    assert all(t.text is None for t in narrow.data if t.type == "heatmap")
    assert "words=True" in synthetic.notes(narrow)
    assert any(any(row) for row in _written(asked))
    assert len(asked.layout.meta["positions"]) < len(narrow.layout.meta["positions"])
    assert asked.layout.meta["positions"][-1] == 59, "the end, where the answer is"
    assert token_heatmap(long, words=True, start=5).layout.meta["positions"][0] == 5
    off = token_heatmap(_made(8), words=False)
    assert all(t.text is None for t in off.data if t.type == "heatmap")
    assert "In the cells" not in synthetic.notes(off)
    bare = _made(8, nearest=False)
    assert all(t.text is None for t in token_heatmap(bare).data if t.type == "heatmap")
    with pytest.raises(SemvizError, match="words=True needs"):
        token_heatmap(bare, words=True)
    with pytest.raises(SemvizError, match="words"):
        token_heatmap(bare, words="yes")


def test_a_difference_writes_what_changed():
    made = synthetic.make_difference(_made(8))
    figure = token_heatmap(made, sample=0)
    rows = np.flatnonzero(made.positions["sample"] == 0)
    is_new = made.after.top1[rows].T != made.before.top1[rows].T
    has_value = np.array([[z is not None for z in row] for row in _cells(figure).z])
    assert ([[bool(word) for word in row] for row in _written(figure)] == (is_new & has_value)).all()
    assert is_new.any()


def _contrast(one, other):
    """WCAG's contrast of two colours, 0…1 each."""

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _rgb(colour):
    long = "#" + "".join(2 * c for c in colour[1:]) if len(colour) == 4 else colour
    return tuple(v / 255 for v in plotly.colors.hex_to_rgb(long))


@pytest.mark.parametrize("turn", [lambda figure: figure, dark], ids=["light", "dark"])
@pytest.mark.parametrize("kind", ["magnitude", "change"])
def test_words_are_legible_in_every_cell(kind, turn):
    trace = _made(8)
    values = np.tile(np.linspace(-6, 6, len(trace.positions))[:, None], (1, 9)) + (6 if kind == "magnitude" else 0)
    if kind == "change":
        before = _with(trace, "lens", np.zeros_like(values))
        top1 = (trace.top1 + 1) % len(trace.vocabulary)
        made = replace(_with(trace, "lens", values), top1=top1.astype(np.int32)) - before
    else:
        made = _with(trace, "lens", values)
    figure = turn(token_heatmap(made, sample=0))
    cells = _cells(figure)
    scale = [list(stop) for stop in cells.colorscale]
    if kind == "magnitude":
        scale = plotly.colors.get_colorscale("Cividis")
    worst = np.inf
    for layer in (t for t in figure.data if t.type == "heatmap" and t.text is not None):
        for row, words in zip(cells.z, layer.text, strict=True):
            for z, word in zip(row, words, strict=True):
                if word:
                    level = float(np.clip((z - cells.zmin) / (cells.zmax - cells.zmin), 0, 1))
                    (ground,) = plotly.colors.sample_colorscale(scale, [level], colortype="tuple")
                    worst = min(worst, _contrast(ground, _rgb(layer.textfont.color)))
    assert worst > (4 if kind == "magnitude" else 2.9)


@pytest.mark.parametrize("letters", [4, 5, 8, 12])
@pytest.mark.parametrize(
    "text",
    [" patient", "internationalisation", "<|im_start|>", "&&&&&&", "$$x$$", "\u00a0", "\n", " ", "漢字漢字漢字漢字",
     "👩‍👩‍👧‍👦👩‍👩‍👧‍👦", "e\u0301" * 20, "\u202eevil", "%{z}", "", "a"],
)  # fmt: skip
def test_a_word_fits_its_cell(text, letters):
    word = cell_words.cell_word(text, letters)
    assert len(word.encode("utf-16-le")) // 2 <= max(letters, 5)
    assert not {"<", ">", "$", "\u202e", "\n"} & set(word)
    assert (word == "") == (text == "")


def test_words_are_cut_between_graphemes_and_without_their_space():
    assert cell_words.cell_word(" the", 4) == "the"
    assert cell_words.cell_word(" patient", 6) == "patie…"
    assert cell_words.cell_word(" ", 4) == "␣"
    assert cell_words.cell_word("\n", 4) == "↵"
    assert cell_words.cell_word("e\u0301e\u0301e\u0301e\u0301e\u0301", 6) == "e\u0301e\u0301…"
    assert cell_words.cell_word("漢字漢", 6) == "漢字漢"
    assert cell_words.cell_word("漢字漢", 5) == "漢…"


def test_all_words_of_a_picture_have_one_size(trace):
    figure = token_heatmap(trace.take((trace.positions["position"] < 12).to_numpy()), sample=0, metric="lens")
    layers = [t for t in figure.data if t.type == "heatmap" and t.text is not None]
    assert len(layers) == 2, "dark cells and light ones"
    assert len({max(len(word) for row in layer.text for word in row) for layer in layers}) == 1


def test_a_metric_of_ones_own_has_its_own_guess():
    facts = MetricFacts("mine", "mine", "nats", 0.0, None, True, "mine", guess="uniform")
    trace = _made(8, candidates=50)
    mine = replace(trace, values={"mine": trace.values["lens"]}, facts={"mine": facts})
    assert colours.colour_range(mine, "mine") == colours.colour_range(trace, "lens")
    plain = replace(mine, facts={"mine": replace(facts, guess=None)})
    assert colours.colour_range(plain, "mine")[1] > math.log(50)


@pytest.mark.parametrize("width", [820, 240, 120])
def test_marks_in_narrow_columns_stay_apart_and_every_run_has_one(width):
    """Side by side they would be a line, which reads as a value."""
    made = synthetic.make_trace(samples=90, blocks=30, detail=0)
    values = made.values["lens"].copy()
    values[:, 1:] = 5
    values[:30, 12] = 30
    values[-1, 20] = 30
    options = {"metric": "lens", "order": "index", "boundary": None, "limit": 200, "place": Place(width)}
    figure = draw_samples(_with(made, "lens", values), **options)
    (marks,) = synthetic.named(figure, "above the range")
    pixel = width / 90
    in_row = sorted(x for x, y in zip(marks.x, marks.y, strict=True) if y == 12)
    assert in_row[0] == 0
    assert min(np.diff(in_row)) * pixel >= 6
    assert 29 - max(in_row) < 6 / pixel + 1, "to the end of the run"
    assert (89, 20) in zip(marks.x, marks.y, strict=True), "a lone one"


def test_notes_name_options_only_where_they_can_be_passed():
    words = tuple(f"word{i}" for i in range(120))
    made = synthetic.make_trace(samples=900, blocks=60, tokens=120, words=words, detail=1)
    for has_options in (True, False):
        place = Place(320, has_options=has_options)
        asked = {"metric": "lens", "boundary": 3, "place": place}
        tokens = draw_tokens(made, sample=0, start=None, **asked)
        samples = draw_samples(made, order="index", limit=10, **asked)
        for figure, option in ((tokens, "words=True"), (tokens, "pass start="), (samples, "pass limit=")):
            assert (option in synthetic.notes(figure)) == has_options
        assert ('pass spaces="all"' in synthetic.notes(samples)) == has_options


@pytest.mark.parametrize("tokens", [60, 65, 96])
def test_names_below_a_picture_leave_each_other_room(tokens):
    words = tuple(f"word{i}" for i in range(tokens))
    figure = synthetic.make_trace(tokens=tokens, words=words, detail=1).token_heatmap()
    shown = list(figure.layout.xaxis.tickvals)
    assert min(np.diff(shown)) == (2 if tokens > 64 else 1)
    assert tokens - 1 in shown, "the answer has a name"
    names = {f"{made}" for made in figure.layout.xaxis.ticktext}
    assert {f"␣word{i - 1}" for i in shown if 1 < i < tokens - 1} <= names
    assert ("Not all tokens are named below" in synthetic.notes(figure)) == (tokens > 64)
