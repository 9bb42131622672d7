"""A model's hash is equal where its numbers are, and differs where they differ, whatever it is called."""

from __future__ import annotations

import copy
import functools
from types import MethodType

import numpy as np
import pytest
import torch
from architectures import gemma2, gpt2, opt
from small import WORDS, mood_task, plain_text, tiny_llama, word_tokenizer
from tokenizers import AddedToken, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.finetuning.encoded_task import EncodedTask
from semviz.lm.identity import _OF_FILES
from semviz.traces.calibration import default_calibration

FAMILIES = {"llama": tiny_llama, "gpt2": gpt2, "gemma2": gemma2, "opt": opt}
IDS = torch.arange(5, 17)[None]


def made(family):
    torch.manual_seed(0)
    return FAMILIES[family]().eval()


def loaded(network=None, tokenizer=None):
    return sv.load_model((network or tiny_llama(), tokenizer or word_tokenizer()), general_text=plain_text())


def logits_of(network):
    with torch.no_grad():
        return network(input_ids=IDS).logits


# ---- config ----------------------------------------------------------------------------------------------------------


def other(value):
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, dict):
        return {**value, "something": 1}
    return [*value, 7] if isinstance(value, list | tuple) else 7


FIELDS = [
    (family, name) for family in FAMILIES for name in sorted(made(family).config.to_dict()) if name != "model_type"
]


@functools.cache
def model_and_hash(family):
    model = loaded(made(family))
    return model, model.hash


@pytest.mark.parametrize(("family", "name"), FIELDS)
def test_every_field_of_a_config_counts_but_those_on_its_files(family, name):
    model, before = model_and_hash(family)
    config = model.model.config
    old = copy.deepcopy(getattr(config, name))
    try:
        try:
            setattr(config, name, other(old))
        except Exception:
            pytest.skip(f"{name} cannot be set on a finished config")
        if config.to_dict().get(name) == old:
            pytest.skip(f"{name} follows from other fields")
        if name == "return_dict":  # transformers' own inner models fail without it
            with pytest.raises(SemvizError, match="no longer runs"):
                _ = model.hash
        else:
            assert (model.hash == before) == bool(_OF_FILES.fullmatch(name))
    finally:
        setattr(config, name, old)
    assert model.hash == before


def test_few_fields_do_not_count():
    names = {name for _, name in FIELDS if _OF_FILES.fullmatch(name)}
    assert names == {"_name_or_path", "transformers_version", "architectures", "dtype"}


@pytest.mark.parametrize("options", [
    {"rope_theta": 500.0}, {"rms_norm_eps": 1e-3}, {"hidden_act": "gelu"}, {"attention_dropout": 0.1},
], ids=lambda options: next(iter(options)))  # fmt: skip
def test_one_set_of_weights_under_two_configs_makes_two_models(options):
    network = tiny_llama(**options)
    network.load_state_dict(tiny_llama().state_dict())
    assert loaded(network).hash != loaded().hash


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_saving_loading_and_renaming_change_nothing(family, dtype, tmp_path):
    made(family).save_pretrained(tmp_path / "first")
    network = AutoModelForCausalLM.from_pretrained(tmp_path / "first", dtype=dtype)  # `to` would round frequencies too
    network.config._name_or_path = "somewhere"
    before = loaded(network)
    for name in ("one", "two"):
        network.save_pretrained(tmp_path / name)
        word_tokenizer().save_pretrained(tmp_path / name)
    (tmp_path / "one").rename(tmp_path / "checkpoint-100")
    again = [sv.load_model(tmp_path / name, dtype=dtype) for name in ("checkpoint-100", "two")]
    pair = (AutoModelForCausalLM.from_pretrained(tmp_path / "two"), AutoTokenizer.from_pretrained(tmp_path / "two"))
    assert {model.hash for model in (*again, loaded(*pair))} == {before.hash}
    assert again[0].name != again[1].name


def test_other_dtypes_and_other_blocks_are_other_models():
    single, half = loaded(tiny_llama()), loaded(tiny_llama().bfloat16())
    assert single.hash != half.hash
    assert loaded(tiny_llama().bfloat16().float()).hash not in (single.hash, half.hash)  # rounded


# ---- weights ---------------------------------------------------------------------------------------------------------

EDITS = {
    "in place": lambda p: p.add_(1e-3),
    "one value": lambda p: p.view(-1)[3:4].add_(1e-3),
    "behind torch's back": lambda p: p.data.view(-1)[3:4].add_(1e-3),
    "through NumPy": lambda p: np.add(p.detach().numpy(), 1e-3, out=p.detach().numpy()),
    "other data": lambda p: setattr(p, "data", p.data * 2),
    "copied": lambda p: p.copy_(torch.randn_like(p)),
    "turned around": lambda p: p.data.copy_(p.data.flip(0)),
    "shifted through NumPy": lambda p: np.copyto(p.detach().numpy(), np.roll(p.detach().numpy(), 1, axis=0)),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("name", ["model.embed_tokens", "model.layers.2.mlp.up_proj", "model.norm"])
def test_the_hash_follows_an_edited_weight_and_comes_back_with_it(edit, name):
    model = loaded()
    before, weight = model.hash, model.model.get_submodule(name).weight
    old = weight.detach().clone()
    with torch.no_grad():
        EDITS[edit](weight)
    if torch.equal(weight, old):  # the norm's weights are all alike
        assert "around" in edit or "shifted" in edit
    else:
        assert model.hash == loaded(model.model).hash != before
    with torch.no_grad():
        weight.copy_(old)
    assert model.hash == before


def test_an_edit_of_a_weight_that_is_not_contiguous_counts():
    model = loaded()
    weight = model.model.model.layers[1].mlp.up_proj.weight
    weight.data = weight.data.T.contiguous().T
    before = model.hash
    weight.data.mul_(2)
    assert model.hash != before


def test_rotary_frequencies_and_dropout_of_modules_count():
    model = loaded()
    before = model.hash
    frequencies = model.model.model.rotary_emb.inv_freq
    old = frequencies.clone()
    frequencies.mul_(1.01)
    assert model.hash != before
    frequencies.copy_(old)
    assert model.hash == before
    model.model.model.layers[1].self_attn.attention_dropout = 0.1
    assert model.hash != before
    gpt = loaded(made("gpt2"))
    before = gpt.hash
    gpt.model.transformer.drop.p = 0.25
    assert gpt.hash != before


def test_a_model_that_was_used_trained_and_moved_is_the_same():
    model, task = loaded(), mood_task()
    before = model.hash
    sv.trace(model, task, progress=False)
    sv.finetune(model, task, sv.Scope.last(model), lr=1e-3, epochs=1, progress=False)
    model.model.train()
    model.model.requires_grad_(False)
    model.model.gradient_checkpointing_enable()
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    try:
        fresh = loaded(model.model).hash
    finally:
        torch.set_num_threads(threads)
    model.model.gradient_checkpointing_disable()
    assert model.hash == before == fresh


# ---- hooks and patches -----------------------------------------------------------------------------------------------

BLOCK = tiny_llama().model.layers[1]
PLACES = ["", "model", "model.embed_tokens", "model.norm", "lm_head", "model.layers.1"] + [
    f"model.layers.1.{name}" for name, module in BLOCK.named_modules() if name and not list(module.children())
]
PLACES = [place for place in PLACES if "act_fn" not in place] + ["model.layers.1.mlp", "model.layers.1.self_attn"]


def scaled(value, factor=1.01):
    """A module's output or input, steered by 1 %."""
    if isinstance(value, torch.Tensor):
        return value * factor
    if isinstance(value, tuple):
        return (scaled(value[0], factor), *value[1:])
    if hasattr(value, "last_hidden_state"):
        value.last_hidden_state = value.last_hidden_state * factor
    else:
        value.logits = value.logits * factor
    return value


@pytest.mark.parametrize("place", PLACES)
def test_a_hook_that_steers_changes_the_hash_and_one_that_records_does_not(place):
    model = loaded()
    before, module, seen = model.hash, model.model.get_submodule(place), []
    for recording in (
        module.register_forward_hook(lambda _m, _a, output: seen.append(output)),
        module.register_forward_pre_hook(lambda _m, args: seen.append(args)),
    ):
        assert model.hash == before
        recording.remove()
    assert seen
    steering = module.register_forward_hook(lambda _m, _a, output: scaled(output))
    steered = model.hash
    assert steered != before
    steering.remove()
    assert model.hash == before


@pytest.mark.parametrize("place", [p for p in PLACES if p])
def test_a_patched_forward_of_an_instance_counts_if_it_changes_anything(place):
    model = loaded()
    before, module = model.hash, model.model.get_submodule(place)
    real = module.forward
    module.forward = lambda *args, **options: real(*args, **options)
    assert model.hash == before
    module.forward = lambda *args, **options: scaled(real(*args, **options))
    assert model.hash != before
    if place != "lm_head":  # a head that does more than multiply is refused
        assert model.hash == loaded(model.model).hash
    del module.forward
    module.forward = MethodType(lambda self, *a, **o: scaled(type(self).forward(self, *a, **o)), module)
    assert model.hash != before
    del module.forward
    assert model.hash == before


def test_what_a_patch_reads_from_elsewhere_counts(monkeypatch):
    model, strength = loaded(), {"factor": 1.0}
    block_class = type(model.model.model.layers[0])
    real = block_class.forward
    monkeypatch.setattr(block_class, "forward", lambda *a, **o: scaled(real(*a, **o), strength["factor"]))
    before = model.hash
    strength["factor"] = 1.05
    assert model.hash != before


def test_a_hook_that_acts_in_longer_texts_only_counts():
    model = loaded()
    before = model.hash
    model.model.model.layers[1].register_forward_hook(lambda _m, _a, out: scaled(out) if out.shape[1] > 8 else None)
    assert model.hash != before


CLASSES = {type(module) for module in tiny_llama().modules()} - {torch.nn.ModuleList}
CLASSES = sorted((cls for cls in CLASSES if "Rotary" not in cls.__name__), key=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_patched_class_counts(cls, monkeypatch):
    model = loaded()
    before, real = model.hash, cls.forward

    @functools.wraps(real)
    def patched(self, *args, **options):
        return scaled(real(self, *args, **options))

    monkeypatch.setattr(cls, "forward", patched)
    assert model.hash != before
    monkeypatch.undo()
    assert model.hash == before


@pytest.mark.parametrize("name", ["apply_rotary_pos_emb", "eager_attention_forward"])
def test_a_function_put_in_the_place_of_the_librarys_counts(name, monkeypatch):
    from transformers.models.llama import modeling_llama

    model = loaded(tiny_llama(attn_implementation="eager"))
    before, real = model.hash, getattr(modeling_llama, name)
    monkeypatch.setattr(modeling_llama, name, lambda *args, **options: scaled(real(*args, **options), 1.2))
    assert model.hash != before


def test_a_steering_vector_that_is_edited_counts():
    model, vector = loaded(), torch.zeros(32)
    before = model.hash
    handle = model.model.model.layers[2].register_forward_hook(
        lambda _m, _a, output: (output[0] + vector, *output[1:]) if isinstance(output, tuple) else output + vector
    )
    assert model.hash == before
    vector[3] = 1.0
    steered = model.hash
    assert steered != before
    vector[3] = -1.0
    assert model.hash not in (before, steered)
    handle.remove()
    assert model.hash == before


def test_hooks_on_all_modules_and_noise_in_them():
    model = loaded()
    before = model.hash

    def noisy(module, _args, output):
        return output + 0.1 * torch.randn_like(output) if isinstance(module, torch.nn.Linear) else None

    handle = torch.nn.modules.module.register_module_forward_hook(noisy)
    try:
        state = torch.get_rng_state()
        first, second = model.hash, model.hash
        assert torch.equal(torch.get_rng_state(), state)
    finally:
        handle.remove()
    assert first == second != before
    assert model.hash == before


def test_asking_for_the_hash_leaves_mode_and_random_state_and_ignores_autocast():
    model = loaded(tiny_llama(attention_dropout=0.5).train())
    model.model.model.norm.eval()
    handle = model.model.model.layers[0].register_forward_hook(lambda *_: None)
    modes, state = [m.training for m in model.model.modules()], torch.get_rng_state()
    before = model.hash
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        assert model.hash == before
    assert [m.training for m in model.model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()
    handle.remove()
    assert len(model.model.model.layers[0]._forward_hooks) == 0


def test_a_hook_that_fails_is_named_in_words():
    model = loaded()
    model.model.model.layers[0].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(SemvizError, match=r"no longer runs on a few tokens.*division by zero"):
        _ = model.hash


# ---- adapters --------------------------------------------------------------------------------------------------------


def with_adapters():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["q_proj", "up_proj"], r=2, init_lora_weights=False)
    torch.manual_seed(1)
    network = peft.get_peft_model(tiny_llama(), config, adapter_name="one").eval()
    network.add_adapter("two", config)
    return network


def test_each_state_of_adapters_is_a_model_of_its_own():
    network = with_adapters()
    model, hashes = loaded(network), {}
    hashes["one"] = model.hash
    network.set_adapter("two")
    hashes["two"] = model.hash
    with network.disable_adapter():
        hashes["off"] = model.hash
    assert model.hash == hashes["two"]
    network.base_model.model.model.layers[0].mlp.up_proj.scaling["two"] *= 2
    hashes["stronger"] = model.hash
    network.base_model.model.model.layers[0].mlp.up_proj.scaling["two"] /= 2
    assert model.hash == hashes["two"]
    network.merge_adapter()
    hashes["merged"] = model.hash
    network.unmerge_adapter()
    network.set_adapter("one")
    assert len(set(hashes.values())) == len(hashes)


def test_adapters_that_do_nothing_yet_are_told_apart_too():
    """Fresh adapters do not move the logits; a finetune of them differs all the same."""
    peft = pytest.importorskip("peft")
    network = tiny_llama()
    model = loaded(network)
    before = model.hash
    network.add_adapter(peft.LoraConfig(target_modules=["q_proj"], r=2), "one")
    with_one = model.hash
    network.disable_adapters()
    assert len({before, with_one, model.hash}) == 3
    network.enable_adapters()
    assert model.hash == with_one


# ---- tokenizers ------------------------------------------------------------------------------------------------------


def without_bos(tokenizer):
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])


def with_eos(tokenizer):
    specials = [("<bos>", 2), ("<eos>", 3)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A <eos>", special_tokens=specials)


def other_words(tokenizer):
    real = type(tokenizer).__call__

    class Patched(PreTrainedTokenizerFast):
        def __call__(self, text, *args, **options):
            change = lambda t: t.replace("the", "a")  # noqa: E731
            return real(self, change(text) if isinstance(text, str) else list(map(change, text)), *args, **options)

    tokenizer.__class__ = Patched


def swapped(tokenizer):
    """Two words in each other's place, with all else as it was."""
    inner = tokenizer.backend_tokenizer
    vocabulary = inner.get_vocab()
    vocabulary[WORDS[10]], vocabulary[WORDS[11]] = vocabulary[WORDS[11]], vocabulary[WORDS[10]]
    inner.model = type(inner.model)(vocabulary, unk_token="<unk>")


CHANGES = {
    "no bos": without_bos,
    "eos": with_eos,
    "lower case": lambda t: setattr(t.backend_tokenizer, "normalizer", normalizers.Lowercase()),
    "no accents": lambda t: setattr(t.backend_tokenizer, "normalizer", normalizers.StripAccents()),
    "other pieces": lambda t: setattr(t.backend_tokenizer, "pre_tokenizer", pre_tokenizers.WhitespaceSplit()),
    "an added token": lambda t: t.add_tokens(["wolf"]),
    "an added token that takes blanks": lambda t: t.add_tokens([AddedToken("cat", lstrip=True)]),
    "an added special token": lambda t: t.add_special_tokens({"additional_special_tokens": ["dog"]}),
    "another end": lambda t: setattr(t, "eos_token", "snow"),
    "special tokens taken apart": lambda t: setattr(t, "split_special_tokens", True),
    "a shorter limit": lambda t: setattr(t, "model_max_length", 12),
    "a patched call": other_words,
    "two words swapped": swapped,
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_tokenizer_makes_another_model_at_once_and_when_loaded(change):
    network, model = tiny_llama(), loaded()
    before = model.hash
    CHANGES[change](model.tokenizer)
    changed = word_tokenizer()
    CHANGES[change](changed)
    assert model.hash == loaded(network, changed).hash != before


def test_what_no_text_is_read_with_does_not_count(tmp_path):
    model = loaded()
    before = model.hash
    model.tokenizer.padding_side = "left"
    model.tokenizer.name_or_path = "elsewhere"
    model.tokenizer(["the cat", "the"], padding=True, truncation=True, max_length=3)
    model.tokenizer.chat_template = "{{ messages }}"
    assert model.hash == before
    model.tokenizer.save_pretrained(tmp_path / "saved")
    assert loaded(tiny_llama(), AutoTokenizer.from_pretrained(tmp_path / "saved")).hash == before


# ---- what follows the hash -------------------------------------------------------------------------------------------


def test_the_default_calibration_and_cached_states_follow_an_edit():
    model, task = loaded(), mood_task()
    options = {"lr": 1e-3, "epochs": 1, "seed": 3, "progress": False}
    first = default_calibration(model, progress=False)
    bench = EncodedTask(model, task, progress=False)
    scope = sv.Scope.last(model)
    sv.finetune(model, task, scope, bench=bench, **options)
    assert default_calibration(model, progress=False) is first
    with torch.no_grad():
        model.model.model.layers[0].mlp.up_proj.weight.data.mul_(3)
    without_bos(model.tokenizer)
    assert default_calibration(model, progress=False) is not first
    again, fresh = sv.finetune(model, task, scope, bench=bench, **options), loaded(model.model, model.tokenizer)
    expected = sv.finetune(fresh, task, scope, **options)
    assert again.key == expected.key
    assert (again.loss, again.validation_loss) == (expected.loss, expected.validation_loss)


def test_a_folder_called_demo_is_not_the_demo(tmp_path):
    tiny_llama().save_pretrained(tmp_path / "demo")
    word_tokenizer().save_pretrained(tmp_path / "demo")
    assert sv.load_model(tmp_path / "demo").general_text != sv.load_model().general_text
