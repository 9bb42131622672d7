"""What loads without torch: results are read where no model is."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "plotly", "peft", "accelerate")


def heavy_after(code):
    program = f"import sys\n{code}\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


def test_the_package_loads_none_of_them():
    assert heavy_after("import semviz") == []


@pytest.mark.parametrize("name", ["Scope", "Gain", "Trace", "Run", "Runs", "Probes"])
def test_a_result_loads_none_of_them(name):
    assert heavy_after(f"import semviz; semviz.{name}") == []


def test_the_heavy_ones_would_be_seen():
    assert "torch" in heavy_after("import semviz; semviz.trace")
