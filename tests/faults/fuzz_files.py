"""Damages saved traces, runs and weights in every way that disks and people do, and loads them.

    .venv/bin/python tests/faults/fuzz_files.py                    # some minutes
    .venv/bin/python tests/faults/fuzz_files.py --mutations 500    # of each kind of file
    .venv/bin/python tests/faults/fuzz_files.py --seed 7 --kinds trace

A load must be refused with a `SemvizError` or give what was saved. It must not raise anything else, give other
numbers, take long, or kill the process; loads run in a process of their own, so that even that is counted. Files of
the first schema (traces) and the second format (runs) had no digest: of them, other numbers are counted and no fault.
The last line sums up; the exit code is 1 if there was a fault.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from small import plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.experiments.run_store import Store

FAULTS = ("other numbers", "raised", "hung", "crashed")
_PATIENCE = 20  # seconds for one load


@dataclass(frozen=True)
class Kind:
    """A file, where it lies, and how what it holds is read and compared.

    Attributes:
        name: What it is called.
        data: The whole file.
        path: Where it lies in a folder, next to `beside`.
        beside: Other files of the folder.
        same: Loads from a folder, and says whether that is what was saved.
        signed: Whether it has a digest, so that other numbers are a fault.
    """

    name: str
    data: bytes
    path: str
    beside: dict
    same: object
    signed: bool = True


def damage(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """One damage, by name, and the file with it; never the file itself."""
    while True:
        at, more = rng.randrange(len(data)), rng.randint(1, 64)
        other = rng.randrange(len(data))
        name, made = rng.choice(
            [
                ("bit", data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]),
                ("byte", data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]),
                ("byte of the end", _at_the_end(data, rng)),
                ("digit", _digit(data, rng)),
                ("cut off", data[:at]),
                ("left out", data[:at] + data[at + more :]),
                ("put in", data[:at] + rng.randbytes(more) + data[at:]),
                ("zeros", data[:at] + bytes(min(more, len(data) - at)) + data[at + more :]),
                ("copied", data[:at] + data[other : other + more] + data[at + more :]),
                ("sector", data[: at // 512 * 512] + bytes(512) + data[at // 512 * 512 + 512 :]),
                ("longer", data + rng.randbytes(more)),
            ]
        )
        if made != data:
            return name, made


def _at_the_end(data: bytes, rng: random.Random) -> bytes:
    """In the last part, where Parquet keeps what it knows of itself."""
    at = len(data) - 1 - rng.randrange(min(len(data), 4000))
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


def _digit(data: bytes, rng: random.Random) -> bytes:
    """Another digit for one digit: the damage that stays valid JSON."""
    places = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
    at = rng.choice(places)
    return data[:at] + bytes([rng.randint(48, 57)]) + data[at + 1 :]


def made_kinds() -> list[Kind]:
    """A trace, a run and its weights, and the two as older versions wrote them."""
    model = sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())
    texts = [f"the {('cat', 'dog')[i % 2]} was {('good', 'bad')[i // 2 % 2]} ." for i in range(40)]
    task = sv.Task.from_texts(
        texts, [("yes", "no")[i // 2 % 2] for i in range(40)], prompt="{text} mood :", name="tiny"
    )
    trace = sv.trace(model, task, detail=2, progress=False)
    run = sv.finetune(model, task, sv.Scope.last(model), epochs=1, batch_size=16, lr=1e-3, progress=False)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data = trace.save(folder / "t.parquet").read_bytes()
        Store(folder).add(run)
        text, weights = ((folder / f"{run.key}{end}").read_bytes() for end in (".json", ".safetensors"))
    content = json.loads(text)
    old = json.dumps({"format": 2, "semviz": content["semviz"], "run": content["run"]}, indent=1).encode()
    table = pq.read_table(pa.BufferReader(data))
    facts = {**json.loads(table.schema.metadata[b"semviz"]), "schema": 1}
    metadata = {b"pandas": table.schema.metadata[b"pandas"], b"semviz": json.dumps(facts).encode()}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), sink)
    record = json.dumps(run.record(), sort_keys=True)

    def same_trace(folder: Path) -> bool:
        found = sv.Trace.load(folder / "t.parquet")
        arrays = [(found.values[key], values) for key, values in trace.values.items()]
        arrays += [(found.nearest, trace.nearest), (found.top1, trace.top1), (found.paths, trace.paths)]
        return (
            found.positions.equals(trace.positions)
            and all(one.dtype == two.dtype and np.array_equal(one, two, equal_nan=True) for one, two in arrays)
            and (found.facts, found.vocabulary) == (trace.facts, trace.vocabulary)
            and json.dumps(found.meta, sort_keys=True) == json.dumps(trace.meta, sort_keys=True)
        )

    def same_run(folder: Path) -> bool:
        found = Store(folder).find(run.key)
        return found is not None and json.dumps(found.record(), sort_keys=True) == record

    def same_weights(folder: Path) -> bool:
        found = dict(Store(folder).find(run.key).weights)
        return found.keys() == run.weights.keys() and all(torch.equal(found[k], w) for k, w in run.weights.items())

    json_name, weights_name = f"{run.key}.json", f"{run.key}.safetensors"
    return [
        Kind("trace", data, "t.parquet", {}, same_trace),
        Kind("run", text, json_name, {}, same_run),
        Kind("weights", weights, weights_name, {json_name: text}, same_weights),
        Kind("old trace", sink.getvalue().to_pybytes(), "t.parquet", {}, same_trace, signed=False),
        Kind("old run", old, json_name, {}, same_run, signed=False),
    ]


def outcome_of(kind: Kind, data: bytes, folder: Path) -> tuple[str, str]:
    """What comes of loading a file with this content."""
    (folder / kind.path).write_bytes(data)
    try:
        return ("the same" if kind.same(folder) else "other numbers"), ""
    except SemvizError as error:
        return "refused", str(error)
    except BaseException as error:
        return "raised", f"{type(error).__name__}: {error}"


def _work(kind: Kind, seed: int, first: int, end: int, pipe) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, content in kind.beside.items():
            (folder / name).write_bytes(content)
        for i in range(first, end):
            name, data = damage(kind.data, random.Random(f"{seed} {kind.name} {i}"))
            pipe.send((i, name, *outcome_of(kind, data, folder)))


def fuzz(kind: Kind, mutations: int, *, seed: int = 0) -> tuple[Counter, list[str]]:
    """Damage a file so many times.

    Returns:
        How often which outcome was seen, and a line for each fault.
    """
    context = multiprocessing.get_context("fork")
    counts, faults, at = Counter(), [], 0
    while at < mutations:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(kind, seed, at, mutations, theirs))
        process.start()
        theirs.close()
        while at < mutations:
            try:
                found = ours.recv() if ours.poll(_PATIENCE) else (at, "?", "hung", f"no answer for {_PATIENCE} s")
            except EOFError:
                process.join()
                found = (at, "?", "crashed", f"exit code {process.exitcode}")
            i, name, what, detail = found
            counts[what] += 1
            if what in FAULTS and (kind.signed or what != "other numbers"):
                faults.append(f"{kind.name}, seed {seed}, number {i} ({name}): {what}. {detail}")
            at = i + 1
            if what in ("hung", "crashed"):
                break
        process.kill()
        process.join()
    return counts, faults


def summary(name: str, counts: Counter) -> str:
    """One line: how often it was tried, and what came of it."""
    return f"{name}: {sum(counts.values()):,} damaged; " + ", ".join(
        f"{n:,} {what}" for what, n in counts.most_common()
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mutations", type=int, default=3000, help="of each kind of file (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", help="some of: trace, run, weights, old trace, old run")
    options = parser.parse_args()
    every, faults = Counter(), []
    for kind in made_kinds():
        if options.kinds and kind.name not in options.kinds:
            continue
        counts, found = fuzz(kind, options.mutations, seed=options.seed)
        every.update(counts)
        faults += found
        print(summary(kind.name, counts), flush=True)
    print(*faults, sep="\n")
    print(f"{summary('all', every)}; {len(faults)} faults")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
