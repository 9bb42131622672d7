"""Cells that run again and kernels that are interrupted, with a stand-in for IPython's shell."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest

import semviz as sv
from semviz.explorer import lifecycle


class Shell:
    """As much of a kernel's shell as an Explorer asks for."""

    def __init__(self):
        self.cell, self.queue = "first", []
        self.events = self
        self.callbacks = {"post_run_cell": []}
        self.kernel = SimpleNamespace(io_loop=SimpleNamespace(add_callback=self.queue.append))

    def get_parent(self):
        return {"metadata": {"cellId": self.cell} if self.cell else {}}

    def register(self, event, function):
        self.callbacks[event].append(function)

    def unregister(self, event, function):
        self.callbacks[event].remove(function)

    def turn(self):
        """Let the event loop do what waits."""
        while self.queue:
            self.queue.pop(0)()

    def end_cell(self, error):
        for function in list(self.callbacks["post_run_cell"]):
            function(SimpleNamespace(error_in_exec=error))


@pytest.fixture
def shell(monkeypatch):
    made = Shell()
    monkeypatch.setattr(lifecycle, "_shell", lambda: made)
    before = signal.getsignal(signal.SIGINT)
    yield made
    made.turn()
    assert signal.getsignal(signal.SIGINT) is before
    assert made.callbacks["post_run_cell"] == []


def test_an_explorer_closes_the_older_one_of_its_cell_and_no_other(shell, app, training, tiny, mood):
    job = training()
    shell.cell = "second"
    other = sv.Explorer(tiny, mood, progress=False)
    assert job.running
    shell.cell = "first"
    again = sv.Explorer(tiny, mood, progress=False)
    assert job.state == "cancelled"
    assert app.widget.comm is None
    assert other.widget.comm is not None
    other.close()
    again.close()


def test_where_cells_are_not_known_nothing_is_closed(shell, tiny, mood):
    shell.cell = None
    made = [sv.Explorer(tiny, mood, progress=False) for _ in range(2)]
    assert all(explorer.widget.comm is not None for explorer in made)
    for explorer in made:
        explorer.close()


def test_an_interrupt_between_cells_cancels_the_job_and_the_handler_goes_back(shell, app, training):
    before = signal.getsignal(signal.SIGINT)
    job = training()
    assert signal.getsignal(signal.SIGINT) is before  # not before the message is over
    shell.turn()
    assert signal.getsignal(signal.SIGINT) is not before
    signal.raise_signal(signal.SIGINT)
    assert job.wait(60).state == "cancelled"
    shell.turn()
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupted_cell_cancels_the_job_and_other_errors_do_not(shell, app, training):
    job = training()
    shell.end_cell(None)
    shell.end_cell(ValueError())
    assert not job.wait(0.01)._control.cancelled
    shell.end_cell(KeyboardInterrupt())
    assert job.wait(60).state == "cancelled"
    assert shell.callbacks["post_run_cell"] == []


def test_closing_stops_listening(shell, app, training):
    training()
    shell.turn()
    app.close()
    shell.turn()
    assert shell.callbacks["post_run_cell"] == []
