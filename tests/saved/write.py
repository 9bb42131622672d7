"""Writes the files that tests/test_saved.py reads, with what they hold: `python tests/saved/write.py FOLDER`.

A folder is written once, by the semviz whose name it carries, and stays as it is: what people have saved must load in
every later version. A change of what is saved adds a folder and keeps the old ones.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from small import mood_task, plain_text, tiny_llama, word_tokenizer

import semviz as sv

QUICK = {"epochs": 1, "batch_size": 16, "progress": False}


def model_and_tasks(folder: Path) -> tuple[sv.LanguageModel, sv.Task, sv.Task]:
    """The model that is stored in the folder, a task with labels, and one of plain text."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    pair = (AutoModelForCausalLM.from_pretrained(folder / "model"), AutoTokenizer.from_pretrained(folder / "model"))
    model = sv.load_model(pair, general_text=plain_text())
    words = [" ".join(line.split()[: 4 + i % 8]) for i, line in enumerate(plain_text(40))]
    return model, mood_task(stratify=False), sv.Task.from_texts(words, name="tiny stories")


def write_traces(folder: Path, model: sv.LanguageModel, mood: sv.Task, stories: sv.Task) -> dict[str, sv.Trace]:
    """One trace for each option that decides what is in the file."""

    @sv.metric("margin", title="margin", unit="logits", loss_like=False, definition="best − target")
    def margin(view):
        return view.logits.max(-1).values - view.logits.gather(-1, view.target[:, None])[:, 0]

    quiet = {"progress": False}
    head_rows, ridge = (sv.calibrate(model, ridge=value, **quiet) for value in (math.inf, 0.1))
    traces = {
        "all": sv.trace(model, mood, detail=2, calibration=head_rows, **quiet),
        "centred": sv.trace(model, mood, detail=0, calibration=ridge, centre=True, path="lerp", **quiet),
        "labels": sv.trace(model, mood, vocab="labels", split="test", **quiet),
        "text": sv.trace(model, stories, metrics="lens", **quiet),
        "target": sv.trace(model, stories, metrics="target", samples=5, **quiet),
        "own": sv.trace(model, mood, metrics=["lens", "margin"], samples=6, **quiet),
    }
    for name, trace in traces.items():
        trace.save(folder / f"{name}.parquet")
    return traces


def write_store(store: Path, model: sv.LanguageModel, mood: sv.Task, stories: sv.Task) -> None:
    """Full finetuning, adapters, sampled blocks, ranges, a rate that was looked for, plain text, and a diverged run."""
    scope = sv.Scope
    options = {"store": store, **QUICK}
    sv.sweep(model, mood, [scope.half(model)], methods=("full", "lora"), lr=1e-3, keep_weights=True, **options)
    sv.sweep(model, mood, [scope.full(model)], methods=("ia3", "lisa"), seeds=(0, 1), lr=1e-3, **options)
    sv.sweep(model, mood, [scope.last(model)], **{**options, "epochs": 14})  # long enough for trials
    sv.sweep(model, mood, [scope.of(model, [1, 3], tail=False)], lr=1e-3, **options)
    sv.sweep(model, mood, [scope.above(model, 0, head=True)], lr=1e30, **options)
    sv.sweep(model, stories, [scope.above(model, 1, head=True)], lr=1e-3, arguments={"weight_decay": 0.1}, **options)


def content_of(trace: sv.Trace) -> dict[str, object]:
    """Some numbers of a trace, rounded so that they are the same everywhere."""
    values = {key: [round(float(v), 4) for v in array.mean(axis=0)] for key, array in trace.values.items()}
    whole = {name: value for name, value in trace.meta.items() if isinstance(value, str | int)}
    return {"repr": repr(trace), "values": values, "meta": whole, "columns": list(trace.positions.columns)}


def content_of_run(run: sv.Run) -> dict[str, object]:
    """What a run holds, but for its long lists."""
    lists = ("rows", "validation_rows", "environment")
    weights = {name: round(float(tensor.double().abs().sum()), 4) for name, tensor in sorted(run.weights.items())}
    record = {name: value for name, value in run.record().items() if name not in lists}
    return {"repr": repr(run), "record": record, "weights": weights, "diverged": run.diverged}


def main(folder: Path) -> None:
    folder.mkdir(parents=True)
    tiny_llama().save_pretrained(folder / "model")
    word_tokenizer().save_pretrained(folder / "model")
    model, mood, stories = model_and_tasks(folder)
    traces = write_traces(folder, model, mood, stories)
    write_store(folder / "store", model, mood, stories)
    from semviz.experiments.run_store import Store

    store = Store(folder / "store")
    content = {
        "traces": {name: content_of(trace) for name, trace in traces.items()},
        "runs": {key: content_of_run(store.find(key)) for key in sorted(store.keys())},
    }
    (folder / "content.json").write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
