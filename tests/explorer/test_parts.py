"""The parts of the Explorer that the browser draws, without a browser: what they send and what they answer."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import FrozenInstanceError

import numpy as np
import plotly.graph_objects as go
import pytest

pytest.importorskip("anywidget")

from plotly.offline import get_plotlyjs

from semviz.common.errors import SemvizError
from semviz.explorer.widgets.downloads import Downloads, Offer
from semviz.explorer.widgets.page import Page
from semviz.explorer.widgets.picture import Click, Picture
from semviz.explorer.widgets.table import Column, Table
from semviz.figures.drawing import style


@pytest.fixture
def sent(monkeypatch):
    """Record what widgets send to the browser: (method, state or content, buffers)."""
    from ipywidgets import Widget

    messages = []

    def record(widget, message, buffers=None):
        if widget.comm is not None:  # before, nothing leaves
            messages.append((message, list(buffers or [])))

    monkeypatch.setattr(Widget, "_send", record)
    return messages


def states(sent):
    return [message["state"] for message, _ in sent if message["method"] == "update"]


def figure(height=400):
    return go.Figure(
        go.Heatmap(z=np.array([[1.0, np.nan], [3.0, 4.0]]), name="cells"),
        layout={"height": height, "shapes": [{"y0": 1}]},
    )


def ask(widget, content):
    """Deliver a message as the browser sends it."""
    widget._handle_custom_msg(content, [])


# ---- Picture ---------------------------------------------------------------------------------------------------------


def test_a_picture_sends_a_figure_once_and_as_plain_json(sent):
    picture = Picture(label="Cells")
    picture.show(figure())
    picture.show(figure())
    assert len(states(sent)) == 1
    assert json.loads(json.dumps(picture.figure, allow_nan=False)) == picture.figure
    assert picture.figure["layout"]["height"] == 400


def test_a_new_figure_and_its_missing_marks_travel_in_one_message(sent):
    picture = Picture(label="Cells")
    picture.show(figure())
    picture.mark({"layout": {"shapes[0].y0": 4.5}})
    sent.clear()
    picture.show(figure(height=500))
    (state,) = states(sent)
    assert set(state) == {"figure", "overlay"}
    assert state["overlay"] == {}


def test_showing_the_same_figure_takes_marks_away_without_sending_it_again(sent):
    picture = Picture(label="Cells")
    picture.show(figure())
    picture.mark({"layout": {"shapes[0].y0": 4.5}})
    sent.clear()
    picture.show(figure())
    assert states(sent) == [{"overlay": {}}]


def test_marks_travel_alone_and_only_when_they_change(sent):
    picture = Picture(label="Cells")
    picture.show(figure())
    sent.clear()
    for _ in range(2):
        picture.mark({"layout": {"shapes[0].y0": np.float64(4.5)}, "data": [(0, {"zmax": np.int64(3)})]})
    assert states(sent) == [{"overlay": {"layout": {"shapes[0].y0": 4.5}, "data": [[0, {"zmax": 3}]]}}]


def test_a_mark_with_other_keys_says_which_there_are():
    with pytest.raises(SemvizError, match=r"no 'traces'.*'layout'.*'data'"):
        Picture(label="Cells").mark({"traces": []})


def test_no_figure_shows_the_placeholder_again():
    picture = Picture(label="Cells", placeholder="Nothing traced yet.")
    picture.show(figure())
    picture.show(None)
    assert (picture.figure, picture.overlay, picture.placeholder) == ({}, {}, "Nothing traced yet.")


def test_the_page_brings_plotlys_own_script_packed_once():
    page = Page()
    assert gzip.decompress(page.library).decode() == get_plotlyjs()
    assert Page().library is page.library
    assert page.edition == Picture(label="a").edition


def test_a_picture_brings_the_dark_colours_and_no_upload_button():
    picture = Picture(label="Cells")
    assert picture.swaps[style.LIGHT.boundary] == style.DARK.boundary
    assert picture.config["showSendToCloud"] is False


def test_a_click_in_the_browser_arrives_as_a_click():
    clicks = []
    picture = Picture(label="Cells", on_click=clicks.append)
    ask(picture, {"event": "click", "name": "cells", "x": 1, "y": "input 0", "index": [0, 1]})
    ask(picture, {"event": "click", "name": "line", "x": 2.5, "y": 3, "index": 7})
    ask(picture, {"event": "other"})
    assert clicks == [Click("cells", 1, "input 0", (0, 1)), Click("line", 2.5, 3, 7)]
    with pytest.raises(FrozenInstanceError):
        clicks[0].x = 3


def test_an_error_in_what_a_click_does_is_not_swallowed(caplog):
    def fails(click):
        raise ZeroDivisionError("by a click")

    picture = Picture(label="Cells", on_click=fails)
    with pytest.raises(ZeroDivisionError):
        picture.click(Click("cells", 0, 0, 0))
    ask(picture, {"event": "click", "name": "cells", "x": 0, "y": 0, "index": 0})
    assert "by a click" in caplog.text


def test_clicks_on_a_picture_without_a_callback_do_nothing():
    Picture(label="Cells").click(Click("cells", 0, 0, 0))


# ---- Table -----------------------------------------------------------------------------------------------------------

COLUMNS = [Column("name", "Scope", help="which blocks"), Column("score", "Accuracy", numeric=True)]


def rows(*names):
    return [{"_id": name, "name": name, "score": f"{i}", "_sort": {"score": i}} for i, name in enumerate(names)]


def test_a_table_shows_columns_and_rows_in_one_message(sent):
    table = Table(caption="Runs")
    table.show(COLUMNS, rows("a", "b"))
    (state,) = states(sent)
    assert state["columns"][1] == {"key": "score", "title": "Accuracy", "numeric": True, "help": ""}
    assert [row["_id"] for row in state["rows"]] == ["a", "b"]


def test_what_json_cannot_say_becomes_unknown_in_a_row():
    table = Table(caption="Runs")
    table.show(COLUMNS, [{"_id": "a", "name": "a", "score": 3, "_sort": {"score": float("nan"), "name": "a"}}])
    assert table.rows == [{"_id": "a", "name": "a", "score": "3", "_sort": {"score": None, "name": "a"}}]
    json.dumps(table.rows, allow_nan=False)


def test_rows_without_an_id_of_their_own_are_refused():
    table = Table(caption="Runs")
    with pytest.raises(SemvizError, match="Two rows have the _id 'a'"):
        table.show(COLUMNS, rows("a", "a"))
    with pytest.raises(SemvizError, match="_id None"):
        table.show(COLUMNS, [{"name": "a"}])


def test_choosing_the_chosen_row_again_is_told_again():
    told = []
    table = Table(caption="Runs", on_choose=told.append)
    table.show(COLUMNS, rows("a", "b"))
    table.choose("b")
    ask(table, {"event": "choose", "id": "b"})
    assert told == ["b", "b"]
    assert table.chosen == "b"


def test_a_row_that_is_not_there_cannot_be_chosen():
    told = []
    table = Table(caption="Runs", on_choose=told.append)
    table.show(COLUMNS, rows("a"))
    with pytest.raises(SemvizError, match=re.escape("no row 'z'. Pass one of: ['a']")):
        table.choose("z")
    ask(table, {"event": "choose", "id": "z"})
    assert told == []


def test_the_choice_stays_while_its_row_does():
    table = Table(caption="Runs")
    table.show(COLUMNS, rows("a", "b"))
    table.choose("b")
    table.show(COLUMNS, rows("b", "c"))
    assert table.chosen == "b"
    table.show(COLUMNS, rows("c"))
    assert table.chosen == ""


# ---- Handover --------------------------------------------------------------------------------------------------------


def refuse():
    raise SemvizError("There is no run yet. Run one first.")


def offers():
    return [
        Offer("CSV", "runs.csv", "text/csv", lambda: b"a,b\n"),
        Offer("Report", "report.html", "text/html", refuse),
        Offer("Broken", "x.txt", "text/plain", lambda: b"%d" % (1 // 0)),
    ]


def test_a_pressed_button_is_answered_with_the_file(sent):
    ask(Downloads(offers()), {"event": "press", "index": 0, "ticket": "t 1"})
    ((message, buffers),) = sent
    assert message["content"] == {"event": "file", "ticket": "t 1", "filename": "runs.csv", "mime": "text/csv"}
    assert buffers == [b"a,b\n"]


@pytest.mark.parametrize(
    ("index", "text"),
    [
        (1, "There is no run yet. Run one first."),
        (2, "x.txt could not be made. ZeroDivisionError: integer division or modulo by zero"),
    ],
)
def test_a_file_that_cannot_be_made_is_answered_in_words(sent, index, text):
    ask(Downloads(offers()), {"event": "press", "index": index, "ticket": "t 1"})
    assert [message["content"] for message, _ in sent] == [{"event": "error", "ticket": "t 1", "text": text}]


def test_files_can_be_had_without_a_browser():
    handover = Downloads(offers())
    assert handover.press("CSV") == b"a,b\n"
    with pytest.raises(SemvizError, match="no run yet"):
        handover.press("Report")
    with pytest.raises(SemvizError, match=re.escape("no button 'PDF'. Pass one of: ['CSV', 'Report', 'Broken']")):
        handover.press("PDF")


def test_two_buttons_with_one_label_are_refused():
    with pytest.raises(SemvizError, match="Two offers are called 'CSV'"):
        Downloads([offers()[0], offers()[0]])


# ---- What all of them send to the browser ----------------------------------------------------------------------------


@pytest.mark.parametrize("part", [Picture, Table, Downloads])
def test_scripts_start_quickly_and_never_read_data_as_html(part):
    assert len(part._esm) < 30_000  # anywidget gives a script two seconds to start
    assert "export default {" in part._esm
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|https?:", part._esm)
