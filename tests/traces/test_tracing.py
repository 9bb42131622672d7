from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from small import word_tokenizer

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.tasks.tokenizing import encode
from semviz.traces.calibration import _fit_temperature

QUIET = {"progress": False}


@pytest.fixture
def traced(tiny, mood):
    return sv.trace(tiny, mood, **QUIET)


def test_shapes_and_roles(tiny, mood, traced):
    rows = len(traced.positions)
    assert set(traced.values) == {"semantic", "lens", "target", "virtual", "rank"}
    assert all(v.shape == (rows, tiny.n_blocks + 1) and v.dtype == np.float32 for v in traced.values.values())
    samples = len(mood.split("train"))
    assert traced.counted.sum() == samples == traced.meta["samples"]
    assert (traced.positions.groupby("sample").size()[16:] == 1).all()
    assert set(traced.positions["role"]) == {"answer", "context", "special"}
    assert traced.positions.query("role == 'special'")["token"].unique().tolist() == ["<bos>"]
    assert set(traced.positions.query("role == 'answer'")["target"]) == {"yes", "no"}


@torch.no_grad()
def test_values_against_one_plain_forward_pass_a_sample(tiny, mood):
    """The lens at every space against transformers' own hidden states, sample by sample, without padding."""
    traced = sv.trace(tiny, mood, readout="raw", **QUIET)
    encoded = encode(tiny, mood, "train")
    at = traced.positions.query("role == 'answer'").index
    for row in (0, 7, len(encoded) - 1):
        ids = torch.as_tensor(encoded.ids[row]).unsqueeze(0)
        hidden = tiny.model(input_ids=ids, output_hidden_states=True).hidden_states
        target = encoded.targets[row][-1]
        for space in range(tiny.n_blocks):
            logits = tiny.model.lm_head(tiny.model.model.norm(hidden[space][0, -1]))
            expected = -logits.log_softmax(-1)[target]
            assert traced.values["lens"][at[row], space] == pytest.approx(float(expected), rel=1e-4)
        final = tiny.model(input_ids=ids).logits[0, -1]
        expected = -final.log_softmax(-1)[target]
        assert traced.values["lens"][at[row], -1] == pytest.approx(float(expected), rel=1e-4)


def test_the_virtual_transition_starts_at_the_embedding(traced):
    np.testing.assert_allclose(traced.values["virtual"][traced.counted, 0], 0, atol=1e-5)


def test_virtual_and_target_agree_at_the_last_space(traced):
    counted = traced.counted
    np.testing.assert_allclose(traced.values["virtual"][counted, -1], traced.values["target"][counted, -1], atol=1e-5)


def test_next_positions_leave_special_tokens_out(tiny, stories):
    traced = sv.trace(tiny, stories, detail=2, **QUIET)
    counted = traced.positions[traced.counted]
    assert (counted["role"] == "next").all()
    assert "<bos>" not in set(counted["token"])
    texts = stories.split("train").texts
    assert len(counted) == sum(len(t.split()) - 1 for t in texts)
    special = traced.positions[traced.positions["role"] == "special"]
    assert special["sample"].max() == 1


def test_batching_and_padding_change_nothing(tiny, stories, monkeypatch):
    whole = sv.trace(tiny, stories, **QUIET)
    monkeypatch.setattr("semviz.tasks.streaming._BATCH_TOKENS", {"cpu": 1})
    monkeypatch.setattr("semviz.traces.vocabulary_scores._STRIP", {"cpu": 60})
    monkeypatch.setattr("semviz.traces.trace_plan._MOST_POSITIONS", {"cpu": 7})
    single = sv.trace(tiny, stories, **QUIET)
    for key in whole.values:
        np.testing.assert_allclose(whole.values[key], single.values[key], atol=2e-5)


def test_label_vocabulary_is_the_distribution_over_the_labels(tiny, mood):
    traced = sv.trace(tiny, mood, vocab="labels", **QUIET)
    ranks = traced.values["rank"][traced.counted]
    second = np.log(2) / np.log(3)
    assert (np.isclose(ranks, 0) | np.isclose(ranks, second)).all()
    assert {bool(r) for r in ranks.ravel()} == {True, False}
    assert traced.nearest is None
    accuracy = (traced.values["lens"][traced.counted, -1] < np.log(2)).mean()
    assert accuracy == pytest.approx(traced.accuracy)


@torch.no_grad()
def test_nearest_tokens_are_those_of_largest_cosine(tiny, mood):
    calibration = sv.calibrate(tiny, **QUIET)
    traced = sv.trace(tiny, mood, calibration=calibration, readout="raw", **QUIET)
    assert set(np.unique(traced.nearest)) <= set(traced.vocabulary)
    encoded = encode(tiny, mood, "train")
    bases = calibration.bases.rows(torch.arange(tiny.anatomy.head_weight.shape[0]))
    at = traced.positions.query("role == 'answer'").index
    for row in (0, 20):
        ids = torch.as_tensor(encoded.ids[row]).unsqueeze(0)
        hidden = tiny.model(input_ids=ids, output_hidden_states=True).hidden_states
        for space in range(tiny.n_blocks):
            frame = tiny.model.model.norm(hidden[space][0, -1])
            cosines = torch.cosine_similarity(frame.unsqueeze(0), bases)
            # Compared by value: two tokens may be equally near.
            best = cosines.topk(3).values
            torch.testing.assert_close(cosines[traced.nearest[at[row], space]], best, atol=1e-5, rtol=0)


def test_centring_subtracts_the_mean_state(tiny, mood):
    plain, centred = sv.trace(tiny, mood, **QUIET), sv.trace(tiny, mood, centre=True, **QUIET)
    np.testing.assert_allclose(plain.values["lens"], centred.values["lens"])
    assert np.nanmax(np.abs(plain.values["target"] - centred.values["target"])) > 0.01


def test_the_model_is_left_as_it_was(tiny, mood):
    tiny.model.train()
    before = {name: p.clone() for name, p in tiny.model.named_parameters()}
    sv.trace(tiny, mood, **QUIET)
    assert tiny.model.training
    assert all(torch.equal(before[name], p) for name, p in tiny.model.named_parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in tiny.model.modules())


def test_a_failing_metric_leaves_no_hook(tiny, mood):
    @sv.metric("test-fails", title="", unit="", low=None, high=None, loss_like=False, definition="")
    def fails(view):
        raise RuntimeError("mine")

    try:
        with pytest.raises(RuntimeError, match="mine"):
            sv.trace(tiny, mood, metrics="test-fails", **QUIET)
    finally:
        sv.METRICS.pop("test-fails")
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in tiny.model.modules())


def test_a_metric_of_the_wrong_shape_is_named(tiny, mood):
    @sv.metric("wide", title="", unit="", low=None, high=None, loss_like=False, definition="")
    def wide(view):
        return view.states

    try:
        with pytest.raises(SemvizError, match="'wide' returned shape"):
            sv.trace(tiny, mood, metrics="wide", **QUIET)
    finally:
        sv.METRICS.pop("wide")


def test_frame_holds_every_number_once(traced):
    frame = traced.frame()
    assert len(frame) == traced.values["lens"].size
    row = frame.query("space == 2").iloc[5]
    assert row["lens"] == traced.values["lens"][5, 2]


def test_profile_is_the_mean_of_sample_means(tiny, stories):
    traced = sv.trace(tiny, stories, **QUIET)
    values = traced.values["lens"][traced.counted]
    samples = traced.positions["sample"].to_numpy()[traced.counted]
    expected = np.mean([values[samples == s].mean(0) for s in np.unique(samples)], axis=0)
    profile = traced.profile_frame("lens")
    np.testing.assert_allclose(profile["mean"], expected, rtol=1e-5)
    assert (profile["low"] <= profile["mean"]).all()
    assert (profile["mean"] <= profile["high"]).all()


def test_samples_are_drawn_the_same_twice(tiny, mood):
    one, two = (sv.trace(tiny, mood, samples=10, **QUIET) for _ in range(2))
    assert one.meta["samples"] == 10
    np.testing.assert_array_equal(one.values["lens"], two.values["lens"])
    np.testing.assert_array_equal(one.positions["label"], two.positions["label"])


def test_calibration_fits_a_temperature_better_than_its_neighbours(tiny):
    calibration = sv.calibrate(tiny, **QUIET)
    assert calibration.fidelity == max(calibration.fidelities.values())
    assert len(calibration.fidelities) == 5
    assert calibration.means.shape == (tiny.n_blocks + 1, 32)
    assert 0 < calibration.temperature <= 10


@torch.no_grad()
def test_the_temperature_is_the_most_likely_one_in_float64():
    generator = torch.Generator().manual_seed(0)
    cosines = torch.rand(300, 40, generator=generator) * 2 - 1
    target = (cosines + 0.4 * torch.randn(300, 40, generator=generator)).argmax(1)
    found = _fit_temperature(cosines, target)

    def loss(tau):
        return float(torch.nn.functional.cross_entropy(cosines.double() / tau, target))

    best = minimize_scalar(loss, bounds=(1e-3, 10), method="bounded", options={"xatol": 1e-9}).x
    assert found == pytest.approx(best, rel=1e-5)
    # The order in which numbers are added must not show.
    order = torch.randperm(300, generator=generator)
    assert _fit_temperature(cosines[order], target[order]) == pytest.approx(found, rel=1e-6)


@torch.no_grad()
def test_the_temperature_of_a_perfect_and_of_an_opposite_reading_is_at_the_end_of_its_range():
    cosines = torch.eye(20)
    assert _fit_temperature(cosines, torch.arange(20)) == 1e-3
    assert _fit_temperature(-cosines, torch.arange(20)) == 10


def test_repr_and_html_escape(tiny):
    texts = ["<b>x</b> the cat", "the dog", "a bird", "red tree"] * 3
    traced = sv.trace(tiny, sv.Task.from_texts(texts, name="<script>alert(1)</script>"), **QUIET)
    assert "<script>" not in traced._repr_html_()
    assert "positions" in repr(traced)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": "warp"}, "semantic"),
        ({"split": "dev"}, "validation"),
        ({"vocab": "all"}, "labels"),
        ({"path": "arc"}, "slerp"),
        ({"samples": 0}, "at least 1"),
        ({"detail": -1}, "detail"),
    ],
)
def test_bad_arguments_say_what_to_pass(tiny, mood, options, message):
    with pytest.raises(SemvizError, match=message):
        sv.trace(tiny, mood, **QUIET, **options)


def test_labels_need_labels(tiny, stories):
    with pytest.raises(SemvizError, match="no labels"):
        sv.trace(tiny, stories, vocab="labels", **QUIET)


def test_too_little_general_text(mood):
    from small import tiny_llama

    model = sv.load_model((tiny_llama(), word_tokenizer()), general_text=["the cat"])
    with pytest.raises(SemvizError, match="general text"):
        sv.trace(model, mood, **QUIET)


def test_a_low_fidelity_is_said_in_the_repr(traced):
    low, high = (dataclasses.replace(traced, meta={**traced.meta, "fidelity": value}) for value in (0.5, 0.9))
    assert "low" in repr(low)
    assert "low" not in repr(high)


def test_a_metric_of_the_users_own_appears_in_every_picture(tiny, mood, tmp_path):
    @sv.metric(
        "margin", title="margin", unit="logits", low=None, high=None, loss_like=False, definition="best − target"
    )
    def margin(view):
        return view.logits.max(-1).values - view.logits.gather(-1, view.target[:, None])[:, 0]

    try:
        traced = sv.trace(tiny, mood, metrics=["lens", "margin"], **QUIET)
    finally:
        sv.METRICS.pop("margin")
    at = traced.counted
    right = traced.top1[at, -1] == traced.positions["target_id"][at]
    np.testing.assert_array_equal(traced.values["margin"][at, -1] == 0, right)
    traced.save(tmp_path / "t.parquet")
    # Drawn from the file, where the function is not registered any more.
    back = sv.Trace.load(tmp_path / "t.parquet")
    for figure in (back.token_heatmap(metric="margin"), back.sample_heatmap(metric="margin"), back.profile()):
        assert "margin" in figure.to_json()
        assert "logits" in figure.to_json()
    with pytest.raises(SemvizError, match="lens"):
        back.gain("margin")


@torch.no_grad()
def test_top1_is_what_the_head_ranks_first(tiny, mood):
    traced = sv.trace(tiny, mood, readout="raw", **QUIET)
    encoded = encode(tiny, mood, "train")
    at = traced.positions.query("role == 'answer'").index
    for row in (0, 7):
        ids = torch.as_tensor(encoded.ids[row]).unsqueeze(0)
        hidden = tiny.model(input_ids=ids, output_hidden_states=True).hidden_states
        for space in range(tiny.n_blocks):
            logits = tiny.model.lm_head(tiny.model.model.norm(hidden[space][0, -1]))
            assert traced.top1[at[row], space] == int(logits.argmax())
        assert traced.top1[at[row], -1] == int(tiny.model(input_ids=ids).logits[0, -1].argmax())
    assert set(np.unique(traced.top1)) <= set(traced.vocabulary)


def test_paths_agree_with_the_target_deviation(tiny, stories):
    traced = sv.trace(tiny, stories, **QUIET)
    rows = len(traced.paths)
    assert rows == (traced.positions["sample"] < 16).sum()
    known = ~np.isnan(traced.values["target"][:rows, 0])
    assert not known.all()
    np.testing.assert_allclose(traced.paths[known, :, 0], 1 - traced.values["target"][:rows][known], atol=1e-5)
    assert np.isnan(traced.paths[~known]).all()
    assert (traced.paths[known, 0, 1] >= -1e-6).all()


def test_light_metrics_score_no_candidates(tiny, mood, monkeypatch):
    """What makes `target` cheap: no product with the whole head but the model's own choice at the end."""
    calibration = sv.calibrate(tiny, **QUIET)
    widths = []
    project = type(tiny.anatomy).project
    monkeypatch.setattr(
        type(tiny.anatomy), "project", lambda self, f, ids=None: widths.append(ids) or project(self, f, ids)
    )
    monkeypatch.setattr(type(calibration.bases), "cosines", lambda *_: pytest.fail("cosines with the vocabulary"))
    light = sv.trace(tiny, mood, metrics=["target", "virtual"], calibration=calibration, **QUIET)
    assert all(ids is not None and len(ids) == 2 for ids in widths)
    assert light.nearest is None
    assert light.top1 is None


def test_general_text_is_read_once_a_model(tiny, mood, monkeypatch):
    first = sv.trace(tiny, mood, **QUIET)
    monkeypatch.setattr("semviz.traces.calibration.calibrate", lambda *_a, **_k: pytest.fail("read again"))
    again = sv.trace(tiny, mood, **QUIET)
    assert first.meta["tau"] == again.meta["tau"]


def test_general_text_of_the_users_own(tiny, mood):
    own = sv.calibrate(tiny, ["the cat ran . the dog sat and he saw it ."] * 20, ridge=0.1, **QUIET)
    traced = sv.trace(tiny, mood, calibration=own, **QUIET)
    assert traced.meta["ridge"] == 0.1
    assert traced.meta["tau"] == own.temperature != sv.trace(tiny, mood, **QUIET).meta["tau"]


def test_samples_keep_their_numbers_in_the_split(tiny, mood):
    part, whole = sv.trace(tiny, mood, samples=7, **QUIET), sv.trace(tiny, mood, **QUIET)
    numbers = part.sample_means("lens").index
    np.testing.assert_allclose(part.sample_means("lens"), whole.sample_means("lens").loc[numbers], atol=2e-5)
    assert part.detailed == tuple(numbers)
    part.token_heatmap(sample=int(numbers[-1]))
