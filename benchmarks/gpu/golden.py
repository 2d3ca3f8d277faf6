"""Numbers of the authors' own code, and the gated models in their place: for the tests, and for checks on GPUs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from gifine.choices import Attention
from gifine.models import family_classes, with_attention

FAMILIES = ("bert", "deberta_v2")
VARIANTS = ("key-l0.3-n3", "query-l0.3-n3", "both-l0-n3", "both-l0.3-n3", "none-l0.3-n3")
INPUTS = ("padded", "full", "short")
SIDES = {(True, True): "both", (True, False): "key", (False, True): "query", (False, False): "none"}


@dataclass(frozen=True)
class Golden:
    """One family's: configs, weights, inputs, and what came out for each variant and input."""

    config: dict[str, Any]
    summary: dict[str, Any]
    state: dict[str, Tensor]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]

    def model(self, family: str, variant: str, dtype: torch.dtype, attention: Attention = Attention.hf) -> Any:
        entries = {key: value for key, value in self.config.items() if not key.startswith(("gi_", "inhibition"))}
        says = self.summary[variant]
        classes = family_classes(family)
        config = classes.config(
            **entries,
            gi_side=SIDES[says["gi_key_side"], says["gi_query_side"]],
            gi_level=says["inhibition_level"],
            gi_layers=says["gi_layer_num"] - 1,  # the original gates one layer less than it says
        )
        assert list(config.changed_layers) == says["gated_layers"]
        model = classes.classifier(config)
        model.load_state_dict({name: self.state[name] for name in model.state_dict()})
        return nn.Module.to(with_attention(model, attention), dtype).eval()

    def batch(self, name: str) -> dict[str, Tensor]:
        return {key.split(".")[1]: value for key, value in self.inputs.items() if key.startswith(f"{name}.")}


@cache
def read(folder: Path) -> Golden:
    config, summary = (json.loads((folder / name).read_text()) for name in ("config.json", "summary.json"))
    return Golden(
        config, summary, *(load_file(folder / f"{name}.safetensors") for name in ("state", "inputs", "outputs"))
    )
