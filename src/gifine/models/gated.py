"""A change to attention in any family: its linear layers, their first values, and where self-attention calls it.

The names say gates because the first change is one; `GatedConfig.change` says which change it is.

Shapes: B examples, T positions, D features of the hidden states, K features of a projection (all heads together).
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init

from gifine.changes import Site
from gifine.models.gi_config import GatedConfig

# Of what changes draw, if it is not torch's: transformers calls `_init_weights`, and hands nothing on.
_SEED: ContextVar[int | None] = ContextVar("_SEED", default=None)


class GateLinear(nn.Linear):
    """A linear layer of a change. `stream` names the random numbers that it starts from."""

    def __init__(self, in_features: int, out_features: int, stream: str, *, starts_at_zero: bool) -> None:
        super().__init__(in_features, out_features)
        self.stream = stream
        self.starts_at_zero = starts_at_zero


class GatedAttention(nn.Module):
    """Mixed into a family's self-attention: the change's linear layers, as configured (GI: `inhibition_k`, …)."""

    all_head_size: int
    watched: dict[str, Any] | None = None  # by site, what the change told of the last forward; None: nobody asks

    def add_gates(self, config: GatedConfig, layer: int) -> None:
        change = config.change
        # Not the module itself, which cannot be copied as models are.
        self.apply_change, self.change_settings = change.apply, change.read_settings(config)
        self.layer, self.linears = layer, change.LINEARS
        self.gated_sides = change.find_sites(config) if layer in config.gated_layers else ()
        for site in self.gated_sides:
            for name, (taken, given) in change.find_shapes(config.hidden_size, self.all_head_size).items():
                zero = change.starts_at_zero(config, name)
                linear = GateLinear(taken, given, f"{layer}.{name}_{site}", starts_at_zero=zero)
                self.add_module(f"{name}_{site}", linear)

    def gated(self, site: Site, projected_BTK: Tensor, hidden_BTD: Tensor, real_BT: Tensor | None) -> Tensor:
        """`projected_BTK` changed (by GI, times its gate), or as it is where this site of this layer is not."""
        if site not in self.gated_sides:
            return projected_BTK
        linears: dict[str, Any] = {name: self.get_submodule(f"{name}_{site}") for name in self.linears}
        watch = None if self.watched is None else partial(self.watched.__setitem__, site)
        return self.apply_change(self.change_settings, linears, projected_BTK, hidden_BTD, real_BT, watch)


class GatedBackbone(PreTrainedModel):
    """Mixed into a family's backbone: replaces the self-attention modules and says how gates start."""

    attention_class: ClassVar[type[GatedAttention]]

    def post_init(self) -> None:
        # transformers calls this when the modules are built and before weights are drawn. The fork, and the gates' own
        # generators below, keep the base weights and the state of the random numbers what they are without gates.
        config = self.config
        assert isinstance(config, GatedConfig)
        config.check_gates()
        if config.gated_layers:
            with torch.random.fork_rng(devices=[]):  # parameters are built on the CPU or on `meta`
                for index in range(config.num_hidden_layers):
                    self.set_submodule(f"encoder.layer.{index}.attention.self", self.attention_class(config, index))
        super().post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if not isinstance(module, GateLinear):
            super()._init_weights(module)
            return
        init.zeros_(module.bias)
        if module.starts_at_zero:
            init.zeros_(module.weight)
            return
        # Drawn on the CPU, so that a seed means the same numbers on every device.
        values = torch.empty(module.weight.shape, device="cpu")
        values.normal_(0.0, self.config.initializer_range, generator=generator(module.stream))
        init.copy_(module.weight, values)


@contextmanager
def drawn_from(seed: int) -> Generator[None]:
    """In a `with` block the linear layers of changes start from this seed, not from torch's."""
    token = _SEED.set(seed)
    try:
        yield
    finally:
        _SEED.reset(token)


def generator(stream: str) -> torch.Generator:
    """Random numbers that depend on the seed and on `stream`, not on how many were drawn before."""
    own = _SEED.get()
    digest = hashlib.sha256(f"{torch.initial_seed() if own is None else own} {stream}".encode()).digest()
    return torch.Generator(device="cpu").manual_seed(int.from_bytes(digest[:8]))
