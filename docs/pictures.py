"""Draws the README's pictures from the demo: python docs/pictures.py --store runs/demo."""

from __future__ import annotations

import argparse
from pathlib import Path

import semviz as sv

WIDTH = 900


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="mood")
    parser.add_argument("--tokens", default="where", help="task of the token heatmap")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--boundaries", nargs="+", type=int, default=[0, 2, 4, 6, 7])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--store", default="runs/demo")
    options = parser.parse_args()
    folder, model = Path(__file__).parent, sv.load_model()
    other = sv.trace(model, sv.load_task(options.tokens))
    other.token_heatmap(sample=options.sample, boundary=other.gain().boundary).write_image(
        folder / "tokens.png", width=WIDTH, scale=1.6
    )
    task = sv.load_task(options.task)
    gain = sv.trace(model, task).gain()
    scopes = [sv.Scope.above(model, k) for k in sorted({*options.boundaries, gain.boundary})]
    runs = sv.sweep(model, task, scopes, seeds=range(options.seeds), gain=gain, store=options.store)
    runs.pareto().write_image(folder / "pareto.png", width=WIDTH, scale=1.6)


if __name__ == "__main__":
    main()
