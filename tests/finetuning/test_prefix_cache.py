"""The frozen prefix, run once: its states, who runs which block when, and the proof that the cached suffix is exact."""

from __future__ import annotations

import gc
import math
import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from families import FAMILIES, LAYERS, VISION, family
from small import plain_text, tiny_llama, word_tokenizer
from torch import nn
from transformers import LlamaForCausalLM, LlamaModel
from transformers.modeling_outputs import CausalLMOutput
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

import semviz as sv
from semviz.common.errors import Cancelled, ScopeError, SemvizError
from semviz.common.progress import Control
from semviz.common.ragged import Ragged
from semviz.finetuning.cache_check import why_not_cacheable
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.prefix_cache import Collator, _reserve_disk_space, cache_bytes, cache_key, run_prefix
from semviz.finetuning.suffix_model import Suffix
from semviz.tasks.neighbours import Reading, how_to_read
from semviz.tasks.splits import SPLITS

# Plain gradient descent: Adam would turn the rounding noise of a weight without a gradient into steps.
QUICK = {"epochs": 1, "batch_size": 4, "lr": 0.1, "arguments": {"optim": "sgd"}, "progress": False}


@pytest.fixture(scope="module")
def ragged() -> sv.Task:
    """Next-token prediction on ten texts of 4 to 11 words."""
    texts = [" ".join(line.split()[: 4 + i % 8]) for i, line in enumerate(plain_text(12))]
    return sv.Task.from_texts(texts[:10], test=texts[10:], name="ragged")


@pytest.fixture
def encoded_task(tiny, stories):
    return EncodedTask(tiny, stories, progress=False)


@pytest.fixture
def encoded(encoded_task):
    return encoded_task.part("train", 0).encoded


def loaded(network, *, layers=None):
    return sv.load_model((network, word_tokenizer()), layers=layers, general_text=plain_text(3))


def proof(model, task, boundary):
    """The proof's verdict, with what it was about."""
    encoded_task = EncodedTask(model, task, progress=False)
    part = encoded_task.part("train", boundary)
    suffix = Suffix(model, sv.Scope.above(model, boundary), cached=True)
    return why_not_cacheable(encoded_task, suffix, part), suffix, encoded_task.collator(part), part


@torch.no_grad()
def own_logits(model, encoded):
    """The oracle: every sample on its own through the model itself, logits where there is a target."""
    found = []
    for ids, counted in zip(encoded.ids, encoded.counted, strict=True):
        logits = model.model(input_ids=torch.as_tensor(ids).long().unsqueeze(0), use_cache=False).logits[0]
        found.append(logits[torch.as_tensor(counted)])
    return torch.cat(found).float()


# Of what cannot be resumed from one state, what a block takes from below beside it.
REFUSED = {"gemma4-shared-keys": "block 3 also takes shared_kv_states from below"}
# Where the frozen block shares no weights with the trained ones.
BOUNDARIES = {"zamba": 1, "zamba2": 1}


@pytest.mark.parametrize("name", [*FAMILIES, *VISION])
def test_a_cached_suffix_of_any_family_says_what_the_model_says_or_is_refused_with_a_reason(name, ragged):
    model = loaded(family(name), layers=LAYERS.get(name))
    boundary = BOUNDARIES.get(name, (model.n_blocks + 1) // 2)
    why, suffix, collate, part = proof(model, ragged, boundary)
    if name in REFUSED:
        assert REFUSED[name] in why
        return
    assert why == ""
    with torch.no_grad():
        cached = suffix(**collate(list(range(len(part)))))["logits"]
    own = own_logits(model, part.encoded)
    assert cached.shape == own.shape
    assert (cached - own).abs().max() <= 1e-5 * own.abs().max()


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_family_trains_without_a_cache_as_if_none_was_asked_for(name, ragged):
    model = loaded(family(name))
    scope = sv.Scope.above(model, 2)
    asked, plain = (sv.finetune(model, ragged, scope, cache=cache, **QUICK) for cache in (True, False))
    assert not asked.cached
    assert asked.note
    assert plain.note == ""
    assert_same_weights(asked, plain)


@pytest.mark.parametrize("name", ["mamba", "bert"])
def test_families_that_read_their_own_head_train(name, ragged):
    model = loaded(family(name))
    runs = [sv.finetune(model, ragged, sv.Scope.last(model), cache=cache, **QUICK) for cache in (True, False)]
    assert [run.cached for run in runs] == [True, False]
    assert_same_weights(*runs)


def test_blocks_that_share_weights_with_frozen_ones_are_refused(ragged):
    model = loaded(family("zamba"))  # one transformer in blocks 2 and 4
    with pytest.raises(ScopeError, match=r"2.* share"):
        sv.finetune(model, ragged, sv.Scope.above(model, 2), **QUICK)


def test_all_blocks_that_share_weights_train_together_and_load_back(ragged):
    model = loaded(family("zamba"))
    run = sv.finetune(model, ragged, sv.Scope.above(model, 1), **QUICK)
    assert run.cached
    part = EncodedTask(model, ragged, progress=False).part("test", 0)
    logits = own_logits(sv.load_run(model, run), part.encoded)
    targets = torch.cat(
        [torch.as_tensor(t[c]) for t, c in zip(part.encoded.targets, part.encoded.counted, strict=True)]
    )
    lengths = [int(counted.sum()) for counted in part.encoded.counted]
    losses = nn.functional.cross_entropy(logits, targets.long(), reduction="none").split(lengths)
    assert run.loss == pytest.approx(float(torch.stack([loss.mean() for loss in losses]).mean()), rel=1e-5)


def assert_same_weights(one, other):
    assert one.weights.keys() == other.weights.keys()
    for name, value in one.weights.items():
        torch.testing.assert_close(value, other.weights[name], atol=1e-5, rtol=0)


# Models that hand on more than one tensor. What a block notes, the block above adds to its state.


class Block(LlamaDecoderLayer):
    def noted(self, states):
        return self.input_layernorm(states).cumsum(1)


class ListBlock(Block):
    def forward(self, hidden_states, *, memory, **kwargs):
        given = memory[-1] if memory else 0
        memory.append(self.noted(hidden_states))
        return super().forward(hidden_states + given, **kwargs)


class DictBlock(Block):
    def forward(self, hidden_states, *, memory, **kwargs):
        given = memory.get("last", 0)
        memory["last"] = self.noted(hidden_states)
        return super().forward(hidden_states + given, **kwargs)


class TwoOutputs(Block):
    def forward(self, hidden_states, memory=None, **kwargs):
        given = 0 if memory is None else memory
        return super().forward(hidden_states + given, **kwargs), self.noted(hidden_states)


class Remembering(LlamaModel):
    """A Llama whose blocks are of another class."""

    block = ListBlock

    def __init__(self, config):
        super().__init__(config)
        self.layers = nn.ModuleList(self.block(config, i) for i in range(config.num_hidden_layers))
        self.post_init()

    def forward(self, *args, **kwargs):
        return super().forward(*args, memory=[], **kwargs)


class RememberingByName(Remembering):
    block = DictBlock

    def forward(self, *args, **kwargs):
        return LlamaModel.forward(self, *args, memory={}, **kwargs)


class HandingOn(Remembering):
    block = TwoOutputs
    by_name = True

    def forward(self, input_ids=None, attention_mask=None, use_cache=None, **kwargs):
        states, memory = self.embed_tokens(input_ids), None
        positions = torch.arange(input_ids.shape[1]).unsqueeze(0)
        below = torch.ones(input_ids.shape[1], input_ids.shape[1], dtype=torch.bool).tril()
        shared = {
            "attention_mask": torch.where(below, 0.0, -1e9)[None, None],
            "position_embeddings": self.rotary_emb(states, position_ids=positions),
        }
        for block in self.layers:
            if self.by_name:
                states, memory = block(states, memory=memory, **shared)
            else:
                states, memory = block(states, memory, **shared)
        return self.norm(states)


class HandingOnByPosition(HandingOn):
    by_name = False


def remembering(kind):
    """A causal LM around one of these."""

    class Network(LlamaForCausalLM):
        def __init__(self, config):
            super().__init__(config)
            self.model = kind(config)
            self.post_init()

        def forward(self, input_ids=None, attention_mask=None, use_cache=None, **kwargs):
            out = self.model(input_ids=input_ids, attention_mask=attention_mask)
            states = out if isinstance(out, torch.Tensor) else out.last_hidden_state
            return CausalLMOutput(logits=self.lm_head(states))

    torch.manual_seed(0)
    return loaded(Network(tiny_llama().config).eval())


@pytest.mark.parametrize(
    "kind",
    [Remembering, RememberingByName, HandingOn, HandingOnByPosition],
)
def test_a_model_that_hands_on_a_second_tensor_is_refused_by_the_tensors_name(kind, mood):
    why, *_ = proof(remembering(kind), mood, 2)
    assert "block 3 also takes memory from below" in why


@pytest.mark.parametrize("kind", [Remembering, RememberingByName, HandingOn, HandingOnByPosition])
def test_a_model_that_hands_on_a_second_tensor_trains_uncached(kind, mood):
    model = remembering(kind)
    scope = sv.Scope.above(model, 2)
    asked, plain = (sv.finetune(model, mood, scope, cache=cache, **QUICK) for cache in (True, False))
    assert not asked.cached
    assert "not used" in asked.note
    assert_same_weights(asked, plain)


# The states


def test_several_boundaries_in_one_pass_equal_single_passes(tiny, encoded):
    together = run_prefix(tiny, encoded, [3, 1, 2, 2], progress=False)
    assert list(together) == [1, 2, 3]
    for boundary, cache in together.items():
        alone = run_prefix(tiny, encoded, [boundary], progress=False)[boundary]
        assert cache.boundary == boundary
        assert cache.key == alone.key
        assert torch.equal(cache.states, alone.states)


@pytest.mark.parametrize("room", [math.inf, 0])
def test_a_cache_that_was_advanced_equals_one_from_the_input(tiny, encoded, room):
    low = run_prefix(tiny, encoded, [1], room=room, progress=False)[1]
    advanced = run_prefix(tiny, encoded, [2, 3], start=low, room=room, progress=False)
    direct = run_prefix(tiny, encoded, [2, 3], progress=False)
    assert list(advanced) == [2, 3]
    for boundary, cache in advanced.items():
        assert cache.key == direct[boundary].key
        torch.testing.assert_close(cache.states, direct[boundary].states, atol=1e-5, rtol=1e-5)


def test_the_time_of_a_pass_is_shared_out_by_the_blocks_that_each_boundary_took_more(tiny, encoded):
    whole = run_prefix(tiny, encoded, [1, 3], progress=False)
    assert whole[3].seconds == pytest.approx(2 * whole[1].seconds)
    further = run_prefix(tiny, encoded, [2, 3], start=whole[1], progress=False)
    assert further[3].seconds == pytest.approx(further[2].seconds)
    assert further[2].seconds > 0


def test_each_boundary_took_the_time_of_its_own_blocks(tiny, encoded, monkeypatch):
    clock = [1e6]

    def tick():
        clock[0] += 1

    monkeypatch.setattr("semviz.finetuning.prefix_cache.time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr("semviz.tasks.streaming._BATCH_TOKENS", {"cpu": 64})
    assert how_to_read(tiny, encoded) is Reading.TOGETHER  # proven before the clock runs
    forward = LlamaDecoderLayer.forward
    monkeypatch.setattr(LlamaDecoderLayer, "forward", lambda *args, **kwargs: (tick(), forward(*args, **kwargs))[1])
    made = run_prefix(tiny, encoded, [1, 3], progress=False)
    passes = (clock[0] - 1e6) / 3
    assert passes > 2
    assert [made[k].seconds for k in (1, 3)] == [passes, 2 * passes]
    further = run_prefix(tiny, encoded, [2, 3], start=made[1], progress=False)
    assert [further[k].seconds for k in (2, 3)] == [passes, passes]


def test_a_pass_says_which_blocks_run_and_can_be_stopped(tiny, encoded):
    told = []
    low = run_prefix(tiny, encoded, [1], control=Control(told.append), progress=False)[1]
    run_prefix(tiny, encoded, [2, 3], start=low, control=Control(told.append), progress=False)
    assert list(dict.fromkeys(step.stage for step in told)) == ["Running blocks 1–1 once", "Running blocks 2–3 once"]
    assert told[-1].done == told[-1].total == encoded.tokens
    stopped = Control()
    stopped.cancel()
    with pytest.raises(Cancelled):
        run_prefix(tiny, encoded, [1], control=stopped, progress=False)


def test_a_pass_shows_a_bar_unless_it_is_told_not_to(tiny, encoded, monkeypatch, capsys):
    monkeypatch.setenv("TQDM_DISABLE", "0")
    run_prefix(tiny, encoded, [2], progress=False)
    assert capsys.readouterr().err == ""
    run_prefix(tiny, encoded, [2])
    assert "Running blocks 1–2 once" in capsys.readouterr().err


def test_states_are_end_to_end_and_never_padded(tiny, encoded):
    cache = run_prefix(tiny, encoded, [2], progress=False)[2]
    lengths = encoded.ids.lengths
    assert len(set(lengths)) > 3
    assert len(cache) == len(encoded)
    assert cache.states.shape == (lengths.sum(), 32)
    assert cache.nbytes == lengths.sum() * 32 * 4 == cache_bytes(tiny, encoded)
    np.testing.assert_array_equal(np.diff(cache.offsets), lengths)
    for row in (0, 3, len(cache) - 1):
        ids = torch.as_tensor(encoded.ids[row]).unsqueeze(0)
        with torch.no_grad():
            alone = tiny.model(input_ids=ids, output_hidden_states=True).hidden_states[2][0]
        torch.testing.assert_close(cache[row], alone, atol=1e-5, rtol=1e-5)


def test_batches_are_padded_only_when_they_are_made(tiny, encoded_task):
    part = encoded_task.part("train", 2)
    rows = [3, 0, 7]
    batch = Collator(part, pad=0)(rows)
    lengths = part.encoded.ids.lengths[rows]
    assert batch["states"].shape == (3, lengths.max(), 32)
    for i, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        assert torch.equal(batch["states"][i, :length], part.cache[row])
        assert batch["attention_mask"][i].tolist() == [1] * length + [0] * (lengths.max() - length)
        np.testing.assert_array_equal(batch["input_ids"][i, :length], part.encoded.ids[row])


def test_states_beyond_the_room_lie_in_files_that_go_with_the_cache(tiny, encoded):
    size = cache_bytes(tiny, encoded)
    held = run_prefix(tiny, encoded, [1, 2, 3], progress=False)
    made = run_prefix(tiny, encoded, [1, 2, 3], room=2 * size, progress=False)
    assert [made[k].folder is None for k in (1, 2, 3)] == [True, True, False]
    for room, last_fits in ((3 * size, True), (3 * size - 1, False)):
        exact = run_prefix(tiny, encoded, [1, 2, 3], room=room, progress=False)
        assert [exact[k].folder is None for k in (1, 2, 3)] == [True, True, last_fits]
    mapped = run_prefix(tiny, encoded, [1, 2, 3], room=0, progress=False)
    folders = [Path(cache.folder.name) for cache in (*mapped.values(), made[3])]
    maps = Path("/proc/self/maps")
    for folder in folders if maps.is_file() else ():
        (line,) = (line for line in maps.read_text().splitlines() if f"{folder}/states.bin" in line)
        assert line.split()[1] == "rw-s"  # shared with the file: a private mapping would keep what is written in memory
    if os.name == "posix":
        # A process that is killed leaves no states, but the lock by which the next one knows.
        assert {file.name for folder in folders for file in folder.iterdir()} == {".semviz-lock"}
    for boundary, cache in mapped.items():
        assert torch.equal(cache.states, held[boundary].states)
    del mapped, made, cache
    gc.collect()
    assert not any(folder.exists() for folder in folders)


@pytest.mark.parametrize("reserves", [True, False], ids=["the system reserves", "zeros are written"])
def test_the_room_of_a_file_is_taken_before_anything_is_written(tmp_path, monkeypatch, reserves):
    if not reserves:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
        monkeypatch.setattr("semviz.finetuning.prefix_cache._CHUNK_BYTES", 1000)
    elif not hasattr(os, "posix_fallocate"):
        pytest.skip("no way to reserve room here")
    for size in (12_345, 3000, 1, 0) if not reserves else (12_345,):
        _reserve_disk_space(str(tmp_path / "states.bin"), size)
        assert (tmp_path / "states.bin").read_bytes() == bytes(size)
    with pytest.raises(SemvizError, match=r"12\.3 kB.*No such file"):
        _reserve_disk_space(str(tmp_path / "gone" / "states.bin"), 12_345)


def test_half_precision_states_keep_their_dtype_and_are_the_models_own(ragged):
    model = loaded(tiny_llama().to(torch.bfloat16))
    why, suffix, collate, part = proof(model, ragged, 2)
    assert why == ""
    assert part.cache.states.dtype == torch.bfloat16
    assert part.cache.nbytes == part.encoded.tokens * 32 * 2
    mapped = run_prefix(model, part.encoded, [2], room=0, progress=False)[2]
    assert mapped.folder is not None
    assert mapped.states.dtype == torch.bfloat16
    assert torch.equal(mapped.states, part.cache.states)
    with torch.no_grad():
        cached = suffix(**collate([0, 1, 2]))["logits"]
    own = own_logits(model, part.encoded.take([0, 1, 2]))
    assert (cached - own).abs().max() <= 0.02 * own.abs().max()


def test_the_key_changes_with_all_that_decides_the_states(tiny, encoded):
    key = cache_key(tiny, encoded, 2)
    assert re.fullmatch("[0-9a-f]{16}", key)
    assert cache_key(tiny, encoded, 2) == key
    assert cache_key(tiny, encoded, 1) != key
    assert cache_key(tiny, encoded.take(range(len(encoded))), 2) == key
    assert cache_key(tiny, encoded.take(range(1, len(encoded))), 2) != key
    assert cache_key(tiny, replace(encoded, ids=Ragged(encoded.ids.flat[::-1].copy(), encoded.ids.offsets)), 2) != key
    offsets = encoded.ids.offsets.copy()
    offsets[1] -= 1  # the same tokens end to end, cut into other samples
    assert cache_key(tiny, replace(encoded, ids=Ragged(encoded.ids.flat, offsets)), 2) != key
    with torch.no_grad():
        tiny.model.model.layers[0].mlp.up_proj.weight[0, 0] += 1
    edited = cache_key(tiny, encoded, 2)
    assert edited != key
    tiny.model.to(torch.bfloat16)
    assert cache_key(tiny, encoded, 2) != edited


@pytest.mark.parametrize("train", [True, False])
def test_a_pass_leaves_the_model_as_it_was_and_has_no_dropout(mood, train):
    network = tiny_llama(attention_dropout=0.5)
    model = loaded(network)
    network.train(train)
    encoded = EncodedTask(model, mood, progress=False).part("train", 0).encoded
    before = {name: value.clone() for name, value in network.state_dict().items()}
    low = run_prefix(model, encoded, [1], progress=False)[1]
    one, two = (run_prefix(model, encoded, [2], start=start, progress=False)[2] for start in (None, low))
    torch.testing.assert_close(one.states, two.states, atol=1e-5, rtol=1e-5)
    assert not one.states.requires_grad
    assert all(module.training == train for module in network.modules())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


# The encoded task


def counting(monkeypatch):
    """Tokens that each block has run over; in their class, since copies of the model count too."""
    seen = Counter()
    forward = LlamaDecoderLayer.forward

    def counted(block, hidden_states, *args, **kwargs):
        seen[block.self_attn.layer_idx + 1] += hidden_states[..., 0].numel()
        return forward(block, hidden_states, *args, **kwargs)

    monkeypatch.setattr(LlamaDecoderLayer, "forward", counted)
    return seen


@pytest.fixture
def equal_lengths():
    """Texts of six tokens, so that tokens can be counted without padding."""
    texts = [" ".join(line.split()[:5]) for line in plain_text(20)]
    return sv.Task.from_texts(texts, name="five words")


@pytest.mark.parametrize("room", [math.inf, 0], ids=["everything fits", "nothing fits"])
def test_each_block_runs_once_over_each_split_whatever_the_room(tiny, equal_lengths, room, monkeypatch):
    encoded_task = EncodedTask(tiny, equal_lengths, room=room, progress=False)
    encoded_task.announce([3, 0, 1, 2])
    assert encoded_task.reading is Reading.TOGETHER  # proven before anything is counted
    seen = counting(monkeypatch)
    passes = []
    for boundary in (0, 1, 2, 3):
        for split in SPLITS:
            encoded_task.part(split, boundary)
            assert encoded_task.part(split, boundary).cache is encoded_task.part(split, boundary).cache
        passes.append(dict(seen))
    tokens = sum(encoded_task.part(split, 0).encoded.tokens for split in SPLITS)
    assert passes[0] == {}
    assert passes[3] == {1: tokens, 2: tokens, 3: tokens}
    # All at once, or one block further each time.
    assert passes[1] == (passes[3] if room else {1: tokens})
    caches = encoded_task._caches["train"]
    assert sorted(caches) == ([1, 2, 3] if room else [3])
    assert all((cache.folder is None) == bool(room) for cache in caches.values())


@pytest.mark.parametrize("share", [0.25, 0.0], ids=["everything fits", "nothing fits"])
def test_a_sweep_runs_each_frozen_block_once_over_each_split(tiny, mood, monkeypatch, share):
    ran, passes = Counter(), []

    def counted(model, encoded, boundaries, *, start=None, **options):
        made = run_prefix(model, encoded, boundaries, start=start, **options)
        ran.update(range(1 + (start.boundary if start else 0), 1 + max(made)))
        passes.append(len(made))
        return made

    monkeypatch.setattr("semviz.finetuning.encoded_task._MEMORY_SHARE", share)
    monkeypatch.setattr("semviz.finetuning.encoded_task.run_prefix", counted)
    runs = sv.sweep(tiny, mood, **{**QUICK, "batch_size": 16})
    assert [run.cached for run in runs] == [False, True, True, True]
    assert ran == dict.fromkeys((1, 2, 3), len(SPLITS))
    assert passes == ([3] * 3 if share else [1] * 9)


def test_boundaries_that_were_not_announced_are_made_one_by_one(tiny, equal_lengths, monkeypatch):
    encoded_task = EncodedTask(tiny, equal_lengths, progress=False)
    assert encoded_task.reading is Reading.TOGETHER  # proven before anything is counted
    seen = counting(monkeypatch)
    tokens = encoded_task.part("train", 0).encoded.tokens
    encoded_task.part("train", 1)
    assert seen == {1: tokens}
    encoded_task.part("train", 3)
    assert seen == {1: tokens, 2: tokens, 3: tokens}
    direct = run_prefix(tiny, encoded_task.part("train", 0).encoded, [3], progress=False)[3]
    torch.testing.assert_close(encoded_task.part("train", 3).cache.states, direct.states, atol=1e-5, rtol=1e-5)


def test_what_fits_into_the_room_is_held_in_memory(tiny, stories):
    sizes = [cache_bytes(tiny, EncodedTask(tiny, stories, progress=False).part(s, 0).encoded) for s in SPLITS]
    encoded_task = EncodedTask(tiny, stories, room=3 * sum(sizes), progress=False)
    encoded_task.announce([1, 2, 3])
    caches = [encoded_task.part(split, boundary).cache for boundary in (1, 2, 3) for split in SPLITS]
    assert all(cache.folder is None for cache in caches)


def edit(model):
    """A change in the first block, as training the model itself would make."""
    with torch.no_grad():
        model.model.model.layers[0].mlp.down_proj.weight.mul_(1.5)


def test_states_are_made_anew_after_the_model_was_edited_in_place(tiny, encoded_task):
    old = encoded_task.part("train", 2).cache
    edit(tiny)
    part = encoded_task.part("train", 2)
    assert not torch.allclose(part.cache.states, old.states)
    fresh = run_prefix(tiny, part.encoded, [2], progress=False)[2]
    assert torch.equal(part.cache.states, fresh.states)
    assert part.cache.key == fresh.key


def test_states_are_made_anew_after_the_models_precision_was_changed_in_place(tiny, encoded_task):
    old = encoded_task.part("train", 2).cache
    tiny.model.to(torch.bfloat16)
    part = encoded_task.part("train", 2)
    assert part.cache.states.dtype == torch.bfloat16
    assert part.cache.key == cache_key(tiny, part.encoded, 2) != old.key


def test_states_are_not_made_from_those_of_the_model_before_an_edit(tiny, encoded_task):
    encoded_task.part("train", 1)
    edit(tiny)
    part = encoded_task.part("train", 2)
    fresh = run_prefix(tiny, part.encoded, [2], progress=False)[2]
    torch.testing.assert_close(part.cache.states, fresh.states, atol=1e-5, rtol=1e-5)


def test_refusing_stops_caching_and_lets_go_of_the_states(tiny, stories):
    encoded_task = EncodedTask(tiny, stories, room=0, progress=False)
    folder = Path(encoded_task.part("train", 2).cache.folder.name)
    encoded_task.stop_caching("because")
    gc.collect()
    assert not folder.exists()
    assert encoded_task.part("train", 2).cache is None
    assert encoded_task.part("test", 1).cache is None
    assert encoded_task.why_not_cached == "because"


def test_an_encoded_task_without_cache_runs_nothing(tiny, stories, monkeypatch):
    encoded_task = EncodedTask(tiny, stories, cache=False, progress=False)
    assert encoded_task.reading is Reading.TOGETHER  # proven before anything is counted
    seen = counting(monkeypatch)
    assert encoded_task.part("train", 2).cache is None
    assert not seen


def test_an_encoded_task_of_another_model_or_task_is_refused(tiny, mood, stories, encoded_task):
    with pytest.raises(SemvizError, match="pass EncodedTask"):
        sv.finetune(tiny, mood, bench=encoded_task, **QUICK)
    with pytest.raises(SemvizError, match="pass EncodedTask"):
        sv.finetune(loaded(tiny_llama()), stories, bench=encoded_task, **QUICK)


def test_finetunes_that_share_an_encoded_task_share_its_states(tiny, stories, encoded_task, monkeypatch):
    scope = sv.Scope.half(tiny)
    alone = sv.finetune(tiny, stories, scope, **QUICK)
    first = sv.finetune(tiny, stories, scope, bench=encoded_task, **QUICK)
    monkeypatch.setattr(
        "semviz.finetuning.encoded_task.run_prefix", lambda *_a, **_k: pytest.fail("ran the prefix again")
    )
    second = sv.finetune(tiny, stories, scope, bench=encoded_task, **QUICK)
    assert_same_weights(alone, first)
    assert_same_weights(first, second)


def test_no_cache_means_no_cache_with_an_encoded_task_too(tiny, stories, encoded_task):
    run = sv.finetune(tiny, stories, sv.Scope.half(tiny), cache=False, bench=encoded_task, **QUICK)
    assert not run.cached
