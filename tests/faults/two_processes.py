"""Run the same sweep in two processes on one store at the same time, and see whether they disturb each other.

    python tests/faults/two_processes.py --times 10          # of each kind

Kinds: *both run to their end*; *one is killed* at a random moment while the other goes on. Each pair begins on an empty
store. In the end every process that lived must have the table of an undisturbed sweep, and every file of the store
must be whole and say what the undisturbed sweep's file of that name says, times apart. Prints Markdown; the exit code
is 1 if anything was not so. For Linux and macOS.
"""

from __future__ import annotations

import argparse
import gc
import pickle
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults import head, line, quiet

if __name__ == "__main__":
    quiet()

import torch

from faults.children import fork, wait
from faults.surroundings import own_temporary_folder
from faults.works import Sweep

KINDS = ("both run to their end", "one is killed")
HEADS = (
    "two sweeps on one store",
    "times",
    "tables",
    "equal",
    "files",
    "torn",
    "unlike",
    "missing",
    "dot files",
    "seconds",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10, help="pairs of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    torch.set_num_threads(1)
    head(HEADS)
    # Killed children leave their own temporary folders there.
    with tempfile.TemporaryDirectory() as folder, own_temporary_folder(Path(folder)):
        pairs = Pairs(Path(folder), random.Random(options.seed))
        return max(pairs.row(kind, options.times) for kind in KINDS)


class Pairs:
    """Pairs of sweeps, beside an undisturbed one."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self.rng, self.work, self.made = folder, rng, Sweep(), 0
        self.work.warm_up()
        gc.collect()
        gc.freeze()
        alone = folder / "alone"
        started = time.perf_counter()
        assert wait(self.start(alone, "alone")) == 0, (folder / "alone.log").read_text()
        self.seconds = time.perf_counter() - started
        self.twins = {path.name: self.work.read(path) for path in alone.iterdir()}
        self.expected = self.table("alone")

    def start(self, store: Path, name: str) -> int:
        """Start a sweep in a child process."""

        def child() -> None:
            (self.folder / f"{name}.pickle").write_bytes(pickle.dumps(self.work.run(store)))

        return fork(child, log=self.folder / f"{name}.log")

    def table(self, name: str) -> list:
        return pickle.loads((self.folder / f"{name}.pickle").read_bytes())

    def row(self, kind: str, times: int) -> int:
        """Run so many pairs and print what came of them; returns 1 if anything was wrong."""
        started, counts = time.perf_counter(), Counter()
        for _ in range(times):
            self.pair(counts, kills=kind == KINDS[1])
        cells = [kind, times, *(counts[k] for k in ("tables", "equal", "files", "torn", "unlike", "missing", "dots"))]
        line([*cells, f"{time.perf_counter() - started:.0f}"])
        wrong = counts["tables"] - counts["equal"] + counts["torn"] + counts["unlike"] + counts["missing"]
        return 1 if wrong or (kind == KINDS[0] and counts["dots"]) else 0

    def pair(self, counts: Counter[str], *, kills: bool) -> None:
        self.made += 1
        store, names = self.folder / f"store-{self.made}", [f"{self.made}-first", f"{self.made}-second"]
        children = [self.start(store, name) for name in names]
        # The other one is a child of this process too, and waits to be waited for.
        ends = [wait(children[0], kill_after=self.rng.uniform(0, 1.5 * self.seconds) if kills else None)]
        ends.append(wait(children[1]))
        for name, end in zip(names, ends, strict=True):
            if kills and end == -signal.SIGKILL:
                continue
            if end != 0:
                print((self.folder / f"{name}.log").read_text())
            counts["tables"] += 1
            counts["equal"] += end == 0 and all(
                a.equals(b) for a, b in zip(self.table(name), self.expected, strict=True)
            )
        there = {path.name: path for path in store.iterdir()}
        counts["dots"] += sum(name.startswith(".") for name in there)
        visible = {name: path for name, path in there.items() if not name.startswith(".")}
        counts["missing"] += len(self.twins.keys() - visible.keys())
        for name, path in visible.items():
            counts["files"] += 1
            try:
                counts["unlike"] += self.work.read(path) != self.twins.get(name)
            except Exception as error:
                counts["torn"] += 1
                print(f"  {name}: {error!r}"[:300])


if __name__ == "__main__":
    raise SystemExit(main())
