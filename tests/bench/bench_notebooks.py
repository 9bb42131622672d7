"""How long each notebook of the course runs, and how much memory its kernel takes, in a fresh kernel each.

    python tests/bench/bench_notebooks.py                        # all of them, on one thread, as `make test` runs them
    python tests/bench/bench_notebooks.py notebooks/01_tour.ipynb

Prints a table: notebook, seconds, peak MB of its kernel, KB on disk with outputs. Nothing is written.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "10000", "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}

import nbformat
import psutil
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]


def measure(path: Path) -> tuple[float, float]:
    """Run one notebook from top to bottom; seconds, and peak megabytes of all that it started."""
    own, peak, ended = psutil.Process(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.05):
            try:
                peak = max(peak, sum(p.memory_info().rss for p in own.children(recursive=True)))
            except psutil.NoSuchProcess:
                continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    try:
        NotebookClient(
            nbformat.read(path, as_version=4), timeout=600, resources={"metadata": {"path": str(path.parent)}}
        ).execute()
    finally:
        ended.set()
        watcher.join()
    return time.perf_counter() - began, peak / 1e6


def main() -> None:
    """Measure the notebooks that are named, or all."""
    course = [*sorted(ROOT.glob("notebooks/*.ipynb")), *sorted(ROOT.glob("notebooks/exercises/solutions/*.ipynb"))]
    print("| notebook | seconds | peak MB | size, KB |\n|---|---|---|---|")
    for path in [Path(name).resolve() for name in sys.argv[1:]] or course:
        seconds, megabytes = measure(path)
        print(f"| {path.stem} | {seconds:.0f} | {megabytes:.0f} | {path.stat().st_size / 1000:.0f} |", flush=True)


if __name__ == "__main__":
    main()
