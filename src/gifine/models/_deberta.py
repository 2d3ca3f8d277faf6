"""What both DeBERTas share: what becomes of attention scores, and the classifier around the backbone.

Shapes: B examples, T positions, H heads, E features of a head, K = H·E.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import DebertaForSequenceClassification, DebertaV2ForSequenceClassification


def real_tokens(mask_B1TT: Tensor) -> Tensor:
    """`real_BT`, True where a token is not padding, from the encoder's mask of query-key pairs."""
    return mask_B1TT[:, 0].diagonal(dim1=-2, dim2=-1).bool()


def attend(
    scores_BHTT: Tensor, value_BHTE: Tensor, mask_B1TT: Tensor, real_BT: Tensor, dropout: nn.Dropout
) -> tuple[Tensor, Tensor]:
    """`context_BTK` and the attention weights; the context of padding is zero.

    Zero as in the original DeBERTa, whose softmax leaves nothing to a padded query. transformers lets it look at every
    position alike, which nothing else sees, but the maximum in a gate does.
    """
    scores_BHTT = scores_BHTT.masked_fill(~mask_B1TT.bool(), torch.finfo(scores_BHTT.dtype).min)
    weights_BHTT = dropout(scores_BHTT.softmax(dim=-1))
    context_BTK = (weights_BHTT @ value_BHTE).transpose(1, 2).flatten(2)
    return context_BTK.masked_fill(~real_BT[:, :, None], 0.0), weights_BHTT


def add_head(classifier: DebertaForSequenceClassification | DebertaV2ForSequenceClassification) -> None:
    """The rest of a classifier's `__init__` after backbone and pooler, in the order in which the plain one draws."""
    config = classifier.config
    assert config.num_labels is not None
    classifier.num_labels = config.num_labels
    classifier.classifier = nn.Linear(classifier.pooler.output_dim, config.num_labels)
    dropout = getattr(config, "cls_dropout", None)
    classifier.dropout = nn.Dropout(config.hidden_dropout_prob if dropout is None else dropout)
    classifier.post_init()
