"""Gate with Inhibition (giMLPs, arXiv 2208.00929): a gate on key and query projections.

    s = select(gelu(inhibition(x)))        two linear layers, D → D → K; x: hidden states, BTD
    gate = gelu(s − level · max(s)) + 1    one maximum of the batch, as published, of each example, or of each position
    gate ⊙ p                               p: the projection of x, BTK

In DeBERTa with shared projections the content is gated and relative positions are not, as in its authors' code. With
`init=identity` `select` starts at zero: then s is 0 and a gate exactly 1, the plain model. It is computed by
`autograd/gate.py`.

Its keys are not `change.*` but `gi.*`, which say more of each, and in a model's config.json `gi_*`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from gifine.changes import contract
from gifine.changes.contract import At, Constant, Normal, Parameter, Place, Site

if TYPE_CHECKING:
    from torch import Tensor

SIDES: dict[str, tuple[Site, ...]] = {"none": (), "key": ("key",), "query": ("query",), "both": ("key", "query")}


@dataclass
class Settings(contract.Settings):
    side: str = "both"
    level: float = 0.0
    threshold: str = "batch"
    mask_padding: bool = False
    init: str = "normal"


def find_sites(settings: Settings) -> tuple[Site, ...]:
    return SIDES[settings.side]


def find_layers(settings: Settings, depth: int) -> range:
    return range(0) if settings.side == "none" else contract.last_layers(settings, depth)


def find_parameters(settings: Settings, place: Place) -> dict[str, Parameter]:
    drawn = Normal()
    return {
        "inhibition.weight": Parameter((place.taken, place.taken), drawn),
        "inhibition.bias": Parameter((place.taken,)),
        "select.weight": Parameter((place.given, place.taken), Constant() if settings.init == "identity" else drawn),
        "select.bias": Parameter((place.given,)),
    }


def apply(settings: Settings, parameters: Mapping[str, Tensor], value: Tensor, at: At) -> Tensor:
    from gifine.changes.autograd import gate

    return gate.gated(
        value,
        at.hidden,
        *_ordered(parameters),
        level=settings.level,
        over=cast("gate.Over", settings.threshold),
        real_BT=at.real_BT if settings.mask_padding else None,
        watch=at.watch,
    )


def signal(parameters: Mapping[str, Tensor], hidden_BTD: Tensor) -> Tensor:
    """s, BTK: what the gate and its maximum are made of."""
    from gifine.changes.autograd import gate

    return gate.signal(hidden_BTD, *_ordered(parameters))


def _ordered(parameters: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    inhibition = parameters["inhibition.weight"], parameters["inhibition.bias"]
    return *inhibition, parameters["select.weight"], parameters["select.bias"]
