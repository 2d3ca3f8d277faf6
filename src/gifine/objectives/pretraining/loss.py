"""The loss of pre-training: a mean over all masked tokens of a step, and one over all its real tokens."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class PretrainingLoss:
    """However many batches and processes make a step, its loss is the same number.

    `rtd_weight` is that of the discriminator's part beside the generator's (ELECTRA's λ, arXiv 2003.10555).
    """

    def __init__(self, rtd_weight: float) -> None:
        self.class_weights: dict[str, float] = {}
        self.rtd_weight = rtd_weight

    def of(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], total: Tensor | None) -> Tensor:
        """Of what is there: nll (B, T) of masked tokens, bce (B, T) of real ones, each divided by its `total`, (2,)."""
        masked, real = (self.weight_of(batch) if total is None else total).clamp(min=1)
        parts = []
        if "nll" in outputs:
            parts.append(outputs["nll"].sum() / masked)
        if "bce" in outputs:
            parts.append(self.rtd_weight * outputs["bce"].sum() / real)
        return torch.stack(parts).sum()

    def weight_of(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The numbers of masked and of real tokens, (2,)."""
        return torch.stack([(batch["labels"] != NOT_ASKED).sum(), batch["attention_mask"].sum()]).float()


NOT_ASKED = -100  # the label of a token that is not masked
