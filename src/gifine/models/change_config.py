"""A change in a model's config.json: the entries `gi_*`, the form that GI's authors gave them, `change` for others."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedConfig

from gifine import changes
from gifine.changes import gi
from gifine.changes.contract import Change, Settings, Sizes
from gifine.choices import GateInit, GateSide, GateThreshold
from gifine.config import GI, GiConfig
from gifine.errors import ModelError
from gifine.inputs import change_files

NONE = {"gi_side": "none"}  # entries of a model of our classes without a change
SUFFIXES = {"query": "q", "key": "k", "value": "v"}  # of names of parameters; other sites have their own name

_ORIGINAL_KEYS = ("gi_key_side", "gi_query_side", "inhibition_level", "gi_layer_num")
_GATES = {f"{linear}_{side}" for linear in ("inhibition", "select") for side in "kq"}
_PREFIX = "change_"
_MARK = " (in a gated model: import gifine.models)"


class LayerCountWarning(UserWarning):
    """The authors' words and their code disagree on how many layers `gi_layer_num` gates."""


class ChangedConfig(PreTrainedConfig):
    """The `gi_*` entries of config.json, which mean what `gifine.config.GiConfig` says, or `change`: name and keys.

    A change of one's own has its file's path beside them, as a Path and in memory only: what a config.json names, which
    may come from anywhere, is never executed.

    In config.json `hidden_act` (XLNet's `ff_activation`) carries a mark, which goes when it is read: transformers' own
    models know no activation of that name and refuse. Without it `BertForSequenceClassification.from_pretrained` would
    load a GI checkpoint, drop the gates, and only log that it did.
    """

    gi_side: str = "both"
    gi_level: float = 0.0
    gi_layers: int | None = None
    gi_threshold: str = "batch"
    gi_mask_padding: bool = False
    gi_init: str = "normal"
    change: dict[str, Any] | None = None
    trained_over: dict[str, Any] | None = None  # the base that is not saved with the model: see bases.py

    if TYPE_CHECKING:
        hidden_act: str = "gelu"  # of each family's own config, under this name or another that `attribute_map` has

    def __post_init__(self, **kwargs: Any) -> None:
        self.hidden_act = unmark(self.hidden_act)
        super().__post_init__(**kwargs)
        self.check_change()

    def find_change(self) -> tuple[Change, Settings]:
        """What is done to attention, and its keys. ModelError: there is no such change, or its keys are not valid."""
        if self.change is None:
            settings = gi.Settings(
                self.gi_layers, self.gi_side, self.gi_level, self.gi_threshold, self.gi_mask_padding, self.gi_init
            )
            return changes.load(GI), settings
        name, file = self.change.get(change_files.NAME), self.change.get(change_files.FILE)
        if not isinstance(file, Path) and (file is not None or name not in changes.names()):
            raise ModelError(
                f"config.json: change={name}: no change of gifine's: give its file, from_pretrained(…, change_file=…); "
                "what a checkpoint names is not executed"
            )
        change = change_files.load(self.change)
        return change, change_files.settings(change, self.change)

    @property
    def changed_layers(self) -> range:
        """0-based; empty: the plain model."""
        change, settings = self.find_change()
        return change.find_layers(settings, self.num_hidden_layers)

    @property
    def changes_weights(self) -> bool:
        """Whether attention has to be written out, since the change is of its weights."""
        change, settings = self.find_change()
        return "weights" in change.find_sites(settings)

    def check_change(self) -> None:
        """ModelError if the change's entries are not valid, or the architecture cannot have it."""
        problems = list(self._gate_problems() if self.change is None else self._change_problems())
        if getattr(self, "is_decoder", False) or getattr(self, "add_cross_attention", False):
            problems.append(
                "is_decoder and add_cross_attention must be false: changes are for encoders, and GI's maximum would "
                "look at future tokens"
            )
        if problems:
            raise ModelError("\n".join(problems))

    def _gate_problems(self) -> list[str]:
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
        return problems

    def _change_problems(self) -> list[str]:
        change, settings = self.find_change()
        inner = getattr(self, "intermediate_size", None)
        sizes = Sizes(self.num_hidden_layers, self.hidden_size, self.num_attention_heads, inner)
        return list(change_files.problems(change, settings, sizes))

    def to_dict(self) -> dict[str, Any]:
        entries = super().to_dict()
        if self.change is None:
            del entries["change"]
        else:
            entries = {key: value for key, value in entries.items() if not key.startswith("gi_")}
            entries["change"] = {key: value for key, value in self.change.items() if key != change_files.FILE}
        if self.changed_layers or self.trained_over:
            entries[self.attribute_map.get("hidden_act", "hidden_act")] = self.hidden_act + _MARK
        if self.trained_over is None:
            entries.pop("trained_over", None)
        return entries


def unmark(hidden_act: str) -> str:
    """The activation's name in transformers of a `hidden_act` in a config.json, ours or plain."""
    return hidden_act.removesuffix(_MARK)


def without_change(entries: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a config.json that a plain model has, but for its `model_type`."""
    ours = ("change", *_ORIGINAL_KEYS)
    return {key: value for key, value in entries.items() if key not in ours and not key.startswith("gi_")}


def saved_name(name: str, site: str) -> tuple[str, str]:
    """Of a change's parameter at a site: the submodule beside what it changes, and the tensor's name there."""
    group, _, own = name.rpartition(".")
    part = f"{group or 'change'}_{SUFFIXES.get(site, site)}"
    return part if part in _GATES or not group else f"{_PREFIX}{part}", own


def is_change(name: str) -> bool:
    """Does this parameter, or buffer, belong to a change?"""
    return is_gate(name) or any(part.startswith(_PREFIX) for part in name.split("."))


def is_gate(name: str) -> bool:
    """Does this parameter bear one of the names of GI's?"""
    return any(part in _GATES for part in name.split("."))


def write(gate: GiConfig, change: Mapping[str, Any]) -> dict[str, Any]:
    """A run's settings as entries of config.json, with a file of one's own as a Path; empty for a plain model."""
    if change[change_files.NAME] != GI:
        file = change.get(change_files.FILE)
        return {"change": dict(change) | ({} if file is None else {change_files.FILE: Path(file)})}
    if gate.side is GateSide.none:
        return {}
    return {
        "gi_side": gate.side.value,
        "gi_level": gate.level,
        "gi_layers": gate.layers,
        "gi_threshold": gate.threshold.value,
        "gi_mask_padding": gate.mask_padding,
        "gi_init": gate.init.value,
    }


def name(entries: Mapping[str, Any]) -> str | None:
    """Which change a config.json, or what `write` gives, speaks of; None of a plain model's."""
    change = entries.get("change")
    if isinstance(change, dict):
        return change.get(change_files.NAME)
    has_gates = entries.get("gi_side", "none") != "none" or entries.get("gi_key_side") or entries.get("gi_query_side")
    return GI if has_gates else None


def read(entries: Mapping[str, Any], checkpoint: str, file: str | Path | None = None) -> dict[str, Any]:
    """A checkpoint's own settings, ours or the authors'; empty for a plain one. `file`: of a change of one's own."""
    change = entries.get("change")
    if isinstance(change, dict):
        if change_files.FILE in change:
            raise ModelError(f"'{checkpoint}': config.json: change.file: what a checkpoint names is not executed")
        return {"change": change | ({} if file is None else {change_files.FILE: Path(file)})}
    if not any(key in entries for key in _ORIGINAL_KEYS):
        found = {key: value for key, value in entries.items() if key.startswith("gi_")}
        return found if found.get("gi_side", "none") != "none" else {}
    key, query = entries.get("gi_key_side", False), entries.get("gi_query_side", False)
    side = {(True, True): "both", (True, False): "key", (False, True): "query"}.get((key, query))
    if side is None:
        return {}
    layers = entries.get("gi_layer_num")
    if layers is not None:
        warnings.warn(
            f"'{checkpoint}': gi_layer_num={layers} is taken as the last {layers} layers, as its authors describe it; "
            f"their published code gates one less: gi.layers={layers - 1} gives that",
            LayerCountWarning,
            stacklevel=3,
        )
    return {"gi_side": side, "gi_level": entries.get("inhibition_level", 0.0), "gi_layers": layers}
