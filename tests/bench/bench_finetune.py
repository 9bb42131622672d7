"""What a finetune costs, as ratios measured in one run.

    python tests/bench/bench_finetune.py                  # everything that this machine can run
    python tests/bench/bench_finetune.py cached overhead  # some of it

Prints a Markdown table a section, and at the end one line of JSON with every number. Run it alone on the machine.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import tempfile
import time
from copy import deepcopy
from datetime import date

import torch
import workloads
from pairs import load
from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments, get_cosine_schedule_with_warmup

import semviz as sv
from semviz.common.progress import Control
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.recipe import Recipe
from semviz.finetuning.suffix_model import Suffix
from semviz.finetuning.training import fit
from semviz.scopes.cost_units import units

NUMBERS: dict[str, dict] = {}
SHORT = {"lr": 2e-4, "epochs": 2, "batch_size": 16}
QUICK = {"epochs": 3, "progress": False, "keep_weights": True}


def main() -> None:
    sections = {f.__name__: f for f in (cached, instead, sweeps, overhead, gpu)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", help=f"some of {', '.join(sections)}; all by default")
    parser.add_argument("--repeat", type=int, default=2)
    options = parser.parse_args()
    workloads.threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    print(f"{date.today()}, {where}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    for name in options.sections or sections:
        sections[name](options)
        print(flush=True)
    print(json.dumps(NUMBERS))


def table(title: str, head: str, lines: list[str]) -> None:
    columns = head.count("|") - 1
    print(f"### {title}\n\n{head}\n{'|---' * columns}|\n" + "\n".join(lines), flush=True)


def cached(options) -> None:
    """Seconds of cached suffix training against full finetuning, beside what the cost table predicts; equal weights."""
    jobs = {"demo, mood": lambda: load("mood"), "demo, dialect": lambda: load("dialect")}
    if workloads.REAL.is_dir():
        jobs["random GPT-2 small, stories"] = workloads.gpt2_small_on_stories
    lines = []
    for name, make in jobs.items():
        lines += cached_lines(name, *make(), options.repeat)
    head = "| model, task | k | full s | cached s | faster | predicted | reached | goal | Δ weights | goal |"
    table("Cached suffix training, 3 epochs", head, lines)


def cached_lines(name: str, model: sv.LanguageModel, task: sv.Task, repeat: int) -> list[str]:
    blocks, costs = model.n_blocks, sv.estimate_costs(model, task)
    lr = 1e-3 * 128 / model.anatomy.width
    size = 8 if len(task.split("train")) < 200 else 32
    options = {**QUICK, "lr": lr, "batch_size": size}
    scopes = {k: sv.Scope.above(model, k) for k in (0, blocks // 2, 3 * blocks // 4)}
    runs: dict[int, sv.Run] = {}
    # In turns, so that a noisy moment hits all of them; runs of minutes need no second turn.
    for _ in range(repeat if model.parts.total < 1e8 else 1):
        for k, scope in scopes.items():
            run = sv.finetune(model, task, scope, **options)
            if k not in runs or run.seconds < runs[k].seconds:
                runs[k] = run
    lines = []
    for k in list(scopes)[1:]:
        plain = sv.finetune(model, task, scopes[k], cache=False, **options)
        gap = max(float((value - plain.weights[key]).abs().max()) for key, value in runs[k].weights.items())
        faster, predicted = runs[0].seconds / runs[k].seconds, 1 / costs.of(scopes[k]).share
        lines.append(
            f"| {name} | {k} of {blocks} | {runs[0].seconds:.1f} | {runs[k].seconds:.1f} | {faster:.2f} × | "
            f"{predicted:.2f} × | **{faster / predicted:.0%}** | ≥ 85 % | {gap:.0e} | ≤ 1e-5 |"
        )
        NUMBERS[f"cached {name} k={k}"] = {"faster": faster, "predicted": predicted, "gap": gap}
    return lines


def instead(options) -> None:
    """Cached suffixes of SmolLM2 against what a user would write instead, and against full finetuning."""
    if not workloads.available(workloads.smollm2):
        print("### SmolLM2\n\nIt is not there: not measured.")
        return
    model, task = load("smollm2-trec")
    task = task.subset(train=96, validation=16, test=16)
    bench, costs = EncodedTask(model, task, progress=False), sv.estimate_costs(model, task, batch_size=16)
    users: dict[int, list[float]] = {0: [], 15: [], 22: []}
    ours: dict[int, list[float]] = {k: [] for k in users}
    for _ in range(options.repeat):  # in turns, so that a noisy moment hits all of them
        for k in users:
            users[k].append(users_own(bench, k))
            scope = sv.Scope.above(model, k)
            ours[k].append(sv.finetune(model, task, scope, **SHORT, progress=False, keep_weights=False).seconds)
    lines = []
    for k in users:
        own, user, full = min(ours[k]), min(users[k]), min(ours[0])
        predicted = 1 / costs.of(sv.Scope.above(model, k), epochs=SHORT["epochs"]).share
        lines.append(
            f"| {k} of {model.n_blocks} | {user:.1f} | {own:.1f} | **{user / own:.2f} ×** | {full / own:.2f} × | "
            f"{predicted:.2f} × | **{full / own / predicted:.0%}** |"
        )
        NUMBERS[f"instead k={k}"] = {"user": user, "semviz": own, "full": full, "predicted": predicted}
    head = "| frozen | Trainer, same blocks s | semviz s | faster | than full | predicted | reached (≥ 90 %) |"
    table("SmolLM2, 96 rows of trec, 2 epochs at one rate, batches of 16", head, lines)


def users_own(bench: EncodedTask, k: int) -> float:
    """Seconds of Trainer on a copy of the model, its embeddings and first k blocks frozen by hand."""
    model, encoded = bench.model, bench.part("train", 0).encoded
    # The answer's token behind the prompt, as people write it: labels of -100 where nothing is learnt.
    answers = [int(row[-1]) for row in encoded.targets]
    rows = [
        {"input_ids": [*map(int, ids), answer], "labels": [-100] * len(ids) + [answer]}
        for ids, answer in zip(encoded.ids, answers, strict=True)
    ]
    copied = deepcopy(model.model).requires_grad_(not k)
    for name in model.anatomy.block_names[k:]:
        copied.get_submodule(name).requires_grad_(True)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=SHORT["batch_size"],
            num_train_epochs=SHORT["epochs"],
            learning_rate=SHORT["lr"],
            lr_scheduler_type="cosine",
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        )
        collate = DataCollatorForSeq2Seq(model.tokenizer)
        trainer = Trainer(copied, arguments, train_dataset=rows, data_collator=collate)
        started = time.perf_counter()
        trainer.train()
        return time.perf_counter() - started


def sweeps(options) -> None:
    """A sweep over every boundary, and three probes with a recommendation, against what is predicted and measured."""
    model, task = load("mood")
    given = {"lr": 1e-3, "epochs": 3, "progress": False}
    sv.finetune(model, task, sv.Scope.last(model), **{**given, "epochs": 1})  # warms up

    def seconds(function) -> float:
        started = time.perf_counter()
        function()
        return time.perf_counter() - started

    scopes = sv.Scope.suffixes(model)
    full = seconds(lambda: sv.finetune(model, task, **given, keep_weights=False))
    one = sum(units(scopes[0], epochs=3).values())
    predicted = full * sum(sum(units(scope, epochs=3).values()) for scope in scopes) / one
    swept = seconds(lambda: sv.sweep(model, task, **given))
    answered = seconds(lambda: sv.probe(model, task, **given).recommend())
    plain = seconds(
        lambda: [sv.finetune(model, task, scope, **given, cache=False, keep_weights=False) for scope in scopes]
    )
    lines = [
        f"| full finetuning | {full:.1f} | | | |",
        f"| sweep, 8 boundaries | {swept:.1f} | {predicted:.1f} predicted | **{swept / predicted:.2f}** | ≤ 1.15 |",
        f"| the same without cache | {plain:.1f} | | | |",
        f"| sweep against without cache | {swept:.1f} | {plain:.1f} | **{swept / plain:.2f}** | about 0.8 |",
        f"| three probes and the answer | {answered:.1f} | {plain:.1f} without cache | **{answered / plain:.0%}** | "
        "≤ 35 % |",
    ]
    NUMBERS["sweeps"] = {"full": full, "sweep": swept, "predicted": predicted, "plain": plain, "probes": answered}
    table("Sweep and answer, demo LM, mood, 3 epochs, one rate", "| what | s | against s | ratio | goal |", lines)


def overhead(options) -> None:
    """Trainer with semviz's callback against a bare loop of the same steps, on the demo LM."""
    model, task = load("mood")
    bench = EncodedTask(model, task, progress=False)
    lines = []
    for k in (0, 4, 6, 7):
        bench.part("train", k)
        for run in (bare, trained):
            run(bench, k)
        pairs = [(bare(bench, k), trained(bench, k)) for _ in range(options.repeat + 1)]
        plain, ours = (min(column) for column in zip(*pairs, strict=True))
        steps = math.ceil(len(bench.part("train", 0)) / 32) * 3
        lines.append(
            f"| {k} | {1e3 * plain / steps:.1f} | {1e3 * ours / steps:.1f} | **{ours / plain - 1:+.0%}** | ≤ 25 % |"
        )
        NUMBERS[f"overhead k={k}"] = {"bare": plain, "trainer": ours}
    head = "| frozen blocks | bare loop, ms a step | Trainer, ms a step | more | goal |"
    table("Trainer against a bare loop, demo LM, cached", head, lines)


def bare(bench: EncodedTask, k: int) -> float:
    part = bench.part("train", k)
    suffix = Suffix(bench.model, sv.Scope.above(bench.model, k), cached=k > 0).train()
    collate, order = bench.collator(part), torch.Generator().manual_seed(0)
    steps = math.ceil(len(part) / 32) * 3
    optimizer = torch.optim.AdamW(suffix.trainable_parameters, lr=1e-3, weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, math.ceil(0.1 * steps), steps)
    started = time.perf_counter()
    for _ in range(3):
        for rows in torch.randperm(len(part), generator=order).split(32):
            suffix(**collate(rows.tolist()))["loss"].backward()
            torch.nn.utils.clip_grad_norm_(suffix.trainable_parameters, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    return time.perf_counter() - started


def trained(bench: EncodedTask, k: int) -> float:
    part = bench.part("train", k)
    suffix = Suffix(bench.model, sv.Scope.above(bench.model, k), cached=k > 0)
    recipe = Recipe("full", 1e-3, 3, 32, 0)
    return fit(suffix, bench, part, recipe, label="bench", control=Control(), progress=False).seconds


def gpu(options) -> None:
    """The first two sections on a random Llama of a billion parameters in bfloat16."""
    if not torch.cuda.is_available():
        print("### GPU\n\nNo GPU here: not measured.")
        return
    model = workloads.llama_1b()
    texts = [" ".join(f"t{(7 * i + j) % 9000 + 2}" for j in range(256)) for i in range(240)]
    task = sv.Task.from_texts(texts[:200], test=texts[200:], name="random")
    head = "| model, task | k | full s | cached s | faster | predicted | reached | goal | Δ weights | goal |"
    lines = cached_lines("random Llama 1B, bfloat16", model, task, options.repeat)
    table("Cached suffix training, 3 epochs, GPU", head, lines)


if __name__ == "__main__":
    main()
