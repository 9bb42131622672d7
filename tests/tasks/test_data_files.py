"""A table in a file is read the same whatever the file's form; what cannot be read says what to pass instead."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import lzma
import re

import datasets
import pandas as pd
import pytest

import semviz as sv
from semviz.common.errors import TaskError

# Texts with everything that a form could mistake: separators, quotes, new lines, words for nothing, umlauts.
ODD = (
    "plain",
    "a, b",
    "a; b",
    "a | b",
    "a\tb",
    'she said "no"',
    "two\nlines",
    "NA",
    "None",
    "null",
    "n/a",
    "naïve café",
    "01",
)
LABELS = ("NA", "yes")
ROWS = [(f"{text} {i}" if text not in ("NA", "None", "null", "n/a", "01") else text, LABELS[i % 2])
        for i, text in enumerate(ODD * 3)]  # fmt: skip
FRAME = pd.DataFrame(ROWS, columns=["text", "label"])
EXPECTED = sv.Task.from_frame(FRAME, label="label")


def separated(separator, frame=FRAME, **options):
    return frame.to_csv(index=False, sep=separator, **options)


def as_bytes(frame=FRAME):
    """Parquet in memory."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


RECORDS = FRAME.to_dict("records")
FORMS = {
    "a.csv": separated(",").encode(),
    "semicolons.csv": separated(";").encode(),
    "tabs.csv": separated("\t").encode(),
    "bars.csv": separated("|").encode(),
    "UPPER.CSV": separated(",").encode(),
    "a.tsv": separated("\t").encode(),
    "commas.tsv": separated(",").encode(),
    "a.tab": separated("\t").encode(),
    "all quoted.csv": separated(",", quoting=1).encode(),
    "windows.csv": separated(",", lineterminator="\r\n").replace("two\r\nlines", "two\nlines").encode(),
    "blank lines.csv": ("\n\n" + separated(",") + "\n\n").encode(),
    "a spreadsheet's.csv": ("sep=;\n" + separated(";")).encode(),
    "with an index.csv": FRAME.to_csv().encode(),
    "blanks in the header.csv": separated(",").replace("text,label", "text , label", 1).encode(),
    "more columns.csv": separated(";", FRAME.assign(note="x, y")).encode(),
    "bom.csv": codecs.BOM_UTF8 + separated(",").encode(),
    "bom.tsv": codecs.BOM_UTF8 + separated("\t").encode(),
    "utf-16.csv": separated(",").encode("utf-16"),
    "utf-16 be.csv": codecs.BOM_UTF16_BE + separated(";").encode("utf-16-be"),
    "utf-16 without a mark.csv": separated(",").encode("utf-16-le"),
    "utf-32.csv": separated(",").encode("utf-32"),
    "latin-1.csv": separated(",").encode("latin-1"),
    "cp1252.tsv": separated("\t").encode("cp1252"),
    "packed.csv.gz": gzip.compress(separated(",").encode()),
    "PACKED.TSV.GZ": gzip.compress(separated("\t").encode()),
    "packed.csv.bz2": bz2.compress(separated(",").encode()),
    "packed.csv.xz": lzma.compress(separated(",").encode()),
    "a.jsonl": "\n".join(map(json.dumps, RECORDS)).encode(),
    "a.ndjson": ("\n".join(map(json.dumps, RECORDS)) + "\n\n").encode(),
    "raw letters.jsonl": "\r\n".join(json.dumps(row, ensure_ascii=False) for row in RECORDS).encode(),
    "bom.jsonl": codecs.BOM_UTF8 + "\n".join(map(json.dumps, RECORDS)).encode(),
    "utf-16.jsonl": "\n".join(map(json.dumps, RECORDS)).encode("utf-16"),
    "packed.jsonl.gz": gzip.compress("\n".join(map(json.dumps, RECORDS)).encode()),
    "A.JSONL": "\n".join(map(json.dumps, RECORDS)).encode(),
    "list.json": json.dumps(RECORDS, indent=1).encode(),
    "lines.json": "\n".join(map(json.dumps, RECORDS)).encode(),
    "columns.json": json.dumps(FRAME.to_dict("list")).encode(),
    "of pandas.json": FRAME.to_json().encode(),
    "wrapped.json": json.dumps({"version": "1", "data": RECORDS}).encode(),
    "a.parquet": as_bytes(),
    "a.PARQUET": as_bytes(),
    "a.pq": as_bytes(FRAME.set_index(FRAME.index + 7)),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.brings(
    "Data",
    "CSV with any separator, TSV, JSON, JSON lines, Parquet; compressed, with a byte order mark, in UTF-16; `.CSV`",
    "the same task from each; a guess is said in `task.notes`",
)
def test_every_form_gives_the_same_task(name, tmp_path):
    (tmp_path / name).write_bytes(FORMS[name])
    task = sv.Task.from_file(tmp_path / name, label="label")
    assert task.hash == EXPECTED.hash
    assert task.labels == ("NA", "yes")
    guessed = any(word in name for word in ("latin", "cp1252", "without a mark"))
    assert any("was read as" in note for note in task.notes) == guessed
    assert task.name == name.partition(".")[0]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", ":", "^", "~"])
def test_a_separator_that_is_named_is_used(separator, tmp_path):
    (tmp_path / "a.csv").write_text(separated(separator))
    assert sv.Task.from_file(tmp_path / "a.csv", label="label", separator=separator).hash == EXPECTED.hash


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1250", "mac_roman", "utf-16", "utf-8-sig"])
def test_an_encoding_that_is_named_is_used(encoding, tmp_path):
    texts = FRAME.assign(text=FRAME["text"].str.replace("ï", "i"))  # cp1250 has no ï
    (tmp_path / "a.csv").write_bytes(separated(",", texts).encode(encoding))
    task = sv.Task.from_file(tmp_path / "a.csv", label="label", encoding=encoding)
    assert task.hash == sv.Task.from_frame(texts, label="label").hash
    assert not any("was read as" in note for note in task.notes)


@pytest.mark.brings(
    "Data",
    "quotes that do not pair",
    "takes them as text, and says so",
)
def test_quotes_that_do_not_pair_are_parts_of_texts(tmp_path):
    lines = ["text\tlabel", *(f'"quoted {i}\t{LABELS[i % 2]}' for i in range(12)), 'he said "so"\tyes']
    (tmp_path / "glue.tsv").write_text("\n".join(lines))
    task = sv.Task.from_file(tmp_path / "glue.tsv", label="label")
    assert sum(map(len, task.splits.values())) == 13
    assert '"quoted 3' in set(task.frame()["text"])
    assert any("do not pair" in note for note in task.notes)


def test_numbers_and_truth_values_of_json_and_parquet_are_labels(tmp_path):
    frame = pd.DataFrame({"text": [f"row {i}" for i in range(20)], "n": [i % 3 for i in range(20)]})
    frame["b"] = frame["n"] > 0
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    for name in ("a.parquet", "a.jsonl"):
        assert sv.Task.from_file(tmp_path / name, label="n").labels == ("0", "1", "2")
        assert sv.Task.from_file(tmp_path / name, label="b").labels == ("False", "True")


FEW = {"text": ["a b"], "label": ["x"]}
REFUSED = {
    "empty.csv": (b"", "is empty"),
    "blank.tsv": (b" \n\n ", "is empty"),
    "empty.jsonl": (b"", "has no rows"),
    "empty.json": (b"[]", "has no rows"),
    "header.csv": (b"text,label\n", "a header and no rows"),
    "header.tsv": (b"text\tlabel", "a header and no rows"),
    "no rows.parquet": (as_bytes(FRAME.iloc[:0]), "has no rows"),
    "twice.csv": (b"text,text,label\na,b,x\n" * 9, "'text' of train .* appears twice"),
    "no text.csv": (separated(",").replace("text", "body", 1).encode(), "'text' of train .* is missing.*'body'"),
    "no label.tsv": (separated("\t").replace("label", "kind", 1).encode(), "'label' of train .* is missing.*'kind'"),
    "no label.jsonl": (json.dumps({"text": "a"}).encode(), "'label' of train .* is missing"),
    "no label.parquet": (as_bytes(FRAME[["text"]]), "'label' of train .* is missing"),
    "nothing.csv": (b"text,label\n" + b"a b,\nc d,x\n" * 9, r"labels\[0\] of train is empty"),
    "nothing.jsonl": ("\n".join(['{"text": "a", "label": null}'] * 9).encode(), r"labels\[0\] of train is NoneType"),
    "no text.jsonl": ("\n".join(['{"text": null, "label": "a"}'] * 9).encode(), r"texts\[0\] of train is NoneType"),
    "blank text.csv": (b"text,label\n" + b"  ,x\nc d,y\n" * 9, r"texts\[0\] of train is empty"),
    "ragged.csv": (b"text,label\na,x\nb,c,y\n", "its line 3 has 3 fields, and its header 2"),
    "nulls.csv": (b"text,label\na\0b,x\nc,y\n", "null characters, the first in line 2"),
    "damaged.csv": (("text,label\n" + "é è ü,x\n" * 9).encode() + b"\xff,y\n", "the first of them in line 11"),
    "no json.jsonl": (b'{"text": "a", "label": "x"}\n{oops\n', "Line 2 of"),
    "numbers.json": (b"[1, 2]", "holds no objects"),
    "a number.json": (b"3", "holds no objects"),
    "no parquet.parquet": (b"PAR1 but not", "cannot be read as Parquet"),
    "not packed.csv.gz": (b"text,label\n", "cannot be read: Not a gzipped file"),
    "half.csv.gz": (gzip.compress(separated(",").encode())[:60], "cannot be read"),
    "a.xlsx": (b"PK", "ending '.xlsx'; pass a file that ends in .csv"),
    "a.pkl": (b"\x80", "ending '.pkl'"),
    "none": (b"x", "ending ''"),
    "one class.csv": (b"text,label\n" + b"a b,x\n" * 9, r"labels of train has 1 class \(x\)"),
    "few.csv": (b"text,label\na b,x\nc d,y\n", "Got 2 texts of train"),
    "scores.csv": (("text,label\n" + "".join(f"t {i},{i % 3}.5\n" for i in range(20))).encode(), "decimal point"),
    "scores.parquet": (as_bytes(FRAME.assign(label=0.5)), r"labels\[0\] of train is float 0.5"),
    "ids.csv": (("text,label\n" + "".join(f"t {i},id{i}\n" for i in range(20))).encode(), "20 different values in 20"),
    "lists.jsonl": ("\n".join(['{"text": "a", "label": ["x", "y"]}'] * 9).encode(), r"labels\[0\] of train is list"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_says_why(name, tmp_path):
    content, message = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TaskError, match=message) as raised:
        sv.Task.from_file(tmp_path / name, label="label")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("missing.csv", {}, "no such file"),
        (".", {}, "is a folder"),
        ("http://127.0.0.1:9/a.csv", {}, "is an address"),
        ("s3://bucket/a.parquet", {}, "is an address"),
        (3, {}, "train=3.* is not a path"),
        ("a.csv", {"separator": ";;"}, "one character"),
        ("a.csv", {"encoding": "klingon"}, "encoding='klingon'.*unknown"),
        ("a.csv", {"encoding": "ascii"}, "is not text in ascii"),
        ("a.csv", {"rows": 5}, "rows=5 is for hf: datasets"),
        ("a.csv", {"test": "missing.csv"}, "no such file"),
        ("a.csv", {"test": "http://127.0.0.1:9/a.csv"}, "is an address"),
        ("a.csv", {"label": "text"}, "both text and label"),
        ("a.csv", {"prompt": "{body} label:"}, r"names \{body\}.*'text', 'label'"),
    ],
)
def test_arguments_that_do_not_fit(path, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text(separated(","))
    with pytest.raises(sv.SemvizError, match=message):
        sv.Task.from_file(path, **{"label": "label", **options})


def test_scores_are_classes_once_they_have_words(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"t {i},{i % 2}.5\n" for i in range(20)))
    task = sv.Task.from_file(tmp_path / "a.csv", label="label", words={0.5: "bad", 1.5: "good"})
    assert dict(zip(task.labels, task.words, strict=True)) == {"0.5": "bad", "1.5": "good"}


@pytest.mark.brings(
    "Data",
    "a file for each split",
    "reads each in its own form",
)
def test_each_split_may_have_a_file_of_its_own_in_a_form_of_its_own(tmp_path):
    (tmp_path / "train.csv").write_text(separated(";"))
    later = FRAME.assign(text=[f"later {i}" for i in range(len(FRAME))])
    later.to_parquet(tmp_path / "test.parquet")
    task = sv.Task.from_file(tmp_path / "train.csv", label="label", test=tmp_path / "test.parquet", validation=0.25)
    assert set(task.split("test").texts) == set(later["text"])
    assert len(task.split("validation")) == round(0.25 * len(FRAME))
    later[["text"]].to_parquet(tmp_path / "test.parquet")
    with pytest.raises(TaskError, match=r"'label' of test \('test.parquet'\) is missing"):
        sv.Task.from_file(tmp_path / "train.csv", label="label", test=str(tmp_path / "test.parquet"))


def folder_of(tmp_path):
    parts = {name: datasets.Dataset.from_pandas(FRAME.assign(text=FRAME["text"] + name)) for name in ("train", "test")}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "kept")
    (tmp_path / "files").mkdir()
    for name, part in parts.items():
        part.to_parquet(tmp_path / "files" / f"{name}.parquet")
    return sv.Task.from_dataset(datasets.DatasetDict(parts), label="label")


@pytest.mark.parametrize("rows", [None, 1000])
@pytest.mark.parametrize("folder", ["kept", "files"])
@pytest.mark.brings(
    "Data",
    "a folder of `save_to_disk` or of data files, as `hf:FOLDER`",
    "reads its splits",
)
def test_a_folder_with_a_dataset(folder, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    expected = folder_of(tmp_path)
    task = sv.Task.from_file(f"hf:{tmp_path / folder}", label="label", rows=rows)
    assert task.hash == expected.hash
    assert task.name == folder
    assert any("first of a stream" in note for note in task.notes) == (rows is not None and folder == "files")


@pytest.mark.parametrize(("address", "asked"), [("hf:me/it", ("me/it", None)), ("hf:glue:sst2", ("glue", "sst2"))])
@pytest.mark.brings(
    "Data",
    "`hf:id`, `hf:id:config`",
    "reads it from the hub",
)
def test_a_dataset_of_the_hub_and_its_configuration(address, asked, monkeypatch):
    calls = []

    def load(source, config, *, streaming):
        calls.append((source, config))
        return datasets.DatasetDict(train=datasets.Dataset.from_pandas(FRAME))

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert sv.Task.from_file(address, label="label").hash == EXPECTED.hash
    assert calls == [asked]


@pytest.mark.parametrize("address", ["hf:", "hf::x", "hf:me/nothing"])
def test_a_dataset_that_there_is_not(address, monkeypatch):
    def load(source, config, *, streaming):
        raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{source}' doesn't exist on the Hub\nor elsewhere")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(TaskError, match=re.escape(repr(address))):
        sv.Task.from_file(address, label="label")
