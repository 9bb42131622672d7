"""Plans beside what was measured, threads with and without a busy program, and what a smaller sweep loses.

    python tests/bench/bench_plan.py plans      # planned and measured seconds of several scopes, on three models
    python tests/bench/bench_plan.py threads    # a training step on one and two threads
    python tests/bench/bench_plan.py order      # what fewer epochs, fewer rows or one rate change; resumable

Seconds are the processor's, on one thread, so that other programs on the machine do not count; those of `threads` are
of the clock, taken in turns.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

os.environ.update(TQDM_DISABLE="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
PARTS = sys.argv[1:] or ["plans", "threads"]
if "threads" not in PARTS:
    os.environ["OMP_NUM_THREADS"] = "1"
    time.perf_counter = time.process_time  # what semviz measures with

import torch  # noqa: E402

import semviz as sv  # noqa: E402

REAL = Path(__file__).parents[2].parent / "shared" / "real"
SMOL = Path.home() / ".cache" / "semviz-real"
MODELS = {"demo": None, "stories260K": REAL / "stories260K-llama", "SmolLM2-135M": SMOL / "smollm2-135m-instruct"}
STORE = Path.home() / ".cache" / "semviz-bench" / "plan"


def main() -> None:
    """Run what was asked for."""
    print(f"{date.today()}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    for part in PARTS:
        {"plans": plans, "threads": threads, "order": order}[part]()


def plans() -> None:
    """Plan sweeps of three scopes at one rate and at a searched one, run them, and compare."""
    print("| model | what | planned s | measured s | measured / planned |\n|---|---|---|---|---|")
    for name, folder in MODELS.items():
        if folder is not None and not folder.is_dir():
            print(f"| {name} | not here | | | |")
            continue
        model = sv.load_model(folder, dtype="float32")
        large = model.n_blocks > 10
        options = {"epochs": 1, "batch_size": 8 if large else 32}
        task = sv.load_task("mood").subset(train=24 if large else 400, validation=30, test=30)
        scopes = [sv.Scope.full(model), sv.Scope.half(model), sv.Scope.last(model)]
        for lr in (1e-4,) if large else (1e-3, "auto"):
            plan = sv.plan(model, task, scopes, lr=lr, **options)
            started = time.perf_counter()
            runs = sv.sweep(model, task, scopes, lr=lr, progress=False, **options)
            whole = time.perf_counter() - started
            planned = {step.scope: step.seconds for step in plan.steps if step.scope is not None}
            for run in runs:
                measured = run.seconds - run.prefix_seconds + run.search_seconds
                _row(name, f"{run.scope.label}, lr {lr}, measured without scoring", planned[run.scope], measured)
            _row(name, f"**all of it**, lr {lr}", plan.seconds, whole)


def _row(model: str, what: str, planned: float, measured: float) -> None:
    print(f"| {model} | {what} | {planned:.2f} | {measured:.2f} | {measured / planned:.2f} |", flush=True)


def threads() -> None:
    """Time training steps on one and two threads in turns, alone and beside a busy program."""
    print(
        "| model | width | busy programs more | 1 thread s | 2 threads s | 2 threads / 1 |\n|---|---|---|---|---|---|"
    )
    models = {"stories260K": MODELS["stories260K"], "demo": None, "SmolLM2, 3 blocks": SMOL / "smollm2-3-blocks"}
    for busy in (0, 1):
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
        try:
            for name, folder in models.items():
                if folder is None or folder.is_dir():
                    model = sv.load_model(folder, dtype="float32")
                    one, two = _steps(model.model, model.anatomy.vocabulary)
                    print(f"| {name} | {model.anatomy.width} | {busy} | {one:.3f} | {two:.3f} | {two / one:.2f} |")
        finally:
            for other in others:
                other.kill()


def _steps(network: torch.nn.Module, vocabulary: int, rounds: int = 7) -> tuple[float, float]:
    """Median seconds of a step of 16 rows of 32 tokens on one thread and on two."""
    ids = torch.randint(vocabulary, (16, 32))
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(rounds):
        for count in (1, 2) if turn % 2 else (2, 1):
            torch.set_num_threads(count)
            started = time.perf_counter()
            network(input_ids=ids, labels=ids).loss.backward()
            network.zero_grad()
            seconds[count].append(time.perf_counter() - started)
    return sorted(seconds[1])[rounds // 2], sorted(seconds[2])[rounds // 2]


def order() -> None:
    """Compare what a third of the epochs, a third of the rows, or one rate chooses with what the whole sweep does."""
    model = sv.load_model()
    scopes = [sv.Scope.above(model, k) for k in (0, 3, 5, 7)]
    for name in ("mood", "question", "where"):
        task = sv.load_task(name).subset(train=600, test=400)
        smaller = {
            "whole": (task, {}),
            "epochs / 3": (task, {"epochs": 1}),
            "rows / 3": (task.subset(train=200), {}),
            "one rate": (task, {"lr": 1e-3}),
        }
        for what, (rows, options) in smaller.items():
            runs = sv.sweep(model, rows, scopes, seeds=range(3), store=STORE, progress=False, **options)
            table = runs.table()
            seconds = sum(run.seconds + run.search_seconds for run in runs)
            print(
                f"{name}, {what}: {seconds:.0f} s; validation {table['validation'].round(3).tolist()}; {runs.answer()}"
            )


if __name__ == "__main__":
    main()
