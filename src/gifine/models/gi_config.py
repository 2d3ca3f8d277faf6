"""Gate with Inhibition in a model's config.json: the entries `gi_*`, and the form that its authors gave them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedConfig

from gifine.changes import SITES, Change, gi
from gifine.choices import GateInit, GateSide, GateThreshold
from gifine.config import GiConfig
from gifine.errors import ModelError

_ORIGINAL_KEYS = ("gi_key_side", "gi_query_side", "inhibition_level", "gi_layer_num")
_GATES = {f"{linear}_{site}" for linear in gi.LINEARS for site in SITES}
_MARK = " (in a gated model: import gifine.models)"


class LayerCountWarning(UserWarning):
    """The authors' words and their code disagree on how many layers `gi_layer_num` gates."""


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
    trained_over: dict[str, Any] | None = None  # the base that is not saved with the model: see bases.py

    def __post_init__(self, **kwargs: Any) -> None:
        self.hidden_act = unmark(self.hidden_act)
        super().__post_init__(**kwargs)
        self.check_gates()

    @property
    def change(self) -> Change:
        """What is done to attention: the module of `gifine.changes` that says how and where."""
        return gi

    @property
    def gated_layers(self) -> range:
        """0-based."""
        return self.change.find_layers(self)

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
        if self.gated_layers or self.trained_over:
            entries["hidden_act"] = self.hidden_act + _MARK
        if self.trained_over is None:
            entries.pop("trained_over", None)
        return entries


def unmark(hidden_act: str) -> str:
    """The activation's name in transformers of a `hidden_act` in a config.json, ours or plain."""
    return hidden_act.removesuffix(_MARK)


def without_gates(entries: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a config.json that a plain model has, but for its `model_type`."""
    return {key: value for key, value in entries.items() if key not in _ORIGINAL_KEYS and not key.startswith("gi_")}


def is_gate(name: str) -> bool:
    """Is this parameter one of a gate's?"""
    return name.rpartition(".")[0].rpartition(".")[2] in _GATES


def write(gate: GiConfig) -> dict[str, Any]:
    """A run's settings as entries of config.json."""
    return {
        "gi_side": gate.side.value,
        "gi_level": gate.level,
        "gi_layers": gate.layers,
        "gi_threshold": gate.threshold.value,
        "gi_mask_padding": gate.mask_padding,
        "gi_init": gate.init.value,
    }


def read(entries: Mapping[str, Any], checkpoint: str) -> dict[str, Any]:
    """A checkpoint's own settings, ours or the authors'; empty for a plain one."""
    if not any(key in entries for key in _ORIGINAL_KEYS):
        return {key: value for key, value in entries.items() if key.startswith("gi_")}
    key, query = entries.get("gi_key_side", False), entries.get("gi_query_side", False)
    side = {(True, True): "both", (True, False): "key", (False, True): "query"}.get((key, query), "none")
    layers = entries.get("gi_layer_num")
    if layers is not None and side != "none":
        warnings.warn(
            f"'{checkpoint}': gi_layer_num={layers} is taken as the last {layers} layers, as its authors describe it; "
            f"their published code gates one less: gi.layers={layers - 1} gives that",
            LayerCountWarning,
            stacklevel=3,
        )
    return {"gi_side": side, "gi_level": entries.get("inhibition_level", 0.0), "gi_layers": layers}
