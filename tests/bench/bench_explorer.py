"""How fast the Explorer is in a real browser: JupyterLab in Chromium, on this machine.

    python tests/bench/bench_explorer.py            # all
    python tests/bench/bench_explorer.py moves      # only that part: moves, large, training

- *moves*: from a key press on the slider to the redrawn line in both heatmaps and the new panel, 50 times; bytes that
  the kernel sends for a move; time from a trace that is there to the first picture.
- *large*: the same moves at 48 blocks × 128 tokens × 1,000 samples (random weights: only sizes matter).
- *training*: seconds of the same finetune with and without the live view, by turns.

Needs the test extra and Chromium, like tests/browser. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from browser import chromium, pages, servers
from playwright.sync_api import Page, sync_playwright

MOVES = 50
PAIRS = 4
DEMO = """
import semviz as sv
model = sv.load_model()
task = sv.load_task("mood")
trace = sv.trace(model, task, samples=1000)
"""
LARGE = """
import random
import semviz as sv
import torch
torch.manual_seed(0)
from semviz.demo.tasks import general_text
from transformers import LlamaConfig, LlamaForCausalLM
tokenizer = sv.load_model().tokenizer
config = LlamaConfig(
    vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=48, num_attention_heads=4,
    num_key_value_heads=4, max_position_embeddings=256,
)
model = sv.load_model((LlamaForCausalLM(config), tokenizer))
words = " ".join(general_text()).split()
draw = random.Random(0)
starts = [draw.randrange(len(words) - 200) for _ in range(1300)]
texts = [" ".join(words[a : a + 160]) for a in starts]
labels = [draw.choice(["happy", "sad"]) for _ in texts]
task = sv.Task.from_texts(texts, labels, prompt="{text}", name="random", max_tokens=128)
trace = sv.trace(model, task, samples=1000)
"""
SHOW = """
app = sv.Explorer(model, task, trace=trace)
app
"""
# Resolves with the milliseconds from the next key press to the frame in which line and panel say the new boundary.
MOVED = """
() => new Promise((done) => {
  const strip = document.querySelector(".semviz .strip");
  const plots = [...document.querySelectorAll(".semviz-plot")].filter((p) => p.clientWidth && p.calcdata).slice(0, 2);
  const before = strip.getAttribute("aria-label");
  addEventListener("keydown", () => {
    const start = performance.now();
    const look = () => {
      const now = document.querySelector(".semviz .strip").getAttribute("aria-label");
      const k = parseInt(now);
      const lines = plots.map((p) => p._fullLayout.shapes.find((s) => s.name === "boundary").y0);
      if (now !== before && lines.every((y) => y === k + 0.5)) done(performance.now() - start);
      else requestAnimationFrame(look);
    };
    look();
  }, { once: true, capture: true });
})
"""
# Counts what the kernel sends, in the page itself: asking the browser for every frame would slow it down.
COUNTING = """
const send = WebSocket.prototype.send;
window.received = 0;
WebSocket.prototype.send = function (data) {
  if (!this.counted) {
    this.counted = true;
    this.addEventListener("message", ({ data }) => { window.received += data.byteLength ?? data.length });
  }
  return send.call(this, data);
};
"""


def main() -> None:
    wanted = sys.argv[1:] or ["moves", "large", "training"]
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        server = servers.Server("lab", Path(home))
        try:
            server.start()
            browser = playwright.chromium.launch(executable_path=chromium.require(), args=list(chromium.ARGUMENTS))
            for part in wanted:
                page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
                print(f"\n## {part}\n", flush=True)
                PARTS[part](page, pages.Lab(page, server, part))
                page.context.close()
                server.end_kernels()
        finally:
            server.stop()


def moves(page: Page, lab: pages.Lab, setup: str = DEMO) -> None:
    """Move the slider with the keys Home and End, and with the arrow keys of the stepper."""
    page.add_init_script(COUNTING)
    book = lab.open([setup, SHOW, SHOW], view="doc")
    book.run(0, seconds=600)
    show(book, 1, "first on the page")
    page.wait_for_timeout(2_000)
    slider, stepper = page.locator(".noUi-handle").first, page.locator(".semviz input[type=number]").first
    for control, keys, what in (
        (slider, ("End", "Home"), "slider"),
        (stepper, ("ArrowUp", "ArrowDown"), "stepper"),
    ):
        control.focus()
        page.keyboard.press(keys[1])  # from its lower end, so that every timed press moves it
        page.wait_for_timeout(500)
        times, sizes = [], []
        for number in range(MOVES + 4):
            page.wait_for_timeout(150)
            page.evaluate(f"() => {{ window.received = 0; window.moved = ({MOVED})() }}")
            page.keyboard.press(keys[number % 2])
            times.append(page.evaluate("() => window.moved"))
            page.wait_for_timeout(50)
            sizes.append(page.evaluate("() => window.received"))
        report(what, times[4:], sizes[4:])
    show(book, 2, "second")


def show(book: pages.NotebookPage, cell: int, what: str) -> None:
    """Run a cell with an Explorer, and time it until its first heatmap is drawn."""
    started = time.perf_counter()
    book.start(cell)
    drawn = ".semviz-picture:not([data-semviz-drawn='0']):visible"
    book.output(cell).locator(drawn).first.wait_for(timeout=60_000)
    print(f"time to first picture after the trace, {what}: {time.perf_counter() - started:.2f} s", flush=True)
    book.wait(cell)


def report(what: str, times: list[float], sizes: list[int]) -> None:
    """Print the quantiles of moves; the first four warmed up."""
    ends = statistics.quantiles(times, n=20)
    print(
        f"{what}: median {statistics.median(times):.0f} ms, 95 % {ends[-1]:.0f} ms, most {max(times):.0f} ms over "
        f"{len(times)} moves; {statistics.median(sizes) / 1000:.1f} kB received a move (most {max(sizes) / 1000:.1f})",
        flush=True,
    )


def large(page: Page, lab: pages.Lab) -> None:
    """The same with a large study."""
    moves(page, lab, LARGE)


def training(page: Page, lab: pages.Lab) -> None:
    """Finetune by turns with the live view shown and without any view."""
    seen = """
app.tuning.seed.value = {seed}
app.run.click()
"""
    unseen = """
other.set(seed={seed})
print(other.finetune().result().seconds)
"""
    book = lab.open(
        [
            DEMO,
            "app = sv.Explorer(model, task, trace=trace)\n"
            "app.boundary.value = 4; app.tuning.lr.value = '1e-3'; app.tuning.steps.value = 160\napp",
            "other = sv.Study(model, task, trace=trace)\nother.freeze(4)\nother.set(lr=1e-3, steps=160)",
            *(code.format(seed=seed) for seed in range(PAIRS + 1) for code in (seen, unseen)),
            "print([run.seconds for run in app.study.history.runs])",
        ],
        view="doc",
    )
    for cell in (0, 1, 2):
        book.run(cell, seconds=300)
    page.get_by_role("tab", name="Finetune").click()
    plain = []
    for pair in range(PAIRS + 1):
        book.run(3 + 2 * pair)
        page.locator(".semviz .said", has_text="Done: training").wait_for(timeout=200_000)
        plain.append(float(book.run(4 + 2 * pair, seconds=200)))
    live = eval(book.run(3 + 2 * (PAIRS + 1)))
    # The first pair warms up.
    ratios = [a / b for a, b in zip(live[1:], plain[1:], strict=True)]
    print(f"with the live view {live[1:]}, without {plain[1:]}")
    print(
        f"slow-down of training by the live view: {100 * (statistics.median(ratios) - 1):+.1f} % (each pair: "
        + ", ".join(f"{100 * (r - 1):+.1f} %" for r in ratios)
        + ")"
    )


PARTS = {"moves": moves, "large": large, "training": training}

if __name__ == "__main__":
    main()
