"""Studies that the figure tests share; made once, and never changed (every object is frozen)."""

from __future__ import annotations

import pytest
import synthetic

from semviz.traces.difference import TraceDifference
from semviz.traces.trace import Trace


@pytest.fixture(scope="session")
def trace() -> Trace:
    return synthetic.make_trace()


@pytest.fixture(scope="session")
def text_trace() -> Trace:
    return synthetic.make_text_trace()


@pytest.fixture(scope="session")
def hostile() -> Trace:
    return synthetic.make_hostile_trace()


@pytest.fixture(scope="session")
def difference() -> TraceDifference:
    return synthetic.make_difference()
