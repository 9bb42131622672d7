"""Let the disk be full in the middle of every file that semviz writes, and see what is left.

    python tests/faults/disk_full.py --times 25          # sizes of each kind; as root it also mounts a disk of 16 MB

Writers: a trace, a run with weights into a store, a report; the mapped states of a prefix; and a whole sweep. Ways:

- *no space, faked*: ENOSPC at each operation of semviz.common.files (make, open, write, close, sync, chmod, rename);
- *too large*: the kernel refuses to let the file grow beyond a random size (EFBIG), whoever writes it;
- *a real disk*: a tmpfs of 16 MB with a random rest of free space (ENOSPC).

Each is tried with and without an older file in the place. Then: the error is a SemvizError that names the reason; the
older file is as it was, byte for byte; what is new is whole; no other file is left, also no hidden one; nothing that
tests/faults/surroundings.py names has changed; and with room, the same writes. Prints Markdown; the exit code is 1 if
anything was not so.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults import head, line, quiet

if __name__ == "__main__":
    quiet()

import torch

import semviz as sv
from faults.children import fork, wait
from faults.disks import FakeDisk, fill, limited, small_disk
from faults.jobs import QUICK, Jobs, numbers, same
from faults.surroundings import changed, own_temporary_folder, surroundings
from faults.works import Report
from semviz.common.errors import SemvizError
from semviz.common.files import write_text_file
from semviz.experiments.run_store import Store
from semviz.finetuning.prefix_cache import run_prefix
from semviz.report.page import report_page
from semviz.tasks.tokenizing import encode

REASONS = re.compile("No space left|File too large")
HEADS = ("disk full for", "how", "times", "told why", "old file as it was", "whole or absent", "left behind", "changed",
         "then written", "seconds")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=25, help="sizes of each kind and writer")
    parser.add_argument("--seed", type=int, default=0, help="of the sizes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    head(HEADS)
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory() as temporary,
        own_temporary_folder(Path(temporary)),
        small_disk(Path(folder) / "disk", 16) as disk,
    ):
        bench = Bench(Path(folder), disk, random.Random(options.seed))
        wrong = sum(bench.row(writer, how, options.times) for writer in bench.writers for how in bench.ways)
        if disk is None:
            print("No disk could be mounted, so none was full: run as root for these rows.")
        else:
            wrong += bench.states(options.times) + bench.sweep()
    return 1 if wrong else 0


class Bench:
    """Writers, each with what it writes: path → old content, new content."""

    def __init__(self, folder: Path, disk: Path | None, rng: random.Random) -> None:
        self.folder, self.disk, self.rng = folder, disk, rng
        self.jobs = Jobs(folder)
        self.trace, self.run = self.jobs.trace(None), self.jobs.finetune(None)
        report = Report()
        report.warm_up()
        page = report_page(**report.parts)  # what write_report does before it writes
        self.writers: dict[str, Callable[[Path], Any]] = {
            "trace": lambda place: self.trace.save(place / "trace.parquet"),
            "run": lambda place: Store(place).add(self.run),
            "report": lambda place: write_text_file(place / "report.html", page),
        }
        gc.collect()
        gc.freeze()  # every look at the surroundings collects
        self.ways = ["no space, faked", "too large", *(["a real disk"] if disk is not None else [])]

    def row(self, writer: str, how: str, times: int) -> int:
        """Fill the disk so many times while one writer writes, and print what came of it."""
        started, counts, notes = time.perf_counter(), Counter(), Counter()
        # On the small disk itself, or beside it.
        place = (self.disk or self.folder) / "place" if how == "a real disk" else self.folder / "place"
        place.mkdir()
        write = self.writers[writer]
        for older in (False, True):
            for trouble in self.troubles(how, write, place, times):
                self.clear(place)
                if older:
                    write(place)
                self.one(write, place, trouble, counts, notes)
        self.clear(place)
        place.rmdir()
        keys = ("times", "told", "kept", "whole", "left", "changed", "written")
        cells = [writer, how, *(counts[key] for key in keys), f"{time.perf_counter() - started:.0f}"]
        line(cells)
        for note, often in notes.items():
            if often:
                print(f"  {often} × {note}"[:300])
        good = [counts[key] == counts["times"] for key in ("told", "kept", "whole", "written")]
        return good.count(False) + counts["left"] + counts["changed"]

    def troubles(
        self, how: str, write: Callable[[Path], Any], place: Path, times: int
    ) -> Iterator[Callable[[], AbstractContextManager[Any]]]:
        """What is wrong with the disk, one after the other; each is entered when all is ready."""
        self.clear(place)
        with FakeDisk().inserted() as whole:
            write(place)
        sizes = sorted(path.stat().st_size for path in place.iterdir())
        if how == "no space, faked":
            for at in range(1, len(whole.done) + 1):
                yield lambda at=at: FakeDisk(at).inserted()
            return
        for number in range(times):
            size = 0 if number == 0 else self.rng.randrange(sizes[-1])
            yield lambda size=size: limited(size) if how == "too large" else self.filled(size)

    def filled(self, left: int) -> AbstractContextManager[None]:
        assert self.disk is not None
        fill(self.disk, left)
        return nullcontext()

    def one(
        self,
        write: Callable[[Path], Any],
        place: Path,
        trouble: Callable[[], AbstractContextManager[Any]],
        counts: Counter[str],
        notes: Counter[str],
    ) -> None:
        """Write once in trouble and once with room."""
        old = {path.name: path.read_bytes() for path in place.iterdir()}
        before = surroundings(self.jobs.model, place)
        try:
            with trouble():
                write(place)
        except SemvizError as error:
            counts["told"] += bool(REASONS.search(str(error)))
            notes[f"{error}"] += not REASONS.search(str(error))
        except BaseException as error:
            notes[f"{error!r}"] += 1
        else:
            return  # there was room enough
        counts["times"] += 1
        now = {path.name: path.read_bytes() for path in place.iterdir()}
        counts["left"] += sum(name.startswith(".") for name in now)
        counts["changed"] += bool(found := changed(before, self.jobs.model, place))
        notes.update(str(name)[:200] for name in found[:2])
        if self.disk is not None:
            (self.disk / "ballast").unlink(missing_ok=True)
        write(place)
        new = {path.name: path.read_bytes() for path in place.iterdir()}
        # A run's weights come first and are the same in both, so their file may be the new one already.
        counts["kept"] += all(now.get(name) in (content, new[name]) for name, content in old.items())
        counts["whole"] += all(name.startswith(".") or now[name] in (old.get(name), new[name]) for name in now)
        counts["written"] += set(new) >= set(old) and not any(name.startswith(".") for name in new)

    def clear(self, place: Path) -> None:
        if self.disk is not None:
            (self.disk / "ballast").unlink(missing_ok=True)
        for path in place.iterdir():
            path.unlink()

    def states(self, times: int) -> int:
        """Map states of a prefix to a full disk, in a child: without the guard the kernel ends it (SIGBUS)."""
        assert self.disk is not None
        started, counts = time.perf_counter(), Counter()
        encoded = encode(self.jobs.model, self.jobs.task, "train")
        for _ in range(times):
            fill(self.disk, self.rng.randrange(3 * 65_536))
            temporary = self.disk / "temporary"
            temporary.mkdir()

            def child(temporary: Path = temporary) -> None:
                with own_temporary_folder(temporary):
                    before = surroundings(self.jobs.model)
                    try:
                        run_prefix(self.jobs.model, encoded, [1, 2, 3], room=0, progress=False)
                        os._exit(3)
                    except SemvizError as error:
                        said = str(error)
                    assert "No space left" in said
                    assert "cache=False" in said
                    assert not changed(before, self.jobs.model)

            status = wait(fork(child, log=self.folder / "log"))
            left = list(temporary.rglob("*"))
            counts["times"] += status != 3
            counts["told"] += status == 0
            counts["left"] += len(left) if status != 3 else 0
            counts["died"] += status < 0
            for path in sorted(left, reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            temporary.rmdir()
        cells = ["states of a prefix", "a real disk", counts["times"], counts["told"], "", "", counts["left"]]
        cells += [f"{counts['died']} died", "", f"{time.perf_counter() - started:.0f}"]
        line(cells)
        return counts["times"] - counts["told"] + counts["left"]

    def sweep(self) -> int:
        """Sweep into a store on a disk that is full after some runs, which loses none; make room, sweep again."""
        assert self.disk is not None
        started, counts, store = time.perf_counter(), Counter(), self.disk / "store"

        def sweep(store: Path | None) -> Any:
            return sv.sweep(self.jobs.model, self.jobs.task, keep_weights=True, store=store, **QUICK)

        expected = numbers(sweep(None))
        size = sum(tensor.nbytes for tensor in self.run.weights.values())
        fill(self.disk, 3 * size)
        before = surroundings(self.jobs.model, store)
        for _ in range(20):
            old = {path.name: path.read_bytes() for path in store.iterdir()} if store.is_dir() else {}
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                runs = sweep(store)
            told = [str(one.message) for one in said if "kept in memory" in str(one.message)]
            if not told:
                break
            counts["times"] += 1
            counts["told"] += all("No space left" in text for text in told) and same(runs, expected)
            now = {path.name: path.read_bytes() for path in store.iterdir()}
            counts["kept"] += all(now.get(name) == content for name, content in old.items())
            counts["whole"] += all(Store(store).find(key) is not None for key in Store(store).keys())  # noqa: SIM118
            counts["left"] += sum(name.startswith(".") for name in now)
            counts["changed"] += bool(changed(before, self.jobs.model, store))
            ballast = self.disk / "ballast"
            os.truncate(ballast, max(0, ballast.stat().st_size - size))
        counts["written"] = int(same(runs, expected))
        keys = ("times", "told", "kept", "whole", "left", "changed")
        cells = ["a sweep", "a real disk", *(counts[key] for key in keys)]
        cells += ["like the undisturbed" if counts["written"] else "otherwise", f"{time.perf_counter() - started:.0f}"]
        line(cells)
        good = [counts[key] == counts["times"] for key in ("told", "kept", "whole")]
        return good.count(False) + counts["left"] + counts["changed"] + (not counts["written"])


if __name__ == "__main__":
    raise SystemExit(main())
