"""Use semviz for long, and see what grows.

    python tests/faults/load.py                      # all parts
    python tests/faults/load.py jobs moves store     # some of: jobs, moves, explorers, store, browser

- *jobs*: 50 finetunes in a row in one Explorer, headless;
- *moves*: 500 moves of its threshold slider;
- *explorers*: 20 Explorers opened and closed, one after the other;
- *store*: 1,000 runs in one store: seconds to write, list, read, resume and open them;
- *browser*: 1,000 samples × 48 blocks in JupyterLab in Chromium, 50 moves of the slider, and the page's heap.

Of the first three, the counts of threads, hooks, widgets, open files and Python's objects, and the memory of the
process, before and after. Prints Markdown; the exit code is 1 if threads, hooks, widgets or open files grew. Numbers of
seconds and bytes are printed and judged by whoever reads them.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults import quiet

if __name__ == "__main__":
    quiet()

import psutil
import torch
from ipywidgets.widgets import widget
from small import mood_task, plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.experiments.run_store import Store
from semviz.finetuning.recipe import Recipe, run_key

COUNTS = ("threads", "hooks", "widgets", "open files", "objects", "MB")
FIXED = COUNTS[:4]  # what must not grow at all


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="jobs, moves, explorers, store, browser; all by default")
    parser.add_argument("--runs", type=int, default=1000, help="in the store")
    options = parser.parse_args()
    torch.set_num_threads(1)
    wanted = options.parts or ["jobs", "moves", "explorers", "store", "browser"]
    grown = 0
    if {"jobs", "moves", "explorers"} & set(wanted):
        heads = [f"{name}, before → half-way → after" for name in COUNTS]
        print("| what | times | " + " | ".join(heads) + " | seconds |\n|" + "---|" * (len(COUNTS) + 3), flush=True)
    for name, times in (("jobs", 50), ("moves", 500), ("explorers", 20)):
        if name in wanted:
            with opened() as app:
                grown += bool(row(name, times, app))
    if "store" in wanted:
        with tempfile.TemporaryDirectory() as folder:
            store(Path(folder) / "store", options.runs)
    if "browser" in wanted:
        browser()
    return 1 if grown else 0


@contextmanager
def opened() -> Iterator[sv.Explorer]:
    """An Explorer of a tiny model, whose finetunes take a moment."""
    model = sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())
    with tempfile.TemporaryDirectory() as folder:
        app = sv.Explorer(model, mood_task(), store=folder, progress=False)
        app.study.set(steps=2, lr=1e-3, batch_size=16)
        yield app
        app.close()


def job(app: sv.Explorer, number: int) -> None:
    """A finetune that was not run before, as a person starts it."""
    app.boundary.value = number % app.study.model.n_blocks
    app.tuning.seed.value = number
    app.run.click()
    assert app.job is not None
    assert app.job.wait().state == "done", app.job.traceback


def move(app: sv.Explorer, number: int) -> None:
    """A move of the slider to another boundary."""
    app.threshold.value = (number * 37 % 101) / 100


def explorer(app: sv.Explorer, _: int) -> None:
    """Another Explorer of the same model and trace, opened and closed."""
    study = app.study
    other = sv.Explorer(study.model, study.task, trace=study.opening.traces["full"], progress=False)
    other.boundary.value = 1 if other.boundary.value != 1 else 2
    other.close()


ACTS: dict[str, tuple[Callable[[sv.Explorer, int], None], int]] = {
    "jobs": (job, 5),
    "moves": (move, 50),
    "explorers": (explorer, 3),
}


def counts(app: sv.Explorer) -> dict[str, float]:
    """What may grow."""
    gc.collect()
    modules = list(app.study.model.model.modules())
    hooks = sum(len(found) for m in modules for key, found in vars(m).items() if key.endswith("hooks"))
    return {
        "threads": threading.active_count(),
        "hooks": hooks,
        "widgets": len(widget._instances),
        "open files": len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0,
        "objects": len(gc.get_objects()),
        "MB": psutil.Process().memory_info().rss / 1e6,
    }


def grows(name: str, times: int, app: sv.Explorer) -> list[dict[str, float]]:
    """The counts before, half-way and after so many acts; some more come first, for what is made once."""
    act, warm = ACTS[name]
    seen = []
    for number in range(warm + times):
        if number in (warm, warm + times // 2):
            seen.append(counts(app))
        act(app, number)
    return [*seen, counts(app)]


def row(name: str, times: int, app: sv.Explorer) -> list[str]:
    """Print one row; returns what must not have grown and did."""
    started = time.perf_counter()
    seen = grows(name, times, app)
    cells = [" → ".join(f"{found[key]:,.0f}" for found in seen) for key in COUNTS]
    print(f"| {name} | {times} | " + " | ".join(cells) + f" | {time.perf_counter() - started:.0f} |", flush=True)
    return [key for key in FIXED if seen[-1][key] > seen[0][key]]


def filled(folder: Path, model: sv.LanguageModel, task: sv.Task, runs: int) -> list[int]:
    """Put so many runs of a sweep over all boundaries into a store, as if it had run; its seeds."""
    options = {"lr": 1e-3, "epochs": 1, "batch_size": 16}
    kept, seeds = Store(folder), list(range(-(-runs // model.n_blocks)))
    for scope in sv.Scope.suffixes(model):
        run = sv.finetune(model, task, scope, **options, progress=False)
        for seed in seeds:
            key = run_key(model, task, scope, Recipe("full", 1e-3, 1, 16, seed))
            kept.add(replace(run, key=key, seed=seed))
    return seeds


def store(folder: Path, runs: int) -> None:
    """Print the seconds that a store of many runs takes."""
    model = sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())
    task = mood_task()
    seeds: list[int] = []
    results: dict[str, Any] = {}

    def resume() -> sv.Runs:
        quick = {"lr": 1e-3, "epochs": 1, "batch_size": 16, "progress": False}
        return sv.sweep(model, task, seeds=seeds, store=folder, **quick)

    trace = sv.trace(model, task, progress=False)
    works: dict[str, Callable[[], Any]] = {
        "write": lambda: seeds.extend(filled(folder, model, task, runs)),
        "list": lambda: Store(folder).keys(),
        "read all": lambda: [Store(folder).find(key) for key in results["list"]],
        "resume a sweep": resume,
        "its table": lambda: results["resume a sweep"].table(),
        "open a study": lambda: sv.Study(model, task, trace=trace, store=folder, progress=False),
        "its best boundary and probes": lambda: results["open a study"].advice(),
    }
    print(f"\n| {runs:,} runs in one store | seconds | of the processor | what |\n|---|---|---|---|", flush=True)
    for name, work in works.items():
        started, computed = time.perf_counter(), time.process_time()
        results[name] = work()
        seconds, computed = time.perf_counter() - started, time.process_time() - computed
        sizes = {"list": "keys", "read all": "runs", "resume a sweep": "runs"}
        said = f"{len(results[name]):,} {sizes[name]}" if name in sizes else ""
        print(f"| {name} | {seconds:.2f} | {computed:.2f} | {said} |", flush=True)
    results["open a study"].close()


HEAP = ("JSHeapUsedSize", "Nodes", "JSEventListeners")


def browser() -> None:
    """Open a large study in JupyterLab, move its slider by keys, and print what the page holds before and after."""
    from bench.bench_explorer import LARGE, MOVED, MOVES, SHOW
    from browser import chromium, pages, servers
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        server = servers.Server("lab", Path(home))
        try:
            server.start()
            opened = playwright.chromium.launch(executable_path=chromium.require(), args=list(chromium.ARGUMENTS))
            page = opened.new_context(viewport={"width": 1280, "height": 900}).new_page()
            book = pages.Lab(page, server, "load").open([LARGE, SHOW], view="doc")
            book.run(0, seconds=600)
            started = time.perf_counter()
            book.start(1)
            drawn = ".semviz-picture:not([data-semviz-drawn='0']):visible"
            book.output(1).locator(drawn).first.wait_for(timeout=120_000)
            seen = time.perf_counter() - started
            book.wait(1)
            devtools = page.context.new_cdp_session(page)
            devtools.send("Performance.enable")

            def held() -> dict[str, float]:
                devtools.send("HeapProfiler.collectGarbage")
                found = devtools.send("Performance.getMetrics")["metrics"]
                return {entry["name"]: entry["value"] for entry in found if entry["name"] in HEAP}

            page.locator(".noUi-handle").first.focus()
            page.keyboard.press("Home")  # from its lower end, so that every press moves it
            page.wait_for_timeout(500)
            times: list[float] = []
            before: dict[str, float] = {}
            for number in range(10 + MOVES):
                if number == 10:  # the first ones warm up
                    before = held()
                page.wait_for_timeout(150)
                page.evaluate(f"() => {{ window.moved = ({MOVED})() }}")
                page.keyboard.press(("End", "Home")[number % 2])
                times.append(page.evaluate("() => window.moved"))
            after = held()
            page.context.close()
        finally:
            server.stop()
    heads = ("in JupyterLab in Chromium", "seconds to a picture", "moves", "median ms", "heap MB", "nodes", "listeners")
    print("\n| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    scales = {HEAP[0]: 1e6}
    grown = [" → ".join(f"{found[key] / scales.get(key, 1):,.0f}" for found in (before, after)) for key in HEAP]
    cells = ["1,000 samples × 48 blocks", f"{seen:.2f}", MOVES, f"{sorted(times[10:])[MOVES // 2]:.0f}", *grown]
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
