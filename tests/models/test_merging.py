"""A change multiplied into the weights: equal logits where it is linear, and a reason where it is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gifine.choices import Attention
from gifine.errors import ModelError
from gifine.models import build, family_classes
from gifine.models.change_config import is_change
from gifine.models.merging import fill_in, merge
from support.tiny_models import BOTH, FAMILIES, LABELS, NONE, ROUNDING, logits_of, make_batch, model_config

LORA_EVERYWHERE = {"name": "lora", "sites": ["query", "key", "value", "output", "ffn_output"], "rank": 3, "alpha": 8}
LINEAR = [LORA_EVERYWHERE, {"name": "ia3"}, {"name": "head_scale"}, {"name": "lora", "layers": 1}]
NO_LINEAR_FUNCTION = "it is no linear function of what it changes"


def moved(family: str, change: dict[str, Any], gi: Any = NONE, **overrides: Any) -> Any:
    """A model in float64 whose change does something."""
    model = model_config(family, attention=Attention.fast, config_overrides=overrides)
    built = build(model, gi, change, labels=LABELS).double().eval()
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if is_change(name):
                parameter.add_(0.2 * torch.randn_like(parameter))
    return built


@pytest.mark.parametrize("change", LINEAR, ids=lambda change: "-".join(map(str, change.values())))
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_merged_is_the_plain_class_with_equal_logits(family, change):
    model = moved(family, change)
    plain = merge(model)
    assert type(plain) is family_classes(family).plain_classifier
    assert not any(is_change(name) for name in plain.state_dict())
    unchanged = logits_of(fill_in(moved(family, {"name": "gi"})).double(), make_batch(family))
    for batch in (make_batch(family), make_batch(family, (9, 9, 9))):
        torch.testing.assert_close(logits_of(plain.double(), batch), logits_of(model, batch), rtol=0, atol=1e-5)
    assert (unchanged - logits_of(model, make_batch(family))).abs().max() > 1e-3, "else the test says nothing"


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_in_float64_they_are_equal_to_rounding(family, monkeypatch):
    """`merge` gives float32, as models are saved."""
    monkeypatch.setattr(family_classes(family).plain_classifier, "float", lambda model: model)
    model = moved(family, LORA_EVERYWHERE)
    torch.testing.assert_close(
        logits_of(merge(model), make_batch(family)), logits_of(model, make_batch(family)), rtol=0, atol=ROUNDING
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "gated_output"}, NO_LINEAR_FUNCTION),
        ({"name": "gated_heads"}, NO_LINEAR_FUNCTION),
        ({"name": "ina", "level": 0.3}, NO_LINEAR_FUNCTION),
        ({"name": "added"}, NO_LINEAR_FUNCTION),
        ({"name": "wider"}, NO_LINEAR_FUNCTION),
        ({"name": "value_residual"}, "it looks at what an earlier layer left"),
        ({"name": "clipped_softmax"}, "it acts on attention's weights"),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("family", ["bert", "deberta"])
def test_what_no_weights_can_hold_is_refused(family, change, said):
    with pytest.raises(ModelError, match=rf"change {change['name']}, \w+ of layer \d: {said}"):
        merge(moved(family, change))


@pytest.mark.parametrize("family", FAMILIES)
def test_gates_are_refused(family):
    with pytest.raises(ModelError, match=f"change gi, key of layer 0: {NO_LINEAR_FUNCTION}"):
        merge(moved(family, {"name": "gi"}, BOTH))


def test_weights_that_serve_positions_too_are_left_alone():
    with pytest.raises(ModelError, match=r"lora, query of layer 0: with share_att_key .*change\.positions=false"):
        merge(moved("deberta_v2", {"name": "lora", "positions": False}))
    values = {"name": "lora", "positions": False, "sites": ["value"]}
    apart = {"name": "lora", "positions": False}
    for model in (moved("deberta_v2", values), moved("deberta_v2", apart, share_att_key=False)):
        batch = make_batch("deberta_v2")
        torch.testing.assert_close(logits_of(merge(model).double(), batch), logits_of(model, batch), rtol=0, atol=1e-5)
