"""Buttons that download files through the browser, since the kernel may run on another machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anywidget
import traitlets

from semviz.common.errors import SemvizError
from semviz.explorer.widgets.assets import script

_CSS = """
.semviz-handover { color: var(--jp-ui-font-color1, #1c2733); font-size: 13px; }
.semviz-handover .semviz-row { display: flex; flex-wrap: wrap; gap: 8px; }
.semviz-handover button {
  font: inherit; color: inherit; background: var(--jp-layout-color1, #fff); cursor: pointer;
  border: 1px solid var(--jp-border-color0, #7d8a97); border-radius: 6px; padding: 6px 14px;
}
.semviz-handover button:hover { background: var(--jp-layout-color2, #eef1f4); }
.semviz-handover button[aria-disabled="true"] { cursor: progress; border-style: dashed; }
.semviz-handover button:focus-visible { outline: 3px solid #0a6ebd; outline-offset: 2px; }
[data-jp-theme-light="false"] .semviz-handover button:focus-visible { outline-color: #62b6f0; }
.semviz-handover .semviz-status { margin: 8px 0 0; min-height: 1.4em; line-height: 1.4; overflow-wrap: anywhere; }
.semviz-handover .semviz-alarm { border-left: 3px solid #d55e00; padding-left: 10px; }
"""


@dataclass(frozen=True)
class Offer:
    """A file that can be downloaded.

    Attributes:
        label: Text of its button.
        filename: Name of the file, without folders.
        mime: MIME type, such as ``text/csv``.
        make: Creates its content when the button is pressed.
    """

    label: str
    filename: str
    mime: str
    make: Callable[[], bytes]


class Downloads(anywidget.AnyWidget):
    """A row of buttons, each of which creates a file and downloads it.

    Args:
        offers: The files, in the order of their buttons.

    Raises:
        SemvizError: If two offers have the same label.
    """

    _esm = script("downloads.js")
    _css = _CSS

    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, offers: Sequence[Offer]) -> None:
        labels = [offer.label for offer in offers]
        if duplicates := sorted({label for label in labels if labels.count(label) > 1}):
            raise SemvizError(f"Two offers are called {duplicates[0]!r}. Give each its own label.")
        self._offers = tuple(offers)
        super().__init__(labels=labels)
        self.on_msg(self._receive)

    def press(self, label: str) -> bytes:
        """Create a file as its button does.

        Args:
            label: Text of the button.

        Returns:
            The content of the file.

        Raises:
            SemvizError: If there is no such button, or if the file cannot be created.
        """
        for offer in self._offers:
            if offer.label == label:
                return offer.make()
        raise SemvizError(f"There is no button {label!r}. Pass one of: {self.labels}.")

    def _receive(self, _: Downloads, message: dict[str, Any], buffers: list[memoryview]) -> None:
        if message.get("event") != "press":
            return
        offer, ticket = self._offers[message["index"]], message["ticket"]
        try:
            content_bytes = offer.make()
        except SemvizError as error:
            self.send({"event": "error", "ticket": ticket, "text": str(error)})
        except Exception as error:
            text = f"{offer.filename} could not be made. {type(error).__name__}: {error}"
            self.send({"event": "error", "ticket": ticket, "text": text})
            self.log.exception("%s could not be made", offer.filename)
        else:
            reply = {"event": "file", "ticket": ticket, "filename": offer.filename, "mime": offer.mime}
            self.send(reply, buffers=[content_bytes])
