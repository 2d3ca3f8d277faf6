"""InA (Kang et al., Neural Networks 2024, doi 10.1016/j.neunet.2024.106410): LoRA with an inhibited inner signal.

    u = A dropout(x)                                                   A: rank × taken
    W x + b + (alpha/rank) · B φ(u − level · max(u))                   B: given × rank

The maximum is of each position's own `rank` components, so neither other tokens nor padding matter. φ(u) is u where it
is positive, 0.01 u elsewhere (leaky ReLU). Start: as LoRA, at the plain model to the bit.

- The paper's text has gelu for φ, and a version of the authors' code adds level · max(u) and has 0.1 for 0.01. Here is
  the formula with the sign of the text and leaky ReLU.
- At level=0 their code leaves φ out, which is LoRA; here φ stays, for the formula's sake. For LoRA take change=lora.
- It cannot be merged into W: φ is not linear.

Shapes: B examples, T positions, D features taken, R = rank, K features given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gifine.changes import lora
from gifine.changes.contract import At, Sizes, check_sites
from gifine.changes.lora import find_parameters, find_sites

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Settings", "apply", "check", "find_parameters", "find_sites"]

VALID = ("query", "key", "value")
SLOPE = 0.01  # of φ below 0


@dataclass
class Settings(lora.Settings):
    sites: list[str] = field(default_factory=lambda: ["query", "key", "value"])  # of query, key, value
    dropout: float = 0.1  # of what A takes
    level: float = 0.3  # λ, 0 … 1: the threshold as a fraction of the maximum


def check(settings: Settings, sizes: Sizes) -> Iterator[str]:
    yield from check_sites(settings.sites, VALID)
    yield from lora.check_product(settings, sizes)
    if not 0 <= settings.level <= 1:
        yield f"level={settings.level:g}: a fraction of the maximum, 0 … 1"


def apply(settings: Settings, parameters: Mapping[str, Tensor], value_BTK: Tensor, at: At) -> Tensor:
    from torch.nn import functional as F  # noqa: N812 - torch's own name for it

    taken_BTD = at.dropout(at.taken, settings.dropout) if settings.dropout else at.taken
    inner_BTR = F.linear(taken_BTD, parameters["A"])
    inner_BTR = F.leaky_relu(inner_BTR - settings.level * inner_BTR.amax(dim=-1, keepdim=True), SLOPE)
    return value_BTK + F.linear(inner_BTR * (settings.alpha / settings.rank), parameters["B"])
