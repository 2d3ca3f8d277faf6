"""A wider feed-forward network: a control of ours that has as many parameters as GI, and leaves attention alone.

    W_out act(W_in x + b_in) + b_out  +  W_out' act(W_in' x + b_in')       W_in': width × D, W_out': D × width

This is one network of width I + `width`. Start: W_in' drawn, b_in' and W_out' zero, the plain model to the bit.
width=null takes 2D + 1: (2D + 1)² parameters a layer, one more than GI has on both sides, 4(D² + D).

- GI on one side has half as many: give width=D for a control of it, which then has 2D² + D to GI's 2(D² + D).

Shapes: B examples, T positions, D features of the hidden states, I of the network's inner activation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gifine.changes import contract
from gifine.changes.contract import At, Normal, Parameter, Place, Sizes

if TYPE_CHECKING:
    from torch import Tensor

SITES = ("ffn_output",)


@dataclass
class Settings(contract.Settings):
    width: int | None = None  # inner features more, at least 1; null: as many parameters as GI on both sides


def check(settings: Settings, sizes: Sizes) -> Iterator[str]:
    if settings.width is not None and settings.width < 1:
        yield f"width={settings.width}: must be a whole number of at least 1; null for as many parameters as GI has"


def find_parameters(settings: Settings, place: Place) -> dict[str, Parameter]:
    width = 2 * place.hidden + 1 if settings.width is None else settings.width
    return {
        "weight_in": Parameter((width, place.hidden), Normal()),
        "bias_in": Parameter((width,)),
        "weight_out": Parameter((place.given, width)),
    }


def apply(settings: Settings, parameters: Mapping[str, Tensor], value_BTD: Tensor, at: At) -> Tensor:
    from torch.nn import functional as F  # noqa: N812 - torch's own name for it

    inner_BTI = at.activation(F.linear(at.hidden, parameters["weight_in"], parameters["bias_in"]))
    return value_BTD + F.linear(inner_BTI, parameters["weight_out"])
