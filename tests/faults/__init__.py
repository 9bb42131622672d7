"""Faults, brought about on purpose: programs to run by hand, and what they share with tests/test_faults.py.

Each program prints a row (or a few) of a Markdown table, and ends with exit code 1 if anything was lost.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any


def quiet() -> None:
    """Set what is read when the libraries are imported, so that programs run as the tests do."""
    # Without CUDA, autograd has no threads that a fork would lose.
    os.environ.update(
        CUDA_VISIBLE_DEVICES="",
        HF_HUB_OFFLINE="1",
        OMP_NUM_THREADS="1",
        TOKENIZERS_PARALLELISM="false",
        TQDM_DISABLE="1",
        TRANSFORMERS_VERBOSITY="error",
    )


def head(names: Iterable[str]) -> None:
    """Begin a Markdown table."""
    line(names)
    line("---" for _ in names)


def line(cells: Iterable[Any]) -> None:
    """Print one line of a Markdown table, at once."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)
