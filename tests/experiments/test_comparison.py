"""Comparisons and regrets, on made-up runs whose answers are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from made import above, made_run, made_runs
from small import made_parts

from semviz.common.errors import SemvizError
from semviz.experiments.runs import Runs
from semviz.scopes.scope import Scope


def suffixes(scores, *, score="accuracy", blocks=4, seed=0) -> Runs:
    """One run a boundary, each with these scores on all of its test rows."""
    return made_runs(*(made_run(above(k, blocks), [value] * 5, score=score, seed=seed) for k, value in scores.items()))


def by_name(comparison):
    return comparison.frame().set_index("name")


# Comparisons


def test_planted_differences_are_found_and_judged():
    rng = np.random.default_rng(0)
    base = rng.random(400)
    noise = 0.05 * rng.standard_normal((3, 2, 400))
    noise[2] -= noise[2].mean(1, keepdims=True)
    runs = made_runs(
        *(
            made_run(above(k), rows, seed=seed)
            for seed in range(2)
            for k, rows in enumerate(
                (base, base + 0.1 + noise[0, seed], base - 0.2 + noise[1, seed], base + noise[2, seed])
            )
        )
    )
    found = runs.compare()
    table = by_name(found)
    assert found.reference == "full"
    assert table["verdict"].to_dict() == {"k=1": "better", "half": "worse", "last": "undecided"}
    assert table.loc["k=1", "difference"] == pytest.approx(0.1, abs=0.01)
    assert table.loc["half", "difference"] == pytest.approx(-0.2, abs=0.01)
    assert table.loc["last", "difference"] == pytest.approx(0, abs=1e-12)
    assert (table["low"] < table["difference"]).all()
    assert (table["difference"] < table["high"]).all()
    assert repr(found) == "Comparison(against full on made up: 1 better, 1 worse, 1 undecided)"


def test_the_difference_is_that_of_the_table():
    runs = suffixes({0: 0.5, 1: 0.75, 3: 0.25})
    table = runs.table().set_index("name")["accuracy"]
    for name, difference in by_name(runs.compare("full"))["difference"].items():
        assert difference == table[name] - table["full"]


def test_a_lower_loss_is_better():
    losses = {0: 2.0, 1: 1.5, 2: 2.5, 3: 2.0}
    both = [run for seed in range(2) for run in suffixes(losses, score="loss", seed=seed)]
    table = by_name(made_runs(*both).compare())
    assert table["verdict"].to_dict() == {"k=1": "better", "half": "worse", "last": "undecided"}
    assert table["difference"].to_dict() == {"k=1": -0.5, "half": 0.5, "last": 0}


def test_other_references_turn_the_sign():
    runs = suffixes({0: 0.5, 2: 0.75})
    assert by_name(runs.compare("full")).loc["half", "difference"] == 0.25
    assert by_name(runs.compare("half")).loc["full", "difference"] == -0.25


def test_seeds_are_paired_whatever_their_order():
    rng = np.random.default_rng(1)
    base = {seed: rng.random(50) + seed for seed in range(4)}  # seeds differ far more than scopes
    full = [made_run(above(0), base[seed], seed=seed) for seed in (2, 0, 3, 1)]
    half = [made_run(above(2), base[seed] + 0.01, seed=seed) for seed in (1, 3, 2, 0)]
    (row,) = made_runs(*half[:2], *full, *half[2:]).compare().frame().itertuples()
    assert (row.difference, row.low, row.high) == pytest.approx((0.01, 0.01, 0.01))
    assert row.verdict == "better"
    assert row.seeds == 4


def test_rows_are_paired():
    # Rows differ by nats, the scopes by a hundredth in every one of them.
    rows = np.random.default_rng(2).gamma(2, 1, 200)
    (row,) = made_runs(made_run(above(0), rows), made_run(above(2), rows - 0.01)).compare().frame().itertuples()
    assert (row.low, row.high) == pytest.approx((-0.01, -0.01))


def test_only_shared_seeds_count():
    full = [made_run(above(0), [0.5] * 4, seed=seed) for seed in (0, 1, 2)]
    half = [made_run(above(2), [value] * 4, seed=seed) for seed, value in ((1, 0.75), (2, 0.75), (7, 0.0))]
    (row,) = made_runs(*full, *half).compare().frame().itertuples()
    assert row.seeds == 2
    assert row.difference == 0.25


def test_no_shared_seed():
    runs = made_runs(made_run(above(0), [1, 0], seed=0), made_run(above(2), [1, 0], seed=1))
    with pytest.raises(SemvizError, match="half and full share no seed; run both with the same seeds"):
        runs.compare()


def test_references_go_by_any_part_of_a_name():
    gain = SimpleNamespace(boundary=2, benefit=np.zeros(5))
    scores = {0: 0.2, 1: 0.4, 2: 0.6, 3: 0.8}
    runs = made_runs(*suffixes(scores), gain=gain)
    assert [runs.name_of(run) for run in runs] == ["full", "k=1", "half = profile", "last"]
    for part in ("half", "profile", "half = profile"):
        assert runs.compare(part).reference == "half = profile"
    assert runs.compare("k=1").reference == "k=1"


def test_an_unknown_reference_lists_the_names():
    runs = made_runs(made_run(above(0), [1]), made_run(Scope((2,), 4, made_parts(4)), [1]))
    with pytest.raises(SemvizError, match=r"'half' was not run; pass one of \['full', 'block 2 of 4'\]"):
        runs.compare("half")


def test_names_tell_methods_and_shapes_apart():
    parts = made_parts(4)
    runs = made_runs(
        made_run(above(0), [1]),
        made_run(above(0), [1], method="lora"),
        made_run(above(2), [1], method="lisa"),
        made_run(Scope((2, 3), 4, parts), [1]),
        made_run(Scope((3, 4), 4, parts, tail=False), [1]),
        made_run(Scope((3, 4), 4, parts, head=True), [1]),
    )
    names = [runs.name_of(run) for run in runs]
    assert names[:4] == ["full", "full, lora", "half, lisa", "blocks 2–3 of 4"]
    # Neither trains what `half` does.
    assert names[4:] == ["blocks 3–4 of 4, norm frozen", "blocks 3–4 of 4 and the head"]
    assert len(set(names)) == len(runs.groups()) == 6
    assert by_name(runs.compare("full, lora")).index.tolist() == ["full", *names[2:]]


def test_groups_keep_scope_and_method_apart_and_seeds_together():
    runs = made_runs(
        *(made_run(above(k), [1], seed=seed, method=m) for seed in (1, 0) for k in (0, 2) for m in ("full", "lora"))
    )
    groups = runs.groups()
    assert list(groups) == [(above(k), m) for k in (0, 2) for m in ("full", "lora")]
    assert all([run.seed for run in group] == [1, 0] for group in groups.values())


def test_small_models_have_one_scope_of_several_names():
    runs = suffixes({0: 0.5, 1: 0.75}, blocks=2)
    assert [runs.name_of(run) for run in runs] == ["full", "half = last"]
    assert runs.compare("last").reference == runs.compare("half").reference == "half = last"
    assert suffixes({0: 0.5}, blocks=1).table()["name"].tolist() == ["full = half = last"]


def test_a_part_of_an_adapters_name_is_not_the_scope_itself():
    half = above(1, 2)
    runs = made_runs(
        made_run(above(0, 2), [1]), made_run(half, [0.25], method="lora"), made_run(half, [0.5], method="full")
    )
    assert by_name(runs.compare("half")).loc["full", "difference"] == 0.5


@pytest.mark.parametrize("reference", ["half, lora", "last, lora", "half = last, lora"])
def test_adapters_go_by_their_scopes_names_and_their_method(reference):
    half = above(1, 2)
    runs = made_runs(made_run(above(0, 2), [1]), made_run(half, [0.5]), made_run(half, [0.25], method="lora"))
    found = runs.compare(reference)
    assert found.reference == "half = last, lora"
    assert by_name(found)["difference"].to_dict() == {"full": 0.75, "half = last": 0.25}


def test_a_single_scope_leaves_an_empty_table():
    found = suffixes({0: 0.5}).compare()
    assert found.frame().empty
    assert "verdict" in found.frame().columns
    assert repr(found) == "Comparison(against full on made up: 0 better, 0 worse, 0 undecided)"


def test_the_table_cannot_be_changed_from_outside():
    found = suffixes({0: 0.5, 2: 0.75}).compare()
    table = found.frame()
    table.loc[0, "difference"] = 9.0
    assert found.frame()["difference"].tolist() == [0.25]


def test_texts_of_users_are_escaped():
    runs = made_runs(made_run(above(0), [1], task="<b>x</b>"), made_run(above(2), [1], task="<b>x</b>"))
    assert "&lt;b&gt;" in runs.compare()._repr_html_()
    assert "<b>x" not in runs.compare()._repr_html_()


def test_runs_on_other_rows_are_refused():
    with pytest.raises(SemvizError, match="rows"):
        made_runs(made_run(above(0), [1, 2, 3]), made_run(above(2), [1, 2])).compare()


# Regret


def test_regret_by_hand():
    runs = made_runs(
        *(
            made_run(above(k, 8), [value] * 4, seconds=seconds)
            for k, value, seconds in ((0, 0.75, 8.0), (2, 0.875, 6.0), (4, 0.5, 4.0), (6, 0.25, 2.0))
        )
    )
    table = runs.regret(mine=4, other=0)
    assert table["choice"].tolist() == ["quarter", "other", "mine", "half", "three quarters"]
    assert table["boundary"].tolist() == [2, 0, 4, 4, 6]
    assert table["score"].tolist() == [0.875, 0.75, 0.5, 0.5, 0.25]
    assert table["regret"].tolist() == [0, 0.125, 0.375, 0.375, 0.625]
    assert table["cost"].tolist() == pytest.approx([6 / 8, 1, 4 / 8, 4 / 8, 2 / 8])


def test_regret_of_a_loss_is_in_nats_above_the_smallest():
    table = suffixes({0: 1.0, 1: 1.5, 2: 0.75, 3: 2.0}, score="loss").regret(mine=0).set_index("choice")
    assert table["score"].to_dict() == {"half": 0.75, "mine": 1.0, "quarter": 1.5, "three quarters": 2.0}
    assert table["regret"].to_dict() == {"half": 0, "mine": 0.25, "quarter": 0.75, "three quarters": 1.25}


def test_seeds_are_averaged_before_the_best_is_chosen():
    values = {0: (0.5, 0.5), 1: (0.25, 0.5), 2: (1.0, 0.25), 3: (0.0, 0.25)}
    runs = made_runs(
        *(made_run(above(k), [value] * 4, seed=s) for k, pair in values.items() for s, value in enumerate(pair))
    )
    table = runs.regret().set_index("choice")["regret"]
    assert table.to_dict() == {"half": 0, "quarter": 0.25, "three quarters": 0.5}


def test_only_suffixes_with_their_own_weights_compete():
    runs = made_runs(
        *suffixes({0: 0.5, 1: 0.5, 2: 0.75, 3: 0.5}),
        made_run(above(2), [1.0] * 4, method="lora"),
        made_run(Scope((2,), 4, made_parts(4)), [1.0] * 4),
        made_run(above(1, head=True), [1.0] * 4),
    )
    assert runs.regret()["regret"].tolist() == [0, 0.25, 0.25]


def test_gains_and_probes_say_their_own_boundaries():
    runs = suffixes({0: 0.25, 1: 0.5, 2: 0.75, 3: 0.375})
    gain = SimpleNamespace(boundary=1, candidates={"law": 1, "drop": 3})
    table = runs.regret(profile=gain, probes=SimpleNamespace(boundary=2), mine=0).set_index("choice")
    boundaries = table["boundary"].to_dict()
    plain = {name: boundaries.pop(name) for name in ("quarter", "half", "three quarters")}
    assert plain == {"quarter": 1, "half": 2, "three quarters": 3}
    assert sorted(boundaries.values()) == [0, 1, 2, 3]
    assert boundaries["probes"] == 2
    assert table.loc["probes", "regret"] == 0


def test_regret_is_never_negative_and_some_boundary_has_none():
    rng = np.random.default_rng(8)
    for score in ("accuracy", "loss"):
        runs = suffixes(dict(enumerate(rng.random(6))), score=score, blocks=6)
        regrets = runs.regret(**{f"k{k}": k for k in range(6)})["regret"]
        assert regrets.min() == 0
        assert regrets.is_monotonic_increasing


def test_boundaries_that_were_not_run():
    with pytest.raises(SemvizError, match=r"mine chose boundary 3, which was not run; pass Scope\.suffixes"):
        suffixes({0: 0.25, 1: 0.5, 2: 0.75}).regret(mine=3)


def test_no_suffix_was_run():
    runs = made_runs(made_run(above(0), [1], method="lora"), made_run(Scope((2,), 4, made_parts(4)), [1]))
    with pytest.raises(SemvizError, match="No suffix was run"):
        runs.regret()


def test_numpys_integers_are_boundaries_too():
    runs = suffixes({0: 0.25, 1: 0.5, 2: 0.75, 3: 0.375})
    assert runs.regret(mine=np.int64(3)).equals(runs.regret(mine=3))


def test_two_gains_do_not_replace_each_other():
    runs = suffixes({0: 0.25, 1: 0.5, 2: 0.75, 3: 0.375})
    one, other = (SimpleNamespace(boundary=k, candidates={"law": k}) for k in (1, 3))
    assert len(runs.regret(lens=one, semantic=other)) == 3 + 2


def test_a_choice_of_ones_own_is_never_dropped():
    runs = suffixes({0: 0.25, 1: 0.5, 2: 0.75, 3: 0.375})
    assert 0 in runs.regret(half=0)["boundary"].tolist()


@pytest.mark.parametrize("choice", [2.7, "half", None])
def test_what_is_no_boundary_is_refused_in_words(choice):
    with pytest.raises(SemvizError, match=r"mine=.*pass"):
        suffixes({0: 0.25, 1: 0.5, 2: 0.75, 3: 0.375}).regret(mine=choice)
