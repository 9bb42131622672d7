"""What is killed: four kinds of work with a tiny model, each of which writes files into one folder."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from safetensors.torch import load_file
from small import mood_task, plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.experiments.run_store import Store
from semviz.finetuning.run import Run
from semviz.report.page import report_page

TIMES = ("second", "time", "bytes", "speedup")  # in the names of what differs from run to run


class Work(ABC):
    """Something that writes files, and the same ones each time.

    Attributes:
        resumes: Whether files that are there are left as they are, byte for byte.
        share: The share of the work within which it is killed: below 1 where it resumes, to be killed several times.
    """

    resumes = False
    share = 1.0

    def __init__(self, lr: float | Literal["auto"] = 3e-3) -> None:
        self.lr: float | Literal["auto"] = lr
        self.model = sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())
        self.task = mood_task()

    def warm_up(self) -> None:  # noqa: B027 (most need none)
        """Load and make what is loaded at first use, so that forks have it."""

    @abstractmethod
    def run(self, folder: Path) -> Any:
        """Work to the end; what came of it, times apart."""

    @abstractmethod
    def read(self, path: Path) -> Any:
        """Read one file whole; what it says, times apart. Any exception means that it is torn."""


class Sweep(Work):
    """Every boundary with two seeds, eight runs, trained weights kept."""

    resumes = True
    share = 0.4

    def warm_up(self) -> None:
        sv.finetune(self.model, self.task, sv.Scope.last(self.model), lr=1e-3, epochs=0.1, progress=False).record()

    def run(self, folder: Path) -> Any:
        options = {"batch_size": 8, "keep_weights": True, "progress": False}
        runs = sv.sweep(self.model, self.task, seeds=(0, 1), lr=self.lr, epochs=2, store=folder, **options)
        return [without_times(runs.frame()), without_times(runs.table())]

    def read(self, path: Path) -> Any:
        if path.suffix == ".safetensors":
            return {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}
        run = Store(path.parent).find(path.stem)
        assert run is not None
        assert len(run.rows) > 0
        assert all(len(tensor) for tensor in run.weights.values())
        # The store has looked at both digests; they are of the times too.
        return timeless({**json.loads(path.read_text("utf-8")), "digest": None})


class Finetune(Sweep):
    """Four finetunes of a study with a store, one boundary after the other, trained weights kept."""

    def run(self, folder: Path) -> Any:
        study = sv.Study(self.model, self.task, store=folder, progress=False)
        study.set(steps=14, lr=self.lr, batch_size=8)
        for boundary in range(self.model.n_blocks):
            study.freeze(boundary)
            study.finetune().result()
        table = without_times(study.history.together.table())
        study.close()
        return [table.sort_values("boundary", ignore_index=True)]


class Trace(Work):
    """Four traces, saved, and saved once more over what is there."""

    def warm_up(self) -> None:
        sv.trace(self.model, self.task, samples=4, progress=False)

    def run(self, folder: Path) -> Any:
        for _ in range(2):
            for split in ("train", "test"):
                for vocab in ("full", "labels"):
                    traced = sv.trace(self.model, self.task, split=split, vocab=vocab, progress=False)
                    traced.save(folder / f"{split}-{vocab}.parquet")
        return [sv.Trace.load(path).profile_frame("lens") for path in sorted(folder.glob("*.parquet"))]

    def read(self, path: Path) -> Any:
        trace = sv.Trace.load(path)
        arrays = {**trace.values, "top1": trace.top1, "nearest": trace.nearest, "paths": trace.paths}
        bits = {key: None if array is None else np.asarray(array).tobytes() for key, array in arrays.items()}
        return bits, trace.positions.to_json(), trace.vocabulary, timeless(trace.meta)


class Report(Work):
    """A report, written, and written once more over what is there."""

    def warm_up(self) -> None:
        gain = (trace := sv.trace(self.model, self.task, progress=False)).gain()
        options = {"lr": 1e-3, "epochs": 1, "batch_size": 16, "progress": False}
        probes = sv.probe(self.model, self.task, **options)
        runs = replace(probes.runs, runs=tuple(map(timed_alike, probes.runs)))
        trace = replace(trace, meta={**trace.meta, "seconds": 1.0})
        self.parts = {"trace": trace, "gain": gain, "runs": runs, "probes": replace(probes, runs=runs)}
        report_page(**self.parts)

    def run(self, folder: Path) -> Any:
        for _ in range(2):
            sv.write_report(folder / "report.html", **self.parts)
        return [pd.DataFrame({"page": [self.read(folder / "report.html")]})]

    def read(self, path: Path) -> Any:
        page = path.read_text("utf-8")
        assert page.rstrip().endswith("</html>")
        return re.sub(r"<time.*?</time>|<dt>Written</dt>.*?</dd>", "", page)


WORKS: dict[str, type[Work]] = {"trace": Trace, "sweep": Sweep, "finetune": Finetune, "report": Report}


def timed_alike(run: Run) -> Run:
    """A run that took as long as every other."""
    same = {"seconds": 1.0, "prefix_seconds": 0.0, "search_seconds": 0.0, "tokens_per_second": 1.0, "peak_bytes": 1}
    return replace(run, **same, origin=None)


def without_times(table: pd.DataFrame) -> pd.DataFrame:
    """A table without the columns that differ from run to run."""
    return table.drop(columns=[name for name in table if any(word in name for word in TIMES)])


def timeless(record: Any) -> Any:
    """A record without its times."""
    if isinstance(record, dict):
        return {key: timeless(value) for key, value in record.items() if not any(word in key for word in TIMES)}
    return [timeless(value) for value in record] if isinstance(record, list) else record
