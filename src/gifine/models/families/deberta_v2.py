"""DeBERTa-v2 and -v3 with gates on the content's `query_proj` and `key_proj`.

Gated queries and keys enter all three score terms. With `share_att_key` the same projections serve the relative
positions, and there they are not gated: `disentangled_attention_bias`, which does that, is transformers' own.

Shapes: B examples, T positions, D features of the hidden states, K features of a projection, H heads, N = B·H,
E = K/H, R relative positions (of the fast attention: those that occur).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification, DebertaV2Model
from transformers.models.deberta_v2.modeling_deberta_v2 import (
    ContextPooler,
    DisentangledSelfAttention,
    scaled_size_sqrt,
)

from gifine.models.attention.deberta import Gates, add_head, attend, fast_context, real_tokens, with_gates
from gifine.models.attention.fast_dropout import FastDropout
from gifine.models.attention.positions import positions
from gifine.models.gated import Family, GatedAttention, GatedBackbone, GatedConfig


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


class FastDebertaV2SelfAttention(DisentangledSelfAttention):
    """transformers' results for `relative_pos` as its encoder makes it, in a fraction of the time and memory."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        output_attentions: bool = False,
        query_states: Tensor | None = None,
        relative_pos: Tensor | None = None,
        rel_embeddings: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        if output_attentions or query_states is not None or attention_mask.shape[1] != 1:
            return super().forward(
                hidden_states, attention_mask, output_attentions, query_states, relative_pos, rel_embeddings
            )
        return _fast_context(self, hidden_states, attention_mask, rel_embeddings), None


class FastGiDebertaV2SelfAttention(GiDebertaV2SelfAttention):
    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        output_attentions: bool = False,
        query_states: Tensor | None = None,
        relative_pos: Tensor | None = None,
        rel_embeddings: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        if output_attentions or attention_mask.shape[1] != 1:
            return super().forward(
                hidden_states, attention_mask, output_attentions, query_states, relative_pos, rel_embeddings
            )
        return with_gates(_fast_context, self, hidden_states, attention_mask, rel_embeddings), None


def _fast_context(
    attention: DisentangledSelfAttention,
    hidden_BTD: Tensor,
    mask_B1TT: Tensor,
    rel_embeddings_RD: Tensor | None,
    gated: Gates = lambda _, projected_BTK: projected_BTK,
) -> Tensor:
    c2p, p2c = ("c2p" in attention.pos_att_type, "p2c" in attention.pos_att_type)
    shared, length = attention.share_att_key, hidden_BTD.shape[1]
    occurring = rel_RD = both_MD = None
    if attention.relative_attention and (c2p or p2c):
        assert rel_embeddings_RD is not None
        buckets, maximum = attention.position_buckets, attention.max_relative_positions
        occurring = positions(length, attention.pos_ebd_size, buckets, maximum, hidden_BTD.device)
        rel_RD = attention.pos_dropout(rel_embeddings_RD[occurring.first : occurring.last])
        if shared:
            # One product for both: two would give gradients of the size of the weights, to be added up.
            both_MD = torch.cat((hidden_BTD.flatten(0, 1), rel_RD))
    query_BTK, pos_query_RK = _project(attention.query_proj, hidden_BTD, both_MD if p2c else None)
    key_BTK, pos_key_RK = _project(attention.key_proj, hidden_BTD, both_MD if c2p else None)
    if rel_RD is not None and not shared:
        pos_key_RK = attention.pos_key_proj(rel_RD) if c2p else None
        pos_query_RK = attention.pos_query_proj(rel_RD) if p2c else None
    heads = (attention.num_attention_heads, -1)
    return fast_context(
        gated("q", query_BTK).unflatten(-1, heads),
        gated("k", key_BTK).unflatten(-1, heads),
        attention.value_proj(hidden_BTD).unflatten(-1, heads),
        pos_key_RK,
        pos_query_RK,
        occurring,
        mask_B1TT,
        terms=1 + c2p + p2c,
        dropout=attention.dropout,
    )


def _project(projection: nn.Linear, hidden_BTD: Tensor, both_MD: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """`projected_BTK`, and `pos_RK` where `both_MD` has the B·T hidden states and R relative embeddings."""
    if both_MD is None:
        return projection(hidden_BTD), None
    content = hidden_BTD.shape[:2]
    projected_MK, pos_RK = projection(both_MD).tensor_split([content.numel()])
    return projected_MK.unflatten(0, content), pos_RK


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
    fast={
        nn.Dropout: FastDropout,
        DisentangledSelfAttention: FastDebertaV2SelfAttention,
        GiDebertaV2SelfAttention: FastGiDebertaV2SelfAttention,
    },
)
