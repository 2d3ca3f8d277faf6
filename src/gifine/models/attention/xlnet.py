"""XLNet's attention module, plain or changed, with the attention of `relative.py` in it.

Shapes: T positions, B examples, D features of the hidden states, H heads, E features of a head, R = 2T rows of
positions, of which the first, distance T, never occurs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.models.xlnet.modeling_xlnet import XLNetRelativeAttention

from gifine.models.attention import relative


class FastXLNetAttention(XLNetRelativeAttention):
    def forward(  # pyrefly: ignore[bad-override] - transformers has no types here
        self,
        h: Tensor,
        g: Tensor | None,
        attn_mask_h: Tensor | None,
        attn_mask_g: Tensor | None,
        r: Tensor,
        seg_mat: Tensor | None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        # Without dropout the positions are the same for all examples, and projected once.
        r_RBD = r[:, :1] if r.stride(1) == 0 else r
        return super().forward(h, g, attn_mask_h, attn_mask_g, r_RBD, seg_mat, *args, **kwargs)

    def rel_attn_core(
        self,
        q_head: Tensor,
        k_head_h: Tensor,
        v_head_h: Tensor,
        k_head_r: Tensor,
        seg_mat: Tensor | None = None,
        attn_mask: Tensor | None = None,
        output_attentions: bool = False,
    ) -> Any:
        """`context_TBHE`. `seg_mat` is TTB2 and `attn_mask` TTB1, both 0 or 1."""
        T, B = q_head.shape[:2]
        if output_attentions or len(k_head_h) != T or len(k_head_r) != 2 * T:  # who asks for weights; for pretraining
            return super().rel_attn_core(q_head, k_head_h, v_head_h, k_head_r, seg_mat, attn_mask, output_attentions)
        other_BHT = differ_BTT = hidden_BTT = None
        if seg_mat is not None:
            other_HE = self.seg_embed[1] - self.seg_embed[0]
            other_BHT = torch.einsum("ibnd,nd->bni", q_head + self.r_s_bias, other_HE)
            differ_BTT = seg_mat[..., 1].permute(2, 0, 1)
        if attn_mask is not None:
            hidden_BTT = attn_mask[..., 0].permute(2, 0, 1).bool()
            if hidden_BTT.device.type == "cpu" and not hidden_BTT.any():  # elsewhere looking would wait for the device
                hidden_BTT = None
        return relative.attention(
            q_head,
            k_head_h,
            v_head_h,
            k_head_r[1:].expand(-1, B, -1, -1),
            self.r_w_bias,
            self.r_r_bias,
            other_BHT,
            differ_BTT,
            hidden_BTT,
            scale=self.scale,
            dropout=self.dropout.p if self.dropout.training else 0.0,
        )
