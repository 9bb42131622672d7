"""Draws the README's pictures from the demo: python docs/pictures.py.

It trains every boundary of two tasks with three seeds, 12 minutes of a processor core, and keeps the runs in the folder
--store: what is there, or in the store of tests/bench/bench_method.py, is not trained again.
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
    parser.add_argument("--probed", default="question", help="task of the predicted and measured benefit")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--store", default="runs/pictures")
    options = parser.parse_args()
    folder, model = Path(__file__).parent, sv.load_model()

    def swept(name: str, gain: sv.Gain | None = None) -> sv.Runs:
        task = sv.load_task(name).subset(train=ROWS)
        return sv.sweep(model, task, seeds=range(options.seeds), gain=gain, store=Path(options.store) / name)

    trace = sv.trace(model, sv.load_task(options.task).subset(train=ROWS))
    gain, probed = trace.gain(), swept(options.probed)
    pictures = {
        "tokens": trace.token_heatmap(sample=options.sample, boundary=gain.candidates["law"]),
        "pareto": swept(options.task, gain).pareto(),
        "benefit": probed.probes().figure(probed),
    }
    for name, figure in pictures.items():
        figure.write_image(folder / f"{name}.png", width=WIDTH, scale=1.6)


if __name__ == "__main__":
    main()
