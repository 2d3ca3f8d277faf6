"""Dropout whose random numbers cost a fifth on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FastDropout(nn.Dropout):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - its name in torch
        if not self.training or self.p == 0 or input.device.type != "cpu":
            return super().forward(input)
        keep = torch.empty(input.shape, dtype=torch.bool)
        rescale = draw(keep, self.p)
        return input * keep * rescale


def draw(keep: Tensor, dropout: float) -> float:
    """Fill the boolean `keep` with True where dropout leaves a number; what to multiply these with.

    On a CPU a chance is a multiple of 2⁻¹⁶, 0.10000610 for 0.1: four numbers share one of 64 random bits, a fifth of
    the time that `bernoulli_` takes. What is kept is rescaled by the chance that it really has.
    """
    if keep.device.type != "cpu":
        keep.bernoulli_(1 - dropout)
        return 0.0 if dropout == 1 else 1 / (1 - dropout)
    dropped = round(dropout * 2**16)
    if dropped in (0, 2**16):
        keep.fill_(dropped == 0)
        return float(dropped == 0)
    bits = torch.empty(-(-keep.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    torch.ge(bits[: keep.numel()].view(keep.shape), dropped - 2**15, out=keep)
    return 2**16 / (2**16 - dropped)
