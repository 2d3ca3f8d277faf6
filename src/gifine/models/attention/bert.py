"""Self-attention of a change in BERT's layout, which RoBERTa has too: `query`, `key`, `value`, then a kernel.

Shapes: B examples, T positions, D features of the hidden states, K features of a projection, H heads, E = K/H.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import Cache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.bert.modeling_bert import eager_attention_forward

from gifine.models.change_config import ChangedConfig
from gifine.models.changed import ChangedAttention, ChangedBackbone


class BertChangedAttention(ChangedAttention):
    config: ChangedConfig
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    dropout: nn.Dropout
    attention_head_size: int
    scaling: float

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        def split(projected_BTK: Tensor) -> Tensor:
            return projected_BTK.unflatten(-1, (-1, self.attention_head_size)).transpose(1, 2)

        query_BHTE = split(self.changed("query", self.query(hidden_states), hidden_states))
        key_BHTE = split(self.changed("key", self.key(hidden_states), hidden_states))
        value_BHTE = split(self.changed("value", self.value(hidden_states), hidden_states))
        if "weights" in self.sites:
            scores_BHTT = query_BHTE @ key_BHTE.transpose(2, 3) * self.scaling
            if attention_mask is not None:
                # To be added, as BertChangedBackbone asks for it; and not a mask of a kernel that was chosen later.
                assert attention_mask.is_floating_point()
                scores_BHTT = scores_BHTT + attention_mask
            weights_BHTT = self.changed("weights", scores_BHTT.softmax(-1), hidden_states, taken=scores_BHTT)
            weights_BHTT = self.dropout(weights_BHTT)
            context_BTK = (weights_BHTT @ value_BHTE).transpose(1, 2).flatten(2)
        else:
            kernel = self.config._attn_implementation or "eager"
            attend = ALL_ATTENTION_FUNCTIONS.get_interface(kernel, eager_attention_forward)
            context_BTHE, weights_BHTT = attend(
                self,
                query_BHTE,
                key_BHTE,
                value_BHTE,
                attention_mask,
                dropout=self.dropout.p if self.training else 0.0,
                scaling=self.scaling,
                **kwargs,
            )
            context_BTK = context_BTHE.flatten(2).contiguous()
        return self.changed("context", context_BTK, hidden_states), weights_BHTT


class BertChangedBackbone(ChangedBackbone):
    def post_init(self) -> None:
        super().post_init()
        if self.config.changes_weights:
            # No kernel gives its weights away, and with this word transformers makes the mask that scores are added to.
            self.config._attn_implementation = "eager"

    def forward(self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **kwargs: Any) -> Any:
        # By the time a mask reaches the attention it has the form that its kernel wants (none at all, 4-D, blocks).
        wanted = self.config.gi_mask_padding and self.config.change is None and bool(self.config.changed_layers)
        if wanted and attention_mask is not None and attention_mask.dim() != 2:
            raise ValueError(f"gi_mask_padding wants attention_mask of 2 dimensions, not {attention_mask.dim()}")
        return super().forward(input_ids, attention_mask=attention_mask, **kwargs)
