"""(IA)³ (Liu et al., arXiv 2205.05638): one learned factor for each feature of keys, values and the inner activation.

    l ⊙ key,   l ⊙ value,   W_out (l ⊙ ffn)        l: as many features as the value that it scales

Start: ones, the plain model to the bit.

- The paper has three sites: key, value and ffn, 2K + I factors a layer. peft's default for these families names
  `output.dense`, and so finds `attention.output.dense` as well: it scales the context, too. For that, add context.
- In DeBERTa with share_att_key the key projection serves relative positions as well. With `positions` its factors act
  there, too, as in peft.
- Weight decay draws factors to 0, not to 1. The authors train without.

Shapes: B examples, T positions, K features of the value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gifine.changes import contract
from gifine.changes.contract import At, Constant, Parameter, Place, Site, Sizes, check_sites

if TYPE_CHECKING:
    from torch import Tensor

VALID: tuple[Site, ...] = ("query", "key", "value", "context", "output", "ffn", "ffn_output")  # those with features


@dataclass
class Settings(contract.Settings):
    sites: list[str] = field(default_factory=lambda: ["key", "value", "ffn"])  # and query, context, output, ffn_output
    positions: bool = True  # DeBERTa with share_att_key: on the projections of relative positions, too


def check(settings: Settings, sizes: Sizes) -> Iterator[str]:
    yield from check_sites(settings.sites, VALID)


def find_sites(settings: Settings) -> list[str]:
    return settings.sites


def find_parameters(settings: Settings, place: Place) -> dict[str, Parameter]:
    return {"scale": Parameter((place.given,), Constant(1.0))}


def apply(settings: Settings, parameters: Mapping[str, Tensor], value_BTK: Tensor, at: At) -> Tensor:
    # In the factors' precision: bfloat16 has no number between 1 and 1.0078.
    return (value_BTK * parameters["scale"]).to(value_BTK.dtype)


def measure(parameters: Mapping[str, Tensor], value: Tensor, changed: Tensor, at: At) -> dict[str, Tensor]:
    scale = parameters["scale"]
    return {"mean": scale.mean(), "least": scale.min(), "most": scale.max()}
