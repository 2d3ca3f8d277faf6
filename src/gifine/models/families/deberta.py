"""DeBERTa v1 with a change to attention: of projections, to its parts of the one that is fused.

GI's authors published no code for it. Here a gate multiplies what the formula calls query(x) and key(x): the part of
`in_proj`, for queries with `q_bias` (keys have none), its features head by head. So it is with every change, and with
values and `v_bias`. Relative positions have projections of their own here, which no change acts on.

`query_states`, BTD, are what queries are made of in DeBERTa's mask decoder (`models/pretraining/decoder.py`), where
keys and values are made of the hidden states: what a change has beside queries, weights and context are these.
transformers' own attention of DeBERTa v1 cannot take them.

Shapes: B examples, T positions, D features of the hidden states, K features of a projection, H heads, E = K/H,
R relative positions (of the fast attention: those that occur).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it
from transformers import (
    DebertaConfig,
    DebertaForQuestionAnswering,
    DebertaForSequenceClassification,
    DebertaModel,
    DebertaPreTrainedModel,
)
from transformers.models.deberta.modeling_deberta import (
    ContextPooler,
    DebertaLayerNorm,
    DisentangledSelfAttention,
    scaled_size_sqrt,
)

from gifine.changes.contract import Site
from gifine.errors import ModelError
from gifine.models.attention.deberta import FastAttention, add_head, attend, fast_context
from gifine.models.attention.fast_dropout import FastDropout
from gifine.models.attention.positions import positions_v1
from gifine.models.change_config import ChangedConfig
from gifine.models.changed import ChangedAttention, ChangedBackbone
from gifine.models.families import Family
from gifine.models.pretraining.parts import deberta_pretraining
from gifine.models.trained import TrainedOver

PROJECTIONS: tuple[Site, ...] = ("query", "key", "value")  # in the order of in_proj's rows, in each head


class GiDebertaConfig(ChangedConfig, DebertaConfig):
    model_type = "gi_deberta"

    def check_change(self) -> None:
        super().check_change()
        if getattr(self, "talking_head", False):
            raise ModelError("talking_head=true: changes to attention are for DeBERTa without talking heads")


def query_rows(attention: DisentangledSelfAttention) -> Tensor:
    """`rows_KD` of the fused projection that give queries."""
    return attention.in_proj.weight.unflatten(0, (attention.num_attention_heads, len(PROJECTIONS), -1))[:, 0].flatten(
        0, 1
    )


class GiDebertaSelfAttention(ChangedAttention, DisentangledSelfAttention):
    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        output_attentions: bool = False,
        query_states: Tensor | None = None,
        relative_pos: Tensor | None = None,
        rel_embeddings: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        # in_proj's output lies head by head, and in each head query, key, value.
        heads_BTHE = self.in_proj(hidden_states).unflatten(-1, (self.num_attention_heads, -1))
        query_BTK, key_BTK, value_BTK = (part.flatten(2) for part in heads_BTHE.chunk(3, dim=-1))
        queried_BTD = hidden_states if query_states is None else query_states
        if query_states is not None:
            query_BTK = F.linear(query_states, query_rows(self))
        query_BTK = self.changed("query", query_BTK + self.q_bias, queried_BTD)
        key_BTK = self.changed("key", key_BTK, hidden_states)
        value_BTK = self.changed("value", value_BTK + self.v_bias, hidden_states)
        query_BHTE, key_BHTE, value_BHTE = (
            self.transpose_for_scores(projected_BTK) for projected_BTK in (query_BTK, key_BTK, value_BTK)
        )

        terms = 1 + len(self.pos_att_type)
        query_BHTE = query_BHTE / scaled_size_sqrt(query_BHTE, terms).to(query_BHTE.dtype)
        scores_BHTT = query_BHTE @ key_BHTE.transpose(-1, -2)
        if self.relative_attention and relative_pos is not None:
            rel_embeddings_RD = self.pos_dropout(rel_embeddings)
            scores_BHTT = scores_BHTT + self.disentangled_att_bias(
                query_BHTE, key_BHTE, relative_pos, rel_embeddings_RD, terms
            )
        context_BTK, weights_BHTT = attend(self, scores_BHTT, value_BHTE, queried_BTD, attention_mask)
        return context_BTK, weights_BHTT if output_attentions else None


class FastDebertaSelfAttention(FastAttention, DisentangledSelfAttention):
    def serves(self, relative_pos: Tensor | None) -> bool:
        return relative_pos is not None and not self.talking_head

    def compute_context(
        self, hidden_BTD: Tensor, queried_BTD: Tensor, mask_B1TT: Tensor, rel_embeddings_RD: Tensor | None
    ) -> Tensor:
        c2p, p2c = ("c2p" in self.pos_att_type, "p2c" in self.pos_att_type)
        occurring = pos_key_RK = pos_query_RK = None
        if self.relative_attention and rel_embeddings_RD is not None and (c2p or p2c):
            occurring = positions_v1(hidden_BTD.shape[1], self.max_relative_positions, hidden_BTD.device)
            rel_RD = self.pos_dropout(rel_embeddings_RD[occurring.first : occurring.last])
            pos_key_RK = self.pos_proj(rel_RD) if c2p else None
            pos_query_RK = self.pos_q_proj(rel_RD) if p2c else None
        # The biases of queries and values where in_proj has its rows for these: it adds them for nothing.
        query_bias_HE, value_bias_HE = (
            bias_K.unflatten(0, (self.num_attention_heads, -1)) for bias_K in (self.q_bias, self.v_bias)
        )
        bias_H3E = torch.stack((query_bias_HE, torch.zeros_like(query_bias_HE), value_bias_HE), dim=1)
        projected = F.linear(hidden_BTD, self.in_proj.weight, bias_H3E.flatten()).unflatten(-1, bias_H3E.shape)
        parts_BTHE, made_of_BTD = [*projected.unbind(-2)], (queried_BTD, hidden_BTD, hidden_BTD)
        if queried_BTD is not hidden_BTD:
            query_BTK = F.linear(queried_BTD, query_rows(self), self.q_bias)
            parts_BTHE[0] = query_BTK.unflatten(-1, (self.num_attention_heads, -1))
        query_BTHE, key_BTHE, value_BTHE = (
            # What has no such site stays a view.
            self.changed(site, part_BTHE.flatten(2), x_BTD).view_as(part_BTHE) if site in self.sites else part_BTHE
            for site, part_BTHE, x_BTD in zip(PROJECTIONS, parts_BTHE, made_of_BTD, strict=True)
        )
        return fast_context(
            self,
            query_BTHE,
            key_BTHE,
            value_BTHE,
            pos_key_RK,
            pos_query_RK,
            occurring,
            queried_BTD,
            mask_B1TT,
            terms=1 + len(self.pos_att_type),
        )


class FastGiDebertaSelfAttention(FastDebertaSelfAttention, GiDebertaSelfAttention):
    pass


class FastDebertaLayerNorm(DebertaLayerNorm):
    """torch's: transformers' is written out, and computes in float32 whatever it is given."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        if hidden_states.dtype != torch.float32:
            return super().forward(hidden_states)
        return F.layer_norm(hidden_states, self.weight.shape, self.weight, self.bias, self.variance_epsilon)


class GiDebertaModel(ChangedBackbone, DebertaModel):
    config_class = GiDebertaConfig
    attention_class = GiDebertaSelfAttention


class GiDebertaForSequenceClassification(TrainedOver, DebertaForSequenceClassification):
    config_class = GiDebertaConfig

    def __init__(self, config: GiDebertaConfig) -> None:
        # Past DebertaForSequenceClassification's: it would build a plain backbone first, and draw its weights.
        super(DebertaForSequenceClassification, self).__init__(config)
        self.deberta = GiDebertaModel(config)
        self.pooler = ContextPooler(config)
        add_head(self)


class GiDebertaForQuestionAnswering(TrainedOver, DebertaForQuestionAnswering):
    config_class = GiDebertaConfig

    def __init__(self, config: GiDebertaConfig) -> None:
        # Past DebertaForQuestionAnswering's, as above.
        super(DebertaForQuestionAnswering, self).__init__(config)
        assert config.num_labels is not None
        self.num_labels = config.num_labels
        self.deberta = GiDebertaModel(config)
        self.qa_outputs = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()


FAMILY = Family(
    GiDebertaConfig,
    GiDebertaModel,
    GiDebertaForSequenceClassification,
    GiDebertaForQuestionAnswering,
    DebertaConfig,
    DebertaModel,
    DebertaForSequenceClassification,
    DebertaForQuestionAnswering,
    classifier_dropout="cls_dropout",
    pretraining=deberta_pretraining(DebertaPreTrainedModel, "DebertaForMaskedLM", GiDebertaSelfAttention),
    undeclared=("cls_dropout", "embedding_size", "talking_head"),
    fast={
        nn.Dropout: FastDropout,
        DisentangledSelfAttention: FastDebertaSelfAttention,
        GiDebertaSelfAttention: FastGiDebertaSelfAttention,
        DebertaLayerNorm: FastDebertaLayerNorm,
    },
)
