"""What a change is made of, and that models take another one than GI without knowing it."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gifine.changes
from gifine.changes import Change
from gifine.models import family_classes
from support.tiny_models import ARCHITECTURE, DEPTH, FAMILIES, ROUNDING, D, make_batch


def scale(factor: float, linears: dict[str, nn.Linear], projected: Tensor, hidden: Tensor, *_: Any) -> Tensor:
    return projected * (1 + factor * linears["scale"](hidden))


# Queries of the upper layers times 1 + 3 · scale(hidden), where scale is a linear layer that starts at zero.
SCALED = SimpleNamespace(
    LINEARS=("scale",),
    find_layers=lambda config: range(1, config.num_hidden_layers),
    find_sites=lambda config: ("q",),
    find_shapes=lambda hidden, features: {"scale": (hidden, features)},
    starts_at_zero=lambda config, linear: True,
    read_settings=lambda config: 3.0,
    apply=scale,
)


def backbone(family: str, *, scaled: bool) -> Any:  # Any: for its submodules
    classes = family_classes(family)
    config_class: Any = classes.config
    if scaled:
        config_class = type("ScaledConfig", (classes.config,), {"change": property(lambda self: SCALED)})
    torch.manual_seed(0)
    return classes.backbone(config_class(**ARCHITECTURE[family], gi_side="none")).double().eval()


def states_of(model: Any, family: str) -> Tensor:
    """Of tokens that are not padding: attention in a gated DeBERTa leaves nothing to padding."""
    batch = make_batch(family)
    with torch.no_grad():
        return model(**batch).last_hidden_state[batch["attention_mask"].bool()]


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(gifine.changes.__path__)])
def test_a_module_of_changes_has_all_that_a_change_is_made_of(name: str) -> None:
    module = import_module(f"gifine.changes.{name}")
    assert {part for part in vars(Change) if not part.startswith("_")} - vars(module).keys() == set()


@pytest.mark.parametrize("family", FAMILIES)
def test_another_change_sits_where_it_says_and_starts_as_the_plain_model(family: str) -> None:
    plain, scaled = backbone(family, scaled=False), backbone(family, scaled=True)
    places = {f"encoder.layer.{layer}.attention.self.scale_q.{kind}" for layer in (1, 2) for kind in ("weight", "bias")}
    assert DEPTH == 3
    assert scaled.state_dict().keys() - plain.state_dict().keys() == places
    assert torch.equal(states_of(plain, family), states_of(scaled, family))
    for name in places:
        nn.init.constant_(scaled.get_parameter(name), 0.1)
    assert not torch.equal(states_of(plain, family), states_of(scaled, family))


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_another_change_computes_what_it_says(family: str) -> None:
    plain, scaled = backbone(family, scaled=False), backbone(family, scaled=True)
    factor = torch.linspace(-0.2, 0.2, D, dtype=torch.float64)
    for layer in (1, 2):
        scaled.get_parameter(f"encoder.layer.{layer}.attention.self.scale_q.bias").data = factor
        query = plain.get_submodule(f"encoder.layer.{layer}.attention.self.query")
        query.weight.data *= 1 + 3 * factor[:, None]
        query.bias.data *= 1 + 3 * factor
    torch.testing.assert_close(states_of(scaled, family), states_of(plain, family), atol=ROUNDING, rtol=0)
