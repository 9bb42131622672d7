"""Readouts of a model: what translated traces hold, what each readout is worth, and where there is too little text."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small import WORDS, plain_text, tiny_llama, word_tokenizer

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.tasks.tokenizing import encode
from semviz.traces.readout_scoring import score_readout
from semviz.traces.translators import Moments, fit_translators

QUIET = {"progress": False}


def final_frames(model: sv.LanguageModel, ids) -> list[torch.Tensor]:
    """The states of one sample's last position in every space, in the output frame."""
    hidden = model.model(input_ids=torch.as_tensor(ids).unsqueeze(0), output_hidden_states=True).hidden_states
    frames = [model.model.model.norm(states[0, -1]) for states in hidden[:-1]]
    return [*frames, hidden[-1][0, -1]]  # transformers' last entry is behind the norm already


@torch.no_grad()
def test_a_translated_trace_reads_every_space_through_its_map(tiny, mood):
    calibration = sv.calibrate(tiny, **QUIET)
    traced = sv.trace(tiny, mood, calibration=calibration, **QUIET)
    assert traced.meta["readout"] == "translated"
    at = traced.positions.query("role == 'answer'").index
    bases = calibration.bases.unit_rows()
    encoded = encode(tiny, mood, "train")
    for row in (0, 7, 33):
        target = int(encoded.targets[row][-1])
        for space, frame in enumerate(final_frames(tiny, encoded.ids[row])):
            read = frame
            if space < tiny.n_blocks:
                read = frame @ calibration.translators.weights[space] + calibration.translators.offsets[space]
            log_probabilities = tiny.model.lm_head(read).log_softmax(-1)
            cosines = bases @ torch.nn.functional.normalize(read, dim=-1)
            expected = {
                "lens": -log_probabilities[target],
                "rank": torch.log1p((log_probabilities > log_probabilities[target]).sum()) / np.log1p(len(bases)),
                "semantic": -(cosines / calibration.temperature).log_softmax(-1)[target],
                "target": 1 - cosines[target],
            }
            for key, value in expected.items():
                assert traced.values[key][at[row], space] == pytest.approx(float(value), rel=2e-3, abs=2e-4), key
            assert traced.top1[at[row], space] == int(log_probabilities.argmax())


def test_both_readouts_agree_at_the_last_space(tiny, mood):
    raw, translated = (sv.trace(tiny, mood, readout=readout, **QUIET) for readout in ("raw", "translated"))
    for key in raw.values:
        np.testing.assert_allclose(raw.values[key][:, -1], translated.values[key][:, -1], atol=1e-5)
    assert np.abs(raw.values["lens"][:, 1] - translated.values["lens"][:, 1]).max() > 0.1


@torch.no_grad()
@pytest.mark.parametrize("readout", ["raw", "translated"])
def test_label_probabilities_are_those_among_the_label_words(tiny, mood, readout):
    traced = sv.trace(tiny, mood, readout=readout, **QUIET)
    calibration = sv.calibrate(tiny, **QUIET)
    encoded = encode(tiny, mood, "train")
    assert traced.meta["label_names"] == list(mood.labels)
    assert traced.label_probabilities.shape == (len(encoded), 5, 2)
    np.testing.assert_allclose(traced.label_probabilities.sum(-1), 1, atol=1e-5)
    for row in (0, 41):
        for space, frame in enumerate(final_frames(tiny, encoded.ids[row])):
            read = calibration.translators.translate(space, frame) if readout == "translated" else frame
            expected = tiny.model.lm_head(read)[torch.as_tensor(encoded.label_ids)].softmax(-1)
            np.testing.assert_allclose(traced.label_probabilities[row, space], expected.numpy(), atol=1e-4)
    chosen = np.asarray(mood.labels)[traced.label_probabilities[:, -1].argmax(-1)]
    right = chosen == traced.positions[traced.counted]["label"].to_numpy()
    assert right.mean() == pytest.approx(traced.accuracy)


def test_label_probabilities_follow_their_rows(tiny, mood, tmp_path):
    traced = sv.trace(tiny, mood, **QUIET)
    yes = traced.by("label")["yes"]
    is_yes = (traced.positions[traced.counted]["label"] == "yes").to_numpy()
    np.testing.assert_array_equal(yes.label_probabilities, traced.label_probabilities[is_yes])
    again = sv.Trace.load(traced.save(tmp_path / "t.parquet"))
    np.testing.assert_array_equal(again.label_probabilities, traced.label_probabilities)
    assert again.meta == traced.meta


def test_there_are_no_label_probabilities_in_language_modelling(tiny, stories, tmp_path):
    traced = sv.trace(tiny, stories, **QUIET)
    assert traced.label_probabilities is None
    assert traced.meta["label_names"] == []
    assert sv.Trace.load(traced.save(tmp_path / "t.parquet")).label_probabilities is None


def test_traces_of_two_readouts_are_not_subtracted(tiny, mood):
    raw, translated = (sv.trace(tiny, mood, readout=readout, **QUIET) for readout in ("raw", "translated"))
    with pytest.raises(SemvizError, match="readout"):
        _ = translated - raw


def test_centring_of_translated_states_subtracts_their_own_mean(tiny, mood):
    """Translation keeps means: the centred state of a text is 0 on average over the text it was calibrated on."""
    calibration = sv.calibrate(tiny, **QUIET)
    text = sv.Task.from_texts(list(tiny.general_text), name="general")
    seen: dict[int, list[torch.Tensor]] = {}

    @sv.metric("states", title="", unit="", loss_like=False, definition="", scores_candidates=False)
    def keep(view):
        seen.setdefault(view.space, []).append(view.states.clone())
        return view.states.norm(dim=-1)

    try:
        options = {"metrics": "states", "split": "train", "centre": True, "detail": 0, **QUIET}
        sv.trace(tiny, text, calibration=calibration, **options)
    finally:
        sv.METRICS.pop("states")
    for space, parts in seen.items():
        states = torch.cat(parts)
        # The task keeps four of five texts for training, so the means differ a little from those of the whole text.
        assert states.mean(0).norm() < 0.2 * states.norm(dim=-1).mean(), space


@torch.no_grad()
def test_scores_of_a_readout_against_plain_formulas():
    generator = torch.Generator().manual_seed(0)
    frames = [torch.randn(50, 8, generator=generator) for _ in range(3)]
    head = torch.randn(20, 8, generator=generator)
    fitted = Moments(2, 8, device=torch.device("cpu"))
    fitted.add(frames)
    for maps in (None, fit_translators(fitted, frames)):
        found = score_readout(frames, lambda f: f @ head.T, maps, positions=30)
        assert found.positions == 30
        own = (frames[-1][:30] @ head.T).softmax(-1)
        for space, states in enumerate(frames):
            read = states if maps is None else maps.translate(space, states)
            seen = (read[:30] @ head.T).softmax(-1)
            divergence = (own * (own / seen).log()).sum(-1).mean()
            assert found.divergence[space] == pytest.approx(float(divergence), rel=1e-4, abs=1e-6)
            agreement = (own.argmax(-1) == seen.argmax(-1)).float().mean()
            assert found.agreement[space] == pytest.approx(float(agreement))
            error = (read - frames[-1]).square().sum() / (frames[-1] - frames[-1].mean(0)).square().sum()
            assert found.explained[space] == pytest.approx(1 - float(error), rel=1e-4, abs=1e-5)
        assert (found.divergence[-1], found.agreement[-1], found.explained[-1]) == (0, 1, 1)


def test_tokens_that_a_model_rules_out_do_not_break_the_divergence():
    head = torch.eye(4)

    def project(frames):
        logits = frames @ head.T
        logits[..., 0] = -torch.inf
        return logits

    found = score_readout([torch.randn(9, 4), torch.randn(9, 4)], project, None, positions=9)
    assert np.isfinite(found.divergence).all()


def test_a_calibration_compares_the_readouts(tiny):
    calibration = sv.calibrate(tiny, **QUIET)
    table = calibration.frame()
    assert list(table["readout"].unique()) == ["raw", "translated"]
    assert len(table) == 2 * (tiny.n_blocks + 1)
    last = table[table["space"] == tiny.n_blocks]
    assert (last["divergence"] == 0).all()
    assert (last["agreement"] == 1).all()
    best = table.pivot(index="space", columns="readout", values="explained")
    assert (best["translated"] >= best["raw"] - 1e-9).all()
    figure = calibration.figure()
    assert [trace.name for trace in figure.data] == ["raw", "translated"] * 3
    assert table["explained"].min() < -0.1
    assert figure.layout.yaxis.range[0] < max(table["explained"].min(), -1)
    assert "translators fitted on" in repr(calibration)
    assert "<table" in calibration._repr_html_()


def test_a_raw_calibration_reads_less_and_gives_the_same_constants(tiny, mood):
    raw, whole = sv.calibrate(tiny, readout="raw", **QUIET), sv.calibrate(tiny, **QUIET)
    assert (raw.temperature, raw.fidelities, raw.positions) == (whole.temperature, whole.fidelities, whole.positions)
    torch.testing.assert_close(raw.means, whole.means)
    assert sv.trace(tiny, mood, calibration=raw, **QUIET).meta["readout"] == "raw"
    for use in (lambda: raw.frame(), lambda: raw.figure()):
        with pytest.raises(SemvizError, match="calibrate"):
            use()
    with pytest.raises(SemvizError, match="translators"):
        sv.trace(tiny, mood, calibration=raw, readout="translated", **QUIET)


@pytest.mark.filterwarnings("error")
def test_too_few_texts_are_said(mood):
    long = " ".join(WORDS[:40])
    model = sv.load_model((tiny_llama(), word_tokenizer()), general_text=[long] * 4)
    with pytest.raises(UserWarning, match="4 texts"):
        sv.calibrate(model, **QUIET)
    with pytest.raises(SemvizError, match="4 texts"):
        sv.calibrate(model, readout="translated", **QUIET)
    assert sv.trace(model, mood, readout="raw", **QUIET).meta["readout"] == "raw"


def test_too_little_memory_is_said(tiny, monkeypatch):
    monkeypatch.setattr("semviz.common.memory.free", lambda: 1000)
    with pytest.raises(SemvizError, match="memory"):
        sv.calibrate(tiny, readout="translated", **QUIET)


def test_rough_translators_are_said(tiny):
    with pytest.warns(UserWarning, match="want 256"):
        found = sv.calibrate(tiny, plain_text(20), **QUIET)
    assert found.translators.rough


@pytest.mark.parametrize("call", [sv.calibrate, sv.trace])
def test_an_unknown_readout_is_refused(tiny, mood, call):
    arguments = (tiny,) if call is sv.calibrate else (tiny, mood)
    with pytest.raises(SemvizError, match="readout"):
        call(*arguments, readout="tuned", **QUIET)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("held_out", ["cat", "cat dog"])
def test_too_little_held_out_text_is_said(tiny, held_out):
    """Every fifth text is held out; of one token it has no position, of two it has one."""
    texts = [held_out if i % 5 == 4 else text for i, text in enumerate(plain_text(100))]
    with pytest.raises(UserWarning, match="held out"):
        sv.calibrate(tiny, texts, **QUIET)
    with pytest.raises(SemvizError, match="held out"):
        sv.calibrate(tiny, texts, readout="translated", **QUIET)


def test_a_difference_with_two_rulers_says_so(tiny, mood):
    one, other = sv.calibrate(tiny, **QUIET), sv.calibrate(tiny, plain_text(80), **QUIET)

    def difference(*calibrations, **options):
        first, second = (sv.trace(tiny, mood, calibration=c, **options, **QUIET) for c in calibrations)
        return second - first

    assert "different calibrations" in difference(one, other, metrics="lens").note
    assert difference(one, one).note == ""
    # The raw lens asks the head alone.
    assert difference(one, other, metrics="lens", readout="raw").note == ""
    assert "different calibrations" in difference(one, other, metrics="target", readout="raw").note


@torch.no_grad()
def test_a_ruler_that_moved_with_its_model_is_refused(tiny, mood):
    calibration = sv.calibrate(tiny, **QUIET)
    tiny.model.model.layers[0].mlp.up_proj.weight.mul_(1.5)
    sv.trace(tiny, mood, calibration=calibration, **QUIET)
    tiny.model.lm_head.weight[3] += 0.5
    with pytest.raises(SemvizError, match="same ruler"):
        sv.trace(tiny, mood, calibration=calibration, **QUIET)
