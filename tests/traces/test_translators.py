"""Translators against scikit-learn's least squares, and what decides their ridge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from semviz.traces.translators import Moments, fit_translators

N, D = 400, 6


def states(seed: int, *, spaces: int = 3, offset: float = 0.0) -> list[torch.Tensor]:
    """Spaces that differ from the last by a map, an offset and noise that shrinks from space to space."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.Generator().manual_seed(99)
    last = torch.randn(N, D, generator=generator) * torch.arange(1, D + 1)
    made = []
    for space in range(spaces):
        mixing = torch.randn(D, D, generator=maps)
        noise = torch.randn(N, D, generator=generator) * (spaces - space)
        made.append(last @ mixing + noise + offset)
    return [*made, last]


def moments(frames: list[torch.Tensor], *, parts: int = 1) -> Moments:
    found = Moments(len(frames) - 1, frames[0].shape[1], device=torch.device("cpu"))
    for part in range(parts):
        found.add([states[part::parts] for states in frames])
    return found


@pytest.mark.parametrize("offset", [0.0, 1e4], ids=["near 0", "far from 0"])
@pytest.mark.parametrize("parts", [1, 7])
def test_maps_are_those_of_ridge_regression(offset, parts):
    """Far from 0, sums of products about the origin would have lost the digits that count."""
    frames, held_out = states(0, offset=offset), states(1, offset=offset)
    found = fit_translators(moments(frames, parts=parts), held_out, ridges=[0.01])
    for space in range(3):
        x, y = frames[space].double().numpy(), frames[-1].double().numpy()
        penalty = 0.01 * np.trace(np.cov(x.T, bias=True)) / D * N
        exact = Ridge(alpha=penalty, solver="cholesky").fit(x, y).predict(held_out[space].double().numpy())
        ours = found.translate(space, held_out[space]).numpy()
        assert np.abs(ours - exact).max() < 1e-3 * np.abs(exact).max()


def test_an_affine_image_of_the_last_space_is_translated_back():
    last = torch.randn(N, D)
    turned = last @ torch.linalg.qr(torch.randn(D, D)).Q * 3 + 5
    found = fit_translators(moments([turned, last]), [turned, last], ridges=[1e-9, 0.1])
    torch.testing.assert_close(found.translate(0, turned), last, atol=1e-4, rtol=0)
    assert found.ridges.tolist() == [1e-9]


def test_the_last_space_stays_as_it_is():
    frames = states(0)
    found = fit_translators(moments(frames), frames)
    assert torch.equal(found.translate(3, frames[-1]), frames[-1])


def test_held_out_text_decides_the_ridge():
    """With hardly more positions than directions a small ridge fits the noise; with many it is best."""
    few, many = [s[:12] for s in states(2)], states(2)
    held_out = states(3)
    errors = {}
    for name, fitted in (("few", few), ("many", many)):
        chosen = fit_translators(moments(fitted), held_out)
        errors[name] = chosen.ridges
        for ridge in (0.001, 1.0):
            other = fit_translators(moments(fitted), held_out, ridges=[ridge])
            for space in range(3):
                miss = [(t.translate(space, held_out[space]) - held_out[-1]).square().sum() for t in (chosen, other)]
                assert miss[0] <= miss[1] * (1 + 1e-6)
    assert (errors["few"] >= errors["many"]).all()
    assert errors["few"].max() > errors["many"].max()


def test_a_space_without_any_movement_is_read_as_the_mean():
    """All states alike, as at the input behind one prompt: nothing can be read there but the average."""
    last = torch.randn(N, D)
    found = fit_translators(moments([torch.ones(N, D), last]), [torch.ones(N, D), last])
    torch.testing.assert_close(found.translate(0, torch.ones(2, D)), last.mean(0).expand(2, D), atol=1e-4, rtol=0)


def test_an_empty_batch_adds_nothing():
    frames = states(0)
    found = moments(frames)
    found.add([s[:0] for s in frames])
    assert found.count == N


def test_too_little_text_is_rough():
    frames = states(0)
    assert fit_translators(moments([s[: 8 * D - 1] for s in frames]), frames).rough
    assert not fit_translators(moments([s[: 8 * D] for s in frames]), frames).rough
