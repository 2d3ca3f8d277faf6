"""Every change in every family: the start as the plain model, to the bit and beside the same random numbers; what an
example's logits depend on; and the same results from fast attention."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from transformers import set_seed

from gifine import changes
from gifine.choices import Attention, GateInit, GateSide
from gifine.config import GiConfig
from gifine.models import build, with_attention
from support.tiny_models import LABELS, NONE, ROUNDING, TINY, logits_of, make_batch, model_config

GI = GiConfig(side=GateSide.both, level=0.3, init=GateInit.identity)
# At settings that start as the plain model; dropout inside a change is on.
STARTS: dict[str, dict[str, Any]] = {
    "gi": {},
    "added": {},
    "clipped_softmax": {"gamma": 0.0},
    "gated_heads": {"init": "identity"},
    "gated_output": {},
    "gated_output at key": {"site": "key", "gate": "head", "bias": True, "positions": True},
    "gated_output at value": {"site": "value", "gate": "head"},
    "gated_output at output": {"site": "output"},
    "head_scale": {},
    "ia3": {},
    "ia3 everywhere": {"sites": ["query", "key", "value", "context", "output", "ffn", "ffn_output"]},
    "ina": {},
    "lora": {"dropout": 0.1},
    "lora everywhere": {"sites": ["query", "key", "value", "output", "ffn_output"], "dropout": 0.1},
    "value_residual": {},
    "wider": {},
}
KERNELS = [
    ("bert", "sdpa"),
    ("deberta_v2", "fast"),
    pytest.param("bert", "eager", marks=pytest.mark.long),
    pytest.param("roberta", "sdpa", marks=pytest.mark.long),
    pytest.param("deberta", "hf", marks=pytest.mark.long),
    pytest.param("deberta", "fast", marks=pytest.mark.long),
    pytest.param("deberta_v2", "hf", marks=pytest.mark.long),
    pytest.param("xlnet", "hf", marks=pytest.mark.long),
    pytest.param("xlnet", "fast", marks=pytest.mark.long),
]


class Outcome(NamedTuple):
    state: dict[str, Tensor]
    in_evaluation: Tensor
    in_training: Tensor
    random_numbers: Tensor


def outcome(family: str, kernel: str, gi: GiConfig, change: dict[str, Any]) -> Outcome:
    """What a run of seed 0 starts from: parameters, and logits without and with dropout."""
    how: dict[str, Any] = {"attention": Attention.hf if kernel == "hf" else Attention.fast}
    if kernel in ("eager", "sdpa"):
        how["config_overrides"] = {"attn_implementation": kernel}
    set_seed(0)
    model: Any = build(model_config(family, **how), gi, change, labels=LABELS)
    batch = make_batch(family)
    with torch.no_grad():
        in_evaluation = model.eval()(**batch).logits
        in_training = model.train()(**batch).logits
    return Outcome(model.state_dict(), in_evaluation, in_training, torch.get_rng_state())


@cache
def plain(family: str, kernel: str) -> Outcome:
    return outcome(family, kernel, NONE, {"name": "gi"})


@pytest.mark.parametrize("case", STARTS)
@pytest.mark.parametrize(("family", "kernel"), KERNELS)
def test_starts_as_the_plain_model_to_the_bit(family: str, kernel: str, case: str) -> None:
    name = case.split()[0]
    expected = plain(family, kernel)
    found = outcome(family, kernel, GI, {"name": name} | STARTS[case])
    assert all(torch.equal(found.state[key], each) for key, each in expected.state.items())
    # No kernel hands out its weights: a change of these computes attention step by step, with the same masks.
    off = 1e-5 if name == "clipped_softmax" and kernel in ("sdpa", "fast") else 0.0
    torch.testing.assert_close(found.in_evaluation, expected.in_evaluation, rtol=0.0, atol=off)
    torch.testing.assert_close(found.in_training, expected.in_training, rtol=0.0, atol=off)
    assert torch.equal(found.random_numbers, expected.random_numbers)
    assert not torch.equal(expected.in_training, expected.in_evaluation)


def drawn(family: str, change: dict[str, Any], **how: Any) -> Any:  # Any: for its submodules
    """A changed model in float64 whose change is not at its start."""
    set_seed(0)
    model: Any = build(model_config(family, **how), NONE, change, labels=LABELS).double().eval()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "change_" in name or "inhibition_" in name or "select_" in name:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return model


def without(model: Any, family: str, **overrides: Any) -> Any:
    """The plain model with the same weights."""
    plain: Any = build(model_config(family, config_overrides=overrides), NONE, labels=LABELS).double().eval()
    state = model.state_dict()
    plain.load_state_dict({name: state[name] for name in plain.state_dict()})
    return plain


@pytest.mark.parametrize("case", [case for case in STARTS if case != "gi"])  # whose maximum is over the batch
@pytest.mark.parametrize("family", ["bert", "deberta_v2", pytest.param("deberta", marks=pytest.mark.long)])
def test_logits_depend_on_no_padding_and_no_other_example(family: str, case: str) -> None:
    keys = STARTS[case] | ({"gamma": None, "alpha": 0.5} if case == "clipped_softmax" else {})
    model = drawn(family, {"name": case.split()[0]} | keys, attention=Attention.hf)
    batch = make_batch(family, lengths := (9, 4, 6))
    together = logits_of(model, batch)
    alone = [
        logits_of(model, {key: each[row : row + 1, :length] for key, each in batch.items()})
        for row, length in enumerate(lengths)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0.0, atol=ROUNDING)
    fast = logits_of(with_attention(model, Attention.fast), batch)
    torch.testing.assert_close(fast, together, rtol=0.0, atol=ROUNDING)
    # So there was something to see.
    assert (logits_of(without(model, family), batch) - together).abs().max() > 0.01


@pytest.mark.parametrize(("family", "projection"), [("bert", "value"), ("deberta_v2", "value_proj")])
def test_value_residual_takes_the_first_layers_values(family: str, projection: str) -> None:
    model = drawn(family, {"name": "value_residual"})
    plain, values = without(model, family), []
    for layer, of in zip(model.base_model.encoder.layer, plain.base_model.encoder.layer, strict=True):
        own = dict(layer.named_parameters()).get("attention.self.change_v.factor")

        def add(_module: Any, _args: Any, value: Tensor, own: Any = own) -> Tensor:
            values.append(value)
            return value if own is None else value + own * values[0]

        getattr(of.attention.self, projection).register_forward_hook(add)
    batch = make_batch(family)
    torch.testing.assert_close(logits_of(model, batch), logits_of(plain, batch), rtol=0.0, atol=ROUNDING)
    assert len(values) == 3


@pytest.mark.parametrize("family", ["bert", "deberta_v2"])
def test_wider_is_a_wider_network_of_transformers_own(family: str) -> None:
    model, inner = drawn(family, {"name": "wider", "width": 5}), TINY["intermediate_size"]
    for layer in model.base_model.encoder.layer:
        own = layer.output.change_ffn_output
        into, out = layer.intermediate.dense, layer.output.dense
        into.weight.data = torch.cat((into.weight.data, own.weight_in.data))
        into.bias.data = torch.cat((into.bias.data, own.bias_in.data))
        out.weight.data = torch.cat((out.weight.data, own.weight_out.data), dim=1)
    plain = without(model, family, intermediate_size=inner + 5)
    batch = make_batch(family)
    expected = logits_of(drawn(family, {"name": "wider", "width": 5}), batch)
    torch.testing.assert_close(logits_of(plain, batch), expected, rtol=0.0, atol=ROUNDING)


def test_every_change_is_tried() -> None:
    assert {case.split()[0] for case in STARTS} == set(changes.names())
