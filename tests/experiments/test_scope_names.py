"""What people call a scope, and by which names it is found."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from made import above, made_run, made_runs
from small import made_parts

from semviz.experiments.scope_names import ScopeName
from semviz.scopes.scope import Scope


def test_a_suffix_goes_by_all_its_names_else_by_its_boundary():
    named = [ScopeName.of(above(k), "full", profile=2) for k in range(4)]
    assert [name.names for name in named] == [("full",), ("k=1",), ("half", "profile"), ("last",)]
    assert [name.boundary for name in named] == ["k=0", "k=1", "k=2", "k=3"]
    assert [name.text for name in named] == ["full", "k=1", "half = profile", "last"]
    assert ScopeName.of(above(2), "full").names == ("half",)
    assert ScopeName.of(above(0, 1), "full").names == ("full", "half", "last")


def test_the_profiles_boundary_may_be_zero():
    assert ScopeName.of(above(0), "full", profile=0).names == ("full", "profile")


def test_what_is_no_suffix_goes_by_its_label():
    for scope in (Scope((2, 3), 4, made_parts(4)), above(2, tail=False), above(2, head=True)):
        assert ScopeName.of(scope, "full", profile=2) == ScopeName((scope.label,), None, "full")


def test_the_method_follows_all_names_unless_it_is_full():
    name = ScopeName.of(above(1, 2), "lora")
    assert (name.text, name.without_method) == ("half = last, lora", "half = last")


def test_a_name_matches_whole_by_part_and_by_boundary_with_its_method():
    plain, lora = ScopeName.of(above(1, 2), "full"), ScopeName.of(above(1, 2), "lora")
    names = ("half", "last", "half = last", "k=1")
    assert all(plain.matches(name) and lora.matches(f"{name}, lora") for name in names)
    assert not any(lora.matches(name) or plain.matches(f"{name}, lora") for name in (*names, "full", "k=0", ""))
    assert not ScopeName.of(above(1, 2, tail=False), "full").matches("k=1")


def test_runs_name_the_rows_of_their_table():
    runs = made_runs(
        made_run(above(2), [1], method="lora"),
        made_run(above(0), [1]),
        made_run(above(2), [1], method="lora", seed=1),
        gain=SimpleNamespace(boundary=2, benefit=np.zeros(5), applies=True),
    )
    names = runs.scope_names()
    assert [name.text for name in names] == runs.table()["name"].tolist() == ["half = profile, lora", "full"]
    assert [name.method for name in names] == runs.table()["method"].tolist()
