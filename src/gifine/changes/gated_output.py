"""Gated attention (Qiu et al., arXiv 2505.06708): a sigmoid of what attention reads, times a value.

    value ⊙ 2σ(W x + b)                            x: the hidden state of the value's own position

gate=element: W is K × D, a gate for each feature; gate=head: H × D, one for each head. Sites, one at a time, as in the
paper: context (its G1), value (G2), key (G3), query (G4), output (G5). Start: W and b zero, the plain model to the bit.

- The authors have σ, which never is 1, and train from the start. Here it is 2σ, so that a pretrained model starts as it
  is.
- They found where the gate sits to matter most: context and value help most, query and key least.
- Their code has a bias only where the projections have one; here it is a key, false by default.
- At context the gate is that of the token that asks. At query and key of a DeBERTa with share_att_key, `positions`
  gates the projections of relative positions as well, by their embeddings.

Shapes: B examples, T positions, D features of x, K of the value, H heads, E features of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from gifine.changes import contract
from gifine.changes.contract import At, Parameter, Place, Site, Sizes

if TYPE_CHECKING:
    from torch import Tensor

VALID: tuple[Site, ...] = ("context", "value", "key", "query", "output")


class Gate(Enum):
    element = "element"  # one for each feature
    head = "head"  # one for each head


@dataclass
class Settings(contract.Settings):
    site: str = "context"  # or value, key, query, output
    gate: Gate = Gate.element
    bias: bool = False  # of the gate, zero at the start
    positions: bool = False  # DeBERTa with share_att_key, at query and key: on projections of relative positions, too


def check(settings: Settings, sizes: Sizes) -> Iterator[str]:
    if settings.site not in VALID:
        yield f"site={settings.site}: must be one of {', '.join(VALID)}"
    if settings.site == "output" and settings.gate is Gate.head:
        yield "gate=head: after the output projection there are no heads; site=output takes gate=element"


def find_sites(settings: Settings) -> list[str]:
    return [settings.site]


def find_parameters(settings: Settings, place: Place) -> dict[str, Parameter]:
    gates = place.heads if settings.gate is Gate.head else place.given
    bias = {"bias": Parameter((gates,))} if settings.bias else {}
    return {"weight": Parameter((gates, place.hidden))} | bias


def apply(settings: Settings, parameters: Mapping[str, Tensor], value_BTK: Tensor, at: At) -> Tensor:
    from torch.nn import functional as F  # noqa: N812 - torch's own name for it

    reads_BTD = at.taken if at.place.site in ("query", "key", "value") else at.hidden
    gate = F.linear(reads_BTD, parameters["weight"], parameters.get("bias")).sigmoid() * 2
    tell(at.watch, gate, 2.0)
    if settings.gate is Gate.element:
        return (value_BTK * gate).to(value_BTK.dtype)
    gated_BTHE = value_BTK.unflatten(-1, (at.place.heads, -1)) * gate[..., None]
    return gated_BTHE.flatten(-2).to(value_BTK.dtype)


def tell(watch: Callable[[Any], None] | None, gate: Tensor, most: float) -> None:
    """Statistics of sigmoid gates that lie between 0 and `most`, to who watches."""
    if watch is None:
        return
    gate = gate.detach()
    saturated = (gate < 0.01 * most) | (gate > 0.99 * most)
    watch({"mean": gate.mean(), "below_one": (gate < 1).float().mean(), "saturated": saturated.float().mean()})
