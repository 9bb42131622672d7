"""Quantised layers that need no library: each stands for one way in which libraries keep quantised weights."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor, nn


class Params4bit(nn.Parameter):
    """Like bitsandbytes' class of that name: two numbers a byte, and a state that they are read with."""

    def __new__(cls, data: Tensor, state: SimpleNamespace | None = None) -> Params4bit:
        made = torch.Tensor._make_subclass(cls, data, False)
        made.quant_state = state
        made.module = None
        return made

    def __deepcopy__(self, memo: dict) -> Params4bit:
        raise AssertionError("a copy shares quantised weights")


class FourBit(nn.Linear):
    """Packed into a parameter of another shape, with scales in a state of the parameter's and the layer's."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__(base.in_features, base.out_features, bias=False, device="meta")
        scale = base.weight.detach().abs().amax(1, keepdim=True) / 7
        codes = (base.weight.detach() / scale).round().clamp(-8, 7).to(torch.int16).flatten() + 8
        packed = (codes[::2] << 4 | codes[1::2]).to(torch.uint8)[:, None]
        state = SimpleNamespace(absmax=scale, shape=base.weight.shape, nested=SimpleNamespace(offset=torch.zeros(1)))
        self.weight, self.quant_state = Params4bit(packed, state), state

    def forward(self, states: Tensor) -> Tensor:
        state = self.weight.quant_state
        codes = torch.stack([self.weight.data >> 4, self.weight.data & 15], -1).flatten().float() - 8
        return nn.functional.linear(states, codes.view(state.shape) * state.absmax)


class EightBit(nn.Linear):
    """Integers in place of the weight, and a buffer of scales."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__(base.in_features, base.out_features, bias=False, device="meta")
        scale = base.weight.detach().abs().amax(1, keepdim=True) / 127
        self.weight = nn.Parameter((base.weight.detach() / scale).round().to(torch.int8), requires_grad=False)
        self.register_buffer("scale", scale)

    def forward(self, states: Tensor) -> Tensor:
        return nn.functional.linear(states, self.weight.float() * self.scale)


class Buffers(nn.Module):
    """Like GPTQ's and AWQ's: no parameter at all, weights packed into buffers, and no linear layer by its class."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = base.in_features, base.out_features, None
        scale = base.weight.detach().abs().amax(1) / 7
        codes = (base.weight.detach() / scale[:, None]).round().clamp(-8, 7).to(torch.int32) + 8
        self.register_buffer("qweight", (codes[:, ::2] << 4 | codes[:, 1::2]))
        self.register_buffer("scales", scale)

    def forward(self, states: Tensor) -> Tensor:
        codes = torch.stack([self.qweight >> 4, self.qweight & 15], -1).flatten(1).float() - 8
        return nn.functional.linear(states, codes * self.scales[:, None])


class Plain(nn.Module):
    """Like HQQ's: integers in a parameter of another name, and scales in a dictionary."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = base.in_features, base.out_features, None
        scale = base.weight.detach().abs().amax(1, keepdim=True) / 127
        self.W_q = nn.Parameter((base.weight.detach() / scale).round().to(torch.int8), requires_grad=False)
        self.meta = {"scale": scale, "bits": 8}

    def forward(self, states: Tensor) -> Tensor:
        return nn.functional.linear(states, self.W_q.float() * self.meta["scale"])


KINDS = (FourBit, EightBit, Buffers, Plain)


def quantise(model: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """Put quantised layers in place of the linear ones in a model's blocks."""
    for block in model.model.layers:
        for name, module in list(block.named_modules()):
            if isinstance(module, nn.Linear):
                parent, _, leaf = name.rpartition(".")
                setattr(block.get_submodule(parent), leaf, kind(module))
    return model
