"""Files that are damaged, made by others or made to deceive are refused; full disks leave what was there."""

from __future__ import annotations

import errno
import json
import math
import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from faults import fuzz_files
from refusals import case, files_in, refused, unchanged
from safetensors import SafetensorError
from small import plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.experiments import run_store as stores
from semviz.experiments.run_store import Store
from semviz.finetuning.encoded_task import EncodedTask

QUIET = {"progress": False}
QUICK = {"epochs": 1, "batch_size": 16, "lr": 3e-3, **QUIET}
TEXTS = [f"the {('cat', 'dog', 'bird')[i % 3]} was {('good', 'bad')[i // 3 % 2]} ." for i in range(40)]
LABELS = [("yes", "no")[i // 3 % 2] for i in range(40)]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A trace and a run, made and saved once."""
    folder = tmp_path_factory.mktemp("house")
    model = sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())
    task = sv.Task.from_texts(TEXTS, LABELS, prompt="{text} mood :", name="tiny mood")
    trace = sv.trace(model, task, detail=2, **QUIET)
    run = sv.finetune(model, task, sv.Scope.last(model), **QUICK)
    made = SimpleNamespace(model=model, task=task, trace=trace, run=run, folder=folder)
    made.file = trace.save(folder / "t.parquet").read_bytes()
    Store(folder).add(run)
    made.json = (folder / f"{run.key}.json").read_text()
    made.weights = (folder / f"{run.key}.safetensors").read_bytes()
    return made


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Traces


def table_of(house):
    """The saved trace as a table of the first schema, which had no digest: a file by another hand."""
    table = pq.read_table(pa.BufferReader(house.file))
    kept = {key: value for key, value in table.schema.metadata.items() if key != b"semviz_digest"}
    return table.replace_schema_metadata({**kept, b"semviz": json.dumps({**facts_of(table), "schema": 1}).encode()})


def facts_of(table):
    return json.loads(table.schema.metadata[b"semviz"])


def with_facts(table, change):
    facts = facts_of(table)
    change(facts)
    return table.replace_schema_metadata({**table.schema.metadata, b"semviz": json.dumps(facts).encode()})


def with_column(table, name, values):
    return table.set_column(table.column_names.index(name), name, values)


def raw(table, text):
    return table.replace_schema_metadata({**table.schema.metadata, b"semviz": text})


def each(table, value, kind=None):
    return pa.array([value] * len(table), kind)


def index_by(table, column):
    """What pandas left, changed: a column becomes the index."""
    told = table.schema.metadata[b"pandas"].replace(b'"index_columns": []', b'"index_columns": ["%s"]' % column)
    assert told != table.schema.metadata[b"pandas"]
    return table.replace_schema_metadata({**table.schema.metadata, b"pandas": told})


ONE, ANY = pa.list_(pa.int32(), 1), pa.list_(pa.int32())


def setting(*path, value):
    def change(facts):
        for key in path[:-1]:
            facts = facts[key]
        if value is ...:
            del facts[path[-1]]
        else:
            facts[path[-1]] = value

    return lambda table: with_facts(table, change)


BY_HAND = {
    "no metadata": (lambda t: t.replace_schema_metadata({}), "saved trace"),
    "metadata that are no JSON": (lambda t: raw(t, b"{"), "saved trace"),
    "metadata that are no text": (lambda t: raw(t, b"\xff\xfe{"), "saved trace"),
    "metadata that are a list": (lambda t: raw(t, b"[1]"), "saved trace", "[1]"),
    "metadata nested deeply": (lambda t: raw(t, b"[" * 200_000), "saved trace"),
    "a schema of text": (setting("schema", value="2"), "schema", "'2'"),
    "a schema of NaN": (setting("schema", value=math.nan), "schema", "nan"),
    "a schema of true": (setting("schema", value=True), "schema", "True"),
    "a newer schema": (setting("schema", value=99), "schema 99", "update semviz"),
    "a schema that should have a digest": (setting("schema", value=2), "semviz_digest"),
    "no spaces": (setting("spaces", value=...), "spaces is missing"),
    "as many spaces as sand": (setting("spaces", value=10**12), "1000000000000 spaces", "4 blocks"),
    "spaces of a fraction": (setting("spaces", value=4.5), "spaces is 4.5"),
    "more detail than rows": (setting("detailed_rows", value=10**9), "1000000000 of them in detail"),
    "negative detail": (setting("detailed_rows", value=-1), "detailed_rows is -1"),
    "metrics that are an object": (setting("metrics", value={}), "metrics is {}", "list"),
    "no metrics": (setting("metrics", value=[]), "no metric"),
    "a metric without a title": (setting("metrics", 0, "title", value=...), "metrics[0].title is missing"),
    "a metric with a NaN for a bound": (setting("metrics", 0, "low", value=math.nan), "metrics[0].low is nan"),
    "a metric that is there twice": (setting("metrics", 1, "key", value="semantic"), "twice"),
    "a metric without columns": (setting("metrics", 0, "key", value="../../etc"), "missing"),
    "a vocabulary of numbers": (setting("vocabulary", value={"1": 2}), "vocabulary.'1' is 2"),
    "a vocabulary with words for ids": (setting("vocabulary", value={"x": "y"}), "'x'"),
    "meta that are a text": (setting("meta", value="x"), "meta is 'x'"),
    "a fidelity of NaN": (setting("meta", "fidelity", value=math.nan), "meta.fidelity is nan"),
    "a fidelity of text": (setting("meta", "fidelity", value="0.9"), "meta.fidelity is '0.9'"),
    "a huge fidelity": (setting("meta", "fidelity", value=10**400), "meta.fidelity"),
    "a temperature of zero": (setting("meta", "tau", value=0), "meta.tau is 0"),
    "no ridge": (setting("meta", "ridge", value=...), "meta.ridge is missing"),
    "a ridge of words": (setting("meta", "ridge", value="infinite"), "meta.ridge is 'infinite'"),
    "a path that is none": (setting("meta", "path", value="../x"), "meta.path is '../x'"),
    "a model of bytes": (setting("meta", "model", value=[1]), "meta.model is [1]"),
    "no parts": (setting("meta", "parts", value={}), "meta.parts.blocks is missing"),
    "parts of texts": (setting("meta", "parts", "blocks", 0, value="9"), "meta.parts.blocks[0] is '9'"),
    "parts of another depth": (setting("meta", "parts", "blocks", value=[1, 2]), "5 spaces for 2 blocks"),
    "no rows": (lambda t: t.slice(0, 0), "0 rows"),
    "no tokens": (lambda t: t.drop_columns(["token"]), "token"),
    "no labels": (lambda t: t.drop_columns(["label"]), "label"),
    "a space is missing": (lambda t: t.drop_columns(["lens_2"]), "lens_2"),
    "no paths": (lambda t: t.drop_columns([f"path_{i}" for i in range(5)]), "missing"),
    "two columns of one name": (lambda t: t.append_column("token", t["token"]), "twice"),
    "samples of text": (lambda t: with_column(t, "sample", each(t, "1")), "sample", "whole numbers"),
    "missing samples": (lambda t: with_column(t, "sample", each(t, None, pa.int64())), "sample", "lacks"),
    "tokens of bytes": (lambda t: with_column(t, "token", each(t, b"x")), "token", "binary"),
    "tokens of objects": (lambda t: with_column(t, "token", each(t, {"a": 1})), "token", "struct"),
    "missing tokens": (lambda t: with_column(t, "token", each(t, None, pa.string())), "token", "lacks"),
    "roles that are none": (lambda t: with_column(t, "role", each(t, "king")), "king", "answer"),
    "no position counts": (lambda t: with_column(t, "role", each(t, "context")), "roles", "answer"),
    "correctness of numbers": (lambda t: with_column(t, "correct", each(t, 1)), "correct", "true or false"),
    "values of double precision": (lambda t: with_column(t, "lens_1", each(t, 0.5)), "lens_1", "double"),
    "values of text": (lambda t: with_column(t, "lens_1", each(t, "x")), "lens_1", "string"),
    "missing values": (lambda t: with_column(t, "lens_1", each(t, None, pa.float32())), "lens_1", "lacks"),
    "one nearest token": (lambda t: with_column(t, "nearest_1", each(t, [1], ONE)), "nearest_1"),
    "any number of nearest": (lambda t: with_column(t, "nearest_1", each(t, [1, 2, 3], ANY)), "nearest_1", "list"),
    "an index by pandas": (lambda t: index_by(t, b"token"), "metadata"),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_traces_by_another_hand(house, here, name):
    change, *words = BY_HAND[name]
    pq.write_table(change(table_of(house)), here / "t.parquet")
    refused(case(name, lambda _: sv.Trace.load("t.parquet"), "t.parquet", *words).values[0], house.model, here)


def test_a_trace_of_the_first_schema_still_loads(house, here):
    pq.write_table(table_of(house), here / "old.parquet")
    same_trace(sv.Trace.load("old.parquet"), house.trace)


def same_trace(found, wanted):
    assert found.positions.equals(wanted.positions)
    assert {**found.meta} == {**wanted.meta, "parts": found.meta["parts"]}
    for key, values in wanted.values.items():
        np.testing.assert_array_equal(found.values[key], values)


def test_columns_of_ones_own_survive(house, here):
    more = replace(
        house.trace, positions=house.trace.positions.assign(weight=0.5, tag=[["a"]] * len(house.trace.positions))
    )
    assert list(sv.Trace.load(more.save("t.parquet")).positions["weight"].unique()) == [0.5]


def test_a_folder_with_an_equals_sign_adds_no_column(house, here):
    (here / "split=train").mkdir()
    same_trace(sv.Trace.load(house.trace.save("split=train/t.parquet")), house.trace)


def test_rows_that_do_not_fit_into_memory_are_not_read(house, here, monkeypatch):
    (here / "t.parquet").write_bytes(house.file)
    monkeypatch.setattr("semviz.common.memory.free", lambda: 100)
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_a, **_k: pytest.fail("read"))
    one = case("", lambda _: sv.Trace.load("t.parquet"), "t.parquet", "rows", "memory").values[0]
    refused(one, house.model, here)


def test_a_file_that_claims_billions_of_rows(house, here):
    """Runs of one value take no room in Parquet, so a small file can hold them."""
    table, rows = table_of(house), 20_000_000
    wide = pa.table({name: pa.nulls(rows, pa.int8()) for name in ("a", "b")})
    wide = wide.replace_schema_metadata(table.schema.metadata)
    pq.write_table(wide, here / "t.parquet")
    data = (here / "t.parquet").read_bytes()
    assert len(data) < 1_000_000
    refused(case("", lambda _: sv.Trace.load("t.parquet"), "t.parquet").values[0], house.model, here)


SPOTS = {
    "the magic": 1,
    "a page": 300,
    "the middle": 0.5,
    "the footer": -200,
    "the length of the footer": -6,
    "the end": -1,
}


@pytest.mark.parametrize("spot", SPOTS)
@pytest.mark.parametrize("how", ["flipped", "cut off", "doubled"])
def test_a_trace_with_a_byte_that_is_another(house, here, spot, how):
    data, at = bytearray(house.file), SPOTS[spot]
    at = int(at * len(data)) if isinstance(at, float) else at % len(data)
    if how == "flipped":
        data[at] ^= 4
    data = {"flipped": data, "cut off": data[:at], "doubled": data[:at] + data[at : at + 1] + data[at:]}[how]
    (here / "t.parquet").write_bytes(data)
    refused(case("", lambda _: sv.Trace.load("t.parquet"), "t.parquet").values[0], house.model, here)


def test_every_number_and_word_of_a_trace_is_under_its_digest(house, here):
    """One bit of a value, a token's text and a fact: all are told."""
    for what in (house.trace.values["lens"][:, 2].tobytes()[:8], b"tiny mood", b'"fidelity": '):
        at = house.file.find(what)
        assert at > 0, what
        data = bytearray(house.file)
        data[at + len(what) - 3] ^= 1
        (here / "t.parquet").write_bytes(data)
        with pytest.raises(SemvizError, match=r"t\.parquet"):
            sv.Trace.load("t.parquet")


def mixed(trace):
    column = [1, "a", *[None] * (len(trace.positions) - 2)]
    return replace(trace, positions=trace.positions.assign(x=column))


PATHS = [
    case("a number", lambda h: sv.Trace.load(3), "path=3", "file"),
    case("None", lambda h: sv.Trace.load(None), "path=None", "file"),
    case("nothing", lambda h: sv.Trace.load(""), "path=''", "file"),
    case("a folder", lambda h: sv.Trace.load("."), "folder", "Trace.save"),
    case("a null", lambda h: sv.Trace.load("a\0"), r"a\x00", "file"),
    case("a surrogate", lambda h: sv.Trace.load("a\ud800"), r"a\ud800", "file"),
    case("not there", lambda h: sv.Trace.load("none.parquet"), "none.parquet", "no file"),
    case("an empty file", lambda h: sv.Trace.load(os.devnull), os.devnull),
    case("save to a number", lambda h: h.trace.save(3), "path=3", "file"),
    case("save to nothing", lambda h: h.trace.save(""), "path=''", "file"),
    case("save to a null", lambda h: h.trace.save("a\0.parquet"), r"a\x00", "file"),
    case("save to a folder", lambda h: h.trace.save("."), "folder"),
    case("save into a file", lambda h: h.trace.save(f"{__file__}/t.parquet"), "t.parquet", "folder"),
    case("save to a long name", lambda h: h.trace.save("x" * 300), "xxx", "shorter"),
    case("save mixed columns", lambda h: mixed(h.trace).save("t.parquet"), "positions", "x"),
]  # fmt: skip


@pytest.mark.parametrize("one", PATHS)
def test_paths_that_are_none(one, house, here):
    refused(one, house.model, here, house)


# Runs


def run_file(house, here, content, key=None):
    """A store with one file that was written by another hand."""
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    (here / "runs").mkdir()
    (here / "runs" / f"{key or house.run.key}.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return lambda _: Store("runs").find(key or house.run.key)


def changed(house, *path, value, version=2, signed=False):
    """The run's file with one thing changed; of the second format, which had no digests, or signed anew."""
    content = json.loads(house.json)
    holder = content
    for key in path[:-1]:
        holder = holder[key]
    if value is ...:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    if version == 2:
        content = {key: content[key] for key in ("format", "semviz", "run") if key in content}
        content |= {} if path == ("format",) else {"format": 2}
    if signed:
        content["digest"] = stores._digest(content["run"])
    return content


RUN_CHANGES = {
    "no format": (("format",), ..., "format is missing"),
    "a format of text": (("format",), "3", "format is '3'"),
    "a format of a fraction": (("format",), 2.5, "format is 2.5"),
    "an older format": (("format",), 1, "older semviz", "delete it"),
    "a newer format": (("format",), 99, "update semviz"),
    "a version that is a list": (("semviz",), ["x"], "semviz is ['x']"),
    "no run": (("run",), ..., "run is missing"),
    "a run that is a text": (("run",), "x", "run is 'x'"),
    "a key that leads elsewhere": (("run", "key"), "../../elsewhere", "../../elsewhere"),
    "a key of another run": (("run", "key"), "0" * 16, "0000"),
    "a key that is a number": (("run", "key"), 3, "run.key is 3"),
    "a model that is null": (("run", "model"), None, "run.model is None"),
    "a score that is none": (("run", "score"), "f1", "run.score is 'f1'"),
    "a method that is none": (("run", "method"), "dora", "run.method is 'dora'"),
    "a rate of NaN": (("run", "lr"), math.nan, "run.lr is nan"),
    "a rate of zero": (("run", "lr"), 0, "run.lr is 0"),
    "a seed of a fraction": (("run", "seed"), 0.5, "run.seed is 0.5"),
    "a seed of true": (("run", "seed"), True, "run.seed is True"),
    "no accuracy": (("run", "accuracy"), ..., "run.accuracy is missing"),
    "an accuracy of text": (("run", "accuracy"), "0.9", "run.accuracy is '0.9'"),
    "an accuracy beyond floats": (("run", "accuracy"), 10**400, "run.accuracy"),
    "rows that are a text": (("run", "rows"), "101", "run.rows is '101'"),
    "rows of texts": (("run", "rows"), ["1"], "run.rows[0] is '1'"),
    "rates by words": (("run", "rates"), {"fast": 0.5}, "'fast'"),
    "blocks that do not exist": (("run", "scope", "blocks"), [9], "[9]"),
    "no blocks": (("run", "scope", "blocks"), [], "no block"),
    "blocks of texts": (("run", "scope", "blocks"), ["4"], "run.scope.blocks[0] is '4'"),
    "no parts": (("run", "scope", "parts"), ..., "run.scope.parts is missing"),
    "parts of negative size": (("run", "scope", "parts", "tail"), -1, "run.scope.parts.tail is -1"),
    "a curve of unequal length": (("run", "curve", "step"), [1], "run"),
    "a curve that is a list": (("run", "curve"), [1], "run.curve is [1]"),
    "an environment of numbers": (("run", "environment"), {"torch": 2}, "run.environment.'torch' is 2"),
    "seconds of infinity": (("run", "seconds"), math.inf, "run.seconds is inf"),
}


@pytest.mark.parametrize("name", RUN_CHANGES)
def test_runs_by_another_hand(house, here, name):
    path, value, *words = RUN_CHANGES[name]
    call = run_file(house, here, changed(house, *path, value=value))
    refused(case(name, call, f"{house.run.key}.json", *words).values[0], house.model, here)


DEEP = ["[" * 200_000, '{"a":' * 9999]
NO_RUNS = ["", "{", "null", "3", "[]", '"x"', b"\xff\xfe\x00", '{"format": 1e999, "semviz": ""}', *DEEP]


@pytest.mark.parametrize("content", NO_RUNS, ids=lambda content: str(content)[:12])
def test_files_that_are_no_runs(house, here, content):
    refused(case("", run_file(house, here, content), f"{house.run.key}.json").values[0], house.model, here)


def test_a_run_that_was_changed_after_it_was_written(house, here):
    better = changed(house, "run", "accuracy", value=0.999, version=3)
    refused(
        case("", run_file(house, here, better), "changed after it was written", "delete it").values[0],
        house.model,
        here,
    )


def test_a_signed_change_is_a_run(house, here):
    better = changed(house, "run", "accuracy", value=0.999, version=3, signed=True)
    assert run_file(house, here, better)(None).accuracy == 0.999


def test_a_run_of_the_second_format_still_loads_with_its_weights(house, here):
    call = run_file(house, here, changed(house, "run", "note", value="old"))
    (here / "runs" / f"{house.run.key}.safetensors").write_bytes(house.weights)
    run = call(None)
    assert run.note == "old"
    assert set(run.weights) == set(house.run.weights)
    torch.testing.assert_close(dict(run.weights), dict(house.run.weights))


def test_a_run_that_diverged_is_read(house, here):
    content = changed(house, "run", "validation_loss", value=math.inf)
    content["run"] |= {"validation": 0.0, "validation_rows": [], "loss": math.nan}
    assert run_file(house, here, content)(None).diverged


def test_a_curve_of_unequal_length_names_its_file(house, here):
    call = run_file(house, here, changed(house, "run", "curve", "loss", value=[0.1]))
    refused(case("", call, f"{house.run.key}.json").values[0], house.model, here)


@pytest.mark.parametrize("key", ["../x", "a/b", "..", "", "a\0b", "x" * 100, 3, None, "/etc/passwd"], ids=repr)
def test_keys_that_lead_out_of_the_store(house, here, key):
    for call in (
        lambda _: Store("runs").find(key),
        lambda _: Store("runs").has(key),
        lambda _: Store("runs").add(replace(house.run, key=key)),
    ):
        Store("runs")
        refused(case("", call, "key=", "Store.keys()").values[0], house.model, here)


def weights_file(house, here, data):
    (here / "runs").mkdir()
    (here / "runs" / f"{house.run.key}.json").write_text(house.json)
    (here / "runs" / f"{house.run.key}.safetensors").write_bytes(data)
    return lambda _: dict(Store("runs").find(house.run.key).weights)


WEIGHTS = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[:-5],
    "longer": lambda data: data + b"12345678",
    "one bit of a weight": lambda data: data[:-7] + bytes([data[-7] ^ 1]) + data[-6:],
    "one letter of a name": lambda data: data.replace(b"model.", b"nodel.", 1),
    "a header as long as the sea": lambda data: (2**60).to_bytes(8, "little") + data[8:],
    "a header nested deeply": lambda data: (90_000).to_bytes(8, "little") + b"[" * 90_000,
    "a pickle": lambda data: b"\x80\x04cos\nsystem\n(S'true'\ntR.",
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_by_another_hand(house, here, name):
    call = weights_file(house, here, WEIGHTS[name](house.weights))
    refused(case(name, call, ".safetensors", "run again").values[0], house.model, here)


def test_weights_that_are_gone_are_no_weights(house, here):
    weights_file(house, here, house.weights)
    (here / "runs" / f"{house.run.key}.safetensors").unlink()
    assert not Store("runs").find(house.run.key).weights


# Disks


def full(*_args, **_options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_only(*_args, **_options):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def forbidden(*_args, **_options):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


class FullFile:
    """A file that takes no byte."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    write = seek = full


def full_open(path, mode="r", *args, **options):
    opened = open(path, mode, *args, **options)  # noqa: SIM115 (FullFile closes it)
    return FullFile(opened) if "w" in mode or "+" in mode else opened


BROKEN = {
    "no name": ("semviz.common.files._temporary_beside", full, "No space"),
    "no write": ("semviz.common.files.open", full_open, "No space"),
    "no sync": ("semviz.common.files.os.fsync", full, "No space"),
    "no rename": ("semviz.common.files.os.replace", full, "No space"),
    "read-only": ("semviz.common.files._temporary_beside", read_only, "Read-only"),
    "forbidden": ("semviz.common.files._temporary_beside", forbidden, "Permission"),
    "forbidden to rename": ("semviz.common.files.os.replace", forbidden, "Permission"),
}
WRITERS = {
    "a run": lambda h: Store("runs").add(replace(h.run, weights={})),
    "a run with weights": lambda h: Store("runs").add(h.run),
    "a trace": lambda h: h.trace.save("t.parquet"),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("what", WRITERS)
def test_a_disk_that_takes_no_file_keeps_what_was_there(house, here, monkeypatch, what, broken):
    where, fail, words = BROKEN[broken]
    if what != "a run" and broken == "no write":
        where = "semviz.traces.parquet.open" if what == "a trace" else "safetensors.torch.save_file"
        fail = fail if what == "a trace" else full_safetensors
        words = words if what == "a trace" else "os error 28"
    WRITERS[what](house)
    before = files_in(here)
    monkeypatch.setattr(where, fail, raising=False)
    refused(case("", WRITERS[what], "Cannot write", words, "folder").values[0], house.model, here, house)
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert files_in(here) == before


def full_safetensors(*_args, **_options):
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def test_a_store_that_cannot_be_made(house, here, monkeypatch):
    for fail, words in ((full, "No space"), (read_only, "Read-only"), (forbidden, "Permission")):
        with monkeypatch.context() as patch:
            patch.setattr("pathlib.Path.mkdir", fail)
            refused(case("", lambda _: Store("runs"), "runs", words).values[0], house.model, here)


def test_a_sweep_on_a_disk_that_becomes_full_keeps_its_finished_runs(house, here, monkeypatch):
    model, scopes = house.model, [sv.Scope.full(house.model), sv.Scope.last(house.model)]
    made, add = [], Store.add

    def second_fails(store, run):
        if made:
            monkeypatch.setattr("semviz.common.files._temporary_beside", full)
        made.append(run)
        return add(store, run)

    monkeypatch.setattr(Store, "add", second_fails)
    with unchanged(here / "none", model), pytest.warns(UserWarning, match=r"No space.*folder.*kept in memory"):
        runs = sv.sweep(model, house.task, scopes, store="runs", **QUICK)
    assert [run.key for run in runs] == [run.key for run in made]
    assert [p.name for p in (here / "runs").iterdir()] == [f"{made[0].key}.json"]
    monkeypatch.undo()
    monkeypatch.chdir(here)
    again = sv.sweep(model, house.task, scopes, store="runs", **QUICK)
    assert [run.key for run in again] == [run.key for run in made]


@pytest.mark.parametrize("fail", [full, read_only], ids=["full", "read-only"])
def test_no_room_for_temporary_folders(house, here, monkeypatch, fail):
    monkeypatch.setattr("tempfile.mkdtemp", fail)
    words = ("temporary folder", "TMPDIR")
    for call in (
        lambda _: sv.Study(house.model, house.task, trace=house.trace, **QUIET),
        lambda _: sv.finetune(house.model, house.task, sv.Scope.last(house.model), **QUICK),
        lambda _: EncodedTask(house.model, house.task, room=0, **QUIET).part("train", 2),
    ):
        refused(case("", call, *words).values[0], house.model, here)


def test_a_disk_without_room_for_the_prefix_is_told_before_it_is_mapped(house, here, monkeypatch):
    """Else the process dies of SIGBUS, when the page is written."""
    monkeypatch.setattr("os.posix_fallocate", full)
    monkeypatch.setattr(torch, "from_file", lambda *_a, **_k: pytest.fail("mapped"))
    bench = EncodedTask(house.model, house.task, room=0, **QUIET)
    one = case("", lambda _: bench.part("train", 2), "No space", "TMPDIR", "cache=False").values[0]
    refused(one, house.model, here)


# Damage


@pytest.fixture(scope="module")
def kinds():
    return {kind.name: kind for kind in fuzz_files.made_kinds()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="loads run in a fork, so that one that kills it is counted")
@pytest.mark.parametrize("name", ["trace", "run", "weights", "old trace", "old run"])
def test_damaged_files_are_refused_or_give_what_was_saved(kinds, name):
    """A short run of tests/faults/fuzz_files.py."""
    counts, faults = fuzz_files.fuzz(kinds[name], 60, seed=1)
    assert not faults, "\n".join(faults)
    assert sum(counts.values()) == 60
    assert counts["refused"] > 30


def test_a_load_that_gives_other_numbers_raises_or_dies_is_counted(kinds):
    for wrong, outcome in (
        (lambda folder: False, "other numbers"),
        (lambda folder: 1 / 0, "raised"),
        (lambda folder: os.kill(os.getpid(), 9), "crashed"),
    ):
        counts, faults = fuzz_files.fuzz(replace(kinds["run"], same=wrong), 2)
        assert counts == {outcome: 2}
        assert len(faults) == 2
