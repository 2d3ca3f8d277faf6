"""Looks between a change and the model: what went in, what came out, and another value in its place.

Shapes: B examples, T positions, K features of all heads, H heads, others as in `changes/contract.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it
from transformers import PreTrainedModel

from gifine.changes.autograd import gate
from gifine.changes.contract import Place
from gifine.models.at_site import AtSite
from gifine.models.changed import ChangedModule

HEADLESS = ("output", "ffn", "ffn_output")  # sites where there are no heads


@dataclass
class Seen:
    """A change at one site of one layer, in one batch."""

    site: AtSite
    module: nn.Module
    value: Tensor
    changed: Tensor
    hidden: Tensor
    positions: bool  # DeBERTa's relative positions, not tokens
    told: dict[str, Tensor]

    @property
    def place(self) -> Place:
        return self.site.place


See = Callable[[Seen], Tensor]


class _Between(AtSite):
    def __init__(self, site: AtSite, see: See) -> None:
        vars(self).update(vars(site))
        self.see = see

    def apply(self, module: nn.Module, value: Tensor, taken: Tensor, hidden: Tensor, positions: bool) -> Tensor:
        self.watched = {}
        changed = super().apply(module, value, taken, hidden, positions)
        return self.see(Seen(self, module, value, changed, hidden, positions, self.watched))


@contextmanager
def between(model: nn.Module, see: See) -> Generator[None]:
    """In a `with` block the model goes on with what `see` makes of each change."""
    held = [(module, module.sites) for module in model.modules() if isinstance(module, ChangedModule)]
    try:
        for module, sites in held:
            module.sites = {name: _Between(site, see) for name, site in sites.items()}
        yield
    finally:
        for module, sites in held:
            module.sites = sites


def moved(seen: Seen) -> Tensor:
    """How far a change moves values, BTH: ‖changed − value‖/‖value‖ over the features of a head (keys, at `weights`).

    0 where a value is 0 and stays so.
    """
    before, after = (heads(each, seen.place).float() for each in (seen.value, seen.changed))
    norm = before.norm(dim=-1)
    return (after - before).norm(dim=-1) / norm.clamp_min(torch.finfo(norm.dtype).tiny)


def heads(value: Tensor, place: Place) -> Tensor:
    """A value with a dimension of heads before its features: BTHE, and at sites without heads BT1K."""
    if place.site == "weights":
        return value.transpose(1, 2)
    return value.unflatten(-1, (1 if place.site in HEADLESS else place.heads, -1))


def signal(seen: Seen) -> Tensor:
    """GI's inhibition signal, BTK: select(gelu(inhibition(x))), of which gates and their maximum are made."""
    parameters = {name: getattr(getattr(seen.module, part), own) for name, (part, own) in seen.site.names.items()}
    inner = F.gelu(F.linear(seen.hidden, parameters["inhibition.weight"], parameters["inhibition.bias"]))
    return F.linear(inner, parameters["select.weight"], parameters["select.bias"])


def gates(signal_BTK: Tensor, settings: Any, real_BT: Tensor | None) -> tuple[Tensor, Tensor]:
    """GI's gate, and the signal below or above its threshold, each BTK; `real_BT` where padding is left out."""
    shifted_BTK = signal_BTK
    if settings.level:
        shifted_BTK = signal_BTK - settings.level * gate.maximum(signal_BTK, settings.threshold, real_BT)
    return F.gelu(shifted_BTK) + 1, shifted_BTK


@contextmanager
def attention(model: PreTrainedModel, see: Callable[[int, Tensor], None]) -> Generator[dict[str, Any]]:
    """In a `with` block `see` gets the attention weights, BHTT, layer by layer, if the model is called with the
    arguments that this gives. They are computed step by step: a kernel that is fused gives none."""
    kernel = model.config._attn_implementation
    layers = model.base_model.get_submodule("encoder.layer")
    assert isinstance(layers, nn.ModuleList)

    def hook(index: int) -> Callable[[nn.Module, Any, Sequence[Tensor]], tuple[Tensor, Tensor]]:
        def look(module: nn.Module, inputs: Any, output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
            context, weights = output
            see(index, weights)
            return context, weights[:0]  # else the model would keep those of all layers

        return look

    handles = []
    try:
        if kernel not in (None, "eager"):
            model.set_attn_implementation("eager")
        handles = [
            layer.get_submodule("attention.self").register_forward_hook(hook(n)) for n, layer in enumerate(layers)
        ]
        yield {"output_attentions": True}
    finally:
        for handle in handles:
            handle.remove()
        if kernel is not None and kernel != model.config._attn_implementation:
            model.set_attn_implementation(kernel)
