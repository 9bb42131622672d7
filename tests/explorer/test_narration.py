"""What the Explorer says of errors: what to lower, what to do, and the traceback folded."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from explorer.apps import tags, words
from semviz.common.errors import SemvizError
from semviz.common.scores import ACCURACY, LOSS
from semviz.explorer import messages


@pytest.fixture
def fail(app, monkeypatch):
    """Press Finetune, which then raises an error."""

    def press(error):
        def fit(*_, **__):
            raise error

        monkeypatch.setattr("semviz.finetuning.scope_trainer.fit", fit)
        app.run.click()
        assert app.job.wait(60).state == "failed"
        return app.status.value

    return press


def test_out_of_memory_says_what_to_lower(app, fail):
    app.boundary.value = 1
    for error in (torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), RuntimeError("CUDA out of memory. Tr")):
        said = words(fail(error))
        assert "Out of memory" in said, error
        assert "fewer rows a step (now 16)" in said
        assert "a higher boundary (now 1, about " in said
        assert "LoRA instead of all weights" in said


def test_it_says_nothing_that_is_lowest_already(app, fail):
    app.boundary.value = 3
    app.tuning.batch_size.value = 1
    app.tuning.method.value = "lora"
    said = words(fail(MemoryError()))
    assert "shorter texts" in said
    for hint in ("rows a step", "boundary", "LoRA instead"):
        assert hint not in said


def test_the_memory_that_a_higher_boundary_saves_is_told(app, fail):
    app.boundary.value = 0
    said = words(fail(MemoryError()))
    costs, scopes = app.study.opening.costs, app.study.opening.costs.scopes
    now, least = (costs.of(scopes[k], method="full", epochs=app.study.epochs).bytes for k in (0, 3))
    assert least < now
    assert f"about {messages.formats.size(now)}; 3 takes {messages.formats.size(least)}" in said


def test_an_unknown_exception_has_its_type_its_message_and_a_folded_traceback(fail):
    said = fail(KeyError("<b>no such key</b>"))
    assert "KeyError: " in words(said)
    assert "<b>no such key</b>" in words(said)
    found = tags(said)
    assert [tag for tag, _ in found if tag in ("details", "summary", "pre", "b")] == ["details", "summary", "pre"]
    assert "open" not in dict(found)["details"]
    assert "in fit" in words(said[said.index("<details") :])
    assert "Traceback (most recent call last)" in words(said)
    assert "wrong" in dict(found)["div"]["class"]


def test_a_refusal_in_words_comes_without_a_traceback(app):
    app.data.text.value = "zebra " * 5000
    assert words(app.status.value).startswith("Problem: ")
    assert "<details" not in app.status.value


def test_a_job_that_failed_in_words_has_no_traceback(fail):
    said = fail(SemvizError("The rows are too long; pass max_tokens=64."))
    assert "failed. The rows are too long; pass max_tokens=64." in words(said)
    assert "<details" not in said


def test_an_exception_of_a_control_is_told_too(app, monkeypatch):
    monkeypatch.setattr(type(app.study), "open", lambda *_: 1 / 0)
    app.wiring.act(lambda: app.study.open(3))
    assert "Problem: ZeroDivisionError: division by zero" in words(app.status.value)
    assert "<details" in app.status.value


def test_the_next_job_clears_what_was_wrong(app, fail, monkeypatch):
    fail(ValueError("wrong"))
    monkeypatch.undo()
    app.run.click()
    app.job.wait()
    assert "Done" in words(app.status.value)
    assert "Problem" not in words(app.status.value)


def test_progress_names_the_step_the_rate_and_the_time_left(app):
    said = []
    app.study.observe(lambda change: said.append(messages.status(app.study)))
    app.tuning.lr.value = "auto"
    app.run.click()
    app.job.wait()
    text = "\n".join(said)
    assert "starting" in text
    assert "step 2 of 2 at learning rate" in text
    assert "(rate no. 2)" in text
    assert "Done: training blocks 2–4 of 4 gives" in text


def test_outcomes_of_every_job_are_told(app, stories):
    run = app.study.finetune().result()
    assert messages.status(app.study).startswith("Done: training")
    app.study.finetune().result()
    assert "was already finished" in messages.status(app.study)
    app.study.inspect(run.key).result()
    assert "difference heatmap" in messages.status(app.study)
    app.study.compare_with("labels").result()
    assert messages.status(app.study) == "Done."
    probes = app.study.probe().result()
    assert messages.status(app.study) == f"Done: {probes.message}"
    assert ACCURACY.in_words(0.9716) == "97.2 % accuracy"
    assert LOSS.in_words(1.2344) == "a loss of 1.234 nats"
    noted = replace(run, note="It was trained without the cache.")
    assert "without the cache" in messages._outcome(app.study, noted)


def test_a_refusal_stays_beside_the_progress_of_a_job_until_something_changes(app, training):
    job = training()
    app.run.click()
    assert "is still running" in words(app.status.value)
    app.study._notify("progress")
    said = words(app.status.value)
    assert said.startswith("Problem: ")
    assert "is still running" in said
    assert "step" in said
    app.boundary.value = 2 if app.boundary.value != 2 else 3
    assert "Problem" not in words(app.status.value)
    job.cancel()
    job.wait(60)
