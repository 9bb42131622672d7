"""What every refusal must be: said in the style of the house, with nothing written and nothing changed."""

from __future__ import annotations

import random
import re
import unicodedata
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import semviz as sv
from semviz.common.errors import SemvizError

ADVICE = re.compile(
    r"\b([Pp]ass|[Dd]rop|[Ll]eave|[Ll]oad|[Mm]ake|[Uu]pdate|[Dd]elete|[Rr]un|[Ee]nd|[Mm]erge|[Cc]onvert|[Ss]ave|[Tt]race)\b"
)


@dataclass(frozen=True)
class Case:
    """What is tried, and what the refusal must say."""

    name: str
    call: object
    words: tuple[str, ...]
    kind: type[SemvizError] = SemvizError


def case(name, call, *words, kind=SemvizError):
    return pytest.param(Case(name, call, words, kind), id=name)


def state_of(model):
    """All of a model that a refused call could have changed, and the random state."""
    network = model.model
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    return {
        "weights": {name: value.clone() for name, value in network.state_dict().items()},
        "flags": [(p.requires_grad, p.grad is None) for p in network.parameters()],
        "modules": [(m.training, *(len(getattr(m, hook)) for hook in hooks)) for m in network.modules()],
        "random": (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()),
        "grad": torch.is_grad_enabled(),
        "metrics": list(sv.METRICS),
    }


def files_in(folder):
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


@contextmanager
def unchanged(folder, *models):
    before, files = [state_of(model) for model in models], files_in(folder)
    yield
    for old, model in zip(before, models, strict=True):
        new = state_of(model)
        assert {k: v for k, v in old.items() if k != "weights"} == {k: v for k, v in new.items() if k != "weights"}
        assert all(torch.equal(value, new["weights"][name]) for name, value in old["weights"].items())
    assert files_in(folder) == files


def check_words(error, words, kind=SemvizError):
    """A message in the style of the house: what, what was got, what to pass; one line that any terminal can show."""
    message = str(error)
    assert isinstance(error, kind), repr(error)
    for word in words:
        assert word in message, message
    assert ADVICE.search(message), f"no advice: {message}"
    assert len(message) < 800, message
    hidden = {c for c in message if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert not hidden, (hidden, message)
    frames, trail = [], error.__traceback__
    while trail:
        frames.append(trail.tb_frame.f_code.co_filename)
        trail = trail.tb_next
    assert "/semviz/" in frames[-1], f"raised in {frames[-1]}"


def refused(one, model, folder, *given):
    """Try a case, and see that it is refused in words, with this model, folder and the random state as before."""
    with unchanged(folder, model), pytest.raises(Exception) as caught:  # noqa: PT011 (looked at below)
        one.call(*(given or (None,)))
    check_words(caught.value, one.words, one.kind)
