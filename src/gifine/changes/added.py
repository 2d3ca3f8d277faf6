"""GI's layers, added instead of multiplied and without a threshold: a control of ours with as many parameters as GI.

    projection(x) + select(gelu(inhibition(x)))    two Linear(D, D) with bias; exact (erf) gelu

If GI helps and this helps as much, it was the parameters that helped, not the inhibition. Start: `inhibition` drawn,
`select` zero (init=identity), the plain model to the bit; or both drawn, as GI's are as published (init=normal).

- In DeBERTa with share_att_key GI leaves the projections of relative positions alone. So does this, unless `positions`.

Shapes: B examples, T positions, D features of x, K of the projection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from gifine.changes import contract
from gifine.changes.contract import At, Constant, Normal, Parameter, Place, Site

if TYPE_CHECKING:
    from torch import Tensor


class Side(Enum):
    key = "key"
    query = "query"
    both = "both"


class Start(Enum):
    identity = "identity"  # `select` starts at zero, so the model is the plain one
    normal = "normal"  # N(0, initializer_range), bias 0: as GI's gates as published


@dataclass
class Settings(contract.Settings):
    side: Side = Side.both  # as gi.side
    init: Start = Start.identity  # the weights of `select` at the first step
    positions: bool = False  # DeBERTa with share_att_key: on the projections of relative positions, too


def find_sites(settings: Settings) -> list[Site]:
    return ["key", "query"] if settings.side is Side.both else [settings.side.value]


def find_parameters(settings: Settings, place: Place) -> dict[str, Parameter]:
    select = Normal() if settings.init is Start.normal else Constant(0.0)
    return {
        "inhibition.weight": Parameter((place.taken, place.taken), Normal()),
        "inhibition.bias": Parameter((place.taken,)),
        "select.weight": Parameter((place.given, place.taken), select),
        "select.bias": Parameter((place.given,)),
    }


def apply(settings: Settings, parameters: Mapping[str, Tensor], value_BTK: Tensor, at: At) -> Tensor:
    from torch.nn import functional as F  # noqa: N812 - torch's own name for it

    inner_BTD = F.gelu(F.linear(at.taken, parameters["inhibition.weight"], parameters["inhibition.bias"]))
    return value_BTK + F.linear(inner_BTD, parameters["select.weight"], parameters["select.bias"])
