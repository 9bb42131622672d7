"""Random numbers of a thread's own: those of a seed, beside the process's generators."""

from __future__ import annotations

import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from semviz.lm.random_numbers import own_random_numbers

ONES = torch.ones(4, 5)
LSTM = nn.LSTM(4, 4, 2, dropout=0.5)
DRAWS = {
    "rand": lambda: torch.rand(3),
    "rand with a shape": lambda: torch.rand((2, 3), dtype=torch.float64),
    "randn": lambda: torch.randn(3),
    "randn in half precision": lambda: torch.randn(3, dtype=torch.float16),
    "randint": lambda: torch.randint(9, (3,)),
    "randint from": lambda: torch.randint(2, 9, (3,)),
    "randperm": lambda: torch.randperm(7),
    "rand_like": lambda: torch.rand_like(ONES),
    "randn_like": lambda: torch.randn_like(ONES),
    "randint_like": lambda: torch.randint_like(ONES, 9),
    "into a tensor": lambda: torch.rand(3, out=torch.empty(3)),
    "normal_": lambda: torch.empty(3).normal_(),
    "uniform_": lambda: torch.empty(3).uniform_(),
    "bernoulli_": lambda: torch.empty(5).bernoulli_(0.5),
    "exponential_": lambda: ONES.clone().exponential_(),
    "random_": lambda: ONES.clone().random_(3, 9),
    "bernoulli": lambda: torch.bernoulli(ONES / 2),
    "normal": lambda: torch.normal(0.0, ONES),
    "multinomial": lambda: torch.multinomial(ONES, 2),
    "poisson": lambda: torch.poisson(ONES * 5),
    "gamma": lambda: torch.distributions.Gamma(ONES, ONES).sample(),
    "dropout": lambda: F.dropout(ONES, 0.5, training=True),
    "dropout with a gradient": lambda: F.dropout(ONES.clone().requires_grad_(), 0.5, training=True).detach(),
    "dropout of features": lambda: F.dropout1d(ONES, 0.5, training=True),
    "alpha dropout": lambda: F.alpha_dropout(ONES, 0.5, training=True),
    "rrelu": lambda: F.rrelu(-ONES, 0.1, 0.3, training=True),
    "gumbel": lambda: F.gumbel_softmax(ONES),
    "attention": lambda: F.scaled_dot_product_attention(*[torch.eye(8)[None, None]] * 3, dropout_p=0.5),
    "recurrent": lambda: LSTM(torch.ones(3, 2, 4))[0].detach(),
    "first weights": lambda: nn.Linear(4, 4).weight.detach(),
}


@pytest.mark.parametrize("name", DRAWS)
def test_what_is_drawn_is_what_the_seed_gives_and_the_process_generator_is_not_touched(name, monkeypatch):
    draw = DRAWS[name]
    torch.manual_seed(3)
    wanted = [draw(), draw()]
    before = torch.get_rng_state()
    with monkeypatch.context() as patch:
        # Not even for a moment: another thread would draw from it.
        patch.setattr(torch, "manual_seed", _touched)
        patch.setattr(torch, "set_rng_state", _touched)
        with own_random_numbers(3):
            found = [draw(), draw()]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def _touched(*_):
    raise AssertionError("the process's generator was touched")


def test_a_generator_that_is_passed_is_the_one_that_is_drawn_from():
    wanted = torch.rand(3, generator=torch.Generator().manual_seed(5))
    with own_random_numbers(3):
        assert torch.equal(torch.rand(3, generator=torch.Generator().manual_seed(5)), wanted)


def test_an_operation_that_takes_no_generator_is_seeded_and_leaves_the_state():
    state = torch.get_rng_state()
    found = []
    for _ in range(2):
        with own_random_numbers(3):
            found.append(torch.native_dropout(torch.ones(50), 0.5, True)[0])
    assert torch.equal(found[0], found[1])
    assert torch.equal(torch.get_rng_state(), state)


def test_nothing_is_drawn_on_the_meta_device():
    with own_random_numbers():
        assert torch.randn(3, device="meta").is_meta
        assert torch.empty(3, device="meta").normal_().is_meta


def test_another_thread_draws_as_if_nobody_else_did():
    torch.manual_seed(7)
    wanted = torch.rand(6)
    torch.manual_seed(7)
    found = [torch.rand(2)]
    with own_random_numbers(3):
        torch.rand(5)
        thread = threading.Thread(target=lambda: found.append(torch.rand(2)))
        thread.start()
        thread.join()
    found.append(torch.rand(2))
    assert torch.equal(torch.cat(found), wanted)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_operations_of_higher_order_run(monkeypatch):
    from torch.nn.attention import flex_attention

    # As torch's compiler would call it, which takes half a minute to do so.
    monkeypatch.setattr(flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    query = torch.eye(8)[None, None]
    with own_random_numbers():
        found = flex_attention.flex_attention(query, query, query)
    assert torch.allclose(found, F.scaled_dot_product_attention(query, query, query), atol=1e-5)
