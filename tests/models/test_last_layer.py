"""The last layer for one token alone: the same logits and gradients, in less arithmetic."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, set_seed

from gifine.choices import GateSide
from gifine.config import GiConfig, ModelConfig, SizeConfig
from gifine.inputs.families import own_names
from gifine.models import build, layouts
from gifine.models.speedups import last_layer as last_layer

TINY: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 40,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
DISENTANGLED = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}
ARCHITECTURE = {
    "bert": TINY,
    "roberta": TINY,
    "deberta": TINY | DISENTANGLED,
    "deberta_v2": TINY | DISENTANGLED | {"share_att_key": True, "position_buckets": 8, "conv_kernel_size": 3},
    "xlnet": own_names({key: value for key, value in TINY.items() if key != "max_position_embeddings"}, "xlnet"),
}


def make(family: str, side: GateSide, depth: int = 2) -> PreTrainedModel:
    sizes = {"tiny": SizeConfig(checkpoint="no-one/tiny", config=ARCHITECTURE[family])}
    config = ModelConfig(name="tiny", family=family, size="tiny", sizes=sizes, random_init=True)
    config.config_overrides = {"num_hidden_layers": depth}
    set_seed(1)
    return build(config, GiConfig(side=side, level=0.3), labels=["no", "yes"]).double()


def batch(model: PreTrainedModel) -> dict[str, Tensor]:
    torch.manual_seed(2)
    mask = torch.ones(3, 9, dtype=torch.long)
    mask[1, 5:] = mask[2, 7:] = 0
    ids = torch.randint(1, 60, (3, 9)) * mask
    if layouts.cls_last(model):
        ids, mask = ids.flip(1), mask.flip(1)
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, 1, 1])}


def outcome(model: PreTrainedModel) -> tuple[Tensor, dict[str, Tensor]]:
    output: Any = model(**batch(model))
    model.zero_grad()
    output.loss.backward()
    gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    return output.logits, gradients


@pytest.mark.parametrize("family", ARCHITECTURE)
@pytest.mark.parametrize("side", [GateSide.none, GateSide.both])
def test_logits_and_gradients_are_the_same(family: str, side: GateSide) -> None:
    model = make(family, side).eval()  # no dropout
    logits, gradients = outcome(copy.deepcopy(model))
    assert len(gradients) > 20
    last_layer.one_token(model)
    ours, ours_by_name = outcome(model)
    torch.testing.assert_close(ours, logits, rtol=0, atol=1e-10)
    assert ours_by_name.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(ours_by_name[name], gradient, rtol=0, atol=1e-9, msg=name)


@pytest.mark.parametrize("family", ARCHITECTURE)
def test_the_last_feed_forward_network_sees_one_token(family: str) -> None:
    model = make(family, GateSide.both)
    last_layer.one_token(model)
    seen: list[int] = []
    for layer in layouts.layers(model):
        dense = layer.get_submodule("ff.layer_1" if family == "xlnet" else "intermediate.dense")
        dense.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[:2].numel()))
    outcome(model)
    assert seen == [3 * 9, 3]


def test_a_convolution_after_the_only_layer_reads_all_tokens() -> None:
    model = make("deberta_v2", GateSide.both, depth=1).eval()
    logits, _ = outcome(copy.deepcopy(model))
    last_layer.one_token(model)
    assert torch.equal(outcome(model)[0], logits)
