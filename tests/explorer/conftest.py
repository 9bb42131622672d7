"""An Explorer of the tiny model, without a browser."""

from __future__ import annotations

import threading

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


@pytest.fixture
def training(app):
    """Start a long finetune with the button and wait until it trains."""

    def start():
        begun = threading.Event()
        forget = app.study.observe(lambda change: begun.set() if app.study.trials.trials else None)
        app.tuning.steps.value = 5000
        app.run.click()
        assert begun.wait(60)
        forget()
        return app.job

    return start
