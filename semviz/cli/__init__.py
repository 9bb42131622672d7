"""The command line: `semviz report` answers where to finetune; `semviz check`, `lab` and `cache` are small helpers.

What a command needs is imported when it runs, so that Ctrl-C is answered in a line from the beginning on.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from semviz.cli.options import Parser, add_cache, add_check, add_lab, add_report, set_configured
from semviz.cli.run_folder import run_folder
from semviz.common.errors import SemvizError
from semviz.version import __version__

if TYPE_CHECKING:
    from semviz.tasks.task import Task

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of SIGINT, as shells have it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; errors that the user can fix become one line on stderr and exit code 2, Ctrl-C one and 130."""
    parser = Parser(prog="semviz", description="See where to finetune a causal language model.")
    parser.add_argument("--version", action="version", version=f"semviz {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    add_report(commands.add_parser("report", help="trace, gain and a measured sweep, as a table and an HTML page"))
    add_check(commands.add_parser("check", help="what another trainer's config really trains; code 1 if suspicious"))
    add_lab(commands.add_parser("lab", help="open JupyterLab on a notebook"))
    add_cache(commands.add_parser("cache", help="what is kept on disk to start faster: list it, or clear it"))
    options = parser.parse_args(arguments)
    _prepare_process()
    try:
        if options.command == "report" and options.config is not None:
            set_configured(commands.choices["report"], options.config)
            options = parser.parse_args(arguments)
        return {"report": _report, "check": _check, "lab": _lab, "cache": _cache}[options.command](options)
    except SemvizError as error:
        print(f"semviz: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"semviz: {_stopped(options)}", file=sys.stderr)
        return INTERRUPTED


def _prepare_process() -> None:
    """Set what libraries read from the environment when they are loaded."""
    # GNU OpenMP threads that spin for long while they wait become many times slower as soon as another program needs a
    # core, and laptops and course servers are shared.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if not sys.stderr.isatty():  # a log, in which each frame of a bar would stay
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


def _report(options: argparse.Namespace) -> int:
    """Trace, estimate and sweep; print the results and write the page."""
    from semviz.cli.report import check_options, report

    clock = check_options(options)
    return report(options, _task(options), clock)


def _task(options: argparse.Namespace) -> Task:
    """Return a packaged task, or one from a file."""
    from semviz.cli.asked_task import asked_task

    return asked_task(options)


def _check(options: argparse.Namespace) -> int:
    """Say what another trainer's config trains."""
    from semviz.cli.check import check

    return check(options)


def _lab(options: argparse.Namespace) -> int:
    """Open JupyterLab on a notebook."""
    from semviz.cli.helpers import lab

    return lab(options.notebook)


def _cache(options: argparse.Namespace) -> int:
    """List the calibrations that are kept on disk, or remove them."""
    from semviz.cli.helpers import cache

    return cache(options.action)


def _stopped(options: argparse.Namespace) -> str:
    """What is left when a command was interrupted."""
    if options.command != "report":
        return "stopped."
    folder = run_folder(options)
    if folder is None:
        return "stopped; nothing was kept, since --no-store was passed."
    finished = len(list(folder.glob("[!.]*.json"))) if folder.is_dir() else 0
    if not finished:
        return "stopped, before a run was finished."
    runs = f"{finished} finished run{'s' if finished > 1 else ''}"
    return f"stopped; {folder} keeps {runs}, and the same command goes on from there."
