"""DeBERTa v1 with gates on the query and key parts of its one fused projection.

The original published no code for it. Here a gate multiplies what the formula calls query(x) and key(x): the part of
`in_proj`, for queries with `q_bias` (keys have none), its features head by head.

Shapes: B examples, T positions, D features of the hidden states, K features of a projection, H heads, E = K/H,
R relative positions.
"""

from __future__ import annotations

from torch import Tensor
from transformers import DebertaConfig, DebertaForSequenceClassification, DebertaModel
from transformers.models.deberta.modeling_deberta import ContextPooler, DisentangledSelfAttention, scaled_size_sqrt

from gifine.errors import ModelError
from gifine.models._deberta import add_head, attend, real_tokens
from gifine.models._gates import Family, GatedAttention, GatedBackbone, GatedConfig


class GiDebertaConfig(GatedConfig, DebertaConfig):
    model_type = "gi_deberta"

    def check_gates(self) -> None:
        super().check_gates()
        if getattr(self, "talking_head", False):
            raise ModelError("talking_head=true: gates are for DeBERTa without talking heads")


class GiDebertaSelfAttention(GatedAttention, DisentangledSelfAttention):
    def __init__(self, config: GiDebertaConfig, layer: int) -> None:
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
        real_BT = real_tokens(attention_mask)
        # in_proj's output lies head by head, and in each head query, key, value.
        heads_BTHE = self.in_proj(hidden_states).unflatten(-1, (self.num_attention_heads, -1))
        query_BTK, key_BTK, value_BTK = (part.flatten(2) for part in heads_BTHE.chunk(3, dim=-1))
        query_BTK = self.gated("q", query_BTK + self.q_bias, hidden_states, real_BT)
        key_BTK = self.gated("k", key_BTK, hidden_states, real_BT)
        query_BHTE = self.transpose_for_scores(query_BTK)
        key_BHTE = self.transpose_for_scores(key_BTK)
        value_BHTE = self.transpose_for_scores(value_BTK + self.v_bias)

        terms = 1 + len(self.pos_att_type)
        query_BHTE = query_BHTE / scaled_size_sqrt(query_BHTE, terms).to(query_BHTE.dtype)
        scores_BHTT = query_BHTE @ key_BHTE.transpose(-1, -2)
        if self.relative_attention and relative_pos is not None:
            rel_embeddings_RD = self.pos_dropout(rel_embeddings)
            scores_BHTT = scores_BHTT + self.disentangled_att_bias(
                query_BHTE, key_BHTE, relative_pos, rel_embeddings_RD, terms
            )
        context_BTK, weights_BHTT = attend(scores_BHTT, value_BHTE, attention_mask, real_BT, self.dropout)
        return context_BTK, weights_BHTT if output_attentions else None


class GiDebertaModel(GatedBackbone, DebertaModel):
    config_class = GiDebertaConfig
    attention_class = GiDebertaSelfAttention


class GiDebertaForSequenceClassification(DebertaForSequenceClassification):
    config_class = GiDebertaConfig

    def __init__(self, config: GiDebertaConfig) -> None:
        # Past DebertaForSequenceClassification's: it would build an ungated backbone first, and draw its weights.
        super(DebertaForSequenceClassification, self).__init__(config)
        self.deberta = GiDebertaModel(config)
        self.pooler = ContextPooler(config)
        add_head(self)


FAMILY = Family(
    GiDebertaConfig,
    GiDebertaModel,
    GiDebertaForSequenceClassification,
    DebertaConfig,
    DebertaForSequenceClassification,
    classifier_dropout="cls_dropout",
    undeclared=("cls_dropout", "embedding_size", "talking_head"),
)
