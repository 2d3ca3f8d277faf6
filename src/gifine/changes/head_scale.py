"""A learned factor for each head (NormFormer; Shleifer et al., arXiv 2110.09456).

    gamma_h · context_h                            before the output projection

Start: ones, the plain model to the bit.

- This is where the paper has it. fairseq's main branch multiplies after the output projection, in decoder layers only.
- NormFormer has more: a LayerNorm after attention and one in the feed-forward network. These are not here.
- Weight decay draws factors to 0, not to 1.

Shapes: B examples, T positions, H heads, E features of a head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gifine.changes.contract import At, Constant, Parameter, Place, Settings

if TYPE_CHECKING:
    from torch import Tensor

SITES = ("context",)


def find_parameters(settings: Settings, place: Place) -> dict[str, Parameter]:
    return {"gamma": Parameter((place.heads,), Constant(1.0))}


def apply(settings: Settings, parameters: Mapping[str, Tensor], context: Tensor, at: At) -> Tensor:
    scaled_BTHE = context.unflatten(-1, (at.place.heads, -1)) * parameters["gamma"][:, None]
    return scaled_BTHE.flatten(-2).to(context.dtype)


def measure(parameters: Mapping[str, Tensor], value: Tensor, changed: Tensor, at: At) -> dict[str, Tensor]:
    gamma = parameters["gamma"]
    return {"mean": gamma.mean(), "least": gamma.min(), "most": gamma.max()}
