"""What a change costs: loading, tracing and finetuning of an older commit beside the working tree, in one run.

    python tests/bench/bench_against.py COMMIT                 # the packaged model; some minutes
    python tests/bench/bench_against.py COMMIT --model FOLDER  # any other, such as a real LM

Both are measured in turns, each time in a fresh process with one thread, and in seconds of the CPU, which another
program on the machine disturbs less than the clock. Prints the medians and their ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, sys, time
import torch
torch.set_num_threads(1)
import semviz as sv
folder, samples = sys.argv[1] or None, int(sys.argv[2])
task = sv.load_task("mood")
spent = {}
def timed(name, work):
    started = time.process_time()
    result = work()
    spent[name] = time.process_time() - started
    return result
sv.load_model(folder)  # imports, and files that the system has not read yet
model = timed("load_model", lambda: sv.load_model(folder))
timed("hash, for the first time", lambda: model.hash)
calibration = timed("calibrate", lambda: sv.calibrate(model, progress=False))
options = {"samples": samples, "calibration": calibration, "progress": False}
sv.trace(model, task, **options)
timed("trace, all metrics", lambda: sv.trace(model, task, **options))
timed("trace, target", lambda: sv.trace(model, task, metrics="target", **options))
half, recipe = sv.Scope.half(model), {"lr": 1e-3, "epochs": 1, "progress": False}
small = task.subset(train=samples, test=samples)
sv.finetune(model, small, half, **recipe)
timed("finetune, half", lambda: sv.finetune(model, small, half, **recipe))
timed("finetune, half, without cache", lambda: sv.finetune(model, small, half, cache=False, **recipe))
print(json.dumps(spent))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="the older commit")
    parser.add_argument("--model", default="", help="a model's folder; the packaged model by default")
    parser.add_argument("--samples", type=int, default=200, help="rows that are traced and trained on")
    parser.add_argument("--times", type=int, default=5, help="how often each is measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        older = Path(folder) / "older"
        subprocess.run(["git", "worktree", "add", "--detach", "-q", older, options.commit], cwd=ROOT, check=True)
        try:
            found: dict[Path, list[dict[str, float]]] = {older: [], ROOT: []}
            for _ in range(options.times):
                for tree, measured in found.items():
                    measured.append(_measure(tree, options.model, options.samples))
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", older], cwd=ROOT, check=True)
    print(f"| {options.model or 'demo'} | {options.commit}, CPU s | now, CPU s | ratio |\n|---|---|---|---|")
    for name in found[ROOT][0]:
        before, now = (median(one[name] for one in measured) for measured in found.values())
        print(f"| {name} | {before:.3f} | {now:.3f} | **{now / before:.2f}** |")


def _measure(tree: Path, model: str, samples: int) -> dict[str, float]:
    surroundings = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    command = [sys.executable, "-c", PROGRAM, model, str(samples)]
    done = subprocess.run(command, env=surroundings, cwd=tree, capture_output=True, text=True, check=True)
    spent: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return spent


if __name__ == "__main__":
    main()
