"""`Run`: one finetune, with its settings and results."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from semviz.common import checks, formats
from semviz.common.errors import SemvizError
from semviz.common.provenance import Source
from semviz.common.scores import score_named
from semviz.finetuning.kept_adapter import KeptAdapter
from semviz.finetuning.run_outputs import RunOutputs
from semviz.lm.parts import Parts
from semviz.scopes.methods.peft_configs import from_texts
from semviz.scopes.scope import Scope

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
    from torch import Tensor

    from semviz.lm.model import LanguageModel
    from semviz.tasks.task import Task
    from semviz.traces.trace import Trace


@dataclass(frozen=True, eq=False)
class Run(RunOutputs):
    """One finetune.

    Attributes:
        key: Hash of all that decides the result.
        model_name: Name of the model; `run.model()` is what became of it.
        task: Name of the task.
        score: `"accuracy"` (higher is better) or `"loss"` (nats a token, lower is better).
        scope: The blocks that trained.
        method: Key of the training method: `"full"` (the blocks' own weights), `"lora"`, `"ia3"`, `"lisa"`, `"norm"`,
            …; or what a configuration of peft's sets, such as `"DoRA r=16 alpha=32 q_proj+v_proj"`.
        seed: Seed of data order, dropout and adapters.
        lr: Peak learning rate.
        rates: Validation score of each learning rate that was tried, after a short training of `trial_steps` steps;
            empty where lr was passed.
        epochs: Passes over the training rows.
        steps: Optimizer steps that were made.
        batch_size: Rows per step, over all devices and accumulated batches.
        accuracy: Share of test rows whose label (or tokens) the model ranks first, in [0, 1].
        loss: Cross-entropy of the targets on test rows over the whole vocabulary, nats.
        validation: Score on validation rows, accuracy or nats, by which choices are made.
        validation_loss: Cross-entropy of the targets on validation rows, nats.
        validation_rows: Score of each validation row; empty if the run diverged.
        f1: Macro F1 on test rows; None for language modelling.
        auroc: Macro one-vs-rest AUROC on test rows; None for language modelling, or where a class is missing.
        rows: Score of each test row (1 or 0, or its loss), for intervals and paired comparisons.
        trainable: Unique parameters that trained (of adapters, theirs; for LISA, of the blocks that train at once).
        seconds: Seconds of training at this rate, the one prefix pass included.
        prefix_seconds: Seconds of these that the prefix pass took.
        search_seconds: Seconds of training in the search for the learning rate.
        tokens_per_second: Training tokens over training time.
        peak_bytes: Peak memory during training: of the GPU, or the process's growth on the CPU.
        cached: Whether the prefix was cached.
        curve: Training by step, as it was logged: columns step, loss (nats) and accuracy (share of the targets of the
            training batches since the previous row that were ranked first, each before its step).
        note: What was not done as requested; empty if nothing.
        environment: Versions of libraries, device, and type of the weights.
        model_hash: `LanguageModel.hash` of the model before finetuning; empty if unknown, in files of before.
        task_hash: `Task.lineage`: hash of the task's content, that of the whole task before it if it is a subset; empty
            if unknown.
        arguments: Further arguments of Trainer by name, as JSON texts.
        trial_steps: Optimizer steps of the trainings that `rates` are of; 0 if these were as long as the run itself,
            as in files of before and in the shortest runs.
        peft_config: The configuration of peft's that was passed as method, as JSON texts by field, with its name; empty
            for other methods.
        parts: Which part of its blocks trained, `"attention"` or `"mlp"`; empty for all of them.
        weights: Trained tensors by their name in the model, on the CPU; empty unless kept. Adapters are merged into
            them, but for those beside quantised weights, which are kept as they are.
        adapter: Its adapters as they were trained, for `save_adapter`; None where none were kept with the weights.
        origin: The model and the task themselves, while they are in memory; None for a run that was read from a file.
    """

    key: str
    model_name: str
    task: str
    score: str
    scope: Scope
    method: str
    seed: int
    lr: float
    rates: dict[float, float]
    epochs: float
    steps: int
    batch_size: int
    accuracy: float
    loss: float
    validation: float
    validation_loss: float
    validation_rows: tuple[float, ...] = field(repr=False)
    f1: float | None
    auroc: float | None
    rows: tuple[float, ...] = field(repr=False)
    trainable: int
    seconds: float
    prefix_seconds: float
    search_seconds: float
    tokens_per_second: float
    peak_bytes: int
    cached: bool
    curve: pd.DataFrame = field(repr=False)
    note: str
    environment: dict[str, str] = field(repr=False)
    model_hash: str = field(repr=False, default="")
    task_hash: str = field(repr=False, default="")
    arguments: Mapping[str, str] = field(repr=False, default_factory=dict)
    trial_steps: int = field(repr=False, default=0)
    peft_config: Mapping[str, str] = field(repr=False, default_factory=dict)
    parts: tuple[str, ...] = field(repr=False, default=())
    weights: Mapping[str, Tensor] = field(repr=False, default_factory=dict)
    adapter: KeptAdapter | None = field(repr=False, default=None)
    origin: tuple[LanguageModel, Task] | None = field(repr=False, default=None)

    @property
    def source(self) -> Source:
        """Which model and task it was made from."""
        return Source(self.model_name, self.model_hash, self.task, self.task_hash)

    def named(self, model: LanguageModel, task: Task) -> Run:
        """The same run under the names that its model and task have today."""
        return dataclasses.replace(self, model_name=model.name, task=task.name)

    @property
    def modules(self) -> str:
        """Which part of its blocks trained, as in `finetune`: `"all"`, `"attention"` or `"mlp"`."""
        return self.parts[0] if self.parts else "all"

    @property
    def diverged(self) -> bool:
        """Whether training stopped because the loss was not finite or far above guessing."""
        return not math.isfinite(self.validation_loss)

    @property
    def value(self) -> float:
        """The score on test rows, accuracy or loss."""
        return score_named(self.score).of(self)

    def frame(self) -> pd.DataFrame:
        """The training curve: columns step, loss and accuracy."""
        return self.curve.copy()

    def figure(self) -> Figure:
        """Draw the training loss step by step."""
        from semviz.figures import learning_curves

        return learning_curves([self])

    def trace(self, model: LanguageModel | None = None, task: Task | None = None, **options: Any) -> Trace:
        """Trace the finetuned model on the rows that `semviz.trace(model, task)` reads, with the same calibration.

        Bases, temperature and means are those of the model before finetuning, so the two traces can be subtracted:
        `run.trace() - semviz.trace(model, task)` shows where the deviation fell.

        Args:
            model: The model before finetuning; needed for a run that was read from a file.
            task: The task; needed there too.
            options: As for `semviz.trace`.

        Raises:
            SemvizError: If the run kept no weights, model and task are missing, or as in `semviz.trace`.
        """
        from semviz.traces.calibration import default_calibration
        from semviz.traces.tracing import trace

        checks.known_options(options, checks.options_of(trace), of="Run.trace")
        if self.origin is not None:
            model, task = model or self.origin[0], task or self.origin[1]
        if model is None or task is None:
            raise SemvizError("The run was read from a file; pass the model and the task that it was made with.")
        finetuned = load_run(model, self)
        if "calibration" not in options:
            options["calibration"] = default_calibration(model, readout=options.get("readout"))
        return trace(finetuned, task, **options)

    def _repr_html_(self) -> str:
        from semviz.common.html_repr import line_and_table

        names = ("lr", "accuracy", "loss", "f1", "auroc", "seconds", "search_seconds", "peak_bytes", "note")
        return line_and_table(repr(self), pd.DataFrame([{name: getattr(self, name) for name in names}]))

    def record(self) -> dict[str, Any]:
        """Return everything but weights, adapter and origin, as plain JSON."""
        left_out = ("weights", "adapter", "origin")
        record = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in left_out}
        record = {"model" if name == "model_name" else name: value for name, value in record.items()}
        record["scope"] = dataclasses.asdict(self.scope)
        record["rates"] = {repr(rate): value for rate, value in self.rates.items()}
        record |= {"arguments": dict(self.arguments), "peft_config": dict(self.peft_config), "parts": list(self.parts)}
        record["method"] = str(self.method)
        record["curve"] = {column: self.curve[column].tolist() for column in self.curve}
        return record

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Run:
        """Rebuild a run from its `record`."""
        values = dict(record)
        scope = record["scope"]
        values["scope"] = Scope(
            **{**scope, "blocks": tuple(scope["blocks"]), "parts": Parts.from_record(scope["parts"])}
        )
        values["model_name"] = values.pop("model")
        values["arguments"] = dict(values.get("arguments", {}))
        values["parts"] = tuple(values.get("parts", ()))
        if values.get("peft_config"):
            values["method"] = from_texts(values["peft_config"])
        values["rates"] = {float(rate): value for rate, value in values["rates"].items()}
        values["curve"] = pd.DataFrame(values["curve"])
        values |= {name: tuple(values[name]) for name in ("rows", "validation_rows")}
        return cls(**values)

    def __repr__(self) -> str:
        """One line: scope, method, score, parameters, rate, seconds."""
        value = f"{self.score} {score_named(self.score).with_unit(self.value)}"
        how = ", ".join((*self.parts, self.method))
        return (
            f"Run({self.task}: {self.scope.label}, {how}, {value}, {formats.si(self.trainable)} parameters, "
            f"lr {self.lr:g}, seed {self.seed}, {self.seconds:.1f} s)"
        )


def load_run(model: LanguageModel, run: Run) -> LanguageModel:
    """Return the finetuned model of a run: a copy of the model with the run's weights; frozen ones are shared.

    Adapters that were trained beside quantised weights are put there again.

    Raises:
        SemvizError: If the run kept no weights, they do not fit the model, or they were trained above another one.
            Models in half precision, or with quantised layers that compute so, are not compared: their hash differs
            between machines.
    """
    from semviz.finetuning.tuned_model import finetuned
    from semviz.lm.model import check_model

    check_model(model)
    return finetuned(checks.of_class("run", run, Run, "what finetune() returns"), model)
