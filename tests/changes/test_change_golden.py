"""Changed models against numbers from peft, Qualcomm's module and checked formulas (the developers' shared folder)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from gifine.choices import Attention
from gifine.models import family_classes, with_attention

pytestmark = pytest.mark.shared

INPUTS = ("padded", "full", "short")
KERNELS = [
    ("bert", Attention.hf),
    ("bert", Attention.fast),
    ("deberta_v2", Attention.hf),
    ("deberta_v2", Attention.fast),
]
# DeBERTa: √(3E) is in float32, as transformers takes it.
EXACT = 1e-10

CASES: dict[str, dict[str, Any]] = {
    "lora-qv-r4": {"name": "lora", "rank": 4, "alpha": 8},
    "lora-qkv-r4": {"name": "lora", "rank": 4, "alpha": 8, "sites": ["query", "key", "value"]},
    "ia3-peft": {"name": "ia3", "sites": ["key", "value", "context", "ffn"]},
    "ia3-kvf": {"name": "ia3"},
    "gated_heads-pi0.5-ft": {"name": "gated_heads"},
    "gated_heads-pi0.25-ft": {"name": "gated_heads", "pi_init": 0.25},
    "gated_heads-pi0.5": {"name": "gated_heads", "fine_tuning": False},
    "clipped-g-0.03-e1": {"name": "clipped_softmax", "gamma": -0.03},
    "clipped-g-0.1-e1.1": {"name": "clipped_softmax", "gamma": -0.1, "eta": 1.1},
    "clipped-g0-e1": {"name": "clipped_softmax", "gamma": 0.0},
    "gated_output-head": {"name": "gated_output", "gate": "head"},
    "gated_output-element": {"name": "gated_output"},
    "gated_output-element-bias": {"name": "gated_output", "bias": True},
    "head_scale": {"name": "head_scale"},
    "ina-r4-l0": {"name": "ina", "rank": 4, "alpha": 8, "dropout": 0, "level": 0},
    "ina-r4-l0.3": {"name": "ina", "rank": 4, "alpha": 8, "dropout": 0, "level": 0.3},
    "added-key": {"name": "added", "side": "key"},
    "added-query": {"name": "added", "side": "query"},
    "added-both": {"name": "added", "side": "both"},
}
TWO_READINGS = ("lora", "ia3", "ina", "added")
# From the names of tensors there to ours, at a module's path.
OURS = [
    (r"self\.([qkv])_(?:lora_)?([AB])$", r"self.change_\1.\2"),
    (r"self\.(k)ey(?:_proj)?\.ia3_l$", r"self.change_\1.scale"),
    (r"self\.(v)alue(?:_proj)?\.ia3_l$", r"self.change_\1.scale"),
    (r"attention\.output\.dense\.ia3_l$", r"attention.self.change_context.scale"),
    (r"output\.dense\.ia3_l$", r"intermediate.change_ffn.scale"),
    (r"self\.(weight|bias|gamma)$", r"self.change_context.\1"),
]


@dataclass(frozen=True)
class Golden:
    """One family's: config, weights, the cases' own tensors, inputs, and what came out of each."""

    config: dict[str, Any]
    summary: dict[str, Any]
    state: dict[str, Tensor]
    changes: dict[str, Tensor]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


@cache
def read(folder: Path) -> Golden:
    config, summary = (json.loads((folder / name).read_text()) for name in ("config.json", "summary.json"))
    tensors = (load_file(folder / f"{name}.safetensors") for name in ("state", "changes", "inputs", "outputs"))
    return Golden(config, summary, *tensors)


def ours(name: str) -> str:
    for theirs, here in OURS:
        name, found = re.subn(theirs, here, name)
        if found:
            break
    return name


def model_of(golden: Golden, family: str, case: str, attention: Attention) -> Any:  # Any: for its submodules
    base, _, reading = case.partition("@")
    change = CASES[base] | ({"positions": reading == "positions"} if reading else {})
    classes = family_classes(family)
    model = classes.classifier(classes.config(**golden.config, change=change))
    prefix = f"{base}.{model.base_model_prefix}."
    own = {
        ours(name.removeprefix(f"{base}.")): each for name, each in golden.changes.items() if name.startswith(prefix)
    }
    model.load_state_dict(golden.state | own)
    return nn.Module.to(with_attention(model, attention), torch.float64).eval()


def readings(family: str) -> list[str]:
    two = TWO_READINGS if family == "deberta_v2" else ()
    return [
        f"{case}{reading}"
        for case in CASES
        for reading in (("@positions", "@content") if case.startswith(two) and two else ("",))
    ]


@pytest.mark.parametrize(
    ("family", "attention", "case"),
    [(family, attention, case) for family, attention in KERNELS for case in readings(family)],
)
def test_outputs_and_gradients(shared: Path, family: str, attention: Attention, case: str) -> None:
    golden = read(shared / "golden" / "changes" / family)
    model = model_of(golden, family, case, attention)
    states: list[Tensor] = []
    model.base_model.register_forward_hook(lambda _module, _args, output: states.append(output[0]))
    for name in INPUTS:
        expected = golden.summary[case][name]
        batch = {key.split(".")[1]: each for key, each in golden.inputs.items() if key.startswith(f"{name}.")}
        model.zero_grad()
        output = model(**batch)
        output.loss.backward()

        real_BT = batch["attention_mask"].bool()
        hidden, wanted = states[-1], golden.outputs[f"{case}.{name}.last_hidden_state"]
        torch.testing.assert_close(output.logits, golden.outputs[f"{case}.{name}.logits"], rtol=0.0, atol=EXACT)
        torch.testing.assert_close(hidden[real_BT], wanted[real_BT], rtol=0.0, atol=EXACT)
        assert output.loss.item() == pytest.approx(expected["loss"], abs=1e-6 if family == "deberta_v2" else EXACT)
        norms = {path: each.grad.norm().item() for path, each in model.named_parameters() if each.grad is not None}
        wanted_norms = {ours(path): norm for path, norm in expected["grad_norm"].items()}
        assert norms == pytest.approx(wanted_norms, abs=1e-6 if family == "deberta_v2" else EXACT)


@pytest.mark.parametrize("family", ["bert", "deberta_v2"])
def test_every_case_is_tried(shared: Path, family: str) -> None:
    summary = read(shared / "golden" / "changes" / family).summary
    of_no_change = {"plain", "bitfit"}
    assert {case for case in summary if not case.startswith("_")} == {*readings(family)} | of_no_change
