from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import cosine
from scipy.special import log_softmax

from semviz.common.errors import SemvizError
from semviz.traces.metrics import METRICS, Metric, View, metric, resolve_metrics
from semviz.traces.virtual_path import Arc, plane

N, D, C = 6, 8, 11


@pytest.fixture
def view():
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    candidates = torch.nn.functional.normalize(normal(C, D), dim=-1)
    target = torch.arange(N) % C
    logits = 3 * normal(N, C)
    return View(
        space=2,
        depth=0.4,
        states=normal(N, D),
        arc=Arc(normal(N, D), candidates[target]),
        target=target,
        candidates=lambda: candidates,
        temperature=0.1,
        size=C,
        read=lambda columns: logits[:, columns],
    )


def value(key, view):
    return METRICS[key].function(view).numpy()


def test_geometric_metrics_against_scipy(view):
    expected = [cosine(view.states[i], view.basis[i]) for i in range(N)]
    np.testing.assert_allclose(value("target", view), expected, atol=1e-6)
    expected = [cosine(view.states[i], view.virtual[i]) for i in range(N)]
    np.testing.assert_allclose(value("virtual", view), expected, atol=1e-6)


def test_surprises_against_scipy_in_float64(view):
    rows = np.arange(N)
    lens = -log_softmax(view.logits.double().numpy(), axis=1)[rows, view.target]
    np.testing.assert_allclose(value("lens", view), lens, rtol=1e-5)
    states = view.states.double().numpy()
    cosines = (states / np.linalg.norm(states, axis=1, keepdims=True)) @ view.candidates().double().numpy().T
    semantic = -log_softmax(cosines / 0.1, axis=1)[rows, view.target]
    np.testing.assert_allclose(value("semantic", view), semantic, rtol=1e-5, atol=1e-6)


def test_rank_against_scipy(view):
    ranks = [stats.rankdata(-row, method="min")[t] - 1 for row, t in zip(view.logits.numpy(), view.target, strict=True)]
    np.testing.assert_allclose(value("rank", view), np.log1p(ranks) / math.log1p(C), rtol=1e-6)


def test_ties_share_the_better_rank(view):
    flat = View(**{**vars_of(view), "read": lambda columns: torch.zeros(N, C)[:, columns]})
    assert (value("rank", flat) == 0).all()


def vars_of(view):
    return {name: getattr(view, name) for name in View.__dataclass_fields__}


@pytest.mark.parametrize("key", list(METRICS))
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_values_stay_in_their_range_at_every_scale(view, key, scale):
    logits = scale * view.logits
    scaled = View(**{**vars_of(view), "states": scale * view.states, "read": lambda columns: logits[:, columns]})
    found, facts = value(key, scaled), METRICS[key]
    assert np.isfinite(found).all()
    assert (found >= facts.low).all()
    assert facts.high is None or (found <= facts.high).all()


@pytest.mark.parametrize("key", ["target", "virtual"])
def test_extremes_of_angles(view, key):
    goal = view.basis if key == "target" else view.arc.at(view.depth)
    same = View(**{**vars_of(view), "states": 3 * goal})
    opposite = View(**{**vars_of(view), "states": -2 * goal})
    np.testing.assert_allclose(value(key, same), 0, atol=1e-6)
    np.testing.assert_allclose(value(key, opposite), 2, atol=1e-6)


def test_a_user_adds_a_metric_in_five_lines(view):
    @metric("test-norm", title="length", unit="", low=0, high=None, loss_like=False, definition="length of f")
    def norm(view):
        return view.states.norm(dim=-1)

    try:
        assert resolve_metrics("test-norm") == ("test-norm",)
        made = Metric("test-norm", "length", "", 0, None, False, "length of f", function=norm, scores_candidates=True)
        assert METRICS["test-norm"] == made
        np.testing.assert_allclose(value("test-norm", view), np.linalg.norm(view.states, axis=1), rtol=1e-6)
    finally:
        METRICS.pop("test-norm")


def test_a_light_metric_of_the_users_own_says_so_and_may_have_bounds():
    facts = {"title": "half", "unit": "%", "low": -1.0, "high": 0.5, "loss_like": True, "definition": "½"}

    def half(view):
        return view.states[:, 0]

    try:
        assert metric("test-half", **facts, scores_candidates=False)(half) is half
        assert METRICS["test-half"] == Metric("test-half", **facts, function=half, scores_candidates=False)
    finally:
        METRICS.pop("test-half", None)


def test_a_view_has_the_cosines_with_all_candidates(view):
    states, candidates = view.states.double(), view.candidates().double()
    wanted = states @ candidates.T / states.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(view.cosines.double(), wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("key", ["target", "virtual"])
def test_rounding_takes_no_angle_out_of_its_range(view, key):
    # Of a thousand unit vectors in float32, many have a product with themselves that is larger than 1.
    same = torch.nn.functional.normalize(torch.randn(1000, 64, generator=torch.Generator().manual_seed(1)), dim=-1)
    assert (torch.linalg.vecdot(same, same) > 1).sum() > 10
    for sign in (1, -1):
        found = value(key, View(**{**vars_of(view), "states": sign * same, "arc": Arc(same, same)}))
        assert 0 <= found.min() <= found.max() <= 2


def test_a_view_names_the_candidates_that_score_best(view):
    order = (-view.logits).argsort(-1)
    assert view.by_head.best.tolist() == order[:, :1].tolist()
    assert view.by_basis.best.tolist() == (-view.cosines).argsort(-1)[:, :3].tolist()


def test_unknown_metrics_are_named_beside_the_known_ones():
    with pytest.raises(SemvizError, match=r"\['warp'\].*semantic"):
        resolve_metrics(["lens", "warp"])
    with pytest.raises(SemvizError, match="metrics"):
        resolve_metrics([])
    with pytest.raises(SemvizError, match=r"^metrics=3.*semantic.*lens"):
        resolve_metrics(3)


def test_slerp_turns_at_constant_speed_and_ends_where_it_should():
    arc = Arc(torch.tensor([[2.0, 0, 0]]), torch.tensor([[0, 0.5, 0]]))
    for t in (0.0, 0.25, 0.5, 1.0):
        angle = t * math.pi / 2
        expected = torch.tensor([[math.cos(angle), math.sin(angle), 0]])
        torch.testing.assert_close(arc.at(t), expected, atol=1e-6, rtol=0)


def test_slerp_of_parallel_and_opposite_directions_is_finite():
    a = torch.tensor([[1.0, 0, 0]])
    torch.testing.assert_close(Arc(a, 5 * a).at(0.3), a)
    assert Arc(a, -a).at(0.3).isfinite().all()
    nearly = a + torch.tensor([[0, 1e-4, 0]])
    torch.testing.assert_close(Arc(a, nearly).at(0.5), torch.tensor([[1.0, 0.5e-4, 0]]), atol=1e-7, rtol=0)


def test_lerp_and_slerp_agree_at_both_ends_and_in_the_middle():
    a, b = torch.randn(4, 5), torch.randn(4, 5)
    for t in (0.0, 0.5, 1.0):
        torch.testing.assert_close(Arc(a, b, "lerp").at(t), Arc(a, b).at(t), atol=1e-5, rtol=0)


def test_the_lerp_is_the_straight_line_between_unit_vectors():
    a, b = torch.randn(4, 5), torch.randn(4, 5)
    line = 0.7 * a / a.norm(dim=-1, keepdim=True) + 0.3 * b / b.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(Arc(a, b, "lerp").at(0.3), line / line.norm(dim=-1, keepdim=True))


def test_the_plane_of_a_path_against_a_singular_value_decomposition():
    generator = torch.Generator().manual_seed(3)
    path = torch.nn.functional.normalize(torch.randn(5, 7, 12, generator=generator), dim=-1)
    goal = torch.nn.functional.normalize(torch.randn(5, 12, generator=generator), dim=-1)
    found = plane(path, goal)
    for i in range(5):
        along = path[i] @ goal[i]
        torch.testing.assert_close(found[i, :, 0], along, atol=1e-6, rtol=0)
        rest = (path[i] - along[:, None] * goal[i]).double().numpy()
        _, _, directions = np.linalg.svd(rest)
        across = rest @ directions[0]
        np.testing.assert_allclose(found[i, :, 1], across * np.sign(across[0]), atol=1e-5)
    assert (found.square().sum(-1) <= 1 + 1e-5).all()


def test_a_path_that_stays_on_its_goal_has_a_plane_too():
    goal = torch.nn.functional.normalize(torch.ones(1, 4), dim=-1)
    torch.testing.assert_close(
        plane(goal.unsqueeze(1).expand(1, 3, 4), goal)[..., 1], torch.zeros(1, 3), atol=1e-3, rtol=0
    )


def test_a_cell_that_is_run_again_replaces_its_metric_and_no_other(view):
    facts = {"title": "one", "loss_like": False, "definition": "a number"}
    try:
        for value in (1.0, 2.0):
            metric("test-again", **facts)(lambda view, value=value: view.target.float() * 0 + value)
        assert METRICS["test-again"].unit == ""
        assert METRICS["test-again"].function(view).unique().tolist() == [2.0]
        with pytest.raises(SemvizError, match="defined in test_metrics; pass another key"):
            metric("test-again", **facts)(torch.nn.functional.relu)
        with pytest.raises(SemvizError, match=r"defined in semviz\.traces\.metrics; pass another key"):
            metric("lens", **facts)(lambda view: view.target.float())
        with pytest.raises(SemvizError, match=r"defined in semviz\.traces\.metrics; pass another key"):
            metric("lens", **facts)(METRICS["lens"].function)
    finally:
        METRICS.pop("test-again", None)
