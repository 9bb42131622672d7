"""Kill work again and again while it writes its files, and see whether anything that was finished is lost.

    python tests/faults/kill.py --times 25                 # each of: trace, sweep, finetune, report
    python tests/faults/kill.py --what sweep --times 20 --seed 0

The work (tests/faults/works.py) runs on a tiny model in a child process, is killed at some moment, and is started again
on the same folder until it ends; then a fresh folder takes its turn. There are three kinds of moments:

- *random*: SIGKILL from outside at a random time;
- *operation*: SIGKILL as Python is about to open, rename, … something in the folder;
- *write*: the kernel ends the child (SIGXFSZ) after a part of a file has been written.

After each kill, every file of the folder whose name does not begin with a dot is held against what it was before, read,
and held against its twin of undisturbed work. Each folder ends in work whose results, times apart, must be those of the
undisturbed one. Prints Markdown; the exit code is 1 if anything was lost. Children are forks of this process, which has
everything loaded; the last one of all is a fresh Python process. For Linux and macOS.
"""

from __future__ import annotations

import argparse
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults import head, line, quiet

if __name__ == "__main__":
    quiet()

import gc

import torch

from faults.children import PATIENCE, TEMPORARY, fork, limit_the_size, on_operations, wait
from faults.surroundings import own_temporary_folder
from faults.works import WORKS, Work

MOMENTS = ("random", "operation", "write")
ORDER = ("random", "operation", "random", "write")
LOSSES = ("lost", "changed", "half-written", "unlike the undisturbed")
HEADS = ("killed", "times (random, operation, write)", "files compared", *LOSSES, "temporary files left",
         "ended like the undisturbed", "seconds")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=[*WORKS, "all"], default="all")
    parser.add_argument("--times", type=int, default=25, help="kills of each")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--lr", default="3e-3", help='learning rate of finetunes, or "auto"')
    parser.add_argument("--resume", nargs=2, metavar=("FOLDER", "RESULT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lr = "auto" if options.lr == "auto" else float(options.lr)
    if options.resume:
        folder, result = map(Path, options.resume)
        work = WORKS[options.what](lr)
        work.warm_up()
        finish(work, folder, result)
        return 0
    head(HEADS)
    wanted = list(WORKS) if options.what == "all" else [options.what]
    return max(kill(what, lr, options.times, options.seed) for what in wanted)


def kill(what: str, lr: Any, times: int, seed: int) -> int:
    """Kill one kind of work so many times, and print its row."""
    # Killed children leave their own temporary folders there.
    with tempfile.TemporaryDirectory() as folder, own_temporary_folder(Path(folder)):
        return Trial(what, lr, Path(folder), random.Random(seed)).run(times)


def finish(work: Work, folder: Path, result: Path) -> None:
    """Work to the end in a folder, and write what came of it."""
    folder.mkdir(exist_ok=True)
    result.write_bytes(pickle.dumps(work.run(folder)))


class Trial:
    """Folders under fire, beside an undisturbed one."""

    def __init__(self, what: str, lr: Any, folder: Path, rng: random.Random) -> None:
        self.what, self.work, self.folder, self.rng = what, WORKS[what](lr), folder, rng
        self.begun = self.ended = 0
        self.kills: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self.failures: list[str] = []

    def run(self, times: int) -> int:
        """Kill so many times, let every folder end, and report."""
        started = time.perf_counter()
        self.prepare()
        self.renew()
        while self.kills.total() < times and not self.failures:
            self.strike(ORDER[self.kills.total() % len(ORDER)])
        if not self.failures:
            self.end_in_a_fresh_process()
        self.report(time.perf_counter() - started)
        return 1 if self.failures or any(self.found[kind] for kind in LOSSES) else 0

    def prepare(self) -> None:
        """Work once undisturbed, and learn from it how long it takes and what it writes."""
        self.work.warm_up()
        gc.collect()
        gc.freeze()
        twin, counted = self.folder / "undisturbed", self.folder / "operations"

        def counting() -> None:
            seen: Counter[str] = Counter()
            on_operations(twin, lambda _number, event: seen.update([event]))
            finish(self.work, twin, self.result(twin))
            counted.write_bytes(pickle.dumps(seen))

        started = time.perf_counter()
        if wait(fork(counting, log=self.log)) != 0:
            raise SystemExit(f"The undisturbed {self.what} failed:\n{self.log.read_text()}")
        self.seconds, events = time.perf_counter() - started, pickle.loads(counted.read_bytes())
        self.operations, self.writes = events.total(), events[TEMPORARY]
        self.twins = {name: self.work.read(twin / name) for name in visible(twin)}
        self.least = min((twin / name).stat().st_size for name in self.twins)
        self.expected = pickle.loads(self.result(twin).read_bytes())

    def renew(self) -> None:
        """Begin a folder."""
        self.begun += 1
        self.current = self.folder / f"folder-{self.begun}"
        self.before: dict[str, Any] = {}
        self.strays = 0

    def strike(self, moment: str) -> None:
        """Start the work on the current folder and kill it; if it ends first, look at its results instead."""
        folder, share = self.current, self.work.share
        after = self.rng.uniform(0, share) * self.seconds
        operation = self.rng.randint(1, max(1, round(share * self.operations)))
        file = self.rng.randint(1, max(1, round(share * self.writes)))
        size = self.rng.randrange(1, self.least)

        def child() -> None:
            if moment == "operation":
                on_operations(folder, lambda number, _: number == operation and os.kill(os.getpid(), signal.SIGKILL))
            if moment == "write":
                limit_the_size(folder, file, size)
            finish(self.work, folder, self.result(folder))

        status = wait(fork(child, log=self.log), kill_after=after if moment == "random" else None)
        if status in (-signal.SIGKILL, -signal.SIGXFSZ):
            self.kills[moment] += 1
            self.look()
        elif status == 0:
            self.look()
            self.compare()
            self.renew()
        else:
            self.failures.append(f"What should have gone on failed ({status}):\n{self.log.read_text()}")

    def look(self) -> None:
        """Read the folder's files, and hold them against what they were and against the undisturbed ones."""
        now: dict[str, Any] = {}
        for name in visible(self.current):
            path = self.current / name
            try:
                read = self.work.read(path)
            except Exception:
                self.found["half-written"] += 1
            else:
                self.found["unlike the undisturbed"] += read != self.twins.get(name)
                now[name] = path.read_bytes() if self.work.resumes else read
        for name, content in self.before.items():
            self.found["lost"] += name not in now
            self.found["changed"] += name in now and now[name] != content
        self.found["compared"] += len(now)
        strays = len(hidden(self.current))
        self.found["stray"] += max(0, strays - self.strays)
        self.before, self.strays = now, strays

    def compare(self) -> None:
        """Hold a finished folder's results against the undisturbed ones."""
        found = pickle.loads(self.result(self.current).read_bytes())
        if not all(a.equals(b) for a, b in zip(found, self.expected, strict=True)):
            self.failures.append(f"{self.current.name} ended otherwise:\n{found[-1]}\ninstead of\n{self.expected[-1]}")
        missing = sorted(self.twins.keys() - set(visible(self.current)))
        if missing:
            self.failures.append(f"{self.current.name} ended without {missing}.")
        self.ended += 1

    def end_in_a_fresh_process(self) -> None:
        """Go on in a new interpreter, where hashes of strings are others."""
        command = [sys.executable, __file__, "--what", self.what, "--lr", str(self.work.lr), "--resume"]
        command += [str(self.current), str(self.result(self.current))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode:
            self.failures.append(f"The fresh process failed:\n{done.stderr}")
            return
        self.look()
        self.compare()

    def report(self, seconds: float) -> None:
        """Print what was tried and what was lost."""
        said = ", ".join(str(self.kills[moment]) for moment in MOMENTS)
        cells: list[Any] = [self.what, f"{self.kills.total()} ({said})", self.found["compared"]]
        cells += [*(self.found[kind] for kind in LOSSES), self.found["stray"], f"{self.ended} of {self.begun}"]
        line([*cells, f"{seconds:.0f}"])
        for failure in self.failures:
            print(failure)

    def result(self, folder: Path) -> Path:
        """Where the results of a folder go."""
        return folder.with_suffix(".pickle")

    @property
    def log(self) -> Path:
        """What the last child has printed."""
        return self.folder / "log"


def visible(folder: Path) -> list[str]:
    """Names of the files that do not begin with a dot."""
    return sorted(path.name for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name[0] == "."] if folder.is_dir() else []


if __name__ == "__main__":
    raise SystemExit(main())
