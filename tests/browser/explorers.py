"""An Explorer in a page: find its parts, do what a person does, read what it shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from browser.pages import shot

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

TOKENS, SAMPLES, WAY = "Token heatmap", "Sample heatmap", "Transition map"
GAIN, LIVE, PARETO = "Deviation of each space", "Training loss and accuracy", "Score against trainable parameters"

SETUP = """
import semviz as sv
task = sv.load_task("mood").subset(train=200, test=100)
model = sv.load_model()
"""
EXPLORER = """
app = sv.Explorer(model, task, samples=60, progress=False)
app.study.set(steps=STEPS, lr=3e-3)
app
"""

# Where the boundary is drawn, asked of the pixels: the row of a heatmap, the space on another picture's x axis, the
# state of a transition map that has the ring.
PATH = """
  const full = gd._fullLayout, at = full.shapes.findIndex(shape => shape.name === 'boundary');
  const path = gd.querySelector(`.shapelayer path[data-index="${at}"]`).getBBox();
"""
ROW = f"""gd => {{ {PATH}
  return full.yaxis.p2c(path.y + path.height / 2 - full.yaxis._offset) - 0.5;
}}"""
SPACE = f"""gd => {{ {PATH}
  return full.xaxis.p2c(path.x + path.width / 2 - full.xaxis._offset);
}}"""
RING = """gd => {
  const named = name => gd.calcdata.find(([point]) => point.trace.name === name);
  const [ring] = named('boundary');
  return named('factual states').findIndex(({x, y}) => x === ring.x && y === ring.y);
}"""
READERS = {TOKENS: ROW, SAMPLES: ROW, WAY: RING, GAIN: SPACE}
CELL = """(gd, [column, row]) => {
  const [{x, y, trace}] = gd.calcdata.find(([first]) => first.trace.type === 'heatmap');
  const axis = name => gd._fullLayout[name.replace(/^([xy])/, '$1axis')];
  const middle = (axis, edges, at) => (axis.c2p(edges[at]) + axis.c2p(edges[at + 1])) / 2;
  return [middle(axis(trace.xaxis), x, column), middle(axis(trace.yaxis), y, row)];
}"""


def cell(*, steps: int = 40) -> str:
    """A cell that shows an Explorer whose finetunes take so many steps."""
    return EXPLORER.replace("STEPS", str(steps)).strip()


@dataclass
class Shown:
    """One Explorer in a page.

    Attributes:
        root: Its outermost element.
        page: The page.
    """

    root: Locator

    @property
    def page(self) -> Page:
        return self.root.page

    @property
    def status(self) -> Locator:
        """The status line."""
        return self.root.locator(".status")

    @property
    def handle(self) -> Locator:
        """The handle of the threshold's slider."""
        return self.root.get_by_role("slider")

    @property
    def stepper(self) -> Locator:
        """The field with the number of frozen blocks."""
        return self.field("Frozen blocks")

    def field(self, label: str) -> Locator:
        """A text, number or selection field by its label."""
        return self.root.locator("input, select").and_(self.root.get_by_label(label))

    def button(self, name: str) -> Locator:
        """A button by what it says."""
        return self.root.get_by_role("button", name=name, exact=True)

    def tab(self, name: str) -> None:
        """Show a tab."""
        self.root.get_by_role("tab", name=name, exact=True).click()

    def picture(self, label: str) -> Locator:
        """A picture by the beginning of its label."""
        return self.root.locator(".semviz-picture").filter(has=self.page.locator(f'[aria-label^="{label}"]'))

    def drawn(self, label: str, *, times: int = 1, seconds: float = 20) -> int:
        """Wait until a picture was drawn at least so many times; how often it was."""
        element = self.picture(label).element_handle(timeout=seconds * 1000)
        self.page.wait_for_function(
            "([root, times]) => Number(root.dataset.semvizDrawn) >= times", arg=[element, times], timeout=seconds * 1000
        )
        return int(element.get_attribute("data-semviz-drawn") or 0)

    def boundary_is(self, boundary: int, *labels: str) -> None:
        """Wait until the strip, the stepper and these pictures show the boundary."""
        blocks = self.root.locator(".strip i").count()
        self.root.get_by_role("img", name=f"{boundary} of {blocks} blocks frozen").wait_for()
        assert self.root.locator(".strip i.f").count() == boundary
        self.page.wait_for_function(
            "([field, want]) => field.value === want", arg=[self.stepper.element_handle(), str(boundary)]
        )
        for label in labels:
            self.page.wait_for_function(
                f"([gd, want]) => Math.abs(({READERS[label]})(gd) - want) < 0.1",
                arg=[self.picture(label).locator(".semviz-plot").element_handle(), boundary],
            )

    def fact(self, name: str) -> str:
        """What the panel says of one thing."""
        return self.root.locator(".facts > div").filter(has_text=re.compile(f"^{name}")).inner_text()

    def click_cell(self, label: str, *, column: int, row: int) -> None:
        """Click a heatmap's cell."""
        plot = self.picture(label).locator(".semviz-plot")
        x, y = plot.evaluate(CELL, [column, row])
        plot.locator(".nsewdrag").first.click(position={"x": x, "y": y})

    def drag(self, share: float) -> None:
        """Drag the slider's handle to a share of the whole way, with the mouse."""
        self.handle.scroll_into_view_if_needed()
        track = self.root.locator(".noUi-base").bounding_box()
        held = self.handle.bounding_box()
        assert track is not None
        assert held is not None
        mouse = self.page.mouse
        mouse.move(held["x"] + held["width"] / 2, held["y"] + held["height"] / 2)
        mouse.down()
        mouse.move(track["x"] + share * track["width"], held["y"] + held["height"] / 2, steps=8)
        mouse.up()

    def shot(self, name: str, *, height: int = 1500) -> None:
        """Write a picture of the page with the whole Explorer in it."""
        size = self.page.viewport_size
        assert size is not None
        self.page.mouse.move(0, 0)
        self.page.set_viewport_size({**size, "height": height})
        self.root.evaluate("root => root.scrollIntoView()")
        self.page.evaluate("() => new Promise(go => requestAnimationFrame(() => requestAnimationFrame(go)))")
        shot(self.page, name)
        self.page.set_viewport_size(size)

    def says(self, pattern: str, *, seconds: float = 30) -> str:
        """Wait until the status line says something; all it says then."""
        from playwright.sync_api import expect

        expect(self.status).to_contain_text(re.compile(pattern), timeout=seconds * 1000)
        return self.status.inner_text()


def shown(place: Page | Locator, *, tab: str = "Trace") -> Shown:
    """The Explorer in a page, or in a cell's output, once the first picture of a tab is drawn."""
    found = Shown(place.locator(".semviz").first)
    found.tab(tab)
    found.drawn({"Trace": TOKENS, "Finetune": LIVE}[tab], seconds=40)
    return found
