"""Draws the README's pictures from the demo: python docs/pictures.py --store runs/method.

With the store of tests/bench/bench_method.py nothing is trained again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import semviz as sv

WIDTH = 900
ROWS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="where")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--store", default="runs/method")
    options = parser.parse_args()
    folder, model = Path(__file__).parent, sv.load_model()
    task = sv.load_task(options.task).subset(train=ROWS)
    trace = sv.trace(model, task)
    gain = trace.gain()
    runs = sv.sweep(model, task, seeds=range(options.seeds), gain=gain, store=Path(options.store) / options.task)
    pictures = {
        "tokens": trace.token_heatmap(sample=options.sample, boundary=gain.candidates["law"]),
        "pareto": runs.pareto(),
        "benefit": runs.probes().figure(runs),
        "agreement": runs.agreement(probes=runs.probes()).figure(),
    }
    for name, figure in pictures.items():
        figure.write_image(folder / f"{name}.png", width=WIDTH, scale=1.6)


if __name__ == "__main__":
    main()
