"""Value residual (ResFormer; Zhou et al., arXiv 2410.17897): later layers see the values of the first one.

    V + factor · V₁                                V₁: the value projection of the model's first layer

One learned factor a layer, in each of the last `layers` but the first layer, which has nothing to add. Start: 0, the
plain model to the bit.

- The paper trains from the start, with fixed weights for both terms or learned ones; here V keeps the weight 1, since
  a pretrained model is to start as it is.

Shapes: B examples, T positions, K features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from gifine.changes.contract import At, Parameter, Place, Settings, Sizes

if TYPE_CHECKING:
    from torch import Tensor

SITES = ("value",)


def check(settings: Settings, sizes: Sizes) -> Iterator[str]:
    if sizes.depth == 1:
        yield "name=value_residual: the model has one layer, and none after it to change"


def find_layers(settings: Settings, depth: int) -> range:
    return range(depth)  # the first layer's values are kept, whichever are changed


def find_parameters(settings: Settings, place: Place) -> dict[str, Parameter]:
    first = 1 if settings.layers is None else max(1, place.depth - settings.layers)
    return {"factor": Parameter((1,))} if place.layer >= first else {}


def apply(settings: Settings, parameters: Mapping[str, Tensor], value_BTK: Tensor, at: At) -> Tensor:
    if at.place.layer == 0:
        at.kept["value"] = value_BTK
    if not parameters:
        return value_BTK
    return (value_BTK + parameters["factor"] * at.kept["value"]).to(value_BTK.dtype)


def measure(parameters: Mapping[str, Tensor], value: Tensor, changed: Tensor, at: At) -> dict[str, Tensor]:
    return {name: factor.mean() for name, factor in parameters.items()}
