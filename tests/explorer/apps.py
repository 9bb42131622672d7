"""What tests look for in an Explorer."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

from ipywidgets import HTML, Widget

from semviz.explorer.widgets.picture import Picture


def widgets_in(root):
    """A widget and all that it shows."""
    found = [root]
    for child in getattr(root, "children", ()):
        found += widgets_in(child)
    return found


def of_kind(root, kind):
    return [widget for widget in widgets_in(root) if isinstance(widget, kind)]


def pictures(app):
    """All pictures by name."""
    named = {
        "tokens": app.look.tokens,
        "samples": app.look.samples,
        "way": app.look.way,
        "gain": app.gains.gain,
        "live": app.tuning.live,
        "pareto": app.tuning.pareto,
        "benefit": app.tuning.benefit,
        "change": app.keeping.change,
    }
    assert {id(p) for p in named.values()} == {id(p) for p in of_kind(app.widget, Picture)}
    return named


def pages(app):
    """The source of all HTML that is shown."""
    return [widget.value for widget in of_kind(app.widget, HTML)]


def words(source):
    """The text of some HTML, as it is read."""
    found = []

    class Reader(HTMLParser):
        def handle_data(self, data):
            found.append(data)

    reader = Reader()
    reader.feed(source)
    return "".join(found)


def tags(source):
    """The tags in some HTML, each with its attributes."""
    found = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.append((tag, dict(attributes)))

    reader = Reader()
    reader.feed(source)
    return found


def texts(value):
    """All texts in a piece of JSON."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [text for item in inner for text in texts(item)]


def numbers(value):
    return [float(n) for n in re.findall(r"-?\d+\.?\d*", json.dumps(value))]


def record(monkeypatch):
    """Everything that widgets send to the browser from now on: (widget, message, bytes)."""
    messages = []

    def send(widget, message, buffers=None):
        if widget.comm is not None:
            messages.append((widget, message, len(json.dumps(message, default=str)) + sum(map(len, buffers or []))))

    monkeypatch.setattr(Widget, "_send", send)
    return messages
