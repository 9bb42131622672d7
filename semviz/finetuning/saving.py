"""A finetuned model, or its adapters alone, in a folder as transformers and peft have them."""

from __future__ import annotations

import copy
import json
import os
import stat
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from semviz.common import checks
from semviz.common.errors import SemvizError
from semviz.common.folders import atomic_folder, check_place
from semviz.finetuning.kept_adapter import CONFIG_FILE, WEIGHTS_FILE
from semviz.finetuning.run_like import RunLike, model_of, require_weights
from semviz.finetuning.tuned_model import finetuned
from semviz.lm.callables import find_extras
from semviz.lm.copies import private_copy
from semviz.lm.copy_proof import default_probe, tolerance
from semviz.lm.quantization import first_quantised
from semviz.lm.random_numbers import own_random_numbers
from semviz.lm.surroundings import default_surroundings
from semviz.scopes.methods import METHODS
from semviz.version import __version__

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from semviz.lm.model import LanguageModel

RUN_FILE = "semviz_run.json"
_NAMED = 5  # files of others that a message names
_SPARE = 2**24  # bytes for config, tokenizer and what the file system adds


@default_surroundings()
def save_model(run: RunLike, folder: str | os.PathLike[str], model: LanguageModel | None, *, overwrite: bool) -> Path:
    """Do what `Run.save_model` says."""
    target = _check_target(folder, run.key, overwrite=overwrite)
    tuned = finetuned(run, model_of(run, model))
    network = tuned.anatomy.model
    quantised = first_quantised([network])
    if quantised:
        raise SemvizError(
            f"The model has quantised weights ({quantised}), and a merge of the adapters would round them anew; pass "
            "run.save_adapter(folder), which keeps both as they are, or train on the model in a floating-point dtype."
        )
    _refuse_extras(network)
    _forget_quantisation(network)
    _check_plain(network)
    with atomic_folder(target, needed=_bytes_of(network) + _SPARE) as made, _written(target, "model"):
        network.save_pretrained(made)
        tuned.tokenizer.save_pretrained(made)
        _sign(made, run)
    return target


@default_surroundings()
def save_adapter(
    run: RunLike, folder: str | os.PathLike[str], model: LanguageModel | None, *, base: str | None, overwrite: bool
) -> Path:
    """Do what `Run.save_adapter` says."""
    target = _check_target(folder, run.key, overwrite=overwrite)
    require_weights(run)
    adapter = run.adapter
    if adapter is None:
        raise _without_adapter(run)
    known = model or (run.origin and run.origin[0])
    if base is not None:
        adapter = adapter.on(checks.of_class("base", base, str, "the base model's folder or hub id"))
    needed = sum(tensor.nbytes for tensor in adapter.tensors.values())
    with atomic_folder(target, needed=needed + _SPARE) as made, _written(target, "adapter"):
        (made / CONFIG_FILE).write_text(adapter.config, encoding="utf-8")
        save_file(dict(adapter.tensors), made / WEIGHTS_FILE, metadata={"format": "pt"})
        if known is not None:
            _prove(made, run, model_of(run, model))
            known.tokenizer.save_pretrained(made)
        _sign(made, run)
    return target


def _without_adapter(run: RunLike) -> SemvizError:
    method = METHODS.get(run.method)
    if method is not None and method.own_weights:
        return SemvizError(
            f'method="{run.method}" trains the blocks\' own weights and no adapter; pass run.save_model(folder), or '
            'train with method="lora".'
        )
    return SemvizError(
        "The run has no adapter of its own: it was trained before adapters were kept, on a model that carries one "
        "already, or by a kind that peft saves from its own wrapper only. Pass run.save_model(folder), or train again."
    )


@torch.no_grad()
def _prove(folder: Path, run: RunLike, model: LanguageModel) -> None:
    """Load an adapter as peft does, and compare its logits with those of the finetuned model.

    Raises:
        SemvizError: If peft does not load what was trained.
    """
    from peft import PeftModel

    ids = default_probe(model).ids
    expected = finetuned(run, model).anatomy.model.eval()(input_ids=ids, use_cache=False).logits
    with own_random_numbers(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's own, of names in transformers that change
        # With weights of its own where adapters go: some kinds write into them when they are put there.
        copied = private_copy(model, run.scope.modules(model))
        loaded: Any = PeftModel.from_pretrained(copied, str(folder))
    found = loaded.eval()(input_ids=ids, use_cache=False).logits
    moved = float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-6))
    if not moved <= tolerance(model):
        raise SemvizError(
            f"peft loads this adapter otherwise than it was trained (logits differ by {moved:.1g} of their size), so "
            "it was not written; pass run.save_model(folder)."
        )


def _check_target(folder: str | os.PathLike[str], key: str, *, overwrite: bool) -> Path:
    """Refuse to replace what is not ours.

    Raises:
        SemvizError: If the folder holds something else than this run, saved before.
    """
    target = checks.as_path("folder", folder)
    checks.flag("overwrite", overwrite)
    check_place(target)
    signed = _signature(target)
    try:
        others = _others(target, {RUN_FILE, *signed["files"]} if signed else set())
    except OSError as error:
        raise SemvizError(
            f"{target} cannot be read ({error.strerror or error}), so semviz does not know what it would replace; "
            "pass another folder."
        ) from error
    if others:
        named = checks.short_repr(others)
        raise SemvizError(f"{target} holds files that semviz has not written ({named}); pass another folder.")
    if not signed:
        return target
    if signed.get("run") != key and not overwrite:
        raise SemvizError(
            f"{target} holds another run ({signed.get('scope', '')}, {signed.get('method', '')}); pass another folder, "
            "or overwrite=True to replace it."
        )
    return target


def _others(folder: Path, own: Collection[str]) -> list[str]:
    """Names of the first files in a folder that are not its own; it may be a whole disk."""
    files = (name for file in folder.rglob("*") if not file.is_dir() and (name := str(file.relative_to(folder))))
    return sorted(islice((name for name in files if name not in own), _NAMED))


def _signature(folder: Path) -> dict[str, Any]:
    """Return what semviz has written about a folder; empty for one that it has not written."""
    try:
        record = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("files"), list) else {}


def _sign(folder: Path, run: RunLike) -> None:
    """Write from which run a folder is, and which files are its own."""
    source = run.source
    record: dict[str, Any] = {
        "semviz": __version__,
        "run": run.key,
        "model": source.model,
        "model_hash": source.model_hash,
        "task": source.task,
        "scope": run.scope.label,
        "method": run.method,
        "lr": run.lr,
        "files": sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()),
    }
    signature = folder / RUN_FILE
    signature.write_text(json.dumps(record, indent=1), encoding="utf-8")
    mode = stat.S_IMODE(
        signature.stat().st_mode
    )  # as the process gives it to its files; safetensors makes private ones
    for name in record["files"]:
        (folder / name).chmod(mode)


def _check_plain(network: PreTrainedModel) -> None:
    """Refuse a model whose class would not find its weights again, since something is in it that cannot be merged.

    Raises:
        SemvizError: If weights have other names than in a model of its class, or layers share theirs.
    """
    try:
        with own_random_numbers(), torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain = type(network)(copy.deepcopy(network.config))
    except Exception:  # code of others', which may need more than a config: as it was without this check
        return
    state, known = network.state_dict(), plain.state_dict()
    odd = sorted(state.keys() - known.keys()) or sorted(known.keys() - state.keys())
    if odd:
        raise SemvizError(
            f"{type(network).__name__} does not load this model again: {odd[0]} and {len(odd) - 1} other weights are "
            "those of an adapter that cannot be merged, or of changed layers; train on the model without them."
        )
    tied = {name for pair in (getattr(network, "all_tied_weights_keys", None) or {}).items() for name in pair}
    seen: dict[tuple[int, torch.Size], str] = {}
    for name, tensor in state.items():
        other = seen.setdefault((tensor.data_ptr(), tensor.shape), name)
        if other != name and not {name, other} <= tied and tensor.numel():
            raise SemvizError(
                f"{name} and {other} are one weight in this model, as after peft's layer_replication, and its class "
                "has two; give each layer its own weights (such as by copy.deepcopy), and train again."
            )


def _bytes_of(network: PreTrainedModel) -> int:
    """Bytes of all tensors that are written, each once."""
    unique = {(t.data_ptr(), t.shape): t.nbytes for t in network.state_dict().values()}
    return sum(unique.values())


def _forget_quantisation(network: PreTrainedModel) -> None:
    """Forget how the files were quantised that a copy was dequantised from: it is saved as a plain model."""
    for name in ("hf_quantizer", "quantization_method", "is_quantized"):
        vars(network).pop(name, None)
    for config in (network.config, network.config.get_text_config()):
        vars(config).pop("quantization_config", None)


def _refuse_extras(network: PreTrainedModel) -> None:
    """Refuse a model whose numbers depend on what no file holds.

    Raises:
        SemvizError: If hooks or patched forwards are on it.
    """
    extras = [extra.name or type(network).__name__ for extra in find_extras(network) if extra.optional]
    if extras:
        raise SemvizError(
            f"A hook or patched forward on {extras[0]} changes the model's numbers, and no file holds it; take it off "
            "the model, and train again."
        )


@contextmanager
def _written(target: Path, what: str) -> Iterator[None]:
    """Say in one sentence why a library cannot write a model, or an adapter."""
    try:
        yield
    except (SemvizError, OSError):
        raise
    except SafetensorError as error:
        raise OSError(str(error)) from error
    except (ValueError, TypeError, RuntimeError, NotImplementedError, AttributeError) as error:
        why = checks.first_line(" ".join(str(error).split()))
        instead = "mend that on the model, and save again"
        if what == "adapter":
            instead = "pass run.save_model(folder), which merges it"
        elif "generation" in why.lower():
            instead = "mend that in model.model.generation_config, and save again"
        raise SemvizError(f"The {what} cannot be written to {target} ({why}); {instead}.") from error
