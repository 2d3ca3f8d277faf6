"""What both DeBERTas share: what becomes of attention scores, fast attention, the classifier around the backbone.

Shapes: B examples, T positions, H heads, E features of a head, K = H·E, R relative embeddings that occur.
"""

from __future__ import annotations

from functools import lru_cache, partial

import torch
from torch import Tensor, nn
from transformers import DebertaForSequenceClassification, DebertaV2ForSequenceClassification
from transformers.models.deberta_v2.modeling_deberta_v2 import scaled_size_sqrt

from gifine.models import at_site
from gifine.models.attention import disentangled, disentangled_sdpa, written_out
from gifine.models.attention.positions import Positions
from gifine.models.changed import ChangedAttention, Unchanged


def without_padding(context_BTK: Tensor) -> Tensor:
    """Zero for padding as in the original DeBERTa, whose softmax leaves nothing to a padded query.

    transformers lets it look at every position alike, which nothing else sees, but the maximum in a gate does.
    """
    real_BT = at_site.now().real_BT
    return context_BTK if real_BT is None else context_BTK.masked_fill(~real_BT[:, :, None], 0.0)


def attend(
    attention: ChangedAttention, scores_BHTT: Tensor, value_BHTE: Tensor, queried_BTD: Tensor, mask_B1TT: Tensor
) -> tuple[Tensor, Tensor]:
    """`context_BTK` and the attention weights, changed."""
    scores_BHTT = scores_BHTT.masked_fill(~mask_B1TT.bool(), torch.finfo(scores_BHTT.dtype).min)
    weights_BHTT = attention.changed("weights", scores_BHTT.softmax(dim=-1), queried_BTD, taken=scores_BHTT)
    weights_BHTT = attention.dropout(weights_BHTT)
    context_BTK = without_padding((weights_BHTT @ value_BHTE).transpose(1, 2).flatten(2))
    return attention.changed("context", context_BTK, queried_BTD), weights_BHTT


def fast_context(
    module: FastAttention,
    query_BTHE: Tensor,
    key_BTHE: Tensor,
    value_BTHE: Tensor,
    pos_key_RK: Tensor | None,
    pos_query_RK: Tensor | None,
    positions: Positions | None,
    queried_BTD: Tensor,
    mask_B1TT: Tensor,
    *,
    terms: int,
) -> Tensor:
    """`context_BTK` as transformers computes it, of projections that are not scaled yet; `terms` of a score."""
    B, T, _, E = query_BTHE.shape
    mask_BTT = mask_B1TT[:, 0].bool().expand(B, T, T)
    if mask_BTT.device.type == "cpu" and mask_BTT.all():  # elsewhere looking would wait for the device
        mask_BTT = None
    attention = disentangled_sdpa.attention if disentangled_sdpa.serves(query_BTHE) else disentangled.attention
    if "weights" in module.sites:
        attention = written_out.with_weights(partial(module.changed, "weights", hidden=queried_BTD))
    return attention(
        query_BTHE,
        key_BTHE,
        value_BTHE,
        pos_key_RK,
        pos_query_RK,
        None if positions is None else positions.row_L,
        mask_BTT,
        scale=_scale(E, terms),
        dropout=module.dropout.p if module.dropout.training else 0.0,
    )


class FastAttention(Unchanged):
    """Mixed into a family's self-attention, plain or changed: the same results in less time and memory.

    For masks and relative positions as transformers' encoder makes them; any other call goes to the family's `forward`.
    """

    dropout: nn.Dropout

    def serves(self, relative_pos: Tensor | None) -> bool:
        """Whether `compute_context` knows these positions, and all that the module does."""
        return True

    def compute_context(
        self, hidden_BTD: Tensor, queried_BTD: Tensor, mask_B1TT: Tensor, rel_embeddings_RD: Tensor | None
    ) -> Tensor:
        """`context_BTK`; queries are made of `queried_BTD`, which in an encoder are the hidden states."""
        raise NotImplementedError

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        output_attentions: bool = False,
        query_states: Tensor | None = None,
        relative_pos: Tensor | None = None,
        rel_embeddings: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        other = output_attentions or attention_mask.shape[1] != 1
        if other or not self.serves(relative_pos):
            return super().forward(
                hidden_states, attention_mask, output_attentions, query_states, relative_pos, rel_embeddings
            )
        queried_BTD = hidden_states if query_states is None else query_states
        context_BTK = self.compute_context(hidden_states, queried_BTD, attention_mask, rel_embeddings)
        if isinstance(self, ChangedAttention):
            context_BTK = self.changed("context", without_padding(context_BTK), queried_BTD)
        return context_BTK, None


@lru_cache
def _scale(features: int, terms: int) -> float:
    """What scores are divided by: transformers' number, a square root in float32 whatever the model's dtype."""
    return float(scaled_size_sqrt(torch.empty(0, features), terms))


def add_head(classifier: DebertaForSequenceClassification | DebertaV2ForSequenceClassification) -> None:
    """The rest of a classifier's `__init__` after backbone and pooler, in the order in which the plain one draws."""
    config = classifier.config
    assert config.num_labels is not None
    classifier.num_labels = config.num_labels
    classifier.classifier = nn.Linear(classifier.pooler.output_dim, config.num_labels)
    dropout = getattr(config, "cls_dropout", None)
    classifier.dropout = nn.Dropout(config.hidden_dropout_prob if dropout is None else dropout)
    classifier.post_init()
