"""Disentangled attention step by step, for a change of its weights, which no kernel hands out.

On a CPU dropout draws what it draws there, so that a run with such a change has the masks of its baseline.

Shapes: as in `disentangled.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from gifine.models.attention.disentangled import draw_masks


class Change(Protocol):
    def __call__(self, weights_BHTT: Tensor, *, taken: Tensor) -> Tensor: ...


def with_weights(change: Change) -> Callable[..., Tensor]:
    """A function that takes what `disentangled.attention` takes, and changes the weights before dropout."""

    def attention(
        query_BTHE: Tensor,
        key_BTHE: Tensor,
        value_BTHE: Tensor,
        pos_key_RK: Tensor | None,
        pos_query_RK: Tensor | None,
        row_L: Tensor | None,
        mask_BTT: Tensor | None,
        *,
        scale: float,
        dropout: float = 0.0,
    ) -> Tensor:
        T, H, E = query_BTHE.shape[1:]
        dtype = torch.float32 if query_BTHE.dtype == torch.float16 else query_BTHE.dtype
        query_BHTE, key_BHTE, value_BHTE = (x.to(dtype).transpose(1, 2) for x in (query_BTHE, key_BTHE, value_BTHE))
        scores_BHTT = query_BHTE @ key_BHTE.transpose(-1, -2)
        position = torch.arange(T, device=query_BTHE.device)
        distance_TT = position[:, None] - position + T - 1  # where `row_L` has it
        if pos_key_RK is not None:
            assert row_L is not None
            pos_key_HLE = pos_key_RK[row_L].to(dtype).unflatten(-1, (H, E)).transpose(0, 1)
            scores_BHTT = scores_BHTT + _chosen(query_BHTE @ pos_key_HLE.transpose(-1, -2), distance_TT)
        if pos_query_RK is not None:
            assert row_L is not None
            pos_query_HLE = pos_query_RK[row_L].to(dtype).unflatten(-1, (H, E)).transpose(0, 1)
            of_keys_BHTT = _chosen(key_BHTE @ pos_query_HLE.transpose(-1, -2), distance_TT.T)
            scores_BHTT = scores_BHTT + of_keys_BHTT.transpose(-1, -2)
        scores_BHTT = scores_BHTT / scale
        if mask_BTT is not None:
            scores_BHTT = scores_BHTT.masked_fill(~mask_BTT[:, None], torch.finfo(dtype).min)
        weights_BHTT = change(scores_BHTT.softmax(dim=-1), taken=scores_BHTT)
        if dropout > 0:
            keep_HBTT, rescale = draw_masks(query_BTHE, dropout)
            weights_BHTT = weights_BHTT * keep_HBTT.transpose(0, 1) * rescale
        return (weights_BHTT @ value_BHTE).transpose(1, 2).flatten(2).to(query_BTHE.dtype)

    return attention


def _chosen(x_BHTL: Tensor, place_TT: Tensor) -> Tensor:
    """Of each row, what stands at its places."""
    return x_BHTL.gather(-1, place_TT.expand(*x_BHTL.shape[:2], -1, -1))
