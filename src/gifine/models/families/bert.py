"""BERT with a change to attention (GI: gates on the outputs of `query` and `key`)."""

from __future__ import annotations

from functools import partial

from torch import nn
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertModel,
    BertPreTrainedModel,
)
from transformers.models.bert.modeling_bert import BertSelfAttention

from gifine.models.attention.bert import BertChangedAttention, BertChangedBackbone
from gifine.models.change_config import ChangedConfig
from gifine.models.families import Family
from gifine.models.pretraining.heads import ElectraReplacedHead, MaskedHead
from gifine.models.pretraining.parts import ELECTRA_SHARES, Pretraining
from gifine.models.trained import TrainedOver


class GiBertConfig(ChangedConfig, BertConfig):
    model_type = "gi_bert"


# transformers says that it returns tuple[Tensor], and returns two.
class GiBertSelfAttention(BertChangedAttention, BertSelfAttention):  # pyrefly: ignore[inconsistent-inheritance] - forward has other keywords
    pass


class GiBertModel(BertChangedBackbone, BertModel):
    config_class = GiBertConfig
    attention_class = GiBertSelfAttention


class GiBertForSequenceClassification(TrainedOver, BertForSequenceClassification):
    config_class = GiBertConfig

    def __init__(self, config: GiBertConfig) -> None:
        # Past BertForSequenceClassification's: it would build a plain backbone first, and draw its weights.
        super(BertForSequenceClassification, self).__init__(config)
        assert config.num_labels is not None
        self.num_labels = config.num_labels
        self.bert = GiBertModel(config)
        dropout = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()


class GiBertForQuestionAnswering(TrainedOver, BertForQuestionAnswering):
    config_class = GiBertConfig

    def __init__(self, config: GiBertConfig) -> None:
        # Past BertForQuestionAnswering's, as above.
        super(BertForQuestionAnswering, self).__init__(config)
        assert config.num_labels is not None
        self.num_labels = config.num_labels
        self.bert = GiBertModel(config, add_pooling_layer=False)
        self.qa_outputs = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()


FAMILY = Family(
    GiBertConfig,
    GiBertModel,
    GiBertForSequenceClassification,
    GiBertForQuestionAnswering,
    BertConfig,
    BertModel,
    BertForSequenceClassification,
    BertForQuestionAnswering,
    pretraining=Pretraining(
        BertPreTrainedModel,
        "BertForMaskedLM",
        ("cls.predictions", partial(MaskedHead, dense="transform.dense", norm="transform.LayerNorm")),
        ("discriminator_predictions", ElectraReplacedHead),
        shared=ELECTRA_SHARES,
    ),
)
