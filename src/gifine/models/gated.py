"""What the families share: the config's fields, the gates of an attention module, and their first values.

A file whose name starts with `_` is not a family.

Shapes: B examples, T positions, D features of the hidden states, K features of a projection (all heads together).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from gifine.changes import gi
from gifine.config import GateInit, GateSide, GateThreshold
from gifine.errors import ModelError

Side = Literal["k", "q"]
_MARK = " (in a gated model: import gifine.models)"
SIDES: dict[str, tuple[Side, ...]] = {"none": (), "key": ("k",), "query": ("q",), "both": ("k", "q")}


@dataclass(frozen=True)
class Family:
    """The classes of one architecture."""

    config: type[GatedConfig]
    backbone: type[PreTrainedModel]
    classifier: type[PreTrainedModel]
    plain_config: type[PreTrainedConfig]
    plain_classifier: type[PreTrainedModel]
    classifier_dropout: str = "classifier_dropout"  # its name in config.json
    undeclared: tuple[str, ...] = ()  # entries of config.json that the model reads and its config class does not name
    fast: Mapping[type[nn.Module], type[nn.Module]] = field(default_factory=dict)  # same parameters and results


class GatedConfig(PreTrainedConfig):
    """The `gi_*` entries of config.json; they mean what `gifine.config.GiConfig` says.

    In config.json `hidden_act` carries a mark, which goes when it is read: transformers' own models know no activation
    of that name and refuse. Without it `BertForSequenceClassification.from_pretrained` would load a GI checkpoint, drop
    the gates, and only log that it did.
    """

    hidden_act: str = "gelu"
    gi_side: str = "both"
    gi_level: float = 0.0
    gi_layers: int | None = None
    gi_threshold: str = "batch"
    gi_mask_padding: bool = False
    gi_init: str = "normal"

    def __post_init__(self, **kwargs: Any) -> None:
        self.hidden_act = unmarked(self.hidden_act)
        super().__post_init__(**kwargs)
        self.check_gates()

    @property
    def gated_layers(self) -> range:
        """0-based: the last `gi_layers`, or all."""
        depth = self.num_hidden_layers
        first = 0 if self.gi_layers is None else depth - self.gi_layers
        return range(first, depth) if self.gi_side != "none" else range(0)

    def check_gates(self) -> None:
        """ModelError if the `gi_*` entries are not valid, or the architecture cannot be gated."""
        problems = [
            f"{key}={value!r}: valid are {', '.join(choice.value for choice in choices)}"
            for key, choices in (("gi_side", GateSide), ("gi_threshold", GateThreshold), ("gi_init", GateInit))
            if (value := getattr(self, key)) not in {choice.value for choice in choices}
        ]
        if not (isinstance(self.gi_level, int | float) and 0 <= self.gi_level <= 1):
            problems.append(f"gi_level={self.gi_level!r}: a fraction of the maximum, from 0 to 1")
        if self.gi_layers not in (None, *range(1, self.num_hidden_layers + 1)):
            depth = f"{self.num_hidden_layers} (the depth)"
            problems.append(f"gi_layers={self.gi_layers!r}: from 1 to {depth}, or null for all")
        if not isinstance(self.gi_mask_padding, bool):
            problems.append(f"gi_mask_padding={self.gi_mask_padding!r}: true or false")
        if getattr(self, "is_decoder", False) or getattr(self, "add_cross_attention", False):
            problems.append("is_decoder and add_cross_attention must be false: the maximum would look at future tokens")
        if problems:
            raise ModelError("\n".join(problems))

    def to_dict(self) -> dict[str, Any]:
        entries = super().to_dict()
        if self.gated_layers:
            entries["hidden_act"] = self.hidden_act + _MARK
        return entries


def unmarked(hidden_act: str) -> str:
    """The activation's name in transformers of a `hidden_act` in a config.json, ours or plain."""
    return hidden_act.removesuffix(_MARK)


class GateLinear(nn.Linear):
    """One of a gate's two projections. `stream` names the random numbers that it starts from."""

    def __init__(self, in_features: int, out_features: int, stream: str) -> None:
        super().__init__(in_features, out_features)
        self.stream = stream


class GatedAttention(nn.Module):
    """Mixed into a family's self-attention: `inhibition_k`, `select_k`, `inhibition_q`, `select_q`, as configured."""

    all_head_size: int
    watched: dict[str, gi.Statistics] | None = None  # by side, of the last forward; None: nobody asks

    def add_gates(self, config: GatedConfig, layer: int) -> None:
        self.gate_level = config.gi_level
        self.gate_over: gi.Over = config.gi_threshold  # pyrefly: ignore[bad-assignment] - check_gates has checked it
        self.gate_mask_padding = config.gi_mask_padding
        self.layer = layer
        self.gated_sides = SIDES[config.gi_side] if layer in config.gated_layers else ()
        d = config.hidden_size
        for side in self.gated_sides:
            self.add_module(f"inhibition_{side}", GateLinear(d, d, f"{layer}.inhibition_{side}"))
            self.add_module(f"select_{side}", GateLinear(d, self.all_head_size, f"{layer}.select_{side}"))

    def gated(self, side: Side, projected_BTK: Tensor, hidden_BTD: Tensor, real_BT: Tensor | None) -> Tensor:
        """`projected_BTK` times its gate, or as it is where this side of this layer has none."""
        if side not in self.gated_sides:
            return projected_BTK
        inhibition, select = self.get_submodule(f"inhibition_{side}"), self.get_submodule(f"select_{side}")
        assert isinstance(inhibition, GateLinear)
        assert isinstance(select, GateLinear)
        return gi.gated(
            projected_BTK,
            hidden_BTD,
            inhibition.weight,
            inhibition.bias,
            select.weight,
            select.bias,
            level=self.gate_level,
            over=self.gate_over,
            real_BT=real_BT if self.gate_mask_padding else None,
            watch=None if self.watched is None else partial(self.watched.__setitem__, side),
        )


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
        if self.config.gi_init == "identity" and ".select_" in module.stream:
            init.zeros_(module.weight)
            return
        # Drawn on the CPU, so that a seed means the same numbers on every device.
        values = torch.empty(module.weight.shape, device="cpu")
        values.normal_(0.0, self.config.initializer_range, generator=generator(module.stream))
        init.copy_(module.weight, values)


def generator(stream: str) -> torch.Generator:
    """Random numbers that depend on torch's seed and on `stream`, not on how many were drawn before."""
    digest = hashlib.sha256(f"{torch.initial_seed()} {stream}".encode()).digest()
    return torch.Generator(device="cpu").manual_seed(int.from_bytes(digest[:8]))
