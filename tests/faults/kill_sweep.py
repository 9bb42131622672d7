"""Kill a stored sweep again and again, and see whether anything that was finished is lost.

    python tests/faults/kill_sweep.py --times 20 --seed 0

A sweep over a tiny model runs in a child process, is killed at some moment, and is started again on the same store
until it ends; then a fresh store takes its turn. There are three kinds of moments:

- `at a random time`: SIGKILL from outside;
- `before a file operation`: SIGKILL as Python is about to open, rename, … something in the store;
- `inside a write`: the kernel ends the child (SIGXFSZ) after a part of a file has been written.

After each kill, every file of the store whose name does not begin with a dot is held against what it was before, read,
and held against its twin of an undisturbed sweep. Each store ends in a sweep whose results, times apart, must be those
of the undisturbed one. Prints Markdown; the exit code is 1 if anything was lost. Children are forks of this process,
which has everything loaded; the last one of all is a fresh Python process. For Linux and macOS.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

if __name__ == "__main__":  # and not when pytest looks for doctests
    # Read when the libraries are imported. Without CUDA, autograd has no threads that a fork would lose.
    os.environ.update(
        CUDA_VISIBLE_DEVICES="",
        HF_HUB_OFFLINE="1",
        OMP_NUM_THREADS="1",
        TOKENIZERS_PARALLELISM="false",
        TQDM_DISABLE="1",
        TRANSFORMERS_VERBOSITY="error",
    )
sys.path.insert(0, str(Path(__file__).parents[1]))

import pandas as pd
import torch
from safetensors.torch import load_file
from small import plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.store import Store

MOMENTS = ("at a random time", "before a file operation", "inside a write")
LOSSES = ("lost", "changed", "half-written", "unlike the undisturbed")
TIMES = ("second", "time", "bytes", "speedup")  # in the names of what differs from run to run
PATIENCE = 60  # seconds that a child may take
SHARE = 0.4  # of a sweep within which it is killed, so that a store sees several kills


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="kills")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--lr", default="3e-3", help='learning rate, or "auto"')
    parser.add_argument("--resume", nargs=2, metavar=("STORE", "TABLE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    sweep = Sweep("auto" if options.lr == "auto" else float(options.lr))
    if options.resume:
        sweep.run(*map(Path, options.resume))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        # Killed children leave their own temporary folders there.
        tempfile.tempdir = os.environ["TMPDIR"] = folder
        return Trial(sweep, Path(folder), random.Random(options.seed)).run(options.times)


class Sweep:
    """What is killed: every boundary of a tiny model with two seeds, eight runs, trained weights kept."""

    def __init__(self, lr: float | Literal["auto"]) -> None:
        self.lr = lr
        self.model = sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())
        self.task = mood()

    def run(self, store: Path, table: Path) -> None:
        """Sweep to the end and write the results, times apart."""
        options = {"batch_size": 8, "keep_weights": True, "progress": False}
        runs = sv.sweep(self.model, self.task, seeds=(0, 1), lr=self.lr, epochs=2, store=store, **options)
        pd.to_pickle([without_times(runs.frame()), without_times(runs.table())], table)

    def warm_up(self) -> None:
        """Load what is loaded at first use, so that forks have it."""
        sv.finetune(self.model, self.task, sv.Scope.last(self.model), lr=1e-3, epochs=0.1, progress=False).record()


def mood() -> sv.Task:
    """A task that one sentence decides: good things are liked."""
    things, colours, texts, labels = ("cat", "dog", "bird", "tree", "house"), ("red", "blue", "green"), [], []
    for i in range(80):
        good = (i // 5) % 2 == 0
        texts.append(f"the {colours[i % 3]} {things[i % 5]} was {'good' if good else 'bad'} .")
        labels.append("yes" if good else "no")
    return sv.Task.from_texts(texts, labels, prompt="{text} mood :", name="tiny mood")


def without_times(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns=[name for name in table if any(word in name for word in TIMES)])


class Trial:
    """Stores under fire, beside an undisturbed one."""

    def __init__(self, sweep: Sweep, folder: Path, rng: random.Random) -> None:
        self.sweep, self.folder, self.rng = sweep, folder, rng
        self.stores = 0
        self.kills: Counter[str] = Counter()
        self.files: Counter[str] = Counter()
        self.found: dict[str, Counter[str]] = {moment: Counter() for moment in MOMENTS}
        self.failures: list[str] = []

    def run(self, times: int) -> int:
        """Kill so many times, let every store end, and report."""
        started = time.perf_counter()
        self.prepare()
        self.renew()
        while sum(self.kills.values()) < times and not self.failures:
            self.strike(MOMENTS[(0, 1, 0, 2)[sum(self.kills.values()) % 4]])
        if not self.failures:
            self.end_in_a_fresh_process()
        self.report(time.perf_counter() - started)
        lost = sum(counts[kind] for counts in self.found.values() for kind in LOSSES)
        return 1 if lost or self.failures else 0

    def prepare(self) -> None:
        """Run one sweep undisturbed and learn from it how long it takes and what it writes."""
        self.sweep.warm_up()
        twin, counted = self.folder / "undisturbed", self.folder / "operations"

        def counting() -> None:
            seen = [0]
            on_operations(twin, lambda number, _event: seen.__setitem__(0, number))
            self.sweep.run(twin, self.table(twin))
            counted.write_text(str(seen[0]))

        started = time.perf_counter()
        status = wait(self.fork(counting))
        if status != 0:
            raise SystemExit(f"The undisturbed sweep failed:\n{self.log.read_text()}")
        self.seconds, self.operations = time.perf_counter() - started, int(counted.read_text())
        self.twins = visible(twin)
        self.expected = pd.read_pickle(self.table(twin))

    def renew(self) -> None:
        """Begin a store."""
        self.stores += 1
        self.store = self.folder / f"store-{self.stores}"
        self.before: dict[str, bytes] = {}
        self.strays = 0

    def strike(self, moment: str) -> None:
        """Start the sweep on the current store and kill it; if it ends first, look at its results instead."""
        store, table = self.store, self.table(self.store)
        after = self.rng.uniform(0, SHARE) * self.seconds
        operation = self.rng.randint(1, max(1, round(SHARE * self.operations)))
        file = self.rng.randint(1, max(1, round(SHARE * len(self.twins))))
        size = self.rng.randrange(1, min(map(len, self.twins.values())))

        def child() -> None:
            if moment == "before a file operation":
                on_operations(
                    store, lambda number, _event: number == operation and os.kill(os.getpid(), signal.SIGKILL)
                )
            if moment == "inside a write":
                limit_the_size(store, file, size)
            self.sweep.run(store, table)

        status = wait(self.fork(child), kill_after=after if moment == "at a random time" else None)
        if status in (-signal.SIGKILL, -signal.SIGXFSZ):
            self.kills[moment] += 1
            self.look(moment)
        elif status == 0:
            self.look(moment)
            self.compare()
            self.renew()
        else:
            self.failures.append(f"A sweep that should have gone on failed ({status}):\n{self.log.read_text()}")

    def look(self, moment: str) -> None:
        """Hold the store's files against what they were, read them, and hold them against the undisturbed ones."""
        now, counts = visible(self.store), self.found[moment]
        for name, content in self.before.items():
            counts["lost"] += name not in now
            counts["changed"] += name in now and now[name] != content
        for name, content in now.items():
            whole = readable(self.store / name)
            counts["half-written"] += not whole
            counts["unlike the undisturbed"] += whole and not self.like_its_twin(name, content)
        self.files[moment] += len(self.before)
        counts["stray"] += len(hidden(self.store)) - self.strays
        self.before, self.strays = now, len(hidden(self.store))

    def like_its_twin(self, name: str, content: bytes) -> bool:
        """Whether a file says what the undisturbed sweep's file of that name says, times apart."""
        if name not in self.twins:
            return False
        if name.endswith(".json"):
            return timeless(json.loads(content)) == timeless(json.loads(self.twins[name]))
        return content == self.twins[name]

    def compare(self) -> None:
        """Hold a finished store's results against the undisturbed ones."""
        found = pd.read_pickle(self.table(self.store))
        if not all(a.equals(b) for a, b in zip(found, self.expected, strict=True)):
            self.failures.append(f"The table of {self.store.name} differs:\n{found[1]}\ninstead of\n{self.expected[1]}")
        missing = sorted(self.twins.keys() - visible(self.store).keys())
        if missing:
            self.failures.append(f"{self.store.name} ended without {missing}.")

    def end_in_a_fresh_process(self) -> None:
        """Go on in a new interpreter, where hashes of strings are others."""
        command = [sys.executable, __file__, "--lr", str(self.sweep.lr), "--resume"]
        command += [str(self.store), str(self.table(self.store))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode:
            self.failures.append(f"The fresh process failed:\n{done.stderr}")
            return
        self.look(MOMENTS[0])
        self.compare()

    def report(self, seconds: float) -> None:
        """Print what was tried and what was lost."""
        print(f"One sweep: {len(self.twins)} files, {self.operations} file operations, {self.seconds:.1f} s.\n")
        print("| killed | times | files compared | " + " | ".join(LOSSES) + " | temporary files left |")
        print("|---|" + "---|" * (len(LOSSES) + 3))
        for moment in MOMENTS:
            counts = self.found[moment]
            cells = [self.kills[moment], self.files[moment], *(counts[kind] for kind in LOSSES), counts["stray"]]
            print(f"| {moment} | " + " | ".join(map(str, cells)) + " |")
        print(f"\n{sum(self.kills.values())} kills over {self.stores} stores in {seconds:.0f} s; ", end="")
        print("every store ended with the results of the undisturbed sweep." if not self.failures else "failures:")
        for failure in self.failures:
            print(f"\n{failure}")

    def table(self, store: Path) -> Path:
        return store.with_suffix(".pickle")

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def fork(self, work: Callable[[], None]) -> int:
        """Run something in a child process that writes to the log and never returns."""
        sys.stdout.flush()
        child = os.fork()
        if child:
            return child
        status = 1
        try:
            log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1), os.dup2(log, 2)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)


def wait(child: int, *, kill_after: float | None = None) -> int:
    """Wait for a child, killing it after some seconds if asked to; its exit code, negative for a signal."""
    started, killed = time.perf_counter(), False
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        waited = time.perf_counter() - started
        if kill_after is not None and waited >= kill_after and not killed:
            os.kill(child, signal.SIGKILL)
            killed = True
        if waited > PATIENCE:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise SystemExit(f"A sweep hung for {PATIENCE} s.")
        time.sleep(0.001)


def on_operations(store: Path, act: Callable[[int, str], Any]) -> None:
    """Before every file operation of Python's in a folder, call `act(how many so far, event)`."""
    folder, seen = os.fspath(store), [0]

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if any(isinstance(arg, str | os.PathLike) and os.fspath(arg).startswith(folder) for arg in args):
            seen[0] += 1
            act(seen[0], event)

    sys.addaudithook(hook)


def limit_the_size(store: Path, file: int, size: int) -> None:
    """From a temporary file on (1 is the first), let the kernel end this process when a file outgrows some bytes."""
    begun = [0]

    def act(_number: int, event: str) -> None:
        if event == "tempfile.mkstemp":
            begun[0] += 1
            if begun[0] == file:
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    # Python ignores this signal; the write would then fail with an exception, which could be cleaned up after.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    on_operations(store, act)


def visible(store: Path) -> dict[str, bytes]:
    """Contents by name of the files whose names do not begin with a dot."""
    if not store.is_dir():
        return {}
    return {path.name: path.read_bytes() for path in store.iterdir() if not path.name.startswith(".")}


def hidden(store: Path) -> list[str]:
    return [path.name for path in store.iterdir() if path.name.startswith(".")] if store.is_dir() else []


def readable(path: Path) -> bool:
    """Whether a run file can be read whole."""
    with contextlib.suppress(Exception):
        if path.suffix == ".safetensors":
            return bool(load_file(path))
        if path.suffix == ".json":
            run = Store(path.parent).find(path.stem)
            return run is not None and len(run.rows) > 0 and all(len(tensor) for tensor in run.weights.values())
        return path.stat().st_size > 0
    return False


def timeless(record: Any) -> Any:
    """A record without its times."""
    if isinstance(record, dict):
        return {key: timeless(value) for key, value in record.items() if not any(word in key for word in TIMES)}
    return [timeless(value) for value in record] if isinstance(record, list) else record


if __name__ == "__main__":
    raise SystemExit(main())
