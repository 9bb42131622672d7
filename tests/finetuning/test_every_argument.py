"""Every field of the installed TrainingArguments works, and can be seen to, or is refused in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch
from small import WORDS, plain_text, tiny_llama, word_tokenizer
from transformers import SchedulerType, TrainerCallback, TrainingArguments
from transformers.utils import logging

import semviz as sv
from semviz.common.errors import SemvizError
from semviz.finetuning.prefix_cache import Collator
from semviz.finetuning.trainer_arguments import FIELDS, SEVERAL, SHARDED, Elsewhere, Passed, Refused
from semviz.finetuning.trainer_defaults import as_usual

pytestmark = pytest.mark.every_kind

QUICK = {"lr": 3e-3, "epochs": 1, "batch_size": 8, "progress": False}
NAMES = [field.name for field in dataclasses.fields(TrainingArguments)]


class Recorder(TrainerCallback):
    """What a training does, as a callback sees it."""

    def __init__(self) -> None:
        self._seen: dict[str, Any] = {"logs": [], "scores": [], "substeps": 0, "steps": 0}

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["_seen"][name]

    @property
    def rates(self) -> list[float]:
        return [logs["learning_rate"] for logs in self.logs if "learning_rate" in logs]

    def on_train_begin(self, args, state, control, **_):
        self._seen |= {
            "args": args,
            "first": self._seen["count"](),
            "strict": torch.are_deterministic_algorithms_enabled(),
        }
        self._seen["verbosity"] = logging.get_verbosity()

    def on_substep_end(self, args, state, control, **_):
        self._seen["substeps"] += 1

    def on_step_end(self, args, state, control, **_):
        self._seen["steps"] += 1

    def on_log(self, args, state, control, logs=None, **_):
        self.logs.append(logs)

    def on_evaluate(self, args, state, control, metrics=None, **_):
        self.scores.append((state.global_step, metrics))


@dataclass
class Seen:
    """A run, what its callback saw, which rows its batches had, and the folder that it was given."""

    run: sv.Run
    recorder: Recorder
    rows: list[list[int]]
    folder: Path

    def weights_of(self, other: Seen) -> float:
        """Largest difference from another run's weights."""
        mine, theirs = self.run.weights, other.run.weights
        return max(float((mine[name] - theirs[name]).abs().max()) for name in mine)


@dataclass
class Works:
    """A value that works.

    Attributes:
        value: It.
        effect: Told what was seen with it and without it, and says whether the field has worked.
        beside: What else is passed, with the value and without it.
        needed: What is passed with the value only.
    """

    value: Any
    effect: Callable[[Seen, Seen], bool]
    beside: dict[str, Any] = field(default_factory=dict)
    needed: dict[str, Any] = field(default_factory=dict)


@dataclass
class Fails:
    """A value that is refused, and words of the message."""

    value: Any
    words: str
    beside: dict[str, Any] = field(default_factory=dict)


def other_weights(seen: Seen, plain: Seen) -> bool:
    return seen.weights_of(plain) > 1e-6


def other_rates(seen: Seen, plain: Seen) -> bool:
    return seen.recorder.rates != plain.recorder.rates and other_weights(seen, plain)


def same_weights(seen: Seen, plain: Seen) -> bool:
    return seen.weights_of(plain) == 0


def reaches_trainer(name: str, value: Any) -> Callable[[Seen, Seen], bool]:
    """For fields that decide nothing here: Trainer was told, and the weights are the same."""
    return lambda seen, plain: getattr(seen.recorder.args, name) == value and same_weights(seen, plain)


def checkpoints(seen: Seen) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in seen.folder.rglob("checkpoint-*"))


def logged(name: str) -> Callable[[Seen, Seen], bool]:
    return lambda seen, plain: (
        any(name in logs for logs in seen.recorder.logs)
        and not any(name in logs for logs in plain.recorder.logs)
        and same_weights(seen, plain)
    )


OFTEN = {"logging_steps": 1}
SAVED = {"save_strategy": "steps", "save_steps": 2, "output_dir": "FOLDER"}
SCORED = {"eval_strategy": "steps", "eval_steps": 2}
WORKERS = {"dataloader_num_workers": 1}
ALONE = {
    "log_on_each_node": False, "log_level_replica": "error", "save_on_each_node": True, "ddp_backend": "gloo",
    "ddp_find_unused_parameters": False, "ddp_bucket_cap_mb": 5, "ddp_broadcast_buffers": False,
    "ddp_static_graph": True, "ddp_timeout": 60,
}  # fmt: skip
CASES: dict[str, Works | Fails] = {
    "output_dir": Works("FOLDER", lambda s, p: bool(checkpoints(s)), needed={"save_strategy": "epoch"}),
    "lr_scheduler_type": Works("linear", other_rates, OFTEN),
    "lr_scheduler_kwargs": Works({"num_cycles": 1.0}, other_rates, OFTEN),
    "warmup_steps": Works(5, other_rates, OFTEN),
    "optim": Works("sgd", other_weights),
    "optim_args": Works("momentum=0.9", other_weights, {"optim": "sgd"}),
    "weight_decay": Works(0.5, other_weights),
    "adam_beta1": Works(0.5, other_weights),
    "adam_beta2": Works(0.5, other_weights),
    "adam_epsilon": Works(1e-2, other_weights),
    "optim_target_modules": Fails(["q_proj"], "galore", {"optim": "galore_adamw"}),
    "gradient_accumulation_steps": Works(2, lambda s, p: s.recorder.substeps == 7 and s.weights_of(p) < 1e-5),
    "max_grad_norm": Works(1e-9, other_weights),
    "label_smoothing_factor": Works(
        0.2, lambda s, p: other_weights(s, p) and s.run.curve.loss[0] != p.run.curve.loss[0]
    ),
    "bf16": Works(True, lambda s, p: 1e-6 < s.weights_of(p) < 0.1),
    "fp16": Fails(True, "GPU"),
    "tf32": Fails(True, "Ampere"),
    "torch_compile": Works(True, lambda s, p: s.weights_of(p) < 1e-5, needed={"torch_compile_backend": "eager"}),
    "torch_compile_backend": Fails("nope", "eager"),
    "torch_compile_mode": Fails("nope", "reduce-overhead"),
    "neftune_noise_alpha": Works(
        20.0, lambda s, p: other_weights(s, p) and not s.run.cached and ("not cached" in s.run.note) is p.run.cached
    ),
    "torch_empty_cache_steps": Works(1, reaches_trainer("torch_empty_cache_steps", 1)),
    "logging_strategy": Works("epoch", lambda s, p: s.run.curve.step.tolist() == [7] and same_weights(s, p)),
    "logging_steps": Works(3, lambda s, p: s.run.curve.step.tolist() == [3, 6] and same_weights(s, p)),
    "logging_first_step": Works(True, lambda s, p: s.run.curve.step.tolist() == [1, 3, 6], {"logging_steps": 3}),
    "logging_nan_inf_filter": Works(True, reaches_trainer("logging_nan_inf_filter", True)),
    "include_num_input_tokens_seen": Works("all", logged("num_input_tokens_seen")),
    "log_level": Works(
        "critical", lambda s, p: s.recorder.verbosity == 50 != p.recorder.verbosity and same_weights(s, p)
    ),
    "report_to": Fails("nope", "tensorboard"),
    "run_name": Works("mine", lambda s, p: s.recorder.args.run_name == f"mine, {p.recorder.args.run_name}"),
    "project": Fails("mine", "report_to"),
    "eval_strategy": Works("epoch", lambda s, p: [step for step, _ in s.recorder.scores] == [7] and same_weights(s, p)),
    "eval_steps": Works(
        3, lambda s, p: [step for step, _ in s.recorder.scores] == [3, 6, 7], {"eval_strategy": "steps"}
    ),
    "eval_delay": Works(3, lambda s, p: [step for step, _ in s.recorder.scores] == [4, 6, 7], SCORED),
    "eval_on_start": Works(True, lambda s, p: [step for step, _ in s.recorder.scores] == [0] and same_weights(s, p)),
    "save_only_model": Works(True, lambda s, p: bool(checkpoints(s)) and not [*s.folder.rglob("optimizer.pt")], SAVED),
    "save_strategy": Works(
        "epoch", lambda s, p: checkpoints(s) == [7] and same_weights(s, p), needed={"output_dir": "FOLDER"}
    ),
    "save_steps": Works(
        3, lambda s, p: checkpoints(s) == [3, 6, 7], {"save_strategy": "steps", "output_dir": "FOLDER"}
    ),
    "save_total_limit": Works(1, lambda s, p: checkpoints(s) == [7], SAVED),
    "load_best_model_at_end": Works(True, lambda s, p: "the best loss of 4" in s.run.note, SCORED),
    "metric_for_best_model": Works(
        "accuracy", lambda s, p: "the best accuracy of 4" in s.run.note, {**SCORED, "load_best_model_at_end": True}
    ),
    "greater_is_better": Works(
        False,  # as it follows from the metric; another value is refused
        lambda s, p: min(m["eval_loss"] for _, m in s.recorder.scores) == pytest.approx(s.run.validation_loss),
        {**SCORED, "load_best_model_at_end": True},
    ),
    "full_determinism": Works(True, lambda s, p: s.recorder.strict and not p.recorder.strict),
    "dataloader_drop_last": Works(True, lambda s, p: (s.run.steps, p.run.steps) == (3, 4), {"batch_size": 16}),
    "dataloader_num_workers": Works(1, reaches_trainer("dataloader_num_workers", 1)),
    "dataloader_pin_memory": Works(True, lambda s, p: same_weights(s, p)),
    "dataloader_persistent_workers": Works(True, reaches_trainer("dataloader_persistent_workers", True), WORKERS),
    "dataloader_prefetch_factor": Works(3, reaches_trainer("dataloader_prefetch_factor", 3), WORKERS),
    "dataloader_multiprocessing_context": Works(
        "fork", reaches_trainer("dataloader_multiprocessing_context", "fork"), WORKERS
    ),
    "train_sampling_strategy": Works(
        "group_by_length",
        lambda s, p: sorted(map(sorted, s.rows)) != sorted(map(sorted, p.rows)) and other_weights(s, p),
        {"batch_size": 2},
    ),
    "debug": Works("underflow_overflow", lambda s, p: s.recorder.args.debug and same_weights(s, p)),
    "skip_memory_metrics": Works(False, logged("before_init_mem_cpu")),
    **{name: Fails(8, "pass batch_size=") for name in ("per_device_train_batch_size",)},
    **{name: Fails(2, "pass epochs=") for name in ("num_train_epochs", "max_steps")},
    "learning_rate": Fails(0.1, "pass lr="),
    **{name: Fails(3, "pass seed=") for name in ("seed", "data_seed")},
    **{name: Fails(True, "pass checkpointing=") for name in ("activation_checkpointing", "gradient_checkpointing")},
    "activation_checkpointing_kwargs": Fails({}, "pass checkpointing="),
    "gradient_checkpointing_kwargs": Fails({}, "pass checkpointing="),
    "use_cpu": Fails(True, "load_model"),
    "disable_tqdm": Fails(False, "pass progress="),
    **{name: Fails(value, "processes") for name, value in ALONE.items()},
    "fsdp": Fails("full_shard", "cache=False"),
    "fsdp_config": Fails({"version": 2}, "cache=False"),
    "deepspeed": Fails("/nowhere.json", "cache=False"),
    "parallelism_config": Fails(3, "cache=False"),
}
REFUSED = {name: row for name, row in FIELDS.items() if isinstance(row, Refused)}


@pytest.fixture(scope="module")
def model() -> sv.LanguageModel:
    return sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())


@pytest.fixture(scope="module")
def task() -> sv.Task:
    """Texts of unequal lengths."""
    texts = [" ".join(WORDS[(i + 7 * j) % 40] for j in range(2 + i % 9)) for i in range(80)]
    return sv.Task.from_texts(texts, ["yes" if i % 3 else "no" for i in range(80)], prompt="{text} mood :", name="odd")


@pytest.fixture(scope="module")
def train(model, task, tmp_path_factory):
    """Train with arguments, once for equal ones."""
    known: dict[str, Seen] = {}

    def trained(arguments: dict[str, Any], *, cache: bool) -> Seen:
        asked = repr((arguments, cache))
        if asked in known:
            return known[asked]
        folder, recorder, rows = tmp_path_factory.mktemp("out"), Recorder(), []
        recorder._seen["count"] = lambda: len(rows)
        given = {name: str(folder) if value == "FOLDER" else value for name, value in arguments.items()}
        options = {**QUICK, "batch_size": given.pop("batch_size", 8)}
        with pytest.MonkeyPatch.context() as patch:
            make = Collator.__call__
            patch.setattr(Collator, "__call__", lambda self, batch: (rows.append(list(batch)), make(self, batch))[1])
            run = sv.finetune(
                model, task, sv.Scope.half(model), arguments=given, callbacks=[recorder], cache=cache, **options
            )
        known[asked] = Seen(run, recorder, rows[recorder.first :][: recorder.steps], folder)
        return known[asked]

    return trained


def test_the_table_has_every_field_of_the_installed_transformers():
    assert set(NAMES) <= set(FIELDS)
    assert set(NAMES) <= set(CASES) | set(REFUSED)
    assert not set(CASES) & set(REFUSED)
    assert set(ALONE) == set(SEVERAL)


@pytest.mark.parametrize("cache", [True, False], ids=["cached", "uncached"])
@pytest.mark.parametrize("name", [name for name in NAMES if isinstance(CASES.get(name), Works)])
@pytest.mark.brings(
    "Arguments",
    "a field of `TrainingArguments` that can be had ([the table](arguments.md))",
    "it does what it says, with and without the cached prefix",
)
def test_a_field_works(name, cache, train):
    case = CASES[name]
    assert isinstance(FIELDS[name], Passed)
    assert not as_usual(name, case.value)
    plain = train(dict(case.beside), cache=cache)
    seen = train({**case.beside, **case.needed, name: case.value}, cache=cache)
    assert plain.run.cached is cache
    assert seen.run.cached is (cache and name != "neftune_noise_alpha")
    assert case.effect(seen, plain)


@pytest.mark.parametrize("name", [name for name in NAMES if isinstance(CASES.get(name), Works)])
def test_the_cache_changes_nothing_but_the_time(name, train):
    case = CASES[name]
    if name in ("bf16", "neftune_noise_alpha"):
        pytest.skip("rounded, and never cached")
    arguments = {**case.beside, **case.needed, name: case.value}
    one, two = (train(arguments, cache=cache) for cache in (True, False))
    assert one.weights_of(two) < 1e-4


@pytest.mark.parametrize("cache", [True, False], ids=["cached", "uncached"])
@pytest.mark.parametrize("name", [name for name in NAMES if isinstance(CASES.get(name), Fails)])
@pytest.mark.brings(
    "Arguments",
    "a field that cannot be had",
    "names what to pass instead",
)
def test_a_field_is_refused_in_words(name, cache, model, task):
    case = CASES[name]
    if name in SHARDED and not cache:
        pytest.skip("for several processes")
    with pytest.raises(SemvizError, match=case.words) as caught:
        sv.finetune(
            model, task, sv.Scope.half(model), arguments={**case.beside, name: case.value}, cache=cache, **QUICK
        )
    if isinstance(FIELDS[name], Elsewhere):
        assert f"pass {FIELDS[name].option} instead" in str(caught.value)


@pytest.mark.parametrize("name", [name for name in NAMES if name in REFUSED])
def test_a_field_that_would_do_nothing_or_harm_is_refused_whatever_its_value(name, model, task):
    value = "hf_aaaaaaaaaaaaaaaaaaaa"
    with pytest.raises(SemvizError) as caught:
        sv.finetune(model, task, arguments={name: value}, **QUICK)
    assert REFUSED[name].why in str(caught.value)
    assert value not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in NAMES if isinstance(FIELDS[name], Passed) and FIELDS[name].needs])
def test_a_field_that_does_nothing_by_itself_says_with_what_it_does(name, model, task):
    case = CASES[name]
    with pytest.raises(SemvizError, match=FIELDS[name].needs[0]):
        sv.finetune(model, task, arguments={name: case.value}, **QUICK)


SCHEDULES = {
    "cosine_with_restarts": {"num_cycles": 2},
    "polynomial": {"power": 2.0},
    "inverse_sqrt": {"timescale": 3},
    "cosine_with_min_lr": {"min_lr_rate": 0.5},
    "cosine_warmup_with_min_lr": {"min_lr_rate": 0.5, "warmup_lr_rate": 0.5},
    "warmup_stable_decay": {"num_decay_steps": 3},
    "reduce_lr_on_plateau": {"patience": 0, "threshold": 10.0, "factor": 0.5},
    "greedy": {"patience": 0},
}


@pytest.mark.parametrize("schedule", [kind.value for kind in SchedulerType])
@pytest.mark.brings(
    "Arguments",
    "every `lr_scheduler_type`, with its arguments",
    "trains by it",
)
def test_every_schedule_trains_at_rates_of_its_own(schedule, train):
    judged = schedule in ("reduce_lr_on_plateau", "greedy")
    arguments = {**OFTEN, **({"eval_strategy": "steps", "eval_steps": 1} if judged else {})}
    options = SCHEDULES.get(schedule)
    seen = train(
        {**arguments, "lr_scheduler_type": schedule, **({"lr_scheduler_kwargs": options} if options else {})},
        cache=True,
    )
    rates = seen.recorder.rates
    assert len(rates) == 7
    if schedule != "cosine":
        assert rates != train(arguments, cache=True).recorder.rates
    if options and schedule not in ("greedy", "warmup_stable_decay", "cosine_with_min_lr", "cosine_warmup_with_min_lr"):
        without = train({**arguments, "lr_scheduler_type": schedule}, cache=True)
        assert rates != without.recorder.rates


BAD = [
    ({"lr_scheduler_kwargs": {"nope": 2}}, "num_cycles"),
    ({"lr_scheduler_type": "constant", "lr_scheduler_kwargs": {"power": 2}}, "takes nothing"),
    ({"lr_scheduler_type": "constant", "warmup_steps": 3}, "constant_with_warmup"),
    ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "eval_strategy"),
    ({"lr_scheduler_type": "greedy"}, "eval_strategy"),
    ({"lr_scheduler_type": "warmup_stable_decay"}, "num_decay_steps|num_stable_steps"),
    ({"lr_scheduler_type": "cosine_with_min_lr"}, "min_lr"),
    ({"lr_scheduler_type": "nope"}, "linear"),
    ({"optim": "nope"}, "adafactor"),
    ({"optim": "adamw_bnb_8bit"}, "pip install"),
    ({"optim": "lomo"}, "pip install"),
    ({"optim": "schedule_free_adamw"}, "schedulefree"),
    ({"optim": "sgd", "optim_args": "nope=1"}, "nope"),
    ({"optim": "sgd", "optim_args": "momentum"}, "momentum=0.9"),
    ({"optim": "sgd", "adam_beta1": 0.5}, "adam_beta1"),
    ({"adam_beta1": 2}, "below 1"),
    ({"adam_beta2": 1.0}, "below 1"),
    ({"adam_epsilon": -1.0}, "at least 0"),
    ({"weight_decay": -1.0}, "at least 0"),
    ({"max_grad_norm": -1}, "at least 0"),
    ({"max_grad_norm": None}, "number"),
    ({"max_grad_norm": "much"}, "number"),
    ({"max_grad_norm": float("nan")}, "number"),
    ({"label_smoothing_factor": 1.5}, "below 1"),
    ({"neftune_noise_alpha": -1}, "at least 0"),
    ({"gradient_accumulation_steps": 2.0}, "whole number"),
    ({"gradient_accumulation_steps": 0}, "at least 1"),
    ({"gradient_accumulation_steps": "two"}, "whole number"),
    ({"gradient_accumulation_steps": True}, "whole number"),
    ({"gradient_accumulation_steps": 3}, "multiple of 3"),
    ({"dataloader_num_workers": -1}, "at least 0"),
    ({"dataloader_num_workers": 1.0}, "whole number"),
    ({"dataloader_num_workers": 1, "dataloader_prefetch_factor": 0}, "at least 1"),
    ({"dataloader_num_workers": 1, "dataloader_multiprocessing_context": "nope"}, "nope"),
    ({"torch_empty_cache_steps": 0}, "at least 1"),
    ({"torch_empty_cache_steps": 0.5}, "whole number"),
    ({"log_level": "nope"}, "warning"),
    ({"log_level": 10}, "text"),
    ({"logging_steps": 0}, "above 0"),
    ({"logging_strategy": "nope"}, "epoch"),
    ({"eval_strategy": "nope"}, "epoch"),
    ({"eval_strategy": "steps", "eval_steps": 0}, "above 0"),
    ({"eval_strategy": "steps", "eval_steps": 1.5}, "eval_steps"),
    ({"save_strategy": "best", "output_dir": "out"}, "eval_strategy"),
    ({"save_strategy": "epoch"}, "output_dir"),
    ({"save_strategy": "nope", "output_dir": "out"}, "epoch"),
    ({"output_dir": "out"}, "save_strategy"),
    ({"output_dir": 3, "save_strategy": "epoch"}, "output_dir"),
    ({"output_dir": "https://a.b/c", "save_strategy": "epoch"}, "URL"),
    ({"load_best_model_at_end": True}, "eval_strategy"),
    ({"load_best_model_at_end": True, "eval_strategy": "epoch", "metric_for_best_model": "nope"}, "accuracy"),
    ({"load_best_model_at_end": True, "eval_strategy": "epoch", "save_strategy": "steps"}, "strategy"),
    ({"train_sampling_strategy": "batch_rebalance"}, "group_by_length"),
    ({"train_sampling_strategy": "nope"}, "group_by_length"),
    ({"debug": "nope"}, "nope"),
    ({"bf16": "yes"}, "True or False"),
    ({"bf16": 1}, "True or False"),
    ({"bf16": True, "fp16": True}, "fp16"),
    ({"report_to": "nope"}, "wandb"),
    ({"report_to": 3}, "report_to"),
    ({"report_to": ["none", "nope"]}, "wandb"),
    ({"warmup_steps": -1}, "at least 0"),
    ({"no_such_field": 1}, "TrainingArguments"),
    ({"resume_from_checkpoint": True}, "output_dir"),
    ({"hub_token": "hf_aaaaaaaaaaaaaaaaaaaa"}, "hub"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=str)
@pytest.mark.brings(
    "Arguments",
    'values such as `"adam_beta1": 2` or `"log_level": "nope"`',
    "refuses them in words",
)
def test_bad_values_are_refused_in_words(arguments, words, tiny, mood, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SemvizError, match=words) as caught:
        sv.finetune(tiny, mood, sv.Scope.last(tiny), arguments=arguments, **QUICK)
    assert "hf_aaaa" not in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_rows_that_fill_no_batch_are_not_all_left_out(tiny, mood):
    with pytest.raises(SemvizError, match="batch_size"):
        sv.finetune(tiny, mood, arguments={"dataloader_drop_last": True}, **{**QUICK, "batch_size": 100})


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_another_half_precision_than_the_models_is_refused(dtype, tiny, mood):
    import copy

    half = sv.load_model((copy.deepcopy(tiny.model).to(getattr(torch, dtype)), tiny.tokenizer))
    asked = {"bf16": True} if dtype == "float16" else {"fp16": True}
    with pytest.raises(SemvizError, match=r'GPU|dtype="float32"'):
        sv.finetune(half, mood, arguments=asked, **QUICK)


def test_values_as_they_would_be_anyway_are_no_arguments(tiny, mood):
    usual = {
        "push_to_hub": False,
        "do_predict": False,
        "resume_from_checkpoint": None,
        "fsdp": None,
        "eval_steps": None,
    }
    plain, run = (sv.finetune(tiny, mood, sv.Scope.half(tiny), arguments=a, **QUICK) for a in ({}, usual))
    assert (run.key, run.loss) == (plain.key, plain.loss)


def test_the_docs_have_the_table():
    path = Path(__file__).parents[2] / "docs" / "arguments.py"
    module = spec_from_file_location("docs_arguments", path)
    docs = module_from_spec(module)
    module.loader.exec_module(docs)
    page = docs.PAGE.read_text(encoding="utf-8")
    assert page == docs.with_table(page), "run make schemas"
    assert all(f"| `{name}` |" in page for name in NAMES)
