"""Disentangled attention (DeBERTa, arXiv 2006.03654), the same numbers for less: the maths, nothing of transformers.

    score[i, j] = (q[i]·k[j] + q[i]·pos_k[i − j] + k[j]·pos_q[i − j]) / scale
    context[i]  = dropout(softmax(score[i])) · v

What it saves, beside computing the scores again in the backward pass instead of keeping them:

- pos_k and pos_q have a row for each distance that occurs, and no copy for each example.
- Nothing is gathered for pairs of positions, nor scattered back: `distances.py`.
- It is done for as many heads at a time as fit into a processor's cache.

Shapes: B examples, T positions, H heads, E features of a head, K = H·E, R relative embeddings, L = 2T − 1 distances;
h heads and b examples of a part, n positions of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gifine.models.attention.distances import add_gradients, gradient_of_rows, products
from gifine.models.attention.fast_dropout import draw

PART = 1 << 18  # scores at a time on a CPU: 1 MB in float32


class Terms(NamedTuple):
    """What the scores are made of, in the order in which the products read it; queries and `pos_query` are scaled."""

    query_HBTE: Tensor
    key_HBTE: Tensor
    pos_key_HLE: Tensor | None  # from distance T − 1 down to 1 − T
    pos_query_HLE: Tensor | None  # from distance 1 − T up to T − 1
    bias_BTT: Tensor | None  # 0 where a query may look, else the dtype's lowest number

    def part(self, heads: slice, examples: slice) -> Terms:
        return Terms(
            self.query_HBTE[heads, examples],
            self.key_HBTE[heads, examples],
            None if self.pos_key_HLE is None else self.pos_key_HLE[heads],
            None if self.pos_query_HLE is None else self.pos_query_HLE[heads],
            None if self.bias_BTT is None else self.bias_BTT[examples],
        )


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
    """`context_BTK`. `row_L` is the row of `pos_*_RK` for each distance i − j from 1 − T to T − 1;
    None where there is no `pos_*_RK`.

    `mask_BTT` is True where a query may look at a key; None: everywhere. A query that may look nowhere looks at all
    keys alike, as in transformers, and nothing is learned from its scores.
    """
    # Float16's lowest number is one that scores come near to, so that a mask made of it would not hold.
    dtype = torch.float32 if query_BTHE.dtype == torch.float16 else query_BTHE.dtype
    pos_key_RK = None if pos_key_RK is None else pos_key_RK.to(dtype)
    pos_query_RK = None if pos_query_RK is None else pos_query_RK.to(dtype)
    content = (query_BTHE.to(dtype), key_BTHE.to(dtype), value_BTHE.to(dtype))
    return _Attention.apply(*content, pos_key_RK, pos_query_RK, row_L, mask_BTT, scale, dropout).to(query_BTHE.dtype)


_OF_SCORES = (0, 1, 3, 4)  # of `_Attention.forward`'s arguments: queries, keys, and what positions have


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query_BTHE: Tensor,
        key_BTHE: Tensor,
        value_BTHE: Tensor,
        pos_key_RK: Tensor | None,
        pos_query_RK: Tensor | None,
        row_L: Tensor | None,
        mask_BTT: Tensor | None,
        scale: float,
        dropout: float,
    ) -> Tensor:
        B, T, H, E = query_BTHE.shape
        with torch.autocast(query_BTHE.device.type, enabled=False):
            terms = _terms(query_BTHE, key_BTHE, pos_key_RK, pos_query_RK, row_L, mask_BTT, scale)
            value_HBTE = _by_head(value_BTHE)
            context_BTHE = query_BTHE.new_empty(B, T, H, E)
            keep_HBTT, rescale = draw_masks(query_BTHE, dropout) if dropout > 0 else (None, 1.0)
            for heads, examples in _parts(query_BTHE):
                weights_hbTT = _weights(terms.part(heads, examples))
                if keep_HBTT is not None:
                    weights_hbTT.mul_(keep_HBTT[heads, examples])
                context_hbTE = weights_hbTT @ value_HBTE[heads, examples]
                if rescale != 1:
                    context_hbTE.mul_(rescale)
                context_BTHE[examples, :, heads] = context_hbTE.permute(1, 2, 0, 3)
        of_scores = any(ctx.needs_input_grad[i] for i in _OF_SCORES)
        kept_BTHE = value_BTHE if of_scores else None
        ctx.save_for_backward(query_BTHE, key_BTHE, kept_BTHE, pos_key_RK, pos_query_RK, row_L, mask_BTT, keep_HBTT)
        ctx.scale, ctx.rescale = scale, rescale
        return context_BTHE.flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BTK: Tensor) -> tuple[Tensor | None, ...]:  # pyrefly: ignore[bad-override] - torch's is (ctx, *grads)
        query_BTHE, key_BTHE, value_BTHE, pos_key_RK, pos_query_RK, row_L, mask_BTT, keep_HBTT = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        of_scores = any(wanted[i] for i in _OF_SCORES)
        with torch.autocast(query_BTHE.device.type, enabled=False):
            terms = _terms(query_BTHE, key_BTHE, pos_key_RK, pos_query_RK, row_L, mask_BTT, ctx.scale)
            value_HBTE = _by_head(value_BTHE) if of_scores else None
            grad_HBTE = _by_head(grad_BTK.to(query_BTHE.dtype).unflatten(-1, query_BTHE.shape[2:]))
            if ctx.rescale != 1:
                grad_HBTE = grad_HBTE * ctx.rescale
            looks_BT1 = None if mask_BTT is None else mask_BTT.any(dim=-1, keepdim=True).to(query_BTHE.dtype)
            grad_query_BTHE, grad_key_BTHE, grad_value_BTHE = (
                query_BTHE.new_empty(query_BTHE.shape) if wants else None for wants in wanted[:3]
            )
            grad_pos_key_HLE, grad_pos_query_HLE = (
                torch.zeros_like(pos_HLE) if pos_HLE is not None and wants else None
                for pos_HLE, wants in zip((terms.pos_key_HLE, terms.pos_query_HLE), wanted[3:5], strict=True)
            )
            for heads, examples in _parts(query_BTHE):
                part = terms.part(heads, examples)
                weights_hbTT = _weights(part)
                grad_hbTE = grad_HBTE[heads, examples]
                keep_hbTT = None if keep_HBTT is None else keep_HBTT[heads, examples]
                if grad_value_BTHE is not None:
                    dropped_hbTT = weights_hbTT if keep_hbTT is None else weights_hbTT * keep_hbTT
                    grad_value_BTHE[examples, :, heads] = (dropped_hbTT.mT @ grad_hbTE).permute(1, 2, 0, 3)
                if value_HBTE is None:
                    continue
                grad_weights_hbTT = grad_hbTE @ value_HBTE[heads, examples].mT
                if keep_hbTT is not None:
                    grad_weights_hbTT.mul_(keep_hbTT)
                grad_scores_hbTT = torch._softmax_backward_data(grad_weights_hbTT, weights_hbTT, -1, weights_hbTT.dtype)
                if looks_BT1 is not None:
                    grad_scores_hbTT.mul_(looks_BT1[examples])
                grad_query_hbTE = grad_scores_hbTT @ part.key_HBTE if wanted[0] else None
                grad_key_hbTE = grad_scores_hbTT.mT @ part.query_HBTE if wanted[1] else None
                if part.pos_key_HLE is not None:
                    grad_pos_hLE = None if grad_pos_key_HLE is None else grad_pos_key_HLE[heads]
                    add_gradients(grad_scores_hbTT, part.query_HBTE, part.pos_key_HLE, grad_query_hbTE, grad_pos_hLE)
                if part.pos_query_HLE is not None:
                    grad_pos_hLE = None if grad_pos_query_HLE is None else grad_pos_query_HLE[heads]
                    add_gradients(grad_scores_hbTT.mT, part.key_HBTE, part.pos_query_HLE, grad_key_hbTE, grad_pos_hLE)
                if grad_query_BTHE is not None and grad_query_hbTE is not None:
                    grad_query_BTHE[examples, :, heads] = grad_query_hbTE.div_(ctx.scale).permute(1, 2, 0, 3)
                if grad_key_BTHE is not None and grad_key_hbTE is not None:
                    grad_key_BTHE[examples, :, heads] = grad_key_hbTE.permute(1, 2, 0, 3)
            grad_pos_key_RK = grad_pos_query_RK = None
            if grad_pos_key_HLE is not None:
                grad_pos_key_RK = gradient_of_rows(grad_pos_key_HLE, row_L.flip(0), pos_key_RK)
            if grad_pos_query_HLE is not None:
                grad_pos_query_RK = gradient_of_rows(grad_pos_query_HLE, row_L, pos_query_RK).div_(ctx.scale)
        return (
            grad_query_BTHE,
            grad_key_BTHE,
            grad_value_BTHE,
            grad_pos_key_RK,
            grad_pos_query_RK,
            None,
            None,
            None,
            None,
        )


def _terms(
    query_BTHE: Tensor,
    key_BTHE: Tensor,
    pos_key_RK: Tensor | None,
    pos_query_RK: Tensor | None,
    row_L: Tensor | None,
    mask_BTT: Tensor | None,
    scale: float,
) -> Terms:
    H, E = query_BTHE.shape[2:]
    pos_key_HLE = pos_query_HLE = bias_BTT = None
    if pos_key_RK is not None:
        assert row_L is not None
        pos_key_HLE = pos_key_RK.view(-1, H, E).transpose(0, 1).index_select(1, row_L.flip(0))
    if pos_query_RK is not None:
        assert row_L is not None
        pos_query_HLE = (pos_query_RK / scale).view(-1, H, E).transpose(0, 1).index_select(1, row_L)
    if mask_BTT is not None:
        # Added, it swallows any score, since the next number to the lowest is far.
        lowest = torch.finfo(query_BTHE.dtype).min
        bias_BTT = torch.zeros(mask_BTT.shape, dtype=query_BTHE.dtype, device=mask_BTT.device)
        bias_BTT.masked_fill_(~mask_BTT, lowest)
    return Terms(_by_head(query_BTHE / scale), _by_head(key_BTHE), pos_key_HLE, pos_query_HLE, bias_BTT)


def draw_masks(query_BTHE: Tensor, dropout: float) -> tuple[Tensor, float]:
    """`keep_HBTT` for weights of these queries, part by part, and what to multiply with what it leaves."""
    B, T, H, _ = query_BTHE.shape
    keep_HBTT = torch.empty(H, B, T, T, dtype=torch.bool, device=query_BTHE.device)
    rescale = 1.0
    for heads, examples in _parts(query_BTHE):
        rescale = draw(keep_HBTT[heads, examples], dropout)
    return keep_HBTT, rescale


def _by_head(x_BTHE: Tensor) -> Tensor:
    return x_BTHE.permute(2, 0, 1, 3).contiguous()


def _parts(x_BTHE: Tensor) -> Iterator[tuple[slice, slice]]:
    """Heads and examples to do together: all on a GPU, on a CPU as many as fit into the cache."""
    B, T, H, _ = x_BTHE.shape
    if x_BTHE.device.type != "cpu":
        yield slice(0, H), slice(0, B)
        return
    heads = max(1, PART // (B * T * T))
    examples = B if heads > 1 else max(1, PART // (T * T))
    for head in range(0, H, heads):
        for example in range(0, B, examples):
            yield slice(head, head + heads), slice(example, example + examples)


def _weights(terms: Terms) -> Tensor:
    """`weights_hbTT` of a part, before dropout."""
    query_hbTE, key_hbTE, pos_key_hLE, pos_query_hLE, bias_bTT = terms
    scores_hbTT = query_hbTE @ key_hbTE.transpose(-1, -2)
    if pos_key_hLE is not None:
        for block, view_hbnT in products(query_hbTE, pos_key_hLE):
            scores_hbTT[:, :, block].add_(view_hbnT)
    if pos_query_hLE is not None:
        for block, view_hbnT in products(key_hbTE, pos_query_hLE):
            scores_hbTT[:, :, :, block].add_(view_hbnT.transpose(-1, -2))
    if bias_bTT is not None:
        scores_hbTT.add_(bias_bTT)
    return torch.softmax(scores_hbTT, dim=-1)
