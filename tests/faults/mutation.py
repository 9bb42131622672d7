"""Change the code in thousands of small ways, and count the changes that the tests notice.

    make mutation
    python tests/faults/mutation.py laws "gains.*threshold*"

mutmut writes each change into a copy of the package (in `mutants/`, which keeps what is known between calls) and runs
the tests that reach the changed function until one fails. Which modules and tests: `[tool.mutmut]` in `pyproject.toml`.
mutmut leaves every decorated function as it is, and most of these modules are properties and registered metrics, so
those are changed here too. Left out: the texts of errors. Prints what is not noticed, then Markdown; the exit code is 1
if the tests notice less than `--least` of a module's mutants, or if they fail without any change where mutants are
tried, since then they would notice what is not there. For Linux and macOS; minutes for each module.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # Read when the libraries are imported. Without CUDA, autograd has no threads that a fork would lose.
    os.environ.update(
        CUDA_VISIBLE_DEVICES="",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
        HF_HUB_OFFLINE="1",
        OMP_NUM_THREADS="1",
        TOKENIZERS_PARALLELISM="false",
        TQDM_DISABLE="1",
        TRANSFORMERS_VERBOSITY="error",
    )

import libcst as cst
from mutmut.__main__ import _run
from mutmut.configuration import config
from mutmut.mutation import file_mutation
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.state import state
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.workers.isolation import ForkServerRunner, get_mutant_runner

DECORATORS = ("property", "cached_property", "metric")  # of functions that are changed under their decorator
NOTICED = ("killed", "timeout")


def under_a_known_decorator(node: cst.CSTNode) -> bool:
    """Whether the node is a function with one of these decorators and no other."""
    if not isinstance(node, cst.FunctionDef) or len(node.decorators) != 1:
        return False
    decorator = node.decorators[0].decorator
    name = decorator.func if isinstance(decorator, cst.Call) else decorator
    return isinstance(name, cst.Name) and name.value in DECORATORS


def reach_decorated_functions() -> None:
    """Let mutmut change decorated functions: the copies of a function lose its decorator, and the original keeps it."""
    visitor = file_mutation.MutationVisitor
    skipped, arranged = visitor._skip_node_and_children, file_mutation.function_trampoline_arrangement

    def skip(self: Any, node: cst.CSTNode) -> bool:
        return not under_a_known_decorator(node) and skipped(self, node)

    def arrange(function: cst.FunctionDef, mutants: Iterable[Any], class_name: str | None) -> Any:
        declared, nodes, assigned, names = arranged(function, mutants, class_name)
        if under_a_known_decorator(function):
            nodes = [nodes[0], *(node.with_changes(decorators=()) for node in nodes[1:])]
        return declared, nodes, assigned, names

    visitor._skip_node_and_children = skip
    file_mutation.function_trampoline_arrangement = arrange


def run_likely_tests_first() -> None:
    """Most mutants fall to a test of their own module in milliseconds; mutmut would begin with any test."""
    submitted = ForkServerRunner.submit
    files = [entry.partition("::")[0] for entry in config().pytest_add_cli_args_test_selection]

    def order(test: str) -> tuple[int, float, str]:
        return files.index(test.partition("::")[0]), state().duration_by_test[test], test

    def submit(self: Any, name: str, tests: Iterable[str], *limits: Any) -> None:
        submitted(self, name, sorted(tests, key=order), *limits)

    ForkServerRunner.submit = submit


def unchanged_code_passes() -> bool:
    """Whether a mutant that changes nothing survives all tests."""
    runner = get_mutant_runner(1)
    runner.startup()
    runner.submit("semviz.gains.scaling_law.x_nothing__mutmut_1", list(state().duration_by_test), 3600, 0.0)
    runner.signal_work_complete()
    found = runner.wait_for_result()
    runner.shutdown()
    return status_by_exit_code[found.exit_code] == "survived"


def forget_survivors() -> None:
    """Let mutmut try again what was not noticed: it would do so after a change of the code, but not of the tests."""
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            if status_by_exit_code[code] not in NOTICED:
                data.exit_code_by_key[name] = None
        data.save()


def table() -> tuple[list[str], dict[str, float]]:
    """Markdown of what is known, one row a module, and the share of its mutants that is noticed."""
    rows = ["| module | mutants | killed | timeout | survived | no tests | other | noticed |", "|" + "---|" * 8]
    shares, total = {}, Counter()
    for path in sorted(walk_mutatable_files()):
        data = SourceFileMutationData(path=path)
        data.load()
        found = Counter(status_by_exit_code[code] for code in data.exit_code_by_key.values())
        rows.append(row(path.stem, found))
        shares[path.stem] = share(found)
        total += found
    return [*rows, row("all", total)], shares


def share(found: Counter[str]) -> float:
    return sum(found[status] for status in NOTICED) / max(1, found.total())


def row(name: str, found: Counter[str]) -> str:
    listed = [found[status] for status in ("killed", "timeout", "survived", "no tests")]
    counts = " | ".join(str(count) for count in (found.total(), *listed, found.total() - sum(listed)))
    return f"| {name} | {counts} | {100 * share(found):.1f} % |"


def show_survivors() -> None:
    for path in sorted(walk_mutatable_files()):
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            if code is not None and status_by_exit_code[code] not in NOTICED:
                changed = [
                    line for line in get_diff_for_mutant(name, path=path).splitlines()
                    if line[:1] in "+-" and line[:3] not in ("+++", "---")
                ]  # fmt: skip
                print(f"\n{name}: {status_by_exit_code[code]}", *changed, sep="\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", help="modules, or patterns such as 'gains.*threshold*'; all without any")
    parser.add_argument("--children", type=int, default=2, help="processes at once")
    parser.add_argument("--least", type=float, default=80, help="per cent of a module's mutants that must be noticed")
    parser.add_argument("--table", action="store_true", help="run nothing, and print what is known")
    options = parser.parse_args()
    started, fair = time.perf_counter(), True
    if not options.table:
        reach_decorated_functions()
        run_likely_tests_first()
        if Path("mutants").is_dir() and not options.only:  # what is named is tried in any case
            forget_survivors()
        _run([f"semviz.{part}" if "*" in part else f"semviz.{part}.*" for part in options.only], options.children)
        fair = unchanged_code_passes()
    show_survivors()
    rows, shares = table()
    print(f"\nmutmut, {time.perf_counter() - started:.0f} s\n", *rows, sep="\n")
    if not fair:
        print("\nThe tests fail without any change, so these numbers say nothing.")
    wanted = shares.keys() & options.only or shares
    return not fair or any(shares[name] < options.least / 100 for name in wanted)


if __name__ == "__main__":
    sys.exit(main())
