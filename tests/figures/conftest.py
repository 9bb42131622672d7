"""Studies that the figure tests share; made once, and never changed (every object is frozen)."""

from __future__ import annotations

import pytest
import synthetic


@pytest.fixture(scope="session")
def trace() -> synthetic.FakeTrace:
    return synthetic.make_trace()


@pytest.fixture(scope="session")
def text_trace() -> synthetic.FakeTrace:
    return synthetic.make_text_trace()


@pytest.fixture(scope="session")
def hostile() -> synthetic.FakeTrace:
    return synthetic.make_hostile_trace()
