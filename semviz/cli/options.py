"""The options of each command, from the shell or from a file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn

from semviz.common.errors import SemvizError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_OF_FILE = "of a file or dataset"


class Parser(argparse.ArgumentParser):
    """A parser that reports errors in one line, in the form of all other error messages."""

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2."""
        self.exit(2, f"semviz: {message}; {self.prog} --help lists what to pass.\n")


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add the options of `semviz report`."""
    parser.add_argument("--config", default=None, help="TOML file with any of the options below by their names")
    model = parser.add_argument_group("the model")
    model.add_argument("--model", default=None, help="folder or hub id; the packaged demo LM by default")
    model.add_argument("--device", default="auto", help='"auto", "cpu", "cuda" or "mps"')
    model.add_argument("--dtype", default="auto", help='"auto", "float32", "bfloat16" or "float16"')
    task = parser.add_argument_group("the task")
    task.add_argument(
        "--task",
        default="mood",
        help="packaged task (mood, question, where, dialect), a .csv, .tsv, .json, .jsonl or .parquet file, "
        "or hf:id or hf:id:config",
    )
    task.add_argument("--text", default="text", help=f"column of texts {_OF_FILE} (default: %(default)s)")
    task.add_argument("--label", default=None, help=f"column of labels {_OF_FILE}; none: language modelling")
    task.add_argument(
        "--prompt", default=None, help=r"template with {text}, or with columns by name; \n is a new line, \t a tab"
    )
    task.add_argument("--words", default=None, help='what the model says for each label: "1=sad,5=happy"')
    task.add_argument("--test", default=None, help="another file, or the share of the rows to hold out, such as 0.2")
    task.add_argument("--validation", default=None, help="as --test; learning rates are chosen on it")
    task.add_argument("--max-tokens", type=int, default=None, help="cut longer texts to so many tokens")
    task.add_argument("--separator", default=None, help="what separates the cells of a .csv file; found by default")
    task.add_argument("--encoding", default=None, help="encoding of a text file; found by default")
    task.add_argument("--rows", type=int, default=None, help="read so many rows of an hf: dataset, as a stream")
    work = parser.add_argument_group("what is done")
    work.add_argument("--samples", type=int, default=None, help="trace so many training rows; all by default")
    work.add_argument("--method", default="full", help="full, lora, ia3, lisa or norm (default: %(default)s)")
    work.add_argument("--modules", default="all", help="what trains of each block: all, attention or mlp")
    work.add_argument("--lr", default="auto", help="learning rate; each scope's own is searched for by default")
    work.add_argument("--batch-size", type=int, default=32, help="rows per step (default: %(default)s)")
    work.add_argument("--seeds", type=int, default=1, help="runs of each scope (default: %(default)s)")
    work.add_argument("--epochs", type=float, default=3, help="passes over the training rows (default: %(default)s)")
    work.add_argument(
        "--budget",
        default=None,
        help="time for all of it, such as 10m, 90s or 1h; less is read and trained to fit it",
    )
    kept = parser.add_argument_group("what is kept")
    kept.add_argument("--out", default="semviz-report.html", help="where the page goes (default: %(default)s)")
    kept.add_argument(
        "--store",
        default=None,
        help="folder of finished runs, from which a stopped report goes on; semviz-runs beside the page by default",
    )
    kept.add_argument("--no-store", dest="store", action="store_const", const=False, help="keep no runs")


def add_check(parser: argparse.ArgumentParser) -> None:
    """Add the options of `semviz check`."""
    parser.add_argument("file", metavar="config", help="YAML, JSON, adapter_config.json, or a swift command in a file")
    parser.add_argument("--model", default=None, help="folder (config.json is enough) or hub id; the demo by default")
    parser.add_argument("--trainer", default=None, help="axolotl, llama-factory, ms-swift or peft; found by default")
    parser.add_argument("--parts", action="store_true", help="list every part of the model")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code from the model's repository")


def add_lab(parser: argparse.ArgumentParser) -> None:
    """Add the options of `semviz lab`."""
    parser.add_argument("notebook", nargs="?", default="notebooks/01_tour.ipynb", help="default: %(default)s")


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Add the options of `semviz cache`."""
    parser.add_argument("action", nargs="?", default="list", choices=("list", "clear"), help="default: %(default)s")


def set_configured(parser: argparse.ArgumentParser, path: str) -> None:
    """Make the options of a TOML file the defaults of a parser; what is typed in the shell goes before them.

    Raises:
        SemvizError: If the file cannot be read, or has an option that there is not, or not of this kind.
    """
    try:
        configured = tomllib.loads(Path(path).expanduser().read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise SemvizError(
            f"--config={path} cannot be read as TOML: {why}. Pass a file with lines such as epochs = 3."
        ) from error
    actions = {action.dest: action for action in parser._actions if action.dest not in ("help", "config")}
    defaults: dict[str, Any] = {}
    for key, value in configured.items():
        name = key.replace("-", "_")
        if name not in actions:
            known = ", ".join(one.replace("_", "-") for one in actions)
            raise SemvizError(f"--config={path} has {key!r}, which is no option; pass any of {known}.")
        defaults[name] = _as_typed(f"--config={path}: {key}", value, actions[name])
    parser.set_defaults(**defaults)


def _as_typed(where: str, value: Any, action: argparse.Action) -> Any:
    """Return a value of a configuration as the shell's parser would."""
    if action.dest == "store" and value is False:
        return False
    if action.dest == "words" and isinstance(value, dict):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise SemvizError(f"{where} = {value!r}; pass a text or a number.")
    kind = action.type if callable(action.type) else str
    try:
        return kind(str(value))
    except ValueError as error:
        raise SemvizError(f"{where} = {value!r}; pass a {'whole number' if kind is int else 'number'}.") from error
