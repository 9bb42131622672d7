"""Which kinds of peft's configurations a scope can train by, and why the others cannot.

The tests go over every kind that the installed peft has: each is in one of the two tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KINDS: dict[str, str] = {
    "ADAMSS": "AdaMSS",
    "BEFT": "BEFT",
    "BOFT": "BOFT",
    "C3A": "C3A",
    "DEFT": "DEFT",
    "DELORA": "DeLoRA",
    "FOURIERFT": "FourierFT",
    "FROD": "FRoD",
    "GLORA": "GLoRA",
    "GRALORA": "GraLoRA",
    "HIRA": "HiRA",
    "HRA": "HRA",
    "IA3": "IA3",
    "LN_TUNING": "LN tuning",
    "LOHA": "LoHa",
    "LOKR": "LoKr",
    "LORA": "LoRA",
    "MISS": "MiSS",
    "OFT": "OFT",
    "OSF": "OSF",
    "PEANUT": "PEANuT",
    "PSOFT": "PSOFT",
    "PVERA": "PVeRA",
    "RANDLORA": "RandLoRA",
    "ROAD": "RoAd",
    "SHIRA": "SHiRA",
    "SUPERTUNING": "Supertuning",
    "TINYLORA": "TinyLoRA",
    "UNILORA": "UniLoRA",
    "VBLORA": "VB-LoRA",
    "VERA": "VeRA",
    "WAVEFT": "WaveFT",
}
"""Kinds that are put into the layers of blocks and merged into their weights, with their names."""

_PROMPT = "learns tokens or states before the text, which are in no block and cannot be merged"
REFUSED: dict[str, str] = {
    "ADALORA": "moves ranks between layers by a call after each step and adds a term to the loss, neither of which "
    "Trainer makes",
    "ADAPTION_PROMPT": _PROMPT,
    "CARTRIDGE": _PROMPT,
    "CPT": _PROMPT,
    "LILY": "shares adapters between layers, and peft cannot merge it",
    "MULTITASK_PROMPT_TUNING": _PROMPT,
    "POLY": "routes each row by its task, so it cannot be merged",
    "PREFIX_TUNING": _PROMPT,
    "PROMPT_TUNING": _PROMPT,
    "P_TUNING": _PROMPT,
    "SHADOW": "runs a second model beside the blocks, which cannot be merged into them",
    "TRAINABLE_TOKENS": "trains rows of the embeddings, which are below every block",
    "XLORA": "mixes trained adapters anew for each token, so it cannot be merged",
}
"""Kinds that cannot train a scope, with what they do instead."""

_RATES = {"IA3": 10.0, "LN_TUNING": 10.0}
_RATE = 3.0

_DATA = 'starts from statistics of texts, which peft gathers beforehand; pass init_lora_weights=True or "pissa"'
_SETTINGS: dict[str, str] = {
    "modules_to_save": "trains whole modules beside the adapters; leave it out, and train blocks, norm or head by a "
    'scope with method="full"',
    "trainable_token_indices": "trains rows of the embeddings, which are below every block; leave it out",
    "target_parameters": "puts adapters on parameters that are no layers, which semviz does not merge; leave it out, "
    'and pass modules="attention" or target_modules',
    "layer_replication": "changes the depth of the model; leave it out",
    "eva_config": _DATA,
    "corda_config": _DATA,
    "lora_ga_config": _DATA,
    "loftq_config": "quantises the base anew; load a model that is quantised, and leave it out",
    "alora_invocation_tokens": "switches the adapters on within a text, so they cannot be merged; leave it out",
    "arrow_config": "mixes trained adapters for each token, so they cannot be merged; leave it out",
    "monteclora_config": "adds a term to the loss, which semviz does not; leave it out",
    "megatron_config": "is for Megatron's own layers; leave it out",
    "use_asa": "switches subspaces by a call after each step, which Trainer does not make; pass use_asa=False",
    "use_qalora": "is for weights quantised by GPTQ, into which it would be merged; pass use_qalora=False",
}
_FIRST_WEIGHTS = {"eva": _DATA, "corda": _DATA, "lora_ga": _DATA, "loftq": _SETTINGS["loftq_config"]}


def title_of(kind: str) -> str:
    """What people call a kind; its key where it is unknown."""
    return KINDS.get(kind, kind)


def rate_factor_of(kind: str) -> float:
    """Factor of the first learning rate to try, against training all weights: that of LoRA, but for plain factors."""
    return _RATES.get(kind, _RATE)


def refusal_of(kind: str, values: Mapping[str, Any]) -> str:
    """Why a configuration cannot train a scope, as the end of a sentence; empty if it can.

    Args:
        kind: Its peft_type.
        values: Its settings.
    """
    if kind in REFUSED:
        return f"{REFUSED[kind]}; pass another configuration, such as LoraConfig()"
    if kind not in KINDS:
        return "is of a kind that semviz has not been tried with; pass another configuration, such as LoraConfig()"
    for name, why in _SETTINGS.items():
        if values.get(name):
            return f"has {name}, which {why}"
    first = values.get("init_lora_weights")
    if isinstance(first, str):
        for name, why in _FIRST_WEIGHTS.items():
            if first.lower().startswith(name):
                return f"has init_lora_weights={first!r}, which {why}"
    return ""


def changes_weights(values: Mapping[str, Any]) -> bool:
    """Whether peft may change the weights beside which it puts adapters, such as PiSSA, which takes its share out."""
    first = values.get("init_lora_weights")
    odd_start = isinstance(first, str) and first.lower() not in ("gaussian", "orthogonal")
    return odd_start or any(isinstance(value, Mapping) and name.endswith("_config") for name, value in values.items())
