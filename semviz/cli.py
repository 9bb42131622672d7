"""The command line: `semviz report` answers where to finetune; `semviz lab` and `semviz cache` are small helpers."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from semviz.common import checks, formats
from semviz.common.errors import SemvizError
from semviz.common.scores import score_named
from semviz.version import __version__

if TYPE_CHECKING:
    import pandas as pd

    from semviz.experiments.plan import Plan
    from semviz.experiments.probes import Probes
    from semviz.experiments.runs import Runs
    from semviz.tasks.task import Task


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; errors that the user can fix become one line on stderr and exit code 2."""
    parser = _Parser(prog="semviz", description="See where to finetune a causal language model.")
    parser.add_argument("--version", action="version", version=f"semviz {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_report(commands.add_parser("report", help="trace, gain and a measured sweep, as a table and an HTML page"))
    lab = commands.add_parser("lab", help="open JupyterLab on a notebook")
    lab.add_argument("notebook", nargs="?", default="notebooks/01_tour.ipynb", help="default: %(default)s")
    cache = commands.add_parser("cache", help="what is kept on disk to start faster: list it, or clear it")
    cache.add_argument("action", nargs="?", default="list", choices=("list", "clear"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    # Read when torch is loaded. GNU OpenMP threads that spin for long while they wait become many times slower as soon
    # as another program needs a core, and laptops and course servers are shared.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        return {"report": _report, "lab": _lab, "cache": _cache}[options.command](options)
    except SemvizError as error:
        print(f"semviz: {error}", file=sys.stderr)
        return 2


class _Parser(argparse.ArgumentParser):
    """A parser that reports errors in one line, in the form of all other error messages."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"semviz: {message}; {self.prog} --help lists what to pass.\n")


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=None, help="folder or hub id; the packaged demo LM by default")
    parser.add_argument("--task", default="mood", help="packaged task (mood, question, where, dialect) or a .csv file")
    parser.add_argument("--text", default="text", help="column of texts in the .csv file (default: %(default)s)")
    parser.add_argument("--label", default=None, help="column of labels in the .csv file; none: language modelling")
    parser.add_argument(
        "--prompt", default=None, help=r"template with {text}, for the .csv file; \n is a new line, \t a tab"
    )
    parser.add_argument("--words", default=None, help='what the model says for each label: "1=sad,5=happy"')
    parser.add_argument("--max-tokens", type=int, default=None, help="cut longer texts of the .csv file to so many")
    parser.add_argument("--out", default="semviz-report.html", help="where the page goes (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each scope (default: %(default)s)")
    parser.add_argument("--epochs", type=float, default=3, help="passes over the training rows (default: %(default)s)")
    parser.add_argument(
        "--budget",
        default=None,
        help="time for all of it, such as 10m, 90s or 1h; less is read and trained to fit it",
    )
    parser.add_argument("--store", default=None, help="folder of finished runs, so that a stopped sweep goes on")
    parser.add_argument("--device", default="auto", help='"auto", "cpu", "cuda" or "mps"')


def _report(options: argparse.Namespace) -> int:
    """Trace, estimate and sweep; print the results and write the page."""
    # Wrong options should fail before minutes of training, not after.
    out = checks.as_path("--out", options.out)
    if out.is_dir():
        raise SemvizError(f"--out={options.out} is a folder; pass the name of a file in it, such as report.html.")
    folder = out.resolve().parent
    if not folder.is_dir():
        raise SemvizError(f"--out={options.out}: there is no folder {folder}; create it or pass another path.")
    checks.whole_number("--seeds", options.seeds, minimum=1)
    checks.positive("--epochs", options.epochs)
    if options.store is not None and checks.as_path("--store", options.store).is_file():
        raise SemvizError(f"--store={options.store} is a file; pass a folder.")
    from semviz.experiments.budget import Deadline, as_seconds

    clock = Deadline.start(None if options.budget is None else as_seconds(options.budget))
    task = _task(options)
    from semviz.common import distributed

    # Before the model is loaded: each process gets a device of its own.
    rank, processes = distributed.join()
    if processes > 1 and options.budget is not None:
        raise SemvizError("--budget is for one process; leave it out under accelerate launch.")
    if rank == 0:
        print("Loading …", flush=True)
    from semviz import Scope, load_model, trace, write_report
    from semviz.experiments.asked_sweep import check_sweep
    from semviz.experiments.report_plan import plan_report
    from semviz.experiments.sweep import sweep_scopes

    model = load_model(options.model, device=options.device)
    if rank == 0:
        print(f"{model}\n{task}", flush=True)
    scopes = [Scope.full(model), Scope.half(model), Scope.last(model)]
    asked = check_sweep(
        model, scopes, methods=["full"], seeds=range(options.seeds), epochs=options.epochs, arguments=None
    )
    planned = plan_report(model, task, asked, clock=clock, store=options.store)
    if planned is not None:
        print(planned.plan.message, flush=True)
        print(f"{_steps_of(planned.plan).to_string(index=False)}\n", flush=True)
    samples = planned.samples if planned is not None else None
    traced = trace(model, task, samples=samples, distributed=processes > 1, progress=rank == 0)
    # The finetunes that follow are short, and run one after the other in the first process.
    if not distributed.leave():
        return 0
    gain = traced.gain()
    print(f"{traced}\nThe profile says: {gain.message}", flush=True)
    asked = asked.with_scopes([*scopes, gain.scope()])
    runs = sweep_scopes(
        model,
        task,
        asked.scopes,
        asked.recipe,
        seeds=asked.seeds,
        gain=gain,
        store=options.store,
        clock=clock,
        plan=None if planned is None else planned.of_sweep(asked, clock=clock, store=options.store),
    )
    probes = _probes(runs)
    path = write_report(options.out, trace=traced, gain=gain, runs=runs, probes=probes)
    print(f"\n{_table_of(runs).to_string(index=False)}\n")
    print(f"Recommended by these runs: {runs.answer()}")
    if probes is not None:
        print(f"The probes among them say: {probes.message}")
    print(f"The pictures are in {path}; it opens without a network.")
    if planned is not None:
        took = formats.seconds(clock.spent)
        print(f"Planned {formats.seconds(planned.plan.promised)} for all of it; it took {took}.")
    return 0


def _steps_of(plan: Plan) -> pd.DataFrame:
    """Return one row per step of a plan, all text."""
    import pandas as pd

    return pd.DataFrame(
        {
            "step": step.what,
            "rows": f"{step.rows:,}",
            "time": "done" if step.done else formats.seconds(step.seconds),
            "memory": formats.size(step.bytes),
        }
        for step in plan.steps
    )


def _table_of(runs: Runs) -> pd.DataFrame:
    """Return one row per scope, all text: size and share, score ± interval, seconds, predicted and measured benefit."""
    import pandas as pd

    score = score_named(runs.score)
    return pd.DataFrame(
        {
            "scope": row["scope"],
            "name": row["name"],
            "trainable": formats.si(row["trainable"]),
            "share": formats.percent(row["share"]),
            score.short_heading: score.with_interval(*(row[column] for column in score.columns)),
            "seconds": f"{row['seconds']:.1f}",
            "speed-up": f"{row['speedup']:.1f} ×" if math.isfinite(row["speedup"]) else formats.MISSING,
            "predicted benefit": formats.percent(row["predicted"]),
            "measured benefit": formats.percent(row["benefit"]),
            "rate": formats.number(row["lr"], digits=2),
        }
        for row in runs.table().to_dict("records")
    )


def _probes(runs: Runs) -> Probes | None:
    """Return the suffix law fitted to the runs; None where a run diverged, which must not prevent the report."""
    try:
        return runs.probes()
    except SemvizError as error:
        print(f"These runs cannot predict other boundaries: {error}")
        return None


def _task(options: argparse.Namespace) -> Task:
    """Return a packaged task, or one from a CSV file."""
    from semviz.tasks.task import Task, load_task

    if not str(options.task).endswith(".csv"):
        for name in ("label", "prompt", "words", "max_tokens"):
            if getattr(options, name) is not None:
                raise SemvizError(f"--{name.replace('_', '-')} is for a .csv file; pass --task=FILE.csv.")
        return load_task(options.task)
    frame = _read_csv(options.task)
    prompt = options.prompt
    if prompt is not None:  # a shell hands on a backslash and a letter
        prompt = prompt.replace("\\n", "\n").replace("\\t", "\t")
    labels = set(frame[options.label]) if options.label in frame else set()
    return Task.from_frame(
        frame, text=options.text, label=options.label, prompt=prompt, words=_pairs(options.words, labels),
        max_tokens=options.max_tokens, name=Path(options.task).stem,
    )  # fmt: skip


def _read_csv(path: str) -> pd.DataFrame:
    """Read a CSV file as it stands: a label may be the word NA or None, and 01 is not 1."""
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        if isinstance(frame.index, pd.RangeIndex):
            return frame
        # Where the first row is longer than the header, pandas takes the columns in front for names of the rows.
        where, expected, found = "first row", len(frame.columns), len(frame.columns) + frame.index.nlevels
    except (OSError, ValueError) as error:
        numbers = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        if numbers is None:
            raise SemvizError(
                f"--task={path} cannot be read as CSV: {checks.first_line(error)}. Pass a packaged task or a .csv file."
            ) from error
        where, expected, found = f"line {numbers[2]}", int(numbers[1]), int(numbers[3])
    raise SemvizError(
        f"--task={path}: its {where} has {found} fields, and its header {expected}; put texts that contain commas in "
        'double quotes, such as "bad, but fine", and end no row with a comma.'
    )


def _pairs(words: str | None, labels: set[str]) -> dict[str, str] | None:
    """Parse `"1=sad,5=happy"` into a dictionary with a word for each of the labels."""
    if words is None:
        return None
    if not labels:
        raise SemvizError("--words is for a file with labels; pass their column too: --label=COLUMN.")
    pairs: dict[str, str] = {}
    for pair in words.split(","):
        label, _, word = (part.strip() for part in pair.partition("="))
        if not (label and word):
            raise SemvizError(
                f'--words={words}: {pair.strip()!r} is no label=word; pass pairs such as "1=sad,5=happy", with words '
                "that contain no comma."
            )
        if label in pairs:
            raise SemvizError(f"--words={words} has two words for the label {label!r}; pass one for each label.")
        pairs[label] = word
    by_name = {label.strip(): label for label in sorted(labels)}
    if set(pairs) != set(by_name):
        raise SemvizError(
            f"--words={words} has words for the labels {checks.short_repr(sorted(pairs))}, and the file has the labels "
            f"{checks.short_repr(sorted(by_name))}; pass one pair for each, separated by commas."
        )
    return {by_name[label]: word for label, word in pairs.items()}


def _cache(options: argparse.Namespace) -> int:
    """List the calibrations that are kept on disk, those used last first, or remove them."""
    from datetime import datetime

    from semviz.common import cache_folder
    from semviz.traces.calibration_files import model_of

    folder = cache_folder.cache_folder()
    if folder is None:
        print("Nothing is kept on disk, since SEMVIZ_CACHE is empty.")
        return 0
    files, limit = cache_folder.entries(), formats.size(cache_folder.limit())
    if options.action == "clear":
        print(f"Removed {cache_folder.shrink(0)} of {len(files)} calibrations from {folder}.")
        return 0
    sizes = [path.stat().st_size for path in files]
    print(f"{folder}: {len(files)} calibrations, {formats.size(sum(sizes))} of at most {limit} (SEMVIZ_CACHE_GB).")
    for path, size in zip(files, sizes, strict=True):
        used = datetime.fromtimestamp(path.stat().st_mtime)
        print(f"  {model_of(path) or 'unreadable'}: {formats.size(size)}, last used {used:%Y-%m-%d %H:%M}")
    return 0


def _lab(options: argparse.Namespace) -> int:
    """Open JupyterLab on a notebook."""
    if not Path(options.notebook).is_file():
        raise SemvizError(f"There is no notebook {options.notebook}; pass a path, or run this in semviz's folder.")
    try:
        from jupyterlab.labapp import LabApp
    except ImportError as error:
        raise SemvizError('semviz lab needs JupyterLab; run: pip install "semviz[lab]".') from error
    LabApp.launch_instance([options.notebook])
    return 0


if __name__ == "__main__":
    sys.exit(main())
