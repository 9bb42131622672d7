"""What trains is the copy's own, whatever hangs on the user's model; and the user's recorders do not see it."""

from __future__ import annotations

import functools
import types

import pytest
import torch
from small import mood_task, plain_text, tiny_llama, word_tokenizer
from torch import nn
from torch.nn.modules import module as registry
from transformers import MixtralConfig, MixtralForCausalLM
from transformers.models.llama.modeling_llama import LlamaMLP

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.suffix_model import Suffix
from semviz.scopes.methods import METHODS

peft = pytest.importorskip("peft")

QUICK = {"lr": 3e-3, "epochs": 1, "batch_size": 16, "progress": False}
MODULES = [
    name
    for name, _ in tiny_llama().named_modules()
    if name in ("", "model", "model.embed_tokens", "model.rotary_emb", "model.norm", "lm_head", "model.layers.0.mlp")
    or name.startswith("model.layers.3")
]
LOG = []


def loaded(network):
    return sv.load_model((network, word_tokenizer()), general_text=plain_text())


# Ways to patch a forward. Each notes its calls.


def closure(module, log):
    forward = module.forward

    def timed(*args, **kwargs):
        log.append(1)
        return forward(*args, **kwargs)

    module.forward = timed


def decorator(module, log):
    forward = module.forward

    @functools.wraps(forward)
    def wrapper(*args, **kwargs):
        log.append(1)
        return forward(*args, **kwargs)

    module.forward = wrapper


def partial(module, log):
    def run(forward, *args, **kwargs):
        log.append(1)
        return forward(*args, **kwargs)

    module.forward = functools.partial(run, module.forward)


def default(module, log):
    def timed(*args, _forward=module.forward, **kwargs):
        log.append(1)
        return _forward(*args, **kwargs)

    module.forward = timed


def by_type(module, log):
    """A method over the class's own, with a closure around the module."""

    def forward(_self, *args, **kwargs):
        log.append(1)
        return type(module).forward(module, *args, **kwargs)

    module.forward = types.MethodType(forward, module)


def in_a_global(module, _log):
    forward = module.forward

    def timed(*args, **kwargs):
        LOG.append(1)
        return forward(*args, **kwargs)

    module.forward = timed


def a_cell_of_a_notebook(module, log):
    """The forward that is called is a global too."""
    code = """forward = module.forward
def timed(*args, **kwargs):
    log.append(1)
    return forward(*args, **kwargs)
module.forward = timed"""
    exec(code, {"module": module, "log": log})


class Guard:
    def __init__(self, module, log):
        self.forward, self.log = module.forward, log

    def __call__(self, *args, **kwargs):
        self.log.append(1)
        return self.forward(*args, **kwargs)


def an_object(module, log):
    module.forward = Guard(module, log)


def halved(module, log):
    """Changes numbers: this one has to go along."""
    forward = module.forward

    def changed(*args, **kwargs):
        log.append(1)
        output = forward(*args, **kwargs)
        return 0.5 * output if isinstance(output, torch.Tensor) else output

    module.forward = changed


PATCHES = (closure, decorator, partial, default, by_type, in_a_global, a_cell_of_a_notebook, an_object, halved)


def one_step(model, task, method, *, cache):
    """Loss and gradients of one batch."""
    scope = sv.Scope.half(model)
    encoded_task = EncodedTask(model, task, progress=False)
    part = encoded_task.part("train", scope.boundary if cache else 0)
    own = METHODS[method].own_weights
    suffix = Suffix(model, scope, cached=cache, own_weights=own, probe=encoded_task.probe())
    suffix.prepare(METHODS[method], seed=0)
    suffix.train()
    loss = suffix(**encoded_task.collator(part)(list(range(8))))["loss"]
    loss.backward()
    return float(loss.detach()), {n: p.grad for n, p in suffix.network.named_parameters() if p.requires_grad}


@pytest.fixture(scope="module")
def unpatched():
    return {
        (method, cache): one_step(loaded(tiny_llama()), mood_task(), method, cache=cache)
        for method in ("full", "lora")
        for cache in (True, False)
    }


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("name", MODULES)
def test_a_patched_forward_trains_as_the_plain_one_and_leaves_the_users_model_alone(name, patch, unpatched, mood):
    network, log = tiny_llama(), []
    patch(network.get_submodule(name), log)
    if patch is halved and name == "lm_head":
        with pytest.raises(SemvizError, match="head"):
            loaded(network)
        return
    before = {key: value.clone() for key, value in network.state_dict().items()}
    model = loaded(network)
    for (method, cache), (loss, gradients) in unpatched.items():
        found_loss, found = one_step(model, mood, method, cache=cache)
        assert all(gradient is not None for gradient in found.values())
        assert found.keys() == {key.replace("lm_head", "lm_head.head") for key in gradients}
        if patch is not halved or name in ("", "model", "model.rotary_emb"):
            assert found_loss == pytest.approx(loss, rel=1e-6)
            for key, gradient in gradients.items():
                torch.testing.assert_close(found[key], gradient, atol=1e-6, rtol=1e-5)
    assert all(p.grad is None for p in network.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("name", ["model.layers.3.mlp", "model.layers.3.self_attn.q_proj", "model.norm"])
def test_a_patch_that_changes_numbers_trains_as_the_users_own_model_would(name, mood):
    model, user = loaded(tiny_llama()), tiny_llama()
    for network in (model.model, user):
        halved(network.get_submodule(name), [])
    model = loaded(model.model)
    _, found = one_step(model, mood, "full", cache=True)
    part = EncodedTask(model, mood, progress=False)
    batch = part.collator(part.part("train", 0))(list(range(8)))
    logits = user(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[batch["labels"] >= 0]
    nn.functional.cross_entropy(logits, batch["labels"][batch["labels"] >= 0]).backward()
    own = dict(user.named_parameters())
    for key, gradient in found.items():
        torch.testing.assert_close(gradient, own[key].grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_class_that_runs_the_users_own_module_is_refused_before_anything_moves(mood, frozen):
    network = tiny_llama()
    network.requires_grad_(not frozen)
    mlp = network.model.layers[3].mlp

    class Timed(LlamaMLP):
        def forward(self, x):
            return LlamaMLP.forward(mlp, x)  # not self: every copy runs this one

    mlp.__class__ = Timed
    model = loaded(network)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(SemvizError, match=r"layers\.3\.mlp"):
        sv.finetune(model, mood, sv.Scope.half(model), **QUICK)
    assert all(p.grad is None for p in network.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_hook_with_a_parameter_of_its_own_gives_it_no_gradient(mood):
    network, steering = tiny_llama(), nn.Parameter(torch.ones(32))
    network.model.layers[3].register_forward_hook(lambda _m, _a, output: output + steering)
    model = loaded(network)
    sv.finetune(model, mood, sv.Scope.half(model), **QUICK)
    assert steering.grad is None


def test_experts_that_no_token_is_sent_to_may_miss_a_gradient(mood):
    torch.manual_seed(0)
    network = tiny_llama()
    for block in network.model.layers:
        block.mlp.spare = nn.Linear(32, 32)
    model = loaded(network)
    run = sv.finetune(model, mood, sv.Scope.half(model), **QUICK)
    name = "model.layers.3.mlp.spare.weight"
    assert torch.equal(run.weights[name], network.state_dict()[name])


def test_gradients_flags_and_modes_of_the_user_stay(mood):
    network = tiny_llama().train()
    network.model.layers[1].eval()
    for i, p in enumerate(network.parameters()):
        p.requires_grad_(i % 3 > 0)
        p.grad = torch.full_like(p, 2.0) if i % 2 else None
    gradients = [(p.grad, p.requires_grad) for p in network.parameters()]
    modes = [module.training for module in network.modules()]
    model = loaded(network)
    for method in ("full", "lora"):
        sv.finetune(model, mood, sv.Scope.half(model), method=method, **QUICK)
    for p, (gradient, flag) in zip(network.parameters(), gradients, strict=True):
        assert p.grad is gradient
        assert gradient is None or bool((gradient == 2).all())
        assert p.requires_grad is flag
    assert [module.training for module in network.modules()] == modes


# Recorders.


class Recorder:
    def __init__(self, log):
        self.log, self.kept = log, []

    def __deepcopy__(self, _memo):
        raise AssertionError("what a recorder keeps was copied")

    def hook(self, _module, _args, output):
        self.kept.append(output)
        self.log.append(1)


HOOKS = {
    "forward": lambda m, log: m.register_forward_hook(lambda *_: log.append(1)),
    "forward, the same output": lambda m, log: m.register_forward_hook(lambda _m, _a, out: (log.append(1), out)[1]),
    "forward with keywords": lambda m, log: m.register_forward_hook(lambda *_: log.append(1), with_kwargs=True),
    "forward always": lambda m, log: m.register_forward_hook(lambda *_: log.append(1), always_call=True),
    "before": lambda m, log: m.register_forward_pre_hook(lambda *_: log.append(1)),
    "before with keywords": lambda m, log: m.register_forward_pre_hook(lambda *_: log.append(1), with_kwargs=True),
    "backward": lambda m, log: m.register_full_backward_hook(lambda *_: log.append(1)),
    "before backward": lambda m, log: m.register_full_backward_pre_hook(lambda *_: log.append(1)),
    "a method": lambda m, log: m.register_forward_hook(Recorder(log).hook),
    "a global": lambda m, _log: m.register_forward_hook(lambda *_: LOG.append(1)),
    "weights": lambda m, log: [p.register_hook(lambda _g: log.append(1)) for p in m.parameters()],
    "accumulated": lambda m, log: [
        p.register_post_accumulate_grad_hook(lambda _p: log.append(1)) for p in m.parameters()
    ],
}
GLOBAL_HOOKS = {
    "forward": lambda log: registry.register_module_forward_hook(lambda *_: log.append(1)),
    "before": lambda log: registry.register_module_forward_pre_hook(lambda *_: log.append(1)),
    "backward": lambda log: registry.register_module_full_backward_hook(lambda *_: log.append(1)),
}


def seen_while_training(model, task, log, method):
    """How often a log grew in one epoch and in four: the copy's own passes are what they differ in."""
    scope = sv.Scope.half(model)
    sv.finetune(model, task, scope, method=method, **QUICK)  # after what is proven once a model
    counts = []
    for epochs in (1, 4):
        before = len(log) + len(LOG)
        sv.finetune(model, task, scope, method=method, **{**QUICK, "epochs": epochs})
        counts.append(len(log) + len(LOG) - before)
    return counts


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("kind", HOOKS)
def test_recorders_do_not_see_the_copy(kind, method, mood):
    network, log = tiny_llama(), []
    for module in (network.model.embed_tokens, network.model.layers[3], network.model.layers[3].mlp.up_proj):
        HOOKS[kind](module, log)
    one, four = seen_while_training(loaded(network), mood, log, method)
    assert one == four


@pytest.mark.parametrize("kind", GLOBAL_HOOKS)
def test_recorders_on_all_modules_do_not_see_the_copy(kind, mood):
    model, log = loaded(tiny_llama()), []
    handle = GLOBAL_HOOKS[kind](log)
    try:
        one, four = seen_while_training(model, mood, log, "full")
    finally:
        handle.remove()
    assert one == four


def test_recorders_do_not_see_a_loaded_run(mood):
    network, log = tiny_llama(), []
    network.model.layers[3].register_forward_hook(lambda *_: log.append(1))
    model = loaded(network)
    tuned = sv.load_run(model, sv.finetune(model, mood, sv.Scope.half(model), **QUICK))
    before = len(log)
    sv.trace(tuned, mood, split="test", metrics="lens", progress=False)
    assert len(log) == before


@pytest.mark.parametrize("everywhere", [False, True], ids=["one module", "all modules"])
def test_hooks_that_change_numbers_are_part_of_what_trains(everywhere, mood):
    network, vector = tiny_llama(), torch.linspace(-1, 1, 32)

    def steer(module, _args, output):
        return output + vector if isinstance(module, LlamaMLP) else None

    place = registry.register_module_forward_hook if everywhere else network.model.layers[3].mlp.register_forward_hook
    handle = place(steer)
    try:
        model = loaded(network)
        plain = sv.finetune(loaded(tiny_llama()), mood, sv.Scope.half(model), **{**QUICK, "lr": 1e-12})
        run = sv.finetune(model, mood, sv.Scope.half(model), **{**QUICK, "lr": 1e-12})
        own = sv.trace(model, mood, split="test", metrics="lens", progress=False)
    finally:
        handle.remove()
    assert run.loss == pytest.approx(own.values["lens"][own.counted][:, -1].mean(), rel=1e-5)
    assert everywhere or abs(plain.loss - run.loss) > 1e-2


def test_gradient_hooks_on_trained_weights_are_said_not_to_run(mood):
    network = tiny_llama()
    network.model.layers[3].mlp.up_proj.weight.register_hook(lambda gradient: 0 * gradient)
    model = loaded(network)
    assert "Hooks that you have set on gradients" in sv.finetune(model, mood, sv.Scope.half(model), **QUICK).note
    assert sv.finetune(model, mood, sv.Scope.of(model, [3]), **QUICK).note == ""


# Adapters of the user's.


def lora(base, **options):
    small = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "down_proj"], "init_lora_weights": False, "r": 4}
    return peft.get_peft_model(base, peft.LoraConfig(**{**small, **options}))


def two_active(base):
    network = lora(base)
    network.add_adapter("other", peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False, r=2))
    network.base_model.set_adapter(["default", "other"])
    return network


def one_inactive(base):
    network = lora(base)
    network.add_adapter("other", peft.LoraConfig(target_modules=["v_proj"], init_lora_weights=False, r=2))
    return network


def switched_off(base):
    network = lora(base)
    network.base_model.disable_adapter_layers()
    return network


def merged(base):
    network = lora(base)
    network.merge_adapter()
    return network


def added(base):
    base.add_adapter(peft.LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False, r=4))
    return base


def ia3(base):
    names = ["k_proj", "down_proj"]
    config = peft.IA3Config(target_modules=names, feedforward_modules=["down_proj"], init_ia3_weights=False)
    return peft.get_peft_model(base, config)


ADAPTED = {
    "lora": lora,
    "some layers": functools.partial(lora, layers_to_transform=[2, 3]),
    "dora": functools.partial(lora, use_dora=True),
    "dropout": functools.partial(lora, lora_dropout=0.5),
    "the norm saved": functools.partial(lora, modules_to_save=["norm"]),
    "the head saved": functools.partial(lora, modules_to_save=["lm_head"]),
    "embeddings": functools.partial(lora, target_modules=["embed_tokens", "q_proj"]),
    "layer norms": lambda base: peft.get_peft_model(base, peft.LNTuningConfig(target_modules=["norm"])),
    "two active": two_active,
    "one inactive": one_inactive,
    "switched off": switched_off,
    "merged": merged,
    "added": added,
    "ia3": ia3,
}


@pytest.mark.parametrize("sort", ADAPTED)
def test_a_model_with_adapters_trains_loads_back_and_stays_as_it_is(sort, mood):
    network = ADAPTED[sort](tiny_llama()).eval()
    with torch.no_grad():
        for name, p in network.named_parameters():
            if p.requires_grad and "ia3" not in name:
                p.add_(0.05 * torch.randn_like(p))
    flags = [p.requires_grad for p in network.parameters()]
    kept = {key: value.clone() for key, value in network.state_dict().items()}
    model = loaded(network)
    assert not any("lora" in name or "base_layer" in name for name in model.parts.names.linears)
    for method in METHODS:
        run = sv.finetune(model, mood, sv.Scope.half(model), method=method, **QUICK)
        assert run.note == ""
        assert run.weights.keys() <= dict(tiny_llama().named_parameters()).keys()
        tuned = sv.trace(sv.load_run(model, run), mood, split="test", metrics="lens", progress=False)
        assert tuned.values["lens"][tuned.counted][:, -1].mean() == pytest.approx(run.loss, abs=1e-4)
    assert [p.requires_grad for p in network.parameters()] == flags
    assert all(torch.equal(value, kept[key]) for key, value in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_a_merged_copy_starts_where_the_adapted_model_is(mood):
    model = loaded(lora(tiny_llama()).eval())
    run = sv.finetune(model, mood, sv.Scope.half(model), **{**QUICK, "lr": 1e-12})
    own = sv.trace(model, mood, split="test", metrics="lens", progress=False)
    assert run.loss == pytest.approx(own.values["lens"][own.counted][:, -1].mean(), rel=1e-5)


def test_an_adapter_that_cannot_be_merged_is_refused_in_words(mood, monkeypatch):
    model = loaded(lora(tiny_llama()).eval())
    from peft.tuners.lora import Linear

    def refuse(*_args, **_kwargs):
        raise NotImplementedError("no way")

    monkeypatch.setattr(Linear, "merge", refuse)
    with pytest.raises(SemvizError, match=r"no way.*merge_and_unload"):
        sv.finetune(model, mood, sv.Scope.half(model), **QUICK)


def test_an_auxiliary_loss_that_is_left_out_is_said(mood):
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    small |= {"num_key_value_heads": 2, "num_local_experts": 4, "vocab_size": len(word_tokenizer())}
    for asked in (False, True):
        torch.manual_seed(0)
        network = MixtralForCausalLM(MixtralConfig(**small, output_router_logits=asked)).eval()
        model = loaded(network)
        run = sv.finetune(model, mood, sv.Scope.half(model), **QUICK)
        assert ("auxiliary loss" in run.note) == asked


# What keeps gradients from weights, and what merging cannot express


def _without_gradients(module):
    forward = module.forward
    module.forward = torch.no_grad()(forward)


def _detached(module):
    module.register_forward_hook(lambda _m, _a, output: output.detach())


def _of_another_block(module):
    module.forward = module.other.forward


KEEPING = {"no_grad": _without_gradients, "a detaching hook": _detached, "another block's": _of_another_block}


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("sort", KEEPING)
def test_weights_that_would_never_move_are_refused(sort, cache, mood):
    network = tiny_llama()
    module = network.model.layers[3].mlp
    if sort == "another block's":
        object.__setattr__(module, "other", network.model.layers[0].mlp)
    KEEPING[sort](module)
    model = loaded(network)
    with pytest.raises(SemvizError, match="get no gradient"):
        sv.finetune(model, mood, sv.Scope.half(model), lr=1e-3, epochs=1, cache=cache, progress=False)


@pytest.mark.parametrize("sort", ["hook", "weight norm"])
def test_adapters_that_cannot_be_merged_are_kept_out_of_the_run_in_words(sort, mood):
    network = tiny_llama()
    layer = network.model.layers[3].mlp.up_proj
    if sort == "hook":
        layer.register_forward_hook(lambda _m, _a, output: torch.tanh(output))
    else:
        torch.nn.utils.parametrizations.weight_norm(layer)
    model = loaded(network)
    options = {"lr": 3e-2, "epochs": 1, "progress": False}
    try:
        run = sv.finetune(model, mood, sv.Scope.half(model), method="lora", **options)
    except SemvizError as error:
        assert "pass" in str(error) or "take" in str(error)  # noqa: PT017 (a refusal in words is as good)
        return
    assert not run.weights
    assert "were not kept" in run.note
    plain = sv.finetune(loaded(tiny_llama()), mood, sv.Scope.half(model), method="lora", **options)
    assert plain.weights
    assert not plain.note
