"""Texts that a model writes before and after a finetune, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.common.progress import progress_bar
from semviz.finetuning.run_like import RunLike, model_and_task_of, model_of, require_weights
from semviz.finetuning.tuned_model import finetuned
from semviz.lm.eval_mode import evaluating
from semviz.lm.position_state import fresh_positions
from semviz.lm.random_numbers import own_random_numbers
from semviz.lm.surroundings import default_surroundings
from semviz.lm.threads import fitting_threads
from semviz.tasks.special_tokens import leading_tokens, read, with_leading

if TYPE_CHECKING:
    from semviz.lm.model import LanguageModel
    from semviz.tasks.task import Task

_PROMPT_TOKENS = 8
_BAR_DELAY = 1.0  # seconds


@default_surroundings()
def samples(
    run: RunLike,
    n: int,
    model: LanguageModel | None,
    task: Task | None,
    *,
    prompts: Sequence[str] | None,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    progress: bool,
) -> pd.DataFrame:
    """Do what `Run.samples` says."""
    n = checks.whole_number("n", n, minimum=1)
    new = checks.whole_number("max_new_tokens", max_new_tokens, minimum=1)
    heat = checks.number("temperature", temperature, "0 for the likeliest tokens, or a positive number", fits=_is_heat)
    seed = checks.whole_number("seed", seed, maximum=checks.MAX_SEED)
    checks.flag("progress", progress)
    require_weights(run)
    if prompts is None:
        model, task = model_and_task_of(run, model, task)
        if task.labels:
            raise SemvizError(
                "The task asks for labels and not for texts; run.predictions() has them. Pass prompts= to see what the "
                "model writes all the same."
            )
        texts = _beginnings(model, task, n)
    else:
        model, texts = model_of(run, model), checks.texts("prompts", prompts)
    tuned = finetuned(run, model)
    written: dict[str, list[str]] = {"before": [], "after": []}
    bar = progress_bar(2 * len(texts), "Writing", unit="texts", show=progress, delay=_BAR_DELAY)
    with fitting_threads(model), bar:
        for column, writer in (("before", model), ("after", tuned)):
            for text in texts:
                written[column].append(_write(writer, text, new=new, temperature=heat, seed=seed))
                bar.update(1)
    return pd.DataFrame({"prompt": texts, **written})


def _is_heat(value: float) -> bool:
    return 0 <= value < float("inf")


def _beginnings(model: LanguageModel, task: Task, n: int) -> list[str]:
    """How test texts begin: at most eight tokens of each, and half of a short one."""
    found: list[str] = []
    for text in dict.fromkeys(task.split("test").texts):
        (ids,) = read(model.tokenizer, [text])["input_ids"]
        if len(ids) > 1:
            found.append(model.tokenizer.decode(ids[: min(_PROMPT_TOKENS, len(ids) // 2)]))
        if len(found) == n:
            break
    return found


@torch.no_grad()
def _write(model: LanguageModel, prompt: str, *, new: int, temperature: float, seed: int) -> str:
    """Let a model go on with a text.

    Raises:
        SemvizError: If it cannot write, or the text leaves no room in its context.
    """
    from transformers import GenerationConfig

    tokenizer, network = model.tokenizer, model.model
    (own,) = read(tokenizer, [prompt])["input_ids"]
    ids = with_leading(leading_tokens(tokenizer), own)
    room = model.context - len(ids)
    if not ids or room < 1:
        raise SemvizError(
            f"The prompt {checks.short_repr(prompt)} has {len(ids)} tokens; pass one of 1 to {model.context - 1}."
        )
    own_config: Any = getattr(network, "generation_config", None)
    stop = getattr(own_config, "eos_token_id", None)
    stop = tokenizer.eos_token_id if stop is None else stop
    how = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    # One text has no padding, but generate() warns where it has no token for it.
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else np.ravel(stop).tolist()[0]
    config = GenerationConfig(max_new_tokens=min(new, room), eos_token_id=stop, pad_token_id=pad, **how)
    batch = torch.tensor([ids], device=model.device)
    with evaluating(network), fresh_positions(network), own_random_numbers(seed):
        try:
            written = network.generate(input_ids=batch, attention_mask=torch.ones_like(batch), generation_config=config)
        except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
            raise SemvizError(
                f"The model {model.name} cannot write ({checks.first_line(error)}); run.predictions() needs no writing."
            ) from error
    text: str = tokenizer.decode(written[0, len(ids) :].tolist(), skip_special_tokens=True)
    return text
