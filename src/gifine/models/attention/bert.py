"""Gated self-attention in BERT's layout, which RoBERTa has too: `query`, `key`, `value`, then transformers' kernels.

Shapes: B examples, T positions, D features of the hidden states, K features of a projection, H heads, E = K/H.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import Cache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.bert.modeling_bert import eager_attention_forward

from gifine.models.gated import GatedAttention, GatedBackbone
from gifine.models.gi_config import GatedConfig


class BertGatedAttention(GatedAttention):
    config: GatedConfig
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    dropout: nn.Dropout
    attention_head_size: int
    scaling: float

    def __init__(self, config: GatedConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx=layer_idx)
        self.add_gates(config, layer_idx)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        real_BT: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        def split(projected_BTK: Tensor) -> Tensor:
            return projected_BTK.unflatten(-1, (-1, self.attention_head_size)).transpose(1, 2)

        query_BTK = self.gated("q", self.query(hidden_states), hidden_states, real_BT)
        key_BTK = self.gated("k", self.key(hidden_states), hidden_states, real_BT)
        kernel = self.config._attn_implementation or "eager"
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(kernel, eager_attention_forward)
        context_BTHE, weights_BHTT = attend(
            self,
            split(query_BTK),
            split(key_BTK),
            split(self.value(hidden_states)),
            attention_mask,
            dropout=self.dropout.p if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        return context_BTHE.flatten(2).contiguous(), weights_BHTT


class BertGatedBackbone(GatedBackbone):
    def forward(self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **kwargs: Any) -> Any:
        # By the time a mask reaches the attention it has the form that its kernel wants (none at all, 4-D, blocks), so
        # the gates get the tokeniser's own, by the keyword arguments that every layer hands on.
        if self.config.gi_mask_padding and self.config.gated_layers and attention_mask is not None:
            if attention_mask.dim() != 2:
                raise ValueError(f"gi_mask_padding wants attention_mask of 2 dimensions, not {attention_mask.dim()}")
            kwargs["real_BT"] = attention_mask.bool()
        return super().forward(input_ids, attention_mask=attention_mask, **kwargs)
