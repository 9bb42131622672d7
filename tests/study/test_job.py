from __future__ import annotations

import contextvars
import math
import signal
import sys
import threading
import time
from itertools import pairwise

import pytest

from semviz.common.errors import Cancelled
from semviz.common.live_curves import LiveCurves
from semviz.common.progress import Progress
from semviz.study import job as jobs
from semviz.study.job import Job


class Clock:
    """A clock that only moves when it is told to."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(jobs, "time", made)
    monkeypatch.setattr("semviz.common.live_curves.time", made)
    return made


def until_cancelled(control):
    """Work that ends by a cancel only."""
    while True:
        control.check()
        time.sleep(0.001)


# ---- Job -------------------------------------------------------------------------------------------------------------


def test_a_job_gives_what_its_work_returns():
    job = Job("Adding", lambda control: [1, 2]).start()
    assert job.result() == [1, 2]
    assert (job.state, job.value, job.error, job.traceback, job.running) == ("done", [1, 2], None, "", False)
    assert repr(job) == "Job(Adding: done)"


def test_a_value_is_none_until_the_work_has_returned():
    gate = threading.Event()
    job = Job("Waiting", lambda control: gate.wait(60)).start()
    assert (job.running, job.state, job.value) == (True, "running", None)
    gate.set()
    assert job.result() is True


def test_a_failed_job_keeps_its_error_and_traceback_and_wait_does_not_raise():
    def fall(control):
        raise ValueError("a stone in the way")

    job = Job("Walking", fall).start()
    assert job.wait() is job
    assert job.state == "failed"
    assert isinstance(job.error, ValueError)
    assert "in fall" in job.traceback
    assert job.traceback.endswith("ValueError: a stone in the way\n")
    with pytest.raises(ValueError, match="a stone"):
        job.result()


def test_a_job_ends_even_by_what_is_no_exception():
    job = Job("Leaving", lambda control: sys.exit(3)).start().wait()
    assert (job.state, type(job.error)) == ("failed", SystemExit)


def test_a_cancelled_job_is_told_from_a_failed_one():
    job = Job("Waiting", until_cancelled).start()
    job.cancel()
    job.wait()
    assert (job.state, type(job.error), job.value) == ("cancelled", Cancelled, None)
    with pytest.raises(Cancelled):
        job.result()


def test_wait_gives_up_after_its_timeout_and_the_job_goes_on():
    job = Job("Waiting", until_cancelled).start()
    assert job.wait(0.01).running
    job.cancel()
    assert not job.wait().running


def test_every_step_is_heard_and_told_at_most_five_times_a_second(clock):
    steps, told = [], []

    def work(control):
        for done in range(1, 101):
            clock.now += 0.03
            control.tell(Progress("Training", done, 100))

    job = Job("Training", work, on_step=lambda p: steps.append(p.done), on_progress=lambda p: told.append(p.done))
    job.start().wait()
    assert job.error is None
    assert steps == list(range(1, 101))
    assert told[0] == 1
    assert told[-1] == 100
    # Seven steps of 0.03 s are the first that reach 0.2 s.
    assert {later - sooner for sooner, later in pairwise(told[:-1])} == {7}
    assert job.progress == Progress("Training", 100, 100)


def test_the_last_step_of_every_stage_is_told_however_quick_it_was(clock):
    told = []

    def work(control):
        for stage in ("One", "Two"):
            for done in (1, 2, 3):
                control.tell(Progress(stage, done, 3))

    Job("Stages", work, on_progress=lambda p: told.append((p.stage, p.done))).start().result()
    assert told == [("One", 1), ("One", 3), ("Two", 3)]


def test_a_watcher_that_fails_fails_the_job():
    def tell(control):
        control.tell(Progress("Training", 1, 2))

    job = Job("Training", tell, on_step=lambda p: 1 / 0).start().wait()
    assert (job.state, type(job.error)) == ("failed", ZeroDivisionError)


@pytest.mark.parametrize(
    ("work", "state"),
    [(lambda control: 1, "done"), (lambda control: 1 / 0, "failed"), (until_cancelled, "cancelled")],
)
def test_on_end_is_called_once_with_the_final_state_before_wait_returns(work, state):
    ended, gate = [], threading.Event()

    def end(job):
        gate.wait(60)
        ended.append((job.state, job.running))

    job = Job("Ending", work, on_end=end).start()
    job.cancel()
    assert job.wait(0.01).running  # on_end still waits
    gate.set()
    job.wait()
    assert ended == [(state, True)]


def test_a_job_is_over_even_if_on_end_fails(monkeypatch):
    lost, noted = [], threading.Event()

    def note(args):
        lost.append(args.exc_type)
        noted.set()

    monkeypatch.setattr(threading, "excepthook", note)
    job = Job("Ending", lambda control: 1, on_end=lambda job: 1 / 0).start()
    assert not job.wait(60).running
    assert job.value == 1
    assert noted.wait(60)  # and the thread says so, as every thread does
    assert lost == [ZeroDivisionError]


def test_an_interrupt_of_the_wait_cancels_the_job():
    main = threading.main_thread().ident
    waits = {Job.wait.__code__, threading.Condition.wait.__code__}

    def is_waiting():
        frame, found = sys._current_frames()[main], set()
        while frame is not None:
            found.add(frame.f_code)
            frame = frame.f_back
        return waits <= found

    def work(control):
        while not is_waiting():
            time.sleep(0.001)
        signal.pthread_kill(main, signal.SIGINT)
        until_cancelled(control)

    job = Job("Waiting", work)
    # Python leaves an interrupt ignored that was so when it began, as in a shell's background jobs.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            job.start().wait(60)
    finally:
        signal.signal(signal.SIGINT, before)
        job.cancel()
    assert job.wait(60).state == "cancelled"


def test_a_job_sees_the_context_variables_of_who_made_it():
    here = contextvars.ContextVar("here", default="nowhere")
    token = here.set("the notebook's cell")
    seen = []
    job = Job("Looking", lambda control: here.get(), on_end=lambda job: seen.append(here.get()))
    here.reset(token)
    assert job.start().result() == "the notebook's cell"
    job.wait()
    assert seen == ["the notebook's cell"]


# ---- Trials ----------------------------------------------------------------------------------------------------------


def training(done, rate, *, loss=None, accuracy=None, total=4):
    return Progress("Finetuning", done, total, loss, accuracy, rate)


def test_every_rate_is_a_trial_of_its_own_and_other_stages_are_none():
    trials = LiveCurves()
    told = [Progress("Running block 1", 5, 5)]
    for rate in (1e-3, 1e-4):
        told += [training(done, rate, loss=4.0 - done, accuracy=done / 8) for done in (1, 2, 3, 4)]
        told += [Progress("Scoring rows", 0, 12), Progress("Scoring rows", 0, 12)]
    for progress in told:
        trials.record(progress)
    assert [trial.rate for trial in trials.trials] == [1e-3, 1e-4]
    for trial in trials.trials:
        assert (trial.label, trial.total) == ("Finetuning", 4)
        assert trial.losses == [3.0, 2.0, 1.0, 0.0]
        assert trial.accuracies == [1 / 8, 2 / 8, 3 / 8, 4 / 8]
    assert (trials.stage, trials.done, trials.total) == ("Scoring rows", 0, 12)


def test_the_same_rate_twice_without_a_stage_between_is_two_trials():
    trials = LiveCurves()
    for done in (1, 2, 1, 2):
        trials.record(training(done, 1e-3))
    assert len(trials.trials) == 2


@pytest.mark.parametrize("paused", [2, 3])
def test_a_trial_that_waited_for_another_goes_on_as_the_newest(paused):
    trials = LiveCurves()
    for done in range(1, paused + 1):
        trials.record(training(done, 1e-3, loss=4.0 - done))
    for done in (1, 2):
        trials.record(training(done, 1e-2, loss=3.5 - done))
    for done in range(paused + 1, 5):
        trials.record(training(done, 1e-3, loss=4.0 - done))
    assert [(trial.rate, trial.steps) for trial in trials.trials] == [(1e-2, [1, 2]), (1e-3, [1, 2, 3, 4])]


def test_a_loss_is_a_point_once_and_none_is_none():
    trials = LiveCurves()
    for done, loss in enumerate((None, 3.0, 3.0, 2.0), start=1):
        trials.record(training(done, 1e-3, loss=loss))
    assert trials.trials[0].losses == [3.0, 2.0]
    assert len(trials.trials[0].steps) == len(trials.trials[0].accuracies) == 2


def test_the_time_left_is_that_of_the_stage_at_its_pace_so_far(clock):
    trials = LiveCurves()
    assert math.isnan(trials.seconds_left)
    trials.record(Progress("Running", 10, 20))
    assert math.isnan(trials.seconds_left)  # nothing has moved so far
    clock.now += 3
    trials.record(Progress("Running", 15, 20))
    assert trials.seconds_left == pytest.approx(3.0)
    clock.now += 100
    trials.record(training(1, 1e-3, total=11))  # a new stage has a pace of its own
    assert math.isnan(trials.seconds_left)
    clock.now += 2
    trials.record(training(5, 1e-3, total=11))
    assert trials.seconds_left == pytest.approx(3.0)


def test_a_job_tells_its_trials_every_step():
    trials = LiveCurves()

    def work(control):
        for done in (1, 2, 3):
            control.tell(training(done, 1e-3, loss=float(done), total=3))

    Job("Finetuning", work, on_step=trials.record).start().result()
    assert trials.trials[0].losses == [1.0, 2.0, 3.0]
