"""One of several processes that train together; `test_training_processes.py` starts them, and one more alone.

Run as `train_share.py FOLDER`; what each process saw is left in FOLDER as `seen-<number>.pt`.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import torch
from small import plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common import distributed
from semviz.common.errors import SemvizError
from semviz.experiments import sweep
from semviz.experiments.run_store import Store
from semviz.finetuning import encoded_task

BATCH = 8
# Plain gradient descent at a large rate shows the size of a gradient, which Adam would hide.
SGD = {"optim": "sgd", "max_grad_norm": 0.0}


def load() -> sv.LanguageModel:
    return sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text(5))


def labelled() -> sv.Task:
    """Classification, 40 training rows: five full batches."""
    things = ("cat", "dog", "bird", "tree", "house")
    texts = [f"the {things[i % 5]} was {('good', 'bad')[i // 5 % 2]} ." for i in range(47)]
    labels = [("yes", "no")[i // 5 % 2] for i in range(47)]
    return sv.Task.from_texts(texts, labels, prompt="{text} mood :", test=(texts[:9], labels[:9]), name="labelled")


def ragged(rows: int) -> sv.Task:
    """Next-token prediction on so many training rows of 4 to 11 words."""
    texts = [" ".join(line.split()[: 4 + i % 8]) for i, line in enumerate(plain_text(60))]
    held_out = round(0.15 * rows / 0.85)
    task = sv.Task.from_texts(texts[: rows + held_out], test=texts[-6:], name="ragged")
    assert len(task.split("train")) == rows
    return task


def trained(task: sv.Task, **options) -> sv.Run:
    model = options.pop("model", None) or load()
    scope = options.pop("scope", None) or sv.Scope.half(model)
    given = {"epochs": 2, "batch_size": BATCH, "lr": 0.3, "arguments": SGD, "progress": False}
    return sv.finetune(model, task, scope, **{**given, **options})


def kept(run: sv.Run) -> dict:
    """What of a run can be compared."""
    names = ("lr", "steps", "accuracy", "loss", "validation_loss", "rows", "cached", "note", "key")
    return {
        **{name: getattr(run, name) for name in names},
        "weights": dict(run.weights),
        "curve": run.curve["loss"].tolist(),
    }


# Each is one finetune, by several processes or by one.
RUNS = {
    "labelled": lambda: trained(labelled()),
    "ragged": lambda: trained(ragged(40)),
    "ragged, accumulated": lambda: trained(ragged(40), arguments={**SGD, "gradient_accumulation_steps": 2}),
    "all blocks": lambda: trained(ragged(40), scope=sv.Scope.full(load())),
    "lora": lambda: trained(ragged(40), method="lora"),
    "adam": lambda: trained(ragged(40), lr=3e-3, arguments={}),
    "rows left over": lambda: trained(ragged(37)),
}


def message(job) -> str:
    try:
        job()
    except SemvizError as error:
        return str(error)
    return ""


def swept(store: Path, finetunes: list) -> list[dict]:
    """A sweep; every finetune that it starts is counted."""
    real = sweep.train_scope
    sweep.train_scope = lambda *a, **k: (finetunes.append(1), real(*a, **k))[1]
    try:
        model = load()
        scopes = [sv.Scope.full(model), sv.Scope.last(model)]
        given = {"epochs": 1, "batch_size": BATCH, "keep_weights": True, "progress": False}
        runs = sv.sweep(model, labelled(), scopes, store=store, **given)
    finally:
        sweep.train_scope = real
    return [kept(run) for run in runs]


def main(folder: Path) -> None:
    number, several = distributed.join()
    seen: dict = {"several": several}
    seen["runs"] = {name: kept(run()) for name, run in RUNS.items()}

    # Which blocks ran, and whether the model was written to, with a whole sweep's worth of boundaries.
    model, blocks = load(), Counter()
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    edits = [p._version for p in model.model.parameters()]
    real = encoded_task.run_prefix

    def counted(*args, start=None, **options):
        made = real(*args, start=start, **options)
        blocks.update(range(1 + (start.boundary if start else 0), 1 + max(made)))
        return made

    encoded_task.run_prefix = counted
    scopes = [sv.Scope.above(model, k) for k in (1, 3)]
    sv.sweep(model, labelled(), scopes, lr=1e-3, epochs=1, batch_size=BATCH, progress=False)
    encoded_task.run_prefix = real
    seen["blocks"] = dict(blocks)
    seen["same"] = all(torch.equal(before[name], value) for name, value in model.model.state_dict().items())
    seen["edited"] = [p._version for p in model.model.parameters()] != edits

    # The store.
    added, add = [], Store.add
    Store.add = lambda self, run: (added.append(run.key), add(self, run))[1]
    first, again = [], []
    seen["sweep"] = swept(folder / "store", first)
    seen["resumed"] = swept(folder / "store", again)
    seen["finetunes"] = (len(first), len(again))
    seen["added"] = added

    seen["odd"] = message(lambda: trained(labelled(), batch_size=7))
    twice = {"gradient_accumulation_steps": 2}
    seen["odd, accumulated"] = message(lambda: trained(labelled(), batch_size=6, arguments=twice))
    seen["lisa"] = message(lambda: trained(labelled(), method="lisa"))

    if distributed.leave():
        seen["alone"] = kept(RUNS["labelled"]())
    torch.save(seen, folder / f"seen-{number}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
