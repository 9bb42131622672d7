"""Let memory run out at every station, by a fake allocator, and see what is not as it was before.

    python tests/faults/out_of_memory.py --times 60     # at each station

Stations: a batch of a trace, of the calibration and of the prefix pass, the proof of the cache, a training step, a
batch of an evaluation. At a random operation of torch there (tests/faults/allocator.py), each kind of error that torch
and Python have for it is raised. Passes over texts halve their batch and must go on to the same numbers; the others
must raise that error, or a SemvizError that says what to pass. After each, what tests/faults/surroundings.py names must
be as before, bit for bit, and at the end the jobs must find what they found undisturbed. Prints Markdown; the exit code
is 1 if anything was not so.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults import head, line, quiet

if __name__ == "__main__":
    quiet()

import torch

import semviz as sv
from faults.allocator import ERRORS, STATIONS, WITHIN, Allocator
from faults.jobs import Jobs, numbers, same, several_batches
from faults.surroundings import changed, own_temporary_folder, surroundings

HEADS = ("out of memory in", "times", "went on", "to the same numbers", "raised it", "something changed", "seconds")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=60, help="at each station")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Out of memory")
    head(HEADS)
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory() as temporary,
        own_temporary_folder(Path(temporary)),
        several_batches(),
    ):
        return 1 if Bench(Path(folder), random.Random(options.seed)).run(options.times) else 0


class Bench:
    """The jobs in which the stations are, and what they find undisturbed."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.rng, self.jobs = rng, Jobs(folder)
        calibration = sv.calibrate(self.jobs.model, progress=False)
        self.work = {
            "calibration": lambda: sv.calibrate(self.jobs.model, progress=False),
            "trace batch": lambda: sv.trace(self.jobs.model, self.jobs.task, calibration=calibration, progress=False),
            **dict.fromkeys(("prefix pass", "proof of the cache", "training step", "evaluation"), self.finetune),
        }
        assert set(self.work) == set(STATIONS.values())
        self.expected, self.operations = {}, {}
        for station, job in self.work.items():
            job()  # loads what is loaded at first use
            self.expected[station] = numbers(job())
            with Allocator() as allocator:
                job()
            self.operations[station] = allocator.seen[station]
        gc.collect()
        gc.freeze()  # a finetune collects, and so does every look at the surroundings
        self.jobs.seed(rng.randrange(2**31))

    def finetune(self) -> Any:
        return self.jobs.finetune(None)

    def run(self, times: int) -> int:
        """Let memory run out everywhere, and print a row each; returns how often something was wrong."""
        wrong = sum(self.row(station, times) for station in self.work)
        ended = [same(self.work[station](), self.expected[station]) for station in self.work]
        print(f"\n{sum(ended)} of {len(ended)} jobs then found what they found undisturbed, bit for bit.")
        return wrong + ended.count(False)

    def row(self, station: str, times: int) -> int:
        """Let memory run out so many times in one station."""
        started, counts, notes = time.perf_counter(), Counter(), Counter()
        before = surroundings(self.jobs.model)
        for number in range(times):
            kind, text = ERRORS[number % len(ERRORS)]
            error = kind(text)
            result, allocator = None, Allocator(station, self.rng.randint(1, self.operations[station]), error)
            try:
                with allocator:
                    result = self.work[station]()
            except BaseException as raised:
                counts["raised"] += raised is error or isinstance(raised, sv.SemvizError)
                notes[f"{raised!r}"[:200]] += raised is not error
            else:
                counts["went on"] += 1
                counts["same"] += same(result, self.expected[station], within=WITHIN)
                notes[getattr(result, "note", "")] += 1
            counts["tried"] += allocator.error is None
            error = result = allocator = None
            found = changed(before, self.jobs.model)
            if found:
                counts["changed"] += 1
                notes[f"changed: {found[:3]}"[:300]] += 1
                before = surroundings(self.jobs.model)
        cells = [station, *(counts[key] for key in ("tried", "went on", "same", "raised", "changed"))]
        line([*cells, f"{time.perf_counter() - started:.0f}"])
        for note, often in notes.items():
            if note and often:
                print(f"  {often} × {note}")
        return counts["changed"] + counts["tried"] - counts["same"] - counts["raised"]


if __name__ == "__main__":
    raise SystemExit(main())
