"""Names are never identity: results of other models, tasks or conditions are refused, renamed ones are found."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from made import above, made_run, made_runs
from small import mood_task, plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.traces.parquet import load as fields_of
from semviz.traces.trace import Trace

QUICK = {"epochs": 1, "batch_size": 16, "lr": 1e-3, "progress": False}
ROWS = [1, 0, 1, 1]


def loaded(seed=0, **options):
    return sv.load_model((tiny_llama(seed=seed, **options), word_tokenizer()), general_text=plain_text())


def reversed_task(task):
    """As many rows with the same labels and the same name, but other texts."""
    splits = {name: replace(part, texts=part.texts[::-1]) for name, part in task.splits.items()}
    return replace(task, splits=splits)


# ---- Runs ------------------------------------------------------------------------------------------------------------


def test_seeds_of_one_recipe_are_averaged():
    runs = made_runs(*(made_run(above(k), ROWS, seed=seed) for k in (0, 2) for seed in (0, 1)))
    assert runs.table()["runs"].tolist() == [2, 2]


@pytest.mark.parametrize("options", [
    {"epochs": 6}, {"batch_size": 16}, {"arguments": {"weight_decay": "0.1"}}, {"lr": 2e-3}, {"steps": 20},
    {"task": "other"}, {"model_name": "other"}, {"model_hash": "b" * 12}, {"task_hash": "2" * 12},
    {"task_hash": "1" * 12 + "/" + "2" * 12},
], ids=str)  # fmt: skip
def test_runs_under_other_conditions_are_no_seeds(options):
    known = {"model_hash": "a" * 12, "task_hash": "1" * 12} if "hash" in str(options) else {}
    first, other = (made_run(above(0), ROWS, seed=seed, **{**known, **more}) for seed, more in ((0, {}), (1, options)))
    with pytest.raises(SemvizError, match=r"^runs\[1\] .*; (pass|make) "):
        made_runs(first, other)


def test_other_names_of_one_model_and_task_are_one_model_and_task():
    known = {"model_hash": "a" * 12, "task_hash": "1" * 12}
    renamed = {"model_name": "renamed", "task": "renamed too", **known}
    runs = made_runs(made_run(above(0), ROWS, **known), made_run(above(0), ROWS, seed=1, **renamed))
    assert runs.table()["runs"].tolist() == [2]


def test_a_run_passes_for_itself_once():
    run = made_run(above(0), ROWS)
    with pytest.raises(SemvizError, match=r"runs\[1\] and runs\[0\] are the same run; pass one of them"):
        made_runs(run, run)
    with pytest.raises(SemvizError, match="both train blocks 1–4 of 4 by full with seed 0"):
        made_runs(run, replace(run, key="other"))


def test_each_scope_and_method_has_a_rate_of_its_own_and_a_diverged_seed_fewer_steps():
    runs = [made_run(above(0), ROWS), made_run(above(2), ROWS, lr=1e-2), made_run(above(0), ROWS, method="lora", lr=1)]
    diverged = made_run(above(0), ROWS, seed=1, steps=3, diverged=True)
    assert len(made_runs(*runs, diverged)) == 4


def test_seeds_that_searched_a_rate_each_are_seeds_and_have_no_rate_in_common():
    runs = [made_run(above(0), ROWS, seed=s, lr=lr, rates={lr: 0.5}) for s, lr in enumerate((1e-3, 1e-2))]
    assert math.isnan(made_runs(*runs).table()["lr"][0])
    with pytest.raises(SemvizError, match=r"at the rates 0\.01 and 0\.001"):
        made_runs(runs[0], replace(runs[1], rates={}))


def test_what_is_listed_twice_is_run_once(tiny, mood):
    runs = sv.sweep(tiny, mood, [sv.Scope.last(tiny)] * 2, seeds=(1, 1), methods=("full", "full"), **QUICK)
    assert len(runs) == 1


# ---- a store under another name --------------------------------------------------------------------------------------


def test_a_renamed_folder_finds_its_runs_and_shows_its_name_of_today(tmp_path, monkeypatch):
    tiny_llama().save_pretrained(tmp_path / "checkpoint-100")
    word_tokenizer().save_pretrained(tmp_path / "checkpoint-100")
    options = {"store": tmp_path / "runs", **QUICK}
    model, task = sv.load_model(tmp_path / "checkpoint-100", general_text=plain_text()), mood_task()
    before = sv.sweep(model, task, [sv.Scope.full(model), sv.Scope.half(model)], **options)
    (tmp_path / "checkpoint-100").rename(tmp_path / "best")
    model, task = sv.load_model(tmp_path / "best", general_text=plain_text()), replace(task, name="mood of today")
    more = sv.sweep(model, task, [sv.Scope.last(model)], **options)  # under the new name, beside the old ones
    monkeypatch.setattr("semviz.experiments.sweep.train_scope", lambda *_a, **_k: pytest.fail("trained again"))
    again = sv.sweep(model, task, [sv.Scope.full(model), sv.Scope.half(model), sv.Scope.last(model)], **options)
    assert [run.key for run in again] == [run.key for run in (*before, *more)]
    assert {(run.model_name, run.task) for run in again} == {("best", "mood of today")}
    study = sv.Study(model, task, store=tmp_path / "runs", progress=False)
    assert {run.model_name for run in study.history.runs} == {"best"}
    assert len(study.history.together) == 3
    assert sv.Runs((*before, *more), zero_shot=0.5).table()["runs"].tolist() == [1, 1, 1]
    study.close()


STEERED = {
    "tokenizer": lambda model: setattr(model.tokenizer.backend_tokenizer, "normalizer", _lower()),
    "config": lambda model: setattr(model.model.config, "rms_norm_eps", 1e-4),
    "dropout": lambda model: setattr(model.model.model.layers[3].self_attn, "attention_dropout", 0.5),
    "hook": lambda model: model.model.model.layers[3].mlp.register_forward_hook(lambda _m, _a, output: output * 1.01),
    "weight": lambda model: model.model.model.norm.weight.data.mul_(1.01),
}


def _lower():
    from tokenizers import normalizers

    return normalizers.Lowercase()


@pytest.mark.parametrize("change", STEERED)
def test_a_store_returns_no_run_of_a_model_that_differs(change, mood, tmp_path):
    model, scopes = loaded(), [sv.Scope.above(loaded(), 2)]
    (first,) = sv.sweep(model, mood, scopes, store=tmp_path, **QUICK)
    STEERED[change](model)
    (second,) = sv.sweep(model, mood, scopes, store=tmp_path, **QUICK)
    assert second.key != first.key
    assert second.model_hash != first.model_hash
    assert len(list(tmp_path.glob("*.json"))) == 2
    study = sv.Study(model, mood, store=tmp_path, progress=False)
    assert [run.key for run in study.history.runs] == [second.key]
    study.close()


# ---- what was made from other data -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def house():
    """A model, a task, others of the same names and sizes, and what was made from each."""
    model, task = loaded(), mood_task()
    others = {"model": (loaded(seed=1), task), "task": (model, reversed_task(task))}
    runs = {"own": _runs(model, task), **{name: _runs(*pair) for name, pair in others.items()}}
    traces = {"own": _trace(model, task), **{name: _trace(*pair) for name, pair in others.items()}}
    return model, task, runs, traces


def _runs(model, task):
    # Two rates, so that the tiny model learns something on which shares can be based.
    return sv.sweep(model, task, **{**QUICK, "epochs": 3, "lr": 1e-2})


def _trace(model, task):
    return sv.trace(model, task, detail=2, progress=False)


@pytest.mark.parametrize("other", ["model", "task"])
def test_everything_that_takes_a_result_refuses_that_of_other_data(house, other, tmp_path):
    model, task, runs, traces = house
    own, strange, gain = runs["own"], traces[other], traces[other].gain()
    assert (gain.source.model, gain.source.task) == (own.model, own.task)
    calls = {
        "sweep": lambda: sv.sweep(model, task, [sv.Scope.last(model)], gain=gain, store=tmp_path / "no", **QUICK),
        "probe": lambda: sv.probe(model, task, gain=gain, store=tmp_path / "no", **QUICK),
        "Runs": lambda: replace(own, gain=gain),
        "agreement": lambda: own.agreement(gain),
        "agreement with probes": lambda: own.agreement(probes=runs[other].probes()),
        "regret": lambda: own.regret(profile=gain),
        "regret of probes": lambda: own.regret(chosen=runs[other].probes()),
        "a figure of probes": lambda: own.probes().figure(runs[other]),
        "Study": lambda: sv.Study(model, task, trace=strange, progress=False),
        "Explorer": lambda: sv.Explorer(model, task, trace=strange, progress=False),
        "a report's trace": lambda: sv.write_report(
            tmp_path / "a.html", trace=strange, gain=traces["own"].gain(), runs=own
        ),
        "a report's gain": lambda: sv.write_report(tmp_path / "a.html", trace=traces["own"], gain=gain, runs=own),
        "runs": lambda: sv.Runs((own.runs[0], runs[other].runs[1]), zero_shot=0.5),
    }
    if other == "task":
        calls["a difference"] = lambda: strange - traces["own"]
    for name, call in calls.items():
        with pytest.raises(SemvizError, match=r"; (pass|trace) ") as refused:
            call()
        assert task.name in str(refused.value) or model.name in str(refused.value), name
    assert not (tmp_path / "no").exists()
    assert not (tmp_path / "a.html").exists()


def test_everything_takes_a_result_of_the_same_content_under_other_names(house, tmp_path):
    _, _, runs, traces = house
    own = runs["own"]
    model, task = replace(loaded(), name="renamed"), replace(mood_task(), name="renamed too")
    gain = traces["own"].gain()
    found = sv.sweep(model, task, [sv.Scope.full(model), sv.Scope.half(model)], gain=gain, **{**QUICK, "lr": 1e-2})
    assert found.model == "renamed"
    assert own.agreement(_trace(model, task).gain(), own.probes()).table["source"].nunique() >= 2
    assert own.probes().figure(found).data
    study = sv.Study(model, task, trace=traces["own"], progress=False)
    assert study.trace is traces["own"]
    study.close()
    assert sv.write_report(tmp_path / "a.html", trace=traces["own"], gain=gain, runs=found).is_file()


def test_a_gain_of_the_whole_task_is_taken_for_a_subset_and_the_other_way_round(house):
    model, task, _, traces = house
    small = task.subset(train=40)
    scopes = [sv.Scope.last(model)]
    assert len(sv.sweep(model, small, scopes, gain=traces["own"].gain(), **QUICK)) == 1
    of_part = sv.trace(model, small.subset(train=20), progress=False).gain()
    assert len(sv.sweep(model, task, scopes, gain=of_part, **QUICK)) == 1
    assert len(sv.sweep(model, small, scopes, gain=of_part, **QUICK)) == 1
    with pytest.raises(SemvizError, match="trace is of the task"):  # numbers of rows would mean other rows
        sv.Study(model, small, trace=traces["own"], progress=False)


def test_models_before_and_after_finetuning_are_compared_on_the_same_rows_only(house):
    model, task, _, traces = house
    run = sv.finetune(model, task, sv.Scope.last(model), **QUICK)
    assert (run.trace(model, task, detail=2, progress=False) - traces["own"]).n_blocks == 4
    assert (traces["model"] - traces["own"]).n_blocks == 4
    reordered = reversed_task(task)
    plain, other = (sv.trace(model, t, metrics="lens", detail=0, progress=False) for t in (task, reordered))
    assert plain.positions["target_id"].equals(other.positions["target_id"])  # nothing else would tell them apart
    with pytest.raises(SemvizError, match="not of the same positions and tokens"):
        _ = other - plain


def test_a_trace_keeps_its_source_in_a_file(house, tmp_path):
    _, _, _, traces = house
    path = traces["own"].save(tmp_path / "trace.parquet")
    assert Trace.load(path).source == traces["own"].source
    assert fields_of(path)["meta"]["rows_hash"] == traces["own"].meta["rows_hash"]
    assert Trace.load(path).gain().source == traces["own"].source


def test_a_calibration_of_another_vocabulary_is_refused(house):
    model, task, *_ = house
    tokenizer = word_tokenizer()
    inner = tokenizer.backend_tokenizer
    vocabulary = inner.get_vocab()
    vocabulary["cat"], vocabulary["moon"] = vocabulary["moon"], vocabulary["cat"]
    inner.model = type(inner.model)(vocabulary, unk_token="<unk>")
    other = sv.load_model((tiny_llama(), tokenizer), general_text=plain_text())
    with pytest.raises(SemvizError, match="calibration is for a vocabulary of as many tokens"):
        sv.trace(model, task, calibration=sv.calibrate(other, progress=False), progress=False)
    tuned = loaded(seed=1)
    assert sv.trace(model, task, metrics="lens", calibration=sv.calibrate(tuned, progress=False), progress=False)
