"""DeBERTa-v2 and -v3 with a change to attention.

Changed queries and keys enter all three score terms. With `share_att_key` the same projections serve the relative
positions: a change acts there as well, or on the content alone, as its key `positions` says (GI: on the content).

`query_states`, BTD, are what queries are made of in DeBERTa's mask decoder (`models/pretraining/decoder.py`), where
keys and values are made of the hidden states: what a change has beside queries, weights and context are these.

Shapes: B examples, T positions, D features of the hidden states, K features of a projection, H heads, N = B·H,
E = K/H, R relative positions (of the fast attention: those that occur).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import (
    DebertaV2Config,
    DebertaV2ForQuestionAnswering,
    DebertaV2ForSequenceClassification,
    DebertaV2Model,
    DebertaV2PreTrainedModel,
)
from transformers.models.deberta_v2.modeling_deberta_v2 import (
    ContextPooler,
    DisentangledSelfAttention,
    scaled_size_sqrt,
)

from gifine.models.attention.deberta import FastAttention, add_head, attend, fast_context
from gifine.models.attention.fast_dropout import FastDropout
from gifine.models.attention.positions import positions
from gifine.models.change_config import ChangedConfig
from gifine.models.changed import ChangedAttention, ChangedBackbone
from gifine.models.families import Family
from gifine.models.pretraining.parts import deberta_pretraining
from gifine.models.trained import TrainedOver


class GiDebertaV2Config(ChangedConfig, DebertaV2Config):
    model_type = "gi_deberta_v2"


class GiDebertaV2SelfAttention(ChangedAttention, DisentangledSelfAttention):
    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        output_attentions: bool = False,
        query_states: Tensor | None = None,
        relative_pos: Tensor | None = None,
        rel_embeddings: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        queried_BTD = hidden_states if query_states is None else query_states
        heads = self.num_attention_heads
        query_BTK = self.changed("query", self.query_proj(queried_BTD), queried_BTD)
        key_BTK = self.changed("key", self.key_proj(hidden_states), hidden_states)
        value_BTK = self.changed("value", self.value_proj(hidden_states), hidden_states)
        query_NTE, key_NTE, value_NTE = (
            self.transpose_for_scores(projected_BTK, heads) for projected_BTK in (query_BTK, key_BTK, value_BTK)
        )

        terms = 1 + ("c2p" in self.pos_att_type) + ("p2c" in self.pos_att_type)
        scale = scaled_size_sqrt(query_NTE, terms).to(query_NTE.dtype)
        scores_NTT = query_NTE @ (key_NTE.transpose(1, 2) / scale)
        if self.relative_attention:
            rel_embeddings_RD = self.pos_dropout(rel_embeddings)
            module: Any = _AtPositions(self) if self.changes_positions and self.share_att_key else self
            scores_NTT = scores_NTT + DisentangledSelfAttention.disentangled_attention_bias(
                module, query_NTE, key_NTE, relative_pos, rel_embeddings_RD, terms
            )
        context_BTK, weights_BHTT = attend(
            self,
            scores_NTT.unflatten(0, (-1, heads)),
            value_NTE.unflatten(0, (-1, heads)),
            queried_BTD,
            attention_mask,
        )
        return context_BTK, weights_BHTT if output_attentions else None


class _AtPositions:
    """Stands for the module in transformers' method where a change acts on positions: its projections are changed."""

    def __init__(self, attention: GiDebertaV2SelfAttention) -> None:
        self.attention = attention

    def __getattr__(self, name: str) -> Any:
        return getattr(self.attention, name)

    def query_proj(self, rel_embeddings_1RD: Tensor) -> Tensor:
        return self._project("query", rel_embeddings_1RD)

    def key_proj(self, rel_embeddings_1RD: Tensor) -> Tensor:
        return self._project("key", rel_embeddings_1RD)

    def _project(self, site: Literal["query", "key"], rel_embeddings_1RD: Tensor) -> Tensor:
        projection = self.attention.query_proj if site == "query" else self.attention.key_proj
        rel_RD, pos_RK = rel_embeddings_1RD[0], projection(rel_embeddings_1RD)[0]
        return self.attention.changed(site, pos_RK, rel_RD, positions=True)[None]


class FastDebertaV2SelfAttention(FastAttention, DisentangledSelfAttention):
    def compute_context(
        self, hidden_BTD: Tensor, queried_BTD: Tensor, mask_B1TT: Tensor, rel_embeddings_RD: Tensor | None
    ) -> Tensor:
        c2p, p2c = ("c2p" in self.pos_att_type, "p2c" in self.pos_att_type)
        shared, length = self.share_att_key, hidden_BTD.shape[1]
        occurring = rel_RD = both_MD = of_queries_MD = None
        if self.relative_attention and (c2p or p2c):
            assert rel_embeddings_RD is not None
            buckets, maximum = self.position_buckets, self.max_relative_positions
            occurring = positions(length, self.pos_ebd_size, buckets, maximum, hidden_BTD.device)
            rel_RD = self.pos_dropout(rel_embeddings_RD[occurring.first : occurring.last])
            if shared:
                # One product for both: two would give gradients of the size of the weights, to be added up.
                both_MD = of_queries_MD = torch.cat((hidden_BTD.flatten(0, 1), rel_RD))
                if queried_BTD is not hidden_BTD:
                    of_queries_MD = torch.cat((queried_BTD.flatten(0, 1), rel_RD))
        trains = rel_embeddings_RD is not None and rel_embeddings_RD.requires_grad
        query_BTK, pos_query_RK = _project(self.query_proj, queried_BTD, of_queries_MD if p2c else None, trains=trains)
        key_BTK, pos_key_RK = _project(self.key_proj, hidden_BTD, both_MD if c2p else None, trains=trains)
        if rel_RD is not None and not shared:
            pos_key_RK = self.pos_key_proj(rel_RD) if c2p else None
            pos_query_RK = self.pos_query_proj(rel_RD) if p2c else None
        query_BTK = self.changed("query", query_BTK, queried_BTD)
        key_BTK = self.changed("key", key_BTK, hidden_BTD)
        value_BTK = self.changed("value", self.value_proj(hidden_BTD), hidden_BTD)
        if rel_RD is not None and shared and self.changes_positions:
            pos_query_RK = None if pos_query_RK is None else self.changed("query", pos_query_RK, rel_RD, positions=True)
            pos_key_RK = None if pos_key_RK is None else self.changed("key", pos_key_RK, rel_RD, positions=True)
        query_BTHE, key_BTHE, value_BTHE = (
            projected_BTK.unflatten(-1, (self.num_attention_heads, -1))
            for projected_BTK in (query_BTK, key_BTK, value_BTK)
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
            terms=1 + c2p + p2c,
        )


def _project(
    projection: nn.Linear, hidden_BTD: Tensor, both_MD: Tensor | None, *, trains: bool
) -> tuple[Tensor, Tensor | None]:
    """`projected_BTK`, and `pos_RK` where `both_MD` has the B·T hidden states and R relative embeddings.

    `trains` says whether the embeddings do.
    """
    if both_MD is None:
        return projection(hidden_BTD), None
    content = hidden_BTD.shape[:2]
    projected_MK, pos_RK = projection(both_MD).tensor_split([content.numel()])
    if not trains and not any(parameter.requires_grad for parameter in projection.parameters()):
        pos_RK = pos_RK.detach()  # else a gradient would be computed for it beside that of the content
    return projected_MK.unflatten(0, content), pos_RK


class FastGiDebertaV2SelfAttention(FastDebertaV2SelfAttention, GiDebertaV2SelfAttention):
    pass


class GiDebertaV2Model(ChangedBackbone, DebertaV2Model):
    config_class = GiDebertaV2Config
    attention_class = GiDebertaV2SelfAttention


class GiDebertaV2ForSequenceClassification(TrainedOver, DebertaV2ForSequenceClassification):
    config_class = GiDebertaV2Config

    def __init__(self, config: GiDebertaV2Config) -> None:
        # Past DebertaV2ForSequenceClassification's: it would build a plain backbone first, and draw its weights.
        super(DebertaV2ForSequenceClassification, self).__init__(config)
        self.deberta = GiDebertaV2Model(config)
        self.pooler = ContextPooler(config)
        add_head(self)


class GiDebertaV2ForQuestionAnswering(TrainedOver, DebertaV2ForQuestionAnswering):
    config_class = GiDebertaV2Config

    def __init__(self, config: GiDebertaV2Config) -> None:
        # Past DebertaV2ForQuestionAnswering's, as above.
        super(DebertaV2ForQuestionAnswering, self).__init__(config)
        assert config.num_labels is not None
        self.num_labels = config.num_labels
        self.deberta = GiDebertaV2Model(config)
        self.qa_outputs = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()


FAMILY = Family(
    GiDebertaV2Config,
    GiDebertaV2Model,
    GiDebertaV2ForSequenceClassification,
    GiDebertaV2ForQuestionAnswering,
    DebertaV2Config,
    DebertaV2Model,
    DebertaV2ForSequenceClassification,
    DebertaV2ForQuestionAnswering,
    classifier_dropout="cls_dropout",
    pretraining=deberta_pretraining(DebertaV2PreTrainedModel, "DebertaV2ForMaskedLM", DisentangledSelfAttention),
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
