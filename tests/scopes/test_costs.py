"""Costs: the closed formulas, a count by hand, and what torch counts in a real training step."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from architectures import gpt2
from families import family
from made import made_run
from small import WORDS, made_parts, plain_text, tiny_llama, word_tokenizer
from torch.utils.flop_counter import FlopCounterMode
from transformers import MixtralConfig, MixtralForCausalLM

import semviz as sv
from semviz.common.errors import ScopeError, SemvizError, TaskError
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.suffix_model import Suffix
from semviz.scopes.cost_units import units
from semviz.scopes.costs import Costs, estimate_costs
from semviz.scopes.flop_counting import count_flops
from semviz.scopes.methods import METHODS
from semviz.scopes.scope import Scope
from semviz.tasks.tokenizing import encode

WIDTH, INNER, BLOCK = 32, 64, 2 * (4 * 32**2 + 3 * 32 * 64)  # of tiny_llama: FLOPs of a block's matrices for one token
BF16, FLOAT = 2, 4


def above(k, blocks=8, **options):
    return Scope(tuple(range(k + 1, blocks + 1)), blocks, made_parts(blocks), **options)


def some(blocks, n=8, **options):
    return Scope(tuple(blocks), n, made_parts(n, head=7), **options)


def total(scope, **options):
    return sum(units(scope, **options).values())


def one_by_one(scope, *, epochs, cached, method, head, blocks, checkpointing):
    """Walks through the blocks and adds up what each does, in passes of the forward's size."""
    prefix = forward = backward = 0.0
    for number, size in enumerate(blocks, start=1):
        trained = number in scope.blocks
        if number < scope.blocks[0]:
            prefix += size if cached else epochs * size
            continue
        forward += epochs * size
        backward += epochs * size  # gradients go through it
        if trained and method not in ("lora", "ia3"):
            backward += epochs * size  # gradients of its own weights
        if trained and checkpointing:
            forward += epochs * size
    forward += epochs * head
    backward += epochs * head
    if scope.head:
        backward += epochs * head
    return {"prefix": prefix, "forward": forward, "backward": backward}


# The closed formulas


@pytest.mark.parametrize("cached", [True, False])
def test_full_finetuning_costs_three_units_a_block_and_epoch(cached):
    assert total(above(0), epochs=3, cached=cached) == 3 * 3 * 8
    assert total(above(0), epochs=3, cached=cached, head=0.5) == 3 * (3 * 8 + 2 * 0.5)
    assert units(above(0), epochs=3, cached=cached)["prefix"] == 0


def test_a_frozen_half_of_eight_blocks_by_hand():
    # Every epoch: eight blocks forward, four of them backward twice: 3 · (8 + 8).
    assert total(above(4), epochs=3, cached=False) == 48
    # Once four blocks forward, then every epoch four blocks forward and twice backward: 4 + 3 · 12.
    assert total(above(4), epochs=3, cached=True) == 40
    assert units(above(4), epochs=3, cached=True) == {"prefix": 4, "forward": 12, "backward": 24}
    assert units(above(4), epochs=3, cached=False) == {"prefix": 12, "forward": 12, "backward": 24}


def test_adapters_above_the_half_by_hand():
    # The backward pass goes through four blocks and needs no gradients of their weights: 4 + 3 · (4 + 4).
    for method in ("lora", "ia3"):
        assert total(above(4), epochs=3, method=method) == 28
        assert total(above(4), epochs=3, method=method, cached=False) == 3 * (8 + 4)


def test_a_trained_head_costs_one_head_more():
    frozen = total(above(4), epochs=2, head=5)
    assert total(above(4, head=True), epochs=2, head=5) - frozen == 2 * 5


def test_a_range_costs_from_its_lowest_trained_block_up():
    # Blocks 3 and 4 of 8: two below run once, six forward and backward, two of these with weight gradients.
    assert total(some((3, 4)), epochs=3, cached=True) == 2 + 3 * (6 + 6 + 2)
    assert total(some((3, 8)), epochs=3, cached=True) == total(some((3, 4)), epochs=3, cached=True)
    # A lone first block costs nearly as much as two thirds of full finetuning.
    assert total(some((1,)), epochs=3) / total(above(0), epochs=3) == pytest.approx((8 + 8 + 1) / 24)


def test_checkpointing_runs_the_trained_blocks_once_more():
    assert total(above(4), epochs=3, checkpointing=True) - total(above(4), epochs=3) == 3 * 4
    assert total(some((3, 5)), epochs=3, checkpointing=True) - total(some((3, 5)), epochs=3) == 3 * 2


def test_unequal_blocks_weigh_what_they_cost():
    sizes = [1.0, 2.0, 4.0, 8.0]
    assert units(above(2, 4), epochs=2, blocks=sizes) == {"prefix": 3, "forward": 24, "backward": 48}


@pytest.mark.parametrize("seed", range(40))
def test_any_scope_costs_what_its_blocks_do_one_by_one(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 13))
    chosen = np.flatnonzero(rng.random(n) < 0.5) + 1
    scope = some(tuple(int(b) for b in chosen) or (n,), n, head=bool(rng.integers(2)), tail=bool(rng.integers(2)))
    options = {
        "epochs": float(rng.uniform(0.2, 5)),
        "cached": bool(rng.integers(2)),
        "method": "full" if scope.head else str(rng.choice(["full", "lora", "ia3"])),
        "head": float(rng.uniform(0, 20)),
        "blocks": rng.uniform(0.5, 2, n).tolist(),
        "checkpointing": bool(rng.integers(2)),
    }
    assert units(scope, **options) == pytest.approx(one_by_one(scope, **options))


@pytest.mark.parametrize("seed", range(10))
def test_the_closed_formulas_hold(seed):
    rng = np.random.default_rng(seed)
    n, e, h = int(rng.integers(2, 40)), int(rng.integers(1, 9)), float(rng.uniform(0, 15))
    k = int(rng.integers(1, n))
    given = {"epochs": e, "head": h}
    assert total(above(0, n), **given) == pytest.approx(e * (3 * n + 2 * h))
    assert total(above(0, n, head=True), **given) == pytest.approx(e * (3 * n + 3 * h))
    assert total(above(k, n), cached=False, **given) == pytest.approx(e * (n + 2 * (n - k) + 2 * h))
    assert total(above(k, n), cached=True, **given) == pytest.approx(k + e * (3 * (n - k) + 2 * h))
    lora = {"method": "lora", **given}
    assert total(above(k, n), cached=False, **lora) == pytest.approx(e * (n + (n - k) + 2 * h))
    assert total(above(k, n), cached=True, **lora) == pytest.approx(k + e * (2 * (n - k) + 2 * h))


def test_a_larger_frozen_prefix_never_costs_more():
    for cached in (True, False):
        costs = [total(above(k), epochs=3, cached=cached, head=2) for k in range(8)]
        assert all(b < a for a, b in pairwise(costs))


def test_adapters_train_no_head():
    scope = above(4, head=True)
    assert total(scope, epochs=1, method="lora", head=5) == total(above(4), epochs=1, method="lora", head=5)


# What a block costs, by hand


def read(network, words=7, rows=20):
    model = sv.load_model((network.eval(), word_tokenizer()))
    return model, encode(model, sv.Task.from_texts([" ".join(WORDS[:words])] * rows, name="equal rows"), "train")


def metered(network, words=7):
    return count_flops(*read(network, words))


@pytest.mark.parametrize("words", [3, 15])
def test_a_llama_block_costs_its_matrices_and_its_attention(words):
    flops, _ = metered(tiny_llama(attn_implementation="eager"), words)
    tokens = words + 1  # and <bos>
    # Scores and mixtures of values: two products of tokens × width for every token.
    np.testing.assert_allclose(flops, [BLOCK + 2 * 2 * tokens * WIDTH] * 4)


def test_grouped_queries_have_smaller_matrices_and_the_same_attention():
    flops, _ = metered(tiny_llama(attn_implementation="eager", num_key_value_heads=2))
    assert flops[0] == BLOCK - 2 * WIDTH**2 + 2 * 2 * 8 * WIDTH


@pytest.mark.parametrize("words", [3, 15])
def test_fused_attention_costs_what_plain_attention_does(words):
    fused, _ = metered(tiny_llama(attn_implementation="sdpa"), words)
    plain, _ = metered(tiny_llama(attn_implementation="eager"), words)
    np.testing.assert_allclose(fused, plain)


def test_rows_of_median_length_are_what_is_read():
    model = sv.load_model((tiny_llama(attn_implementation="eager"), word_tokenizer()))
    lengths = [3] * 10 + [30] * 10 + [9] * 6
    task = sv.Task.from_texts([" ".join(WORDS[:n]) for n in [*lengths, 1, 1, 1]], name="ragged", seed=0)
    encoded = encode(model, task, "train")
    rows = [np.flatnonzero(encoded.ids.lengths == n + 1) for n in (3, 9, 30)]
    few = min(len(rows[0]), len(rows[2]))
    chosen = np.concatenate([rows[0][:few], rows[1][:4], rows[2][:few]])
    flops, _ = count_flops(model, encoded.take(chosen))
    np.testing.assert_allclose(flops, [BLOCK + 2 * 2 * 10 * WIDTH] * 4)


def test_the_matrices_are_counted_whatever_the_attention():
    flops, _ = metered(tiny_llama())
    assert (flops >= BLOCK).all()
    assert (flops <= BLOCK + 2 * 2 * 8 * WIDTH).all()


def test_a_gpt2_block_costs_its_matrices_and_its_attention():
    network = gpt2()
    network.set_attn_implementation("eager")
    flops, kept = metered(network)
    np.testing.assert_allclose(flops, [2 * 12 * WIDTH**2 + 2 * 2 * 8 * WIDTH] * 3)
    assert kept[0] > 0
    np.testing.assert_allclose(kept, kept[0])


def test_the_chosen_experts_are_counted():
    torch.manual_seed(0)
    options = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 64}
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2, "hidden_size": WIDTH, "intermediate_size": INNER}
    network = MixtralForCausalLM(MixtralConfig(**options, **experts, attn_implementation="eager"))
    flops, _ = metered(network)
    router, attention = 2 * WIDTH * 4, 2 * 4 * WIDTH**2 + 2 * 2 * 8 * WIDTH
    np.testing.assert_allclose(flops, [attention + router + 2 * 2 * 3 * WIDTH * INNER] * 2)


def test_blocks_of_different_size_are_told_apart():
    network = family("gemma4-shared-keys")
    model, encoded = read(network)
    flops, _ = count_flops(model, encoded)
    assert max(flops) > 2 * min(flops)
    for block, found in zip(model.anatomy.blocks, flops, strict=True):
        matrices = 2 * sum(p.numel() for p in block.parameters() if p.ndim == 2)
        assert matrices <= found <= 1.5 * matrices


def test_activations_are_those_that_the_backward_pass_reads():
    _, kept = metered(tiny_llama(attn_implementation="sdpa"))
    # Two norms keep input, scaled input, output and a scale; attention its queries, keys, values, output and a number
    # for each head; the MLP its gate before and after the SiLU, the other half, and their product.
    numbers = 2 * (3 * WIDTH + 1) + 4 * WIDTH + 4 + 4 * INNER
    # Versions of torch and transformers fuse more or less of it.
    np.testing.assert_allclose(kept, FLOAT * numbers, rtol=0.3)


@pytest.mark.parametrize("network", [tiny_llama, lambda: tiny_llama(num_key_value_heads=1)])
def test_equal_blocks_keep_equally_much(network):
    _, kept = metered(network())
    assert (kept > 0).all()
    np.testing.assert_allclose(kept[1:], kept[1])
    # The first to use them keeps the tables of rotary angles, of which there is one for all rows.
    assert kept[1] <= kept[0] <= 1.02 * kept[1]


def test_fused_attention_keeps_equally_much_a_token_at_every_length():
    short, long = (metered(tiny_llama(attn_implementation="sdpa"), words)[1] for words in (3, 31))
    np.testing.assert_allclose(long, short, rtol=0.02)


def test_plain_attention_keeps_its_scores_too():
    short, long = (metered(tiny_llama(attn_implementation="eager"), words)[1] for words in (7, 31))
    # The softmax: a number for each head and other token.
    np.testing.assert_allclose(long - short, FLOAT * 4 * (32 - 8), rtol=0.1)


def test_half_precision_keeps_half():
    whole, half = (metered(tiny_llama().to(dtype))[1] for dtype in (torch.float32, torch.bfloat16))
    assert (half < 0.75 * whole).all()


@pytest.mark.parametrize("make", [tiny_llama, gpt2])  # the second with dropout
def test_metering_leaves_the_model_and_the_random_state_alone(make):
    model, encoded = read(make())
    network, anatomy = model.model, model.anatomy
    network.train()
    anatomy.blocks[1].eval()
    anatomy.tail[0].requires_grad_(False)
    anatomy.head.weight.grad = torch.ones_like(anatomy.head.weight)
    grad = anatomy.head.weight.grad
    anatomy.blocks[0].register_forward_hook(lambda *_: None)
    parameters = list(network.parameters())
    weights = [p.detach().clone() for p in parameters]

    def state():
        hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()]
        flags, versions = [p.requires_grad for p in parameters], [p._version for p in parameters]
        return hooks, flags, versions, [m.training for m in network.modules()], [p.data_ptr() for p in parameters]

    before = state()
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    expected = (random.random(), np.random.rand(), torch.rand(1))
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    count_flops(model, encoded)
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected
    assert state() == before
    assert all(torch.equal(p, w) for p, w in zip(parameters, weights, strict=True))
    assert anatomy.head.weight.grad is grad
    assert torch.equal(grad, torch.ones_like(grad))
    assert all(p.grad is None for p in parameters if p is not anatomy.head.weight)


def test_quantized_weights_are_metered_as_they_are(tiny, mood):
    tiny.model.model.layers[0].packed = torch.nn.Parameter(torch.zeros(3, dtype=torch.int8), requires_grad=False)
    flops, _ = count_flops(tiny, encode(tiny, mood, "train"))
    assert (flops >= BLOCK).all()


def test_metering_under_no_grad_still_sees_activations(tiny, mood):
    with torch.no_grad():
        _, kept = count_flops(tiny, encode(tiny, mood, "train"))
    assert (kept > 0).all()


def test_metering_reads_two_rows_where_there_are_no_four():
    flops, kept = count_flops(*read(tiny_llama(attn_implementation="eager"), rows=5))
    model, encoded = read(tiny_llama(attn_implementation="eager"))
    fewer = count_flops(model, encoded.take([0, 1]))
    np.testing.assert_allclose(fewer[0], flops)
    np.testing.assert_allclose(fewer[1][1:], kept[1:])


# The whole step, counted by torch


@pytest.fixture(scope="module")
def eager():
    return sv.load_model((tiny_llama(attn_implementation="eager"), word_tokenizer()), general_text=plain_text())


@pytest.fixture(scope="module")
def equal_rows():
    return sv.Task.from_texts(["the cat was good and the dog"] * 80, name="equal rows")


@pytest.fixture(scope="module")
def prices(eager, equal_rows):
    return estimate_costs(eager, equal_rows, batch_size=8)


def step(model, task, scope, *, cached, lora=False, checkpointing=False):
    """FLOPs of one training step for one token, as torch counts them: forward, backward."""
    encoded_task = EncodedTask(model, task, cache=cached, progress=False)
    part = encoded_task.part("train", scope.boundary)
    suffix = Suffix(model, scope, cached=part.cache is not None, own_weights=not lora)
    if lora:
        suffix.prepare(METHODS["lora"], seed=0)
    if checkpointing:
        suffix.checkpoint()
    batch = encoded_task.collator(part)(list(range(8)))
    suffix.train()
    with FlopCounterMode(display=False) as counter:
        loss = suffix(**batch)["loss"]
        forward = counter.get_total_flops()
        loss.backward()
    adapters = sum(p.numel() for p in suffix.trainable_parameters) if lora else 0
    return forward / batch["input_ids"].numel(), counter.get_total_flops() / batch["input_ids"].numel(), adapters


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(
    ("blocks", "head"), [((1, 2, 3, 4), False), ((3, 4), False), ((4,), False), ((1, 2, 3, 4), True), ((3, 4), True)]
)
def test_a_suffix_costs_what_torch_counts_in_its_training_step(eager, equal_rows, prices, blocks, head, cached):
    scope = Scope.of(eager, blocks, head=head)
    forward, whole, _ = step(eager, equal_rows, scope, cached=cached)
    cost = prices.of(scope, epochs=1, cached=cached)
    unit = prices.block_flops.mean()
    outside = cost.units["prefix"] if cached and scope.boundary else 0  # ran before the step
    run_here = cost.units["forward"] + (0 if cached else cost.units["prefix"])
    assert forward == pytest.approx(run_here * unit)
    assert whole == pytest.approx(cost.flops_per_token - outside * unit)


@pytest.mark.parametrize("blocks", [(2,), (2, 3), (1,)])
def test_frozen_blocks_above_cost_their_gradients_too(eager, equal_rows, prices, blocks):
    scope = Scope.of(eager, blocks)
    _, whole, _ = step(eager, equal_rows, scope, cached=False)
    said = prices.of(scope, epochs=1, cached=False).flops_per_token
    # Attention has gradients for both of its factors, frozen or not, which the units leave out.
    left_out = 2 * 2 * 8 * WIDTH * (4 - scope.boundary - len(blocks))
    assert whole == pytest.approx(said + left_out)


def test_adapters_cost_what_torch_counts_but_for_their_own_matrices(eager, equal_rows, prices):
    pytest.importorskip("peft")
    scope = Scope.half(eager)
    _, whole, adapters = step(eager, equal_rows, scope, cached=False, lora=True)
    said = prices.of(scope, epochs=1, cached=False, method="lora").flops_per_token
    attention, entry = 2 * 2 * 8 * WIDTH * 2, 2 * 3 * WIDTH**2  # as above; nothing flows into the state that came in
    assert said - entry < whole < said + attention + 3 * 2 * adapters
    assert whole < prices.of(scope, epochs=1, cached=False).flops_per_token + 3 * 2 * adapters - 2 * BLOCK


def test_checkpointing_costs_no_more_than_a_second_forward_pass(eager, equal_rows, prices):
    scope = Scope.half(eager)
    _, whole, _ = step(eager, equal_rows, scope, cached=False, checkpointing=True)
    without = prices.of(scope, epochs=1, cached=False).flops_per_token
    said = prices.of(scope, epochs=1, cached=False, checkpointing=True).flops_per_token
    # torch stops before the last product of a block, of which nothing is kept.
    assert said == pytest.approx(whole + 2 * 2 * WIDTH * INNER)
    assert without < whole


# Prices of a task


def test_tokens_and_targets_are_those_of_the_training_rows(tiny, mood, stories):
    costs = estimate_costs(tiny, mood, batch_size=8)
    rows = [len(tiny.tokenizer(f"{text} mood :")["input_ids"]) for text in mood.split("train").texts]
    assert costs.tokens == sum(rows)
    assert costs.targets == len(rows)
    assert costs.longest_batch == 8 * max(rows)
    assert costs.batch_targets == 8
    texts = stories.split("train").texts
    costs = estimate_costs(tiny, stories, batch_size=4)
    # Neither <bos> is a target nor what it predicts counted.
    assert costs.targets == sum(len(text.split()) - 1 for text in texts)
    assert costs.longest_batch == 4 * (1 + max(len(text.split()) for text in texts))


def test_the_largest_batch_has_the_targets_of_its_own_rows(tiny, stories):
    words = sorted((len(text.split()) for text in stories.split("train").texts), reverse=True)
    assert estimate_costs(tiny, stories, batch_size=4).batch_targets == sum(n - 1 for n in words[:4])


def test_fewer_rows_than_a_batch(tiny, mood):
    costs = estimate_costs(tiny, mood, batch_size=10_000)
    assert costs.batch_targets == costs.targets == len(mood.split("train"))


def test_the_head_is_priced_where_there_are_targets(eager, equal_rows, prices):
    vocabulary = len(word_tokenizer())
    assert prices.head_flops == 2 * vocabulary * WIDTH
    assert prices.tokens == 8 * len(equal_rows.split("train"))
    assert prices.targets == 6 * len(equal_rows.split("train"))
    assert prices.head == pytest.approx(2 * vocabulary * WIDTH * (6 / 8) / prices.block_flops[0])


def test_full_finetuning_is_the_whole_and_freezing_saves_the_formulas_share(prices):
    full = prices.of(prices.scopes[0])
    assert full.share == pytest.approx(1)
    h = prices.head
    for k in range(1, 4):
        cached, plain = (prices.of(prices.scopes[k], cached=cached) for cached in (True, False))
        assert cached.share == pytest.approx((k + 3 * (3 * (4 - k) + 2 * h)) / (3 * (3 * 4 + 2 * h)))
        assert plain.share == pytest.approx((4 + 2 * (4 - k) + 2 * h) / (3 * 4 + 2 * h))
    assert prices.of(prices.scopes[0], checkpointing=True).share > 1


def test_flops_of_a_run_are_those_of_a_token_times_tokens_and_epochs(prices):
    one, three = (prices.of(prices.scopes[0], epochs=e) for e in (1, 3))
    assert three.flops_per_token == pytest.approx(one.flops_per_token)
    assert three.flops == pytest.approx(3 * one.flops)
    assert one.flops == pytest.approx(one.flops_per_token * prices.tokens)
    block, head = prices.block_flops.sum(), prices.head_flops * 6 / 8
    assert one.flops_per_token == pytest.approx(3 * block + 2 * head)


def made_costs(*, weight_bytes=FLOAT, blocks=4):
    """Round numbers: a block of 100 FLOPs and 1000 bytes a token."""
    return Costs(
        scopes=tuple(above(k, blocks) for k in range(blocks)),
        block_flops=np.full(blocks, 100.0),
        head_flops=400.0,
        block_bytes=np.full(blocks, 1000.0),
        tokens=50,
        targets=25,
        longest_batch=20,
        batch_targets=10,
        vocabulary=7,
        state_bytes=16,
        weight_bytes=weight_bytes,
    )


def test_memory_by_hand():
    # made_parts: 10 parameters a block, 1 in the tail, 5 in the embeddings.
    costs = made_costs()
    assert costs.head == 400 * 25 / 50 / 100
    assert costs.of(above(3, 4)).memory == {
        "weights": 46 * 4 + 11 * 4,
        "gradients": 11 * 4,
        "optimizer": 11 * 4 * 2,
        "activations": 1000 * 20,
        "logits": 10 * 7 * 4 * 3,
        "cache": 50 * 16,
    }
    full = costs.of(above(0, 4))
    assert full.memory["activations"] == 4 * 1000 * 20
    assert full.memory["gradients"] == 41 * 4
    assert full.memory["cache"] == 0
    assert full.bytes == sum(full.memory.values()) == full.frame()["bytes"].sum()


def test_half_precision_weights_are_trained_in_a_whole_copy():
    memory = made_costs(weight_bytes=BF16).of(above(3, 4)).memory
    assert memory["weights"] == 46 * 2 + 11 * 4
    assert memory["gradients"] == 11 * 4


def test_adapters_and_caching_in_memory():
    costs = made_costs()
    lora = costs.of(above(2, 4), method="lora").memory
    assert lora["gradients"] == lora["optimizer"] == 0
    assert lora["weights"] == 46 * 4
    assert lora["activations"] == 2 * 1000 * 20
    assert costs.of(above(2, 4), cached=False).memory["cache"] == 0
    assert costs.of(above(2, 4), cached=False).memory["activations"] == 2 * 1000 * 20


def test_an_untied_head_counts_where_it_trains():
    plain, trained = (made_costs().of(above(3, 4, head=head)).memory for head in (False, True))
    # Its 5 parameters as tied to the embeddings get weights of their own.
    assert trained["gradients"] - plain["gradients"] == 5 * 4
    assert trained["weights"] - plain["weights"] == 5 * 4


def test_checkpointing_keeps_states_and_one_block():
    costs = made_costs()
    assert costs.of(above(1, 4), checkpointing=True).memory["activations"] == (1000 + 3 * 16) * 20


def test_checkpointing_saves_nothing_in_frozen_blocks_above():
    memory = made_costs().of(some((1,), 4), checkpointing=True).memory
    assert memory["activations"] >= 3 * 1000 * 20


def test_larger_batches_keep_more_activations_in_proportion(tiny, equal_rows):
    four, eight = (estimate_costs(tiny, equal_rows, batch_size=size) for size in (4, 8))
    scope = Scope.half(tiny)
    assert eight.of(scope).memory["activations"] == pytest.approx(2 * four.of(scope).memory["activations"], abs=1)
    assert eight.of(scope).memory["weights"] == four.of(scope).memory["weights"]


def test_the_frame_has_a_row_for_every_boundary(prices):
    table = prices.frame(epochs=2)
    assert table["boundary"].tolist() == [0, 1, 2, 3]
    assert (table["share"].diff().dropna() < 0).all()
    assert (table["bytes"].diff().dropna() < 0).all()
    assert table["prefix"].tolist() == pytest.approx([0, 1, 2, 3])
    scope = prices.scopes[2]
    assert table["flops_per_token"][2] == prices.of(scope, epochs=2).flops_per_token
    assert prices.frame(method="lora")["share"].max() < 1


def test_texts_say_share_and_size(prices):
    cost = prices.of(prices.scopes[2])
    assert cost.scope.label in repr(cost)
    assert f"{round(100 * cost.share)} %" in repr(cost)
    assert "4 blocks" in repr(prices)
    for made in (cost, prices):
        assert "<table" in made._repr_html_()


def test_a_scope_of_another_depth_is_refused(prices):
    with pytest.raises(SemvizError, match="8 blocks and the prices for 4"):
        prices.of(above(4))


def test_estimates_that_cannot_be_made(tiny):
    long = sv.Task.from_texts([" ".join(["the"] * 100)] * 5, name="too long")
    with pytest.raises(TaskError, match="pass"):
        estimate_costs(tiny, long)
    with pytest.raises(SemvizError, match="batch_size=0; pass a whole number of at least 1"):
        estimate_costs(tiny, long, batch_size=0)
    with pytest.raises(ScopeError):
        above(9)


@pytest.mark.parametrize("options", [{"method": "Lora"}, {"epochs": 0}, {"epochs": -1}, {"epochs": float("nan")}])
def test_runs_that_cannot_be_are_not_priced(prices, options):
    with pytest.raises(SemvizError, match="pass"):
        prices.of(prices.scopes[1], **options)


# Beside what was measured


def timed(scope, seconds, **options):
    return made_run(scope, [1.0], seconds=seconds, **options)


def beside(*runs):
    return made_costs().beside(runs)


def test_seconds_are_predicted_from_full_finetuning():
    table = beside(timed(above(0, 4), 10.0), timed(above(2, 4), 8.0), timed(above(2, 4), 4.0, method="lora"))
    # h = 2: full 3 · (12 + 4) = 48 units, half 2 + 3 · (6 + 4) = 32, its adapters 2 + 3 · (4 + 4) = 26.
    assert table["predicted_seconds"].tolist() == pytest.approx([10, 10 * 32 / 48, 10 * 26 / 48])
    assert table["ratio"].tolist() == pytest.approx([1, 8 * 48 / 320, 4 * 48 / 260])
    assert table["seconds"].tolist() == [10, 8, 4]
    assert table["method"].tolist() == ["full", "full", "lora"]


def test_a_run_without_its_cache_and_one_of_fewer_epochs_are_predicted_as_such():
    uncached = timed(above(2, 4), 1.0, cached=False)
    short = timed(above(2, 4), 1.0, epochs=1)
    table = beside(timed(above(0, 4), 48.0), uncached, short)
    assert table["predicted_seconds"].tolist() == pytest.approx([48, 3 * (4 + 4 + 4), 2 + 6 + 4])


def test_full_finetuning_is_averaged_over_its_seeds():
    table = beside(timed(above(0, 4), 10.0), timed(above(0, 4), 20.0, seed=1))
    assert table["predicted_seconds"].tolist() == pytest.approx([15, 15])
    assert table["seed"].tolist() == [0, 1]


def test_bytes_that_training_adds_are_shown_beside_the_peak():
    table = beside(timed(above(0, 4), 1.0), timed(above(3, 4), 1.0, peak_bytes=123))
    assert table["predicted_bytes"][1] == 11 * 4 * 3 + 1000 * 20 + 10 * 7 * 4 * 3
    assert table["peak_bytes"][1] == 123


def test_nothing_to_scale_by():
    for run in (timed(above(1, 4), 1.0), timed(above(0, 4), 1.0, method="lora")):
        with pytest.raises(SemvizError, match=r"pass Scope\.full"):
            beside(run)


def test_all_blocks_with_the_head_are_not_what_is_scaled_by():
    plain, with_head = timed(above(0, 4), 48.0), timed(above(0, 4, head=True), 54.0)
    for runs in ((plain, with_head), (with_head, plain)):
        table = beside(*runs).set_index("scope")["predicted_seconds"]
        assert table[plain.scope.label] == pytest.approx(48)
        assert table[with_head.scope.label] == pytest.approx(54)


def test_full_finetuning_of_other_lengths_is_scaled_by_its_own():
    table = beside(timed(above(0, 4), 16.0, epochs=1), timed(above(0, 4), 48.0, epochs=3))
    assert table["predicted_seconds"].tolist() == pytest.approx([16, 48])


def test_real_runs_lie_beside_their_prediction(tiny, mood):
    costs = estimate_costs(tiny, mood)
    runs = sv.sweep(tiny, mood, [Scope.full(tiny), Scope.last(tiny)], epochs=2, batch_size=8, lr=3e-3, progress=False)
    table = costs.beside(runs)
    assert table["ratio"][0] == pytest.approx(1)
    assert table["ratio"][1] > 0
    assert table["predicted_seconds"][1] < table["predicted_seconds"][0]
