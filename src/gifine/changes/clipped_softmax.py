"""Clipped softmax (Bondarenko et al., arXiv 2306.12929): attention weights that can be exactly 0 and 1.

    clip((eta − gamma) · softmax(scores) + gamma, 0, 1)            gamma ≤ 0, eta ≥ 1

It learns nothing. gamma=0 and eta=1 are the plain softmax, to the bit; any other setting changes a pretrained model
from the first step on.

- Give gamma, or alpha for gamma = −alpha/T, T the tokens of the example without padding. In the authors' code T is the
  longest input of the run instead, which has padding count.
- gamma > 0 would give weight to padding.
- Rows no longer sum to 1, and a weight that is clipped has no gradient.
- Fused attention has no weights to clip: this takes the written-out one, and more memory.
- Their table of settings has an entry "clipped(-.005:1.005)" whose gamma is −0.003.

Shapes: B examples, H heads, T positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gifine.changes import contract
from gifine.changes.contract import At, Parameter, Place, Sizes

if TYPE_CHECKING:
    from torch import Tensor

SITES = ("weights",)


@dataclass
class Settings(contract.Settings):
    gamma: float | None = -0.025  # at most 0: weights below −gamma/(eta − gamma) become 0; null: by alpha
    eta: float = 1.0  # at least 1: above it, large weights become 1
    alpha: float | None = None  # instead of gamma: gamma is −alpha/T, T the tokens of the example


def check(settings: Settings, sizes: Sizes) -> Iterator[str]:
    if (settings.gamma is None) == (settings.alpha is None):
        given = "null" if settings.gamma is None else f"{settings.gamma:g}"
        yield f"gamma={given}: give gamma, or alpha with gamma=null, and not both"
    if settings.gamma is not None and settings.gamma > 0:
        yield f"gamma={settings.gamma:g}: must be at most 0, since more would give weight to padding"
    if settings.alpha is not None and settings.alpha < 0:
        yield f"alpha={settings.alpha:g}: must be at least 0"
    if settings.eta < 1:
        yield f"eta={settings.eta:g}: must be at least 1"


def find_parameters(settings: Settings, place: Place) -> dict[str, Parameter]:
    return {}


def apply(settings: Settings, parameters: Mapping[str, Tensor], weights_BHTT: Tensor, at: At) -> Tensor:
    gamma: float | Tensor
    if settings.alpha is None:
        assert settings.gamma is not None
        gamma = settings.gamma
    elif at.real_BT is None:
        gamma = -settings.alpha / weights_BHTT.shape[-1]
    else:
        gamma = -settings.alpha / at.real_BT.sum(dim=-1)[:, None, None, None].to(weights_BHTT.dtype)
    return (weights_BHTT * (settings.eta - gamma) + gamma).clip(0, 1)


def measure(parameters: Mapping[str, Tensor], value: Tensor, changed: Tensor, at: At) -> dict[str, Tensor]:
    """Fractions of the weights that the softmax gave: clipped to 0, and to 1."""
    given = (value > 0).sum()
    return {"zero": ((changed == 0) & (value > 0)).sum() / given, "one": ((changed == 1) & (value < 1)).sum() / given}
