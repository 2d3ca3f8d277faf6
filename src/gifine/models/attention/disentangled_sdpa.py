"""Disentangled attention through torch's fused kernels, for GPUs: the positional terms as a bias of the scores.

The bias is as large as the scores, so this pays only where a kernel exists that takes it and gives its gradient.

Shapes: as in `disentangled.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it


def serves(query_BTHE: Tensor) -> bool:
    """Is there a fused kernel, as far as torch documents it, for these queries?

    Not in float16, whose lowest number is no mask that leaves nothing of a score, and not where the same bits are
    wanted again, since the bias's gradient is summed up in any order.
    """
    return (
        query_BTHE.is_cuda
        and query_BTHE.dtype in (torch.bfloat16, torch.float32)
        and query_BTHE.shape[-1] % 8 == 0
        and query_BTHE.shape[-1] <= 128
        and torch.backends.cuda.mem_efficient_sdp_enabled()
        and not torch.are_deterministic_algorithms_enabled()
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
    """As `disentangled.attention`."""
    dtype, heads = query_BTHE.dtype, query_BTHE.shape[2:]
    query_BHTE, key_BHTE, value_BHTE = (x.to(dtype).transpose(1, 2) for x in (query_BTHE, key_BTHE, value_BTHE))
    bias_BHTT = None
    if pos_key_RK is not None:
        assert row_L is not None
        pos_key_HLE = pos_key_RK[row_L.flip(0)].unflatten(-1, heads).transpose(0, 1).to(dtype)
        bias_BHTT = _shifted(query_BHTE @ (pos_key_HLE / scale).transpose(1, 2))
    if pos_query_RK is not None:
        assert row_L is not None
        pos_query_HLE = pos_query_RK[row_L].unflatten(-1, heads).transpose(0, 1).to(dtype)
        of_keys_BHTT = _shifted(key_BHTE @ (pos_query_HLE / scale).transpose(1, 2)).transpose(-1, -2)
        bias_BHTT = of_keys_BHTT if bias_BHTT is None else bias_BHTT + of_keys_BHTT
    if mask_BTT is not None:
        lowest = torch.finfo(dtype).min
        if bias_BHTT is None:
            bias_BHTT = torch.zeros(mask_BTT.shape, dtype=dtype, device=mask_BTT.device)[:, None]
        bias_BHTT = bias_BHTT.masked_fill(~mask_BTT[:, None], lowest)
        # A query that may look nowhere looks at all keys alike, and its scores have no gradient: it is 0.
        query_BHTE = query_BHTE.masked_fill(~mask_BTT.any(dim=-1)[:, None, :, None], 0.0)
    context_BHTE = F.scaled_dot_product_attention(
        query_BHTE, key_BHTE, value_BHTE, attn_mask=bias_BHTT, dropout_p=dropout, scale=1 / scale
    )
    return context_BHTE.transpose(1, 2).flatten(2)


def _shifted(x_BHTL: Tensor) -> Tensor:
    """Row i from its column T − 1 − i on, without reading through a stride that autograd would have to scatter."""
    T, L = x_BHTL.shape[-2:]
    flat = x_BHTL.flatten(-2)[..., T - 1 : T - 1 + T * (L - 1)]
    return flat.unflatten(-1, (T, L - 1))[..., :T]
