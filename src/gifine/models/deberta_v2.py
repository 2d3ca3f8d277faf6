"""DeBERTa-v2 and -v3 with gates on the content's `query_proj` and `key_proj`.

Gated queries and keys enter all three score terms. With `share_att_key` the same projections serve the relative
positions, and there they are not gated: `disentangled_attention_bias`, which does that, is transformers' own.

Shapes: B examples, T positions, D features of the hidden states, K features of a projection, H heads, N = B·H,
E = K/H, R relative positions.
"""

from __future__ import annotations

from torch import Tensor
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification, DebertaV2Model
from transformers.models.deberta_v2.modeling_deberta_v2 import (
    ContextPooler,
    DisentangledSelfAttention,
    scaled_size_sqrt,
)

from gifine.models._deberta import add_head, attend, real_tokens
from gifine.models._gates import Family, GatedAttention, GatedBackbone, GatedConfig


class GiDebertaV2Config(GatedConfig, DebertaV2Config):
    model_type = "gi_deberta_v2"


class GiDebertaV2SelfAttention(GatedAttention, DisentangledSelfAttention):
    def __init__(self, config: GiDebertaV2Config, layer: int) -> None:
        super().__init__(config)
        self.add_gates(config, layer)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        output_attentions: bool = False,
        query_states: Tensor | None = None,
        relative_pos: Tensor | None = None,
        rel_embeddings: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        assert query_states is None, "queries from elsewhere belong to DeBERTa's pretraining decoder"
        heads = self.num_attention_heads
        real_BT = real_tokens(attention_mask)
        query_BTK = self.gated("q", self.query_proj(hidden_states), hidden_states, real_BT)
        key_BTK = self.gated("k", self.key_proj(hidden_states), hidden_states, real_BT)
        query_NTE = self.transpose_for_scores(query_BTK, heads)
        key_NTE = self.transpose_for_scores(key_BTK, heads)
        value_NTE = self.transpose_for_scores(self.value_proj(hidden_states), heads)

        terms = 1 + ("c2p" in self.pos_att_type) + ("p2c" in self.pos_att_type)
        scale = scaled_size_sqrt(query_NTE, terms).to(query_NTE.dtype)
        scores_NTT = query_NTE @ (key_NTE.transpose(1, 2) / scale)
        if self.relative_attention:
            rel_embeddings_RD = self.pos_dropout(rel_embeddings)
            scores_NTT = scores_NTT + self.disentangled_attention_bias(
                query_NTE, key_NTE, relative_pos, rel_embeddings_RD, terms
            )
        context_BTK, weights_BHTT = attend(
            scores_NTT.unflatten(0, (-1, heads)),
            value_NTE.unflatten(0, (-1, heads)),
            attention_mask,
            real_BT,
            self.dropout,
        )
        return context_BTK, weights_BHTT if output_attentions else None


class GiDebertaV2Model(GatedBackbone, DebertaV2Model):
    config_class = GiDebertaV2Config
    attention_class = GiDebertaV2SelfAttention


class GiDebertaV2ForSequenceClassification(DebertaV2ForSequenceClassification):
    config_class = GiDebertaV2Config

    def __init__(self, config: GiDebertaV2Config) -> None:
        # Past DebertaV2ForSequenceClassification's: it would build an ungated backbone first, and draw its weights.
        super(DebertaV2ForSequenceClassification, self).__init__(config)
        self.deberta = GiDebertaV2Model(config)
        self.pooler = ContextPooler(config)
        add_head(self)


FAMILY = Family(
    GiDebertaV2Config,
    GiDebertaV2Model,
    GiDebertaV2ForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    classifier_dropout="cls_dropout",
    undeclared=(
        "attention_head_size",
        "cls_dropout",
        "conv_act",
        "conv_groups",
        "conv_kernel_size",
        "embedding_size",
        "norm_rel_ebd",
        "position_buckets",
        "share_att_key",
    ),
)
