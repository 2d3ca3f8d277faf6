"""Gated attention (Bondarenko et al., arXiv 2306.12929): a gate for each head and token.

    context_h · σ(w_h · x_h + b_h) / pi_init       x_h: the head's own slice of the hidden state

A head then can do nothing for a token. Start: b_h = log(pi_init/(1 − pi_init)), so gates are about pi_init open, and
about 1 once divided by pi_init (fine_tuning=true). With w from N(0, 0.01²), as the authors have it for fine-tuning, the
model starts near the plain one. With init=identity w is zero: at pi_init=0.5 the plain model to the bit; at others
σ(b)/pi_init may be off by rounding.

- Their `conditional_per_token` is this, the paper's. Their `conditional_per_head` averages over the sequence, padding
  included.
- Their BERT runs train from the start, have a small network for each gate in place of w_h, and do not divide.

Shapes: B examples, T positions, H heads, E features of a head.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from gifine.changes import contract
from gifine.changes.contract import At, Constant, Normal, Parameter, Place, Sizes
from gifine.changes.gated_output import tell

if TYPE_CHECKING:
    from torch import Tensor

SITES = ("context",)


class Start(Enum):
    normal = "normal"  # w from N(0, 0.01²): the published one for fine-tuning
    identity = "identity"  # w zero: at pi_init=0.5 the model starts as the plain one


@dataclass
class Settings(contract.Settings):
    pi_init: float = 0.5  # how far gates are open at the start, between 0 and 1
    fine_tuning: bool = True  # divide gates by pi_init, so that a pretrained model starts about where it was
    init: Start = Start.normal


def check(settings: Settings, sizes: Sizes) -> Iterator[str]:
    if not 0 < settings.pi_init < 1:
        yield f"pi_init={settings.pi_init:g}: must be above 0 and below 1"
    if settings.init is Start.identity and not settings.fine_tuning:
        yield "init=identity: takes fine_tuning=true, since gates that are not divided by pi_init never are 1"


def find_parameters(settings: Settings, place: Place) -> dict[str, Parameter]:
    weight = Normal(0.01) if settings.init is Start.normal else Constant(0.0)
    bias = Constant(math.log(settings.pi_init / (1 - settings.pi_init)))
    return {
        "weight": Parameter((place.heads, place.hidden // place.heads), weight),
        "bias": Parameter((place.heads,), bias),
    }


def apply(settings: Settings, parameters: Mapping[str, Tensor], context: Tensor, at: At) -> Tensor:
    hidden_BTHE = at.hidden.unflatten(-1, (at.place.heads, -1))
    gate_BTH = ((hidden_BTHE * parameters["weight"]).sum(dim=-1) + parameters["bias"]).sigmoid()
    most = 1.0
    if settings.fine_tuning:
        gate_BTH, most = gate_BTH / settings.pi_init, 1 / settings.pi_init
    tell(at.watch, gate_BTH, most)
    gated_BTHE = context.unflatten(-1, (at.place.heads, -1)) * gate_BTH[..., None]
    return gated_BTHE.flatten(-2).to(context.dtype)
