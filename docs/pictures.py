"""Draws the README's pictures from the demo: python docs/pictures.py --store runs/pictures."""

from __future__ import annotations

import argparse
from pathlib import Path

import semviz as sv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="mood")
    parser.add_argument("--boundaries", nargs="+", type=int, default=[0, 2, 4, 6, 7])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--store", default="runs/demo")
    options = parser.parse_args()
    folder = Path(__file__).parent
    model, task = sv.load_model(), sv.load_task(options.task)
    trace = sv.trace(model, task)
    gain = trace.gain()
    scopes = [sv.Scope.above(model, k) for k in sorted({*options.boundaries, gain.boundary})]
    runs = sv.sweep(model, task, scopes, seeds=range(options.seeds), gain=gain, store=options.store)
    for name, figure in (
        ("tokens", trace.token_heatmap(sample=0, boundary=gain.boundary)),
        ("pareto", runs.pareto()),
    ):
        figure.write_image(folder / f"{name}.png", width=820, scale=1.6)


if __name__ == "__main__":
    main()
