"""Looks between a change and the model: what went in, what came out, and another value in its place.

Shapes: B examples, T positions, K features of all heads, H heads, others as in `changes/contract.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it
from transformers import PreTrainedModel

from gifine.changes import gi
from gifine.changes.autograd import gate
from gifine.changes.contract import Place
from gifine.models import layouts
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
    told: dict[str, Tensor]  # empty unless it is asked for

    @property
    def place(self) -> Place:
        return self.site.place


See = Callable[[Seen], Tensor]


class _Between(AtSite):
    def __init__(self, site: AtSite, see: See, is_told: bool) -> None:
        vars(self).update(vars(site))
        self.see, self.is_told = see, is_told

    def apply(self, module: nn.Module, value: Tensor, taken: Tensor, hidden: Tensor, positions: bool) -> Tensor:
        self.watched = {} if self.is_told else None
        changed = super().apply(module, value, taken, hidden, positions)
        return self.see(Seen(self, module, value, changed, hidden, positions, self.watched or {}))


@contextmanager
def between(model: nn.Module, see: See, *, is_told: bool = False) -> Generator[None]:
    """In a `with` block the model goes on with what `see` makes of each change. `is_told`: it tells of itself, too."""
    held = [(module, module.sites) for module in model.modules() if isinstance(module, ChangedModule)]
    try:
        for module, sites in held:
            module.sites = {name: _Between(site, see, is_told) for name, site in sites.items()}
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
    """GI's inhibition signal, BTK, of which gates and their maximum are made."""
    return gi.signal(seen.site.learned(seen.module), seen.hidden)


def gates(signal_BTK: Tensor, settings: gi.Settings, real_BT: Tensor | None) -> tuple[Tensor, Tensor]:
    """GI's gate, and the signal below or above its threshold, each BTK; `real_BT` where padding is left out."""
    threshold = gate.find_threshold(signal_BTK, settings.level, cast("gate.Over", settings.threshold), real_BT)
    shifted_BTK = signal_BTK if threshold is None else signal_BTK - threshold
    return F.gelu(shifted_BTK) + 1, shifted_BTK


@contextmanager
def attention(model: PreTrainedModel, see: Callable[[int, Tensor], None]) -> Generator[dict[str, Any]]:
    """In a `with` block `see` gets the attention weights, BHTT, layer by layer, if the model is called with the
    arguments that this gives. They are computed step by step: a kernel that is fused gives none."""
    kernel = model.config._attn_implementation
    layers, layout = layouts.layers(model), layouts.of(model)

    def hook(index: int) -> Callable[[nn.Module, Any, Sequence[Tensor]], tuple[Tensor, ...]]:
        def look(module: nn.Module, inputs: Any, output: Sequence[Tensor]) -> tuple[Tensor, ...]:
            *others, weights = output
            see(index, weights.permute(2, 3, 0, 1) if layout.length_first else weights)
            return *others, weights[:0]  # else the model would keep those of all layers

        return look

    handles = []
    try:
        if kernel not in (None, "eager"):
            model.set_attn_implementation("eager")
        handles = [
            layer.get_submodule(layout.attention).register_forward_hook(hook(n)) for n, layer in enumerate(layers)
        ]
        yield {"output_attentions": True}
    finally:
        for handle in handles:
            handle.remove()
        if kernel is not None and kernel != model.config._attn_implementation:
            model.set_attn_implementation(kernel)
