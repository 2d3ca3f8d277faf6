"""XLNet's attention (arXiv 1906.08237, with the positions of 1901.02860), the same numbers for less: the maths alone.

    score[i, j] = scale · ((q[i] + u)·k[j] + (q[i] + v)·pos[i − j] + other[i] · differ[i, j])
    context[i]  = dropout(softmax(score[i])) · value

transformers adds to a score one of two numbers of its query, for a key of the same segment or of another one. What is
the same for all keys a softmax does not see, so that `other` is the difference of the two.

What it saves: the scores are computed again in the backward pass instead of being kept, and what is of their size is
made for as many heads at a time as fit into a processor's cache. Of a query's products with positions hardly more are
computed than occur, and shifting them copies nothing: `distances.py`. Positions have a row for each example, since
dropout drops others in each.

Shapes: B examples, T positions, H heads, E features of a head, L = 2T − 1 distances; N = B·H, n of them in a part:
all heads of b examples, or h heads of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gifine.models.attention.disentangled import PART
from gifine.models.attention.distances import add_gradients, products
from gifine.models.attention.fast_dropout import draw


class _Terms(NamedTuple):
    """What scores are made of."""

    query_TBHE: Tensor
    key_TBHE: Tensor
    position_LBHE: Tensor  # from distance T − 1 down to 1 − T
    content_bias_HE: Tensor  # u
    position_bias_HE: Tensor  # v
    other_BHT: Tensor | None
    differ_BTT: Tensor | None  # 1 where query and key are of different segments, else 0
    hidden_BTT: Tensor | None  # True where a query must not look


def attention(
    query_TBHE: Tensor,
    key_TBHE: Tensor,
    value_TBHE: Tensor,
    position_LBHE: Tensor,
    content_bias_HE: Tensor,
    position_bias_HE: Tensor,
    other_BHT: Tensor | None = None,
    differ_BTT: Tensor | None = None,
    hidden_BTT: Tensor | None = None,
    *,
    scale: float,
    dropout: float = 0.0,
) -> Tensor:
    """`context_TBHE`. Each query has to have a key that it may look at."""
    # Float16's lowest number is one that scores come near to, so that a mask made of it would not hold.
    dtype = torch.float32 if query_TBHE.dtype == torch.float16 else query_TBHE.dtype
    content = (each.to(dtype) for each in (query_TBHE, key_TBHE, value_TBHE, position_LBHE))
    segments = (None if each is None else each.to(dtype) for each in (other_BHT, differ_BTT))
    biases = (content_bias_HE, position_bias_HE)
    return _Attention.apply(*content, *biases, *segments, hidden_BTT, scale, dropout).to(query_TBHE.dtype)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query_TBHE: Tensor,
        key_TBHE: Tensor,
        value_TBHE: Tensor,
        position_LBHE: Tensor,
        content_bias_HE: Tensor,
        position_bias_HE: Tensor,
        other_BHT: Tensor | None,
        differ_BTT: Tensor | None,
        hidden_BTT: Tensor | None,
        scale: float,
        dropout: float,
    ) -> Tensor:
        terms = _Terms(
            query_TBHE, key_TBHE, position_LBHE, content_bias_HE, position_bias_HE, other_BHT, differ_BTT, hidden_BTT
        )
        T, B, H, _ = query_TBHE.shape
        keep_NTT, rescale = None, 1.0
        if dropout > 0:
            # In the order of weights that are written out, so that a change of these has the masks of its baseline.
            keep_NTT = torch.empty(B * H, T, T, dtype=torch.bool, device=query_TBHE.device)
            rescale = draw(keep_NTT, dropout)
        context_TBHE, value_NTE = query_TBHE.new_empty(query_TBHE.shape), _by_head(value_TBHE)
        context_NTE = _by_head(context_TBHE)
        with torch.autocast(query_TBHE.device.type, enabled=False):
            for part in _parts(query_TBHE):
                weights_nTT = _weights(terms, part, scale)[0]
                if keep_NTT is not None:
                    weights_nTT.mul_(keep_NTT[part])
                context_nTE = weights_nTT @ value_NTE[part]
                context_NTE[part] = context_nTE if rescale == 1 else context_nTE.mul_(rescale)
        ctx.save_for_backward(*terms, value_TBHE, keep_NTT)
        ctx.scale, ctx.rescale = scale, rescale
        return context_TBHE

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TBHE: Tensor) -> tuple[Tensor | None, ...]:  # pyrefly: ignore[bad-override] - torch's is (ctx, *grads)
        *of_scores, value_TBHE, keep_NTT = ctx.saved_tensors
        terms, scale = _Terms(*of_scores), ctx.scale
        key_TBHE, position_LBHE, other_BHT, differ_BTT = terms[1], terms[2], terms.other_BHT, terms.differ_BTT
        H, E = key_TBHE.shape[2:]
        key_NTE, value_NTE, grad_NTE = (_by_head(each) for each in (key_TBHE, value_TBHE, grad_TBHE))
        grads = [each.new_empty(each.shape) for each in (terms.query_TBHE, key_TBHE, value_TBHE)]
        grad_query_NTE, grad_key_NTE, grad_value_NTE = (_by_head(each) for each in grads)
        grad_position_LBHE = position_LBHE.new_empty(position_LBHE.shape) if ctx.needs_input_grad[3] else None
        grad_content_bias_NE, grad_position_bias_NE = key_TBHE.new_empty(2, len(key_NTE), E)
        grad_other_BHT = None if other_BHT is None else other_BHT.new_empty(other_BHT.shape)
        with torch.autocast(key_TBHE.device.type, enabled=False):
            for part in _parts(key_TBHE):
                weights_nTT, content_nTE, at_nTE, position_nLE = _weights(terms, part, scale)
                grad_nTE = grad_NTE[part] * ctx.rescale
                grad_weights_nTT, dropped_nTT = grad_nTE @ value_NTE[part].mT, weights_nTT
                if keep_NTT is not None:
                    grad_weights_nTT.mul_(keep_NTT[part])
                    dropped_nTT = weights_nTT * keep_NTT[part]
                grad_value_NTE[part] = dropped_nTT.mT @ grad_nTE
                grad_nTT = torch._softmax_backward_data(grad_weights_nTT, weights_nTT, -1, weights_nTT.dtype)
                grad_key_NTE[part] = grad_nTT.mT @ content_nTE
                grad_content_nTE = (grad_nTT @ key_NTE[part]).mul_(scale)
                grad_at_nTE = torch.zeros_like(at_nTE)
                grad_position_nLE = None if grad_position_LBHE is None else torch.zeros_like(position_nLE)
                add_gradients(grad_nTT[:, None], at_nTE[:, None], position_nLE, grad_at_nTE[:, None], grad_position_nLE)
                if grad_position_LBHE is not None and grad_position_nLE is not None:
                    _by_head(grad_position_LBHE)[part] = grad_position_nLE
                grad_content_bias_NE[part] = grad_content_nTE.sum(dim=1)
                grad_position_bias_NE[part] = grad_at_nTE.mul_(scale).sum(dim=1)
                grad_query_NTE[part] = grad_content_nTE.add_(grad_at_nTE)
                if grad_other_BHT is not None and differ_BTT is not None:
                    grad_nTT.unflatten(0, (-1, min(H, len(grad_nTT)))).mul_(differ_BTT[_examples(part, H), None])
                    grad_other_BHT.flatten(0, 1)[part] = grad_nTT.sum(dim=-1).mul_(scale)
        biases = (
            grad_NE.unflatten(0, (-1, H)).sum(dim=0, dtype=bias_HE.dtype)
            for grad_NE, bias_HE in (
                (grad_content_bias_NE, terms.content_bias_HE),
                (grad_position_bias_NE, terms.position_bias_HE),
            )
        )
        return *grads, grad_position_LBHE, *biases, grad_other_BHT, None, None, None, None


def _by_head(x_TBHE: Tensor) -> Tensor:
    """`x_NTE`, a view: a matrix product takes it as it is."""
    return x_TBHE.flatten(1, 2).transpose(0, 1)


def _parts(x_TBHE: Tensor) -> Iterator[slice]:
    """Heads of examples to do together, of N: all on a GPU, on a CPU as many as fit into the cache."""
    T, B, H, _ = x_TBHE.shape
    room = max(1, PART // (T * T)) if x_TBHE.device.type == "cpu" else B * H
    if room >= H:
        size = room // H * H
        yield from (slice(start, min(start + size, B * H)) for start in range(0, B * H, size))
        return
    for example in range(0, B * H, H):
        yield from (slice(example + head, example + min(head + room, H)) for head in range(0, H, room))


def _take(x_TBHE: Tensor, part: slice) -> Tensor:
    """`x_nTE`, a view, unless several examples share what they have."""
    H = x_TBHE.shape[2]
    first = part.start % H
    return x_TBHE.permute(1, 2, 0, 3)[_examples(part, H), first : first + part.stop - part.start].flatten(0, 1)


def _examples(part: slice, heads: int) -> slice:
    """Those of a part."""
    return slice(part.start // heads, -(-part.stop // heads))


def _weights(terms: _Terms, part: slice, scale: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`weights_nTT` before dropout, the queries that meet keys and positions, biased and scaled, and the positions."""
    B, H = terms.query_TBHE.shape[1:3]
    query_nTE, key_nTE, position_nLE = (_take(each, part) for each in terms[:3])
    content_nTE, at_nTE = (
        ((query_nTE + bias_HE.repeat(B, 1)[part, None]) * scale).to(query_nTE.dtype).contiguous()
        for bias_HE in (terms.content_bias_HE, terms.position_bias_HE)
    )
    position_nLE = position_nLE.contiguous()
    scores_nTT = content_nTE @ key_nTE.mT
    for block, view_n1kT in products(at_nTE[:, None], position_nLE):
        scores_nTT[:, block].add_(view_n1kT[:, 0])
    examples, scores_bhTT = _examples(part, H), scores_nTT.unflatten(0, (-1, min(H, len(scores_nTT))))
    if terms.other_BHT is not None and terms.differ_BTT is not None:
        other_nT = terms.other_BHT.flatten(0, 1)[part]
        other_bhT1 = other_nT.unflatten(0, scores_bhTT.shape[:2])[..., None]
        scores_bhTT.addcmul_(other_bhT1, terms.differ_BTT[examples, None], value=scale)
    if terms.hidden_BTT is not None:
        scores_bhTT.masked_fill_(terms.hidden_BTT[examples, None], torch.finfo(scores_nTT.dtype).min)
    return scores_nTT.softmax(dim=-1), content_nTE, at_nTE, position_nLE
