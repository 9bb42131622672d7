"""What a model and its tokenizer do to a fixed small input, as digests: hooks and patches show there and nowhere else.

Bits of logits differ between machines. So a digest is of few numbers, each rounded: projections of the logits on
random signs, relative to the logits' size. Steering by 1 % moves each by about ten steps of the rounding. Another
kernel of attention in float32, which moves logits by 5e-7, moves them by a two-thousandth of a step, so that one model
in some 300 gets another digest from it. In half precision it moves logits by 1 %: such models are rounded ten times as
coarsely, and keep their digest on one kind of machine only. Another digest means that a run is trained again, never a
wrong one.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from semviz.common.checks import first_line
from semviz.common.errors import ModelError
from semviz.common.interrupts import interrupts_held
from semviz.lm.eval_mode import evaluating
from semviz.lm.quantization import is_rounded
from semviz.lm.random_numbers import own_random_numbers
from semviz.lm.surroundings import default_surroundings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from semviz.lm.anatomy import Anatomy

_SAMPLES, _TOKENS, _PROJECTIONS = 2, 24, 8
_STEP, _HALF_STEP = 1e-3, 1e-2
_TEXTS = (
    "The Quick brown FOX's 12,345 dogs - aren't THEY 'naïve'?",
    "  two  blanks\tand a tab\n\nÀ la café, Σίσυφος, 你好，世界。 🙂🏽 ",
    "def f(x): return x == 1.5e-3  # https://example.org",
    " a", "a", "7", " 7", "\n", "",
)  # fmt: skip
_WORDS = 32  # of the vocabulary, that a tokenizer of other letters is asked for too


@default_surroundings()
def behaviour_of(network: PreTrainedModel, anatomy: Anatomy) -> list[int]:
    """Run a model on a few tokens and return its rounded logits, projected; its mode and random state stay.

    Args:
        network: The model, or peft's wrapper of it.
        anatomy: Its proven parts.

    Raises:
        ModelError: If it does not run on token ids alone.
    """
    rows = min(anatomy.vocabulary, len(anatomy.model.get_input_embeddings().weight))
    ids = np.random.Generator(np.random.PCG64(17)).integers(rows, size=(_SAMPLES, min(_TOKENS, anatomy.most_positions)))
    device = anatomy.input_device
    # Seeded, so that a hook that adds noise gives the same noise each time.
    with interrupts_held(), evaluating(network), torch.no_grad(), own_random_numbers():
        try:
            logits = network(input_ids=torch.from_numpy(ids).to(device), use_cache=False, return_dict=True).logits
        except Exception as error:
            raise ModelError(
                f"{type(anatomy.model).__name__} no longer runs on a few tokens ({first_line(error)}); remove the hook "
                "or patch that fails, or load it again."
            ) from error
    half = {network.dtype, logits.dtype} & {torch.bfloat16, torch.float16} or is_rounded(network)
    return _projected(logits, _HALF_STEP if half else _STEP)


def _projected(logits: Tensor, step: float) -> list[int]:
    """Return the logarithm of the logits' size and their projections relative to it, in steps."""
    values = logits.detach().float().cpu().double().flatten(0, -2).numpy()
    finite = np.isfinite(values)
    values = np.where(finite, values, 0.0)
    size = float(np.sqrt((values**2).mean())) or 1.0
    random = np.random.Generator(np.random.PCG64(23))
    over_tokens = random.choice((-1.0, 1.0), size=(len(values), _PROJECTIONS))
    over_words = random.choice((-1.0, 1.0), size=(values.shape[1], _PROJECTIONS))
    # A product of two signs for each logit, which need not be drawn one by one.
    projections = ((values @ over_words) * over_tokens).sum(0) / (size * np.sqrt(values.size))
    numbers = [np.log(size), *projections]
    return [round(float(number) / step) for number in numbers] + [int((~finite).sum())]


def tokenizer_behaviour_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a digest of the ids of some texts, with and without special tokens, and of the texts that they become."""
    size = len(tokenizer)
    known = [str(t) for t in tokenizer.convert_ids_to_tokens(list(range(0, size, max(1, size // _WORDS))))]
    texts = [*_TEXTS, " ".join(known), " ".join(known).upper(), "".join(map(str, tokenizer.all_special_tokens))]
    answers: list[Any] = []
    for text in texts:
        try:
            ids = tokenizer([text], return_attention_mask=False, return_token_type_ids=False, verbose=False)
            plain = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            answers.append([ids["input_ids"], plain, tokenizer.decode(plain)])
        except Exception as error:  # not every tokenizer takes every text, and which it does not take is part of it
            answers.append(type(error).__name__)
    return hashlib.blake2b(repr(answers).encode(), digest_size=16).hexdigest()
