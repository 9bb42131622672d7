"""Where `semviz report` keeps finished runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from semviz.common.errors import SemvizError

NAME = "semviz-runs"


def run_folder(options: argparse.Namespace) -> Path | None:
    """Return the folder of finished runs: `--store`, or one beside the page; None with `--no-store`.

    Raises:
        SemvizError: If `--store` is no folder.
    """
    if options.store is False:
        return None
    if options.store is None:
        return Path(options.out).expanduser().parent / NAME
    if not options.store.strip() or "\0" in options.store:
        raise SemvizError(f"--store={options.store!r} is not a path; pass the name of a folder, or --no-store.")
    folder = Path(options.store).expanduser()
    if folder.is_file():
        raise SemvizError(f"--store={options.store} is a file; pass a folder, or --no-store.")
    return folder
