"""What a model is, whatever it is called: a hash of all that decides its numbers, kept while nothing has changed.

Five things decide them: the weights, the config, the adapters that are active, the tokenizer, and what hooks and
patches do on the way. The last cannot be read off anywhere, so the model is asked: it runs on a few tokens, and a
digest of its logits is part of the hash.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from semviz.lm.behaviour import behaviour_of, tokenizer_behaviour_of
from semviz.lm.position_state import fresh_positions
from semviz.lm.raw_storage import stored_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from semviz.lm.anatomy import Anatomy

# What a config says of its files: where they lie, which class and dtype were saved, how they are read. The weights say
# their dtype better. All else in a config counts, used or not: a hash that differs for nothing only trains anew.
_OF_FILES = re.compile(
    r"_?name_or_path|transformers_version|_commit_hash|architectures|auto_map|(torch_)?dtype|_?attn_implementation\w*"
)
# Settings of modules that only act in training, which logits in evaluation mode do not show.
_OF_TRAINING = re.compile(r"drop|jitter|noise")
# Flags of a Python tokenizer that its backend may not know of.
_FLAGS = (
    "add_bos_token", "add_eos_token", "add_prefix_space", "split_special_tokens", "clean_up_tokenization_spaces",
    "legacy",
)  # fmt: skip
_ROW = 1024  # whole numbers in a row of a checksum
# Buffers that grow with the longest text read so far: they are a model's memory, not what it is.
_GROWING = "cache"


@dataclass(eq=False)
class Identity:
    """The hashes of a model, computed when asked for and again when something has changed that could change them.

    Attributes:
        network: The model, or peft's wrapper of it.
        tokenizer: Its tokenizer.
        anatomy: Its proven parts.
    """

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    anatomy: Anatomy
    _tensors: dict[str, tuple[Hashable, bytes]] = field(default_factory=dict, repr=False)
    _known: dict[str, tuple[Hashable, str]] = field(default_factory=dict, repr=False)

    @property
    def hash(self) -> str:
        """Twelve hex digits of the weights, config, adapters, tokenizer and behaviour."""
        weights, tokenizer = self._weights(), _tokenizer_stamp(self.tokenizer)
        known = self._known.get("tokenizer")
        if known is None or known[0] != tokenizer:
            known = tokenizer, _hex(tokenizer, *(_json(part) for part in _tokenizer(self.tokenizer)))
            self._known["tokenizer"] = known
        # What hooks and patches do may follow anything, such as a setting elsewhere, so the model is asked each time.
        return _hex(weights, self._numbers(), known[1])

    @property
    def weights_hash(self) -> str:
        """Hex digits of the weights and persistent buffers alone."""
        return self._weights().hex()

    @property
    def stamp(self) -> tuple[bytes, bytes, int]:
        """What changes with the model, but for what a hook reads from elsewhere, without running it."""
        return self._weights(), _tokenizer_stamp(self.tokenizer), _structure_stamp(self.network)

    @property
    def vocabulary_hash(self) -> str:
        """Twelve hex digits of which token each id stands for."""
        tokenizer = self.tokenizer
        stamp, known = _tokenizer_stamp(tokenizer), self._known.get("vocabulary")
        if known is None or known[0] != stamp:
            known = stamp, _hex(_json(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))))
            self._known["vocabulary"] = known
        return known[1]

    def _weights(self) -> bytes:
        """Digest of all weights and persistent buffers, of which only those that changed are read a second time."""
        offloaded = any(p.is_meta for p in self.network.parameters())
        if offloaded and "offloaded" in self._known:  # reading them again takes long, and nobody can edit them
            return bytes.fromhex(self._known["offloaded"][1])
        digest = hashlib.blake2b()
        for name, value in sorted(stored_tensors(self.network).items()):
            stamp = _tensor_stamp(value)
            known = self._tensors.get(name)
            # Tied weights have two names and one place in memory.
            if known is None or known[0] != stamp:
                known = next((entry for entry in self._tensors.values() if entry[0] == stamp), None)
                known = known or (stamp, _bytes_of(value))
                self._tensors[name] = known
            digest.update(_json([name, list(value.shape), str(value.dtype)]) + known[1])
        if offloaded:
            self._tensors.clear()
            self._known["offloaded"] = None, digest.hexdigest()
        return digest.digest()

    def _numbers(self) -> bytes:
        """All but weights and tokenizer: config, anatomy, adapters, what acts in training only, and behaviour."""
        anatomy, network = self.anatomy, self.network
        # Rotary angles may follow what was read before, which is no part of what the model is.
        with fresh_positions(network):
            content = [
                _content(network.config.to_dict()),
                [anatomy.block_names, anatomy.tied],
                list(_adapters(network)),
                list(_training_settings(network)),
                [[name, *_rounded(buffer)] for name, buffer in _other_buffers(network)],
                behaviour_of(network, anatomy),
            ]
        return _json(content)


def _structure_stamp(network: nn.Module) -> int:
    """Return a number that changes with hooks, patched functions, adapters, settings or config; it costs little.

    Steering vectors inside a hook do not change it.
    """
    parts: list[Hashable] = []
    modules = list(network.modules())
    for module in modules:
        own = module.__dict__
        hooks = (*own["_forward_pre_hooks"].items(), *own["_forward_hooks"].items())
        settings = [
            (name, value if isinstance(value, int | float | str) else id(value))
            for name, value in own.items()
            if name != "training" and (callable(value) or isinstance(value, int | float | str))
        ]
        parts.append((id(module), *((key, id(hook)) for key, hook in hooks), *settings))
    for cls in dict.fromkeys(type(module) for module in modules):
        parts.append((id(cls.forward), id(cls.__call__)))
    # Functions that a patch may have put into the place of others, such as a faster rotary embedding.
    homes = {type(module).__module__ for module in modules} | {"torch.nn.functional"}
    for home in sorted(homes & sys.modules.keys()):
        parts.append(tuple(id(value) for value in vars(sys.modules[home]).values() if callable(value)))
    parts.append(tuple(map(id, _global_hooks())))
    parts += [_tensor_stamp(buffer) for _, buffer in _other_buffers(network)]
    parts.append(_json(_content(network.config.to_dict())))  # type: ignore[operator, union-attr]
    parts.append(_json(list(_adapters(network))))
    return hash(tuple(parts))


def _tokenizer_stamp(tokenizer: PreTrainedTokenizerBase) -> bytes:
    """Return bytes that change with what the tokenizer does to a text, as far as its parts and some texts show it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    names = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
    states = [str(_state_of(getattr(backend, name, None))) for name in names]
    added = [repr(token) for token in sorted(getattr(tokenizer, "added_tokens_decoder", {}).items())]
    special = [tokenizer.all_special_ids, *(getattr(tokenizer, f"{n}_token_id", None) for n in ("bos", "eos", "unk"))]
    flags = [str(getattr(tokenizer, name, None)) for name in _FLAGS]
    limits = [len(tokenizer), min(tokenizer.model_max_length, 1e9)]  # those without a limit have 1e30 here
    content = [states, added, special, flags, limits, tokenizer_behaviour_of(tokenizer)]
    return hashlib.blake2b(_json(content)).digest()


def _hex(*parts: bytes | str) -> str:
    digest = hashlib.blake2b(digest_size=6)
    for part in parts:
        digest.update((part.encode() if isinstance(part, str) else part) + b"\0")
    return digest.hexdigest()


def _tensor_stamp(value: Tensor) -> Hashable:
    version = None if value.is_inference() else value._version
    return value.data_ptr(), version, value.shape, value.dtype, _checksum(value)


def _checksum(value: Tensor) -> bytes:
    """Digest of sums over a tensor's bytes, nearly at the speed of memory: `value.data` is edited behind torch's back.

    The bytes are laid out as a table of whole numbers, and summed by row and by column: so rows that change places show
    too.
    """
    if value.is_meta:
        return b""
    data = value.detach().contiguous().flatten().view(torch.uint8)
    row = 8 * _ROW
    whole = len(data) // row * row if data.data_ptr() % 8 == 0 else 0
    table = data[:whole].view(torch.int64).view(-1, _ROW)
    # What is left over is less than a row, or not aligned.
    parts = [table.sum(0), table.sum(1), data[whole:]]
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part.cpu().numpy().tobytes())
    return digest.digest()


def _bytes_of(value: Tensor) -> bytes:
    data: Any = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return hashlib.blake2b(data, digest_size=16).digest()


def _other_buffers(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield buffers that no file holds, such as rotary frequencies."""
    for prefix, module in network.named_modules():
        for name in sorted(module._non_persistent_buffers_set):
            buffer = module._buffers.get(name)
            if buffer is not None and not buffer.is_meta and _GROWING not in name:
                yield f"{prefix}.{name}", buffer


def _rounded(buffer: Tensor) -> list[Any]:
    """A buffer's values to four digits: devices round what they compute differently."""
    values = buffer.detach().flatten().cpu()
    rounded = [f"{x:.4g}" for x in values.tolist()] if values.is_floating_point() else _bytes_of(values).hex()
    return [str(buffer.dtype), list(buffer.shape), rounded]


def _training_settings(network: nn.Module) -> Iterator[list[Any]]:
    """Yield shares of dropout and the like, as the modules have them."""
    for name, module in network.named_modules():
        dropout = isinstance(module, nn.modules.dropout._DropoutNd)
        for key, value in module.__dict__.items():
            if isinstance(value, int | float) and (_OF_TRAINING.search(key) or (dropout and key == "p")):
                yield [name, key, float(value)]


def _adapters(network: nn.Module) -> Iterator[list[Any]]:
    """Yield which adapters each layer of peft uses, and how: active, merged, switched off, how strong."""
    classes = tuple(
        getattr(sys.modules[module], name)
        for module, name in (
            ("peft.tuners.tuners_utils", "BaseTunerLayer"), ("peft.utils.other", "AuxiliaryTrainingWrapper"),
        )
        if hasattr(sys.modules.get(module), name)
    )  # fmt: skip
    for name, module in network.named_modules():
        if classes and isinstance(module, classes):
            scaling = getattr(module, "scaling", None)
            yield [
                name,
                list(module.active_adapters),
                bool(module.disable_adapters),
                sorted(getattr(module, "merged_adapters", ())),
                {str(key): float(value) for key, value in scaling.items()} if isinstance(scaling, Mapping) else None,
            ]


def _global_hooks() -> list[Any]:
    hooks = nn.modules.module
    return [*hooks._global_forward_pre_hooks.values(), *hooks._global_forward_hooks.values()]


def _tokenizer(tokenizer: PreTrainedTokenizerBase) -> Iterator[Any]:
    """Yield everything that a tokenizer was made of."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        # Truncation and padding are set anew by each call, and semviz asks for neither.
        yield {key: v for key, v in json.loads(backend.to_str()).items() if key not in ("truncation", "padding")}
    else:
        yield sorted(tokenizer.get_vocab().items())


def _state_of(part: Any) -> bytes:
    return b"" if part is None else part.__getstate__()


def _content(value: Any) -> Any:
    """Return what a config says, without what it says of files, in a form that is the same after JSON."""
    if isinstance(value, Mapping):
        return {str(k): _content(v) for k, v in value.items() if not _OF_FILES.fullmatch(str(k))}
    if isinstance(value, list | tuple):
        return [_content(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if value is None or isinstance(value, bool | int | float | str):
        return value
    # Not the object's own text, which may hold its place in memory.
    return str(value) if isinstance(value, torch.dtype) else f"{type(value).__module__}.{type(value).__qualname__}"


def _json(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, default=str).encode()
