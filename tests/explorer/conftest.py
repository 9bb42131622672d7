"""An Explorer of the tiny model, without a browser."""

from __future__ import annotations

import pytest

pytest.importorskip("anywidget")

import semviz as sv


@pytest.fixture
def app(tiny, mood, tmp_path):
    """An Explorer whose finetunes take a moment."""
    made = sv.Explorer(tiny, mood, store=tmp_path / "runs", progress=False)
    made.study.set(steps=2, lr=1e-3, batch_size=16)
    yield made
    made.close()
