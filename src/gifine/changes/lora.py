"""LoRA (Hu et al., arXiv 2106.09685): a linear layer plus a product of two thin matrices.

    W x + b + (alpha/rank) · B A dropout(x)        A: rank × taken, B: given × rank; x: what the layer takes

Start: A as a linear layer's own weights, uniform in ±1/√taken (so in the authors' code and in peft; their text says
Gaussian), B zero. The model then is the plain one, to the bit.

- alpha/rank is one factor: with another rank and the same alpha the step size is another, too.
- In DeBERTa with share_att_key the query and key projections serve relative positions as well. With `positions` LoRA
  acts on both, as in peft, which wraps the layer: only then can it be merged into W.
- Dropout is of x on its way to A alone.

Shapes: B examples, T positions, D features taken, K features given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gifine.changes import contract
from gifine.changes.contract import At, Parameter, Place, Site, Sizes, Uniform, check_sites

if TYPE_CHECKING:
    from torch import Tensor

VALID: tuple[Site, ...] = ("query", "key", "value", "output", "ffn_output")  # values that are a linear layer's


@dataclass
class Settings(contract.Settings):
    sites: list[str] = field(default_factory=lambda: ["query", "value"])  # of query, key, value, output, ffn_output
    rank: int = 8  # at least 1, at most the features of the hidden states
    alpha: float = 16.0  # the product is scaled by alpha/rank
    dropout: float = 0.0  # of what A takes
    positions: bool = True  # DeBERTa with share_att_key: on the projections of relative positions, too


def check(settings: Settings, sizes: Sizes) -> Iterator[str]:
    yield from check_sites(settings.sites, VALID)
    yield from check_product(settings, sizes)


def check_product(settings: Settings, sizes: Sizes) -> Iterator[str]:
    """What is wrong with the keys of B A x."""
    if settings.rank < 1:
        yield f"rank={settings.rank}: must be a whole number of at least 1"
    elif sizes.hidden is not None and settings.rank > sizes.hidden:
        yield f"rank={settings.rank}: the model's hidden states have {sizes.hidden} features"
    if settings.alpha <= 0:
        yield f"alpha={settings.alpha:g}: must be above 0"
    if not 0 <= settings.dropout < 1:
        yield f"dropout={settings.dropout:g}: must be in 0 … 1, below 1"


def find_sites(settings: Settings) -> list[str]:
    return settings.sites


def find_parameters(settings: Settings, place: Place) -> dict[str, Parameter]:
    return {
        "A": Parameter((settings.rank, place.taken), Uniform(place.taken**-0.5)),
        "B": Parameter((place.given, settings.rank)),
    }


def apply(settings: Settings, parameters: Mapping[str, Tensor], value_BTK: Tensor, at: At) -> Tensor:
    from torch.nn import functional as F  # noqa: N812 - torch's own name for it

    taken_BTD = at.dropout(at.taken, settings.dropout) if settings.dropout else at.taken
    inner_BTR = F.linear(taken_BTD, parameters["A"])
    return value_BTK + F.linear(inner_BTR * (settings.alpha / settings.rank), parameters["B"])
