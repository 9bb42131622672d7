"""Stop work by an interrupt or by an exception of the user's own code, and see what is not as it was before.

    python tests/faults/stop.py --times 50           # of each job and way

Jobs (tests/faults/jobs.py), on a tiny model: a trace, what the Explorer does when it opens, a finetune, a sweep and
probes with a store. Ways:

- *interrupt at a step*: SIGINT while progress is told, at a random step;
- *interrupt at a random time*: SIGINT from another thread;
- *exception in on_progress*: at a random step;
- *exception in a metric*: of a metric of the user's own, at a random call (traces only);
- *interrupt of a save*: SIGINT at a random time while a trace is saved over an older one.

After each, what tests/faults/surroundings.py names must be as before, bit for bit: weights, gradients, flags, modes,
hooks, random states, threads, temporary files, torch's switches. What raised must have come out. The same job then
goes on (stores are kept until it ends), and must find what an undisturbed one does, bit for bit. Prints Markdown; the
exit code is 1 if anything was not so.
"""

from __future__ import annotations

import argparse
import gc
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults import head, line, quiet

if __name__ == "__main__":
    quiet()

import torch

import semviz as sv
from faults.jobs import Jobs, numbers, same, several_batches
from faults.surroundings import changed, own_temporary_folder, surroundings

WAYS = ("interrupt at a step", "interrupt at a random time", "exception in on_progress")
HEADS = (
    "stopped by",
    "job",
    "times",
    "came out as raised",
    "something changed",
    "ended like the undisturbed",
    "seconds",
)


class Stop(Exception):
    """What user code raises."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50, help="stops of each job and way")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    torch.set_num_threads(1)
    # Python leaves an interrupt ignored that was so when it began, as in a shell's background jobs.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    head(HEADS)
    failed = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory() as temporary,
        own_temporary_folder(Path(temporary)),
        several_batches(),
    ):
        bench = Bench(Path(folder), random.Random(options.seed))
        for name in bench.jobs.all:
            for way in WAYS:
                failed += bench.row(way, name, options.times)
        failed += bench.row("exception in a metric", "trace", options.times)
        failed += bench.row("interrupt of a save", "save", options.times)
    return 1 if failed else 0


class Bench:
    """Jobs, what they find when nobody stops them, and how long they take."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self.rng = folder, rng
        self.jobs = Jobs(folder)
        self.saved = folder / "trace.parquet"
        self.work: dict[str, Callable[[sv.Control | None], Any]] = {**self.jobs.all, "save": self.save}
        self.kept = self.jobs.trace(None)
        self.expected: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        self.steps: dict[str, int] = {}
        for name, job in self.work.items():
            self.clear()
            job(None)  # loads what is loaded at first use
            self.clear()
            steps: list[Any] = []
            started = time.perf_counter()
            self.expected[name] = numbers(job(sv.Control(steps.append)))
            self.seconds[name], self.steps[name] = time.perf_counter() - started, len(steps)
        self.clear()
        gc.collect()
        gc.freeze()  # a finetune collects, and so does every look at the surroundings
        self.jobs.seed(rng.randrange(2**31))

    def save(self, _: sv.Control | None) -> sv.Trace:
        """Save a trace a few times, and read it."""
        for _ in range(5):
            self.kept.save(self.saved)
        return sv.Trace.load(self.saved)

    def clear(self) -> None:
        """Begin with an empty store, and a file to be replaced."""
        for place in self.folder.iterdir():
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        self.kept.save(self.saved)

    def row(self, way: str, name: str, times: int) -> int:
        """Stop a job so many times, and print what came of it; returns how often something was wrong."""
        started, counts, wrong = time.perf_counter(), Counter(), []
        self.clear()
        before = surroundings(self.jobs.model, self.folder)
        ends = 0
        while counts["stopped"] < times:
            result = self.strike(way, name, counts)
            found = changed(before, self.jobs.model, self.folder)
            counts["changed"] += bool(found)
            if found:
                wrong += found[:3]
                before = surroundings(self.jobs.model, self.folder)
            if result is not None:  # it ended before it was stopped
                ends += 1
                counts["alike"] += same(result, self.expected[name])
                self.clear()
        ends += 1
        counts["alike"] += same(self.work[name](None), self.expected[name])
        cells = [way, name, counts["stopped"], counts["raised"], counts["changed"], f"{counts['alike']} of {ends}"]
        line([*cells, f"{time.perf_counter() - started:.0f}"])
        for thing in wrong[:5]:
            print(f"  changed: {thing[:300]}")
        return counts["stopped"] - counts["raised"] + counts["changed"] + ends - counts["alike"]

    def strike(self, way: str, name: str, counts: Counter[str]) -> Any:
        """Run a job and stop it; its result if it ended before that."""
        job, wanted = self.work[name], KeyboardInterrupt if "interrupt" in way else Stop
        try:
            if way in ("interrupt at a step", "exception in on_progress"):
                return self.at_a_step(job, self.steps[name], wanted)
            return self.in_a_metric() if way == "exception in a metric" else self.at_a_time(name)
        except BaseException as error:
            counts["stopped"] += 1
            counts["raised"] += type(error) is wanted
            if type(error) is not wanted:
                print(f"  {way}, {name}: {error!r}", flush=True)
            return None

    def at_a_step(self, job: Callable[[sv.Control], Any], steps: int, wanted: type[BaseException]) -> Any:
        """A sweep that goes on has fewer steps than a whole one, so it may end."""
        last, seen = self.rng.randint(1, steps), [0]

        def watch(_: Any) -> None:
            seen[0] += 1
            if seen[0] == last:
                signal.raise_signal(signal.SIGINT) if wanted is KeyboardInterrupt else self.fail()

        return job(sv.Control(watch))

    def in_a_metric(self) -> Any:
        last, seen = self.rng.randint(1, (self.jobs.model.n_blocks + 1) * self.steps["trace"]), [0]

        @sv.metric("of-mine", title="mine", unit="", low=None, high=None, loss_like=False, definition="fails")
        def mine(view: Any) -> Any:
            seen[0] += 1
            return self.fail() if seen[0] == last else view.target.float()

        try:
            return sv.trace(self.jobs.model, self.jobs.task, metrics=["lens", "of-mine"], progress=False)
        finally:
            del sv.METRICS["of-mine"]

    def at_a_time(self, name: str) -> Any:
        job, seconds = self.work[name], self.seconds[name]
        over, after = threading.Event(), self.rng.uniform(0, seconds)

        def shoot() -> None:
            if not over.wait(after):
                signal.raise_signal(signal.SIGINT)

        shooter = threading.Thread(target=shoot)
        shooter.start()
        try:
            started = time.perf_counter()
            result = job(None)
            self.seconds[name] = min(seconds, time.perf_counter() - started)
            return result
        finally:
            over.set()
            shooter.join()

    def fail(self) -> Any:
        raise Stop


if __name__ == "__main__":
    raise SystemExit(main())
