"""RoBERTa with a change to attention (GI: gates on the outputs of `query` and `key`)."""

from __future__ import annotations

from functools import partial

from torch import nn
from transformers import (
    RobertaConfig,
    RobertaForQuestionAnswering,
    RobertaForSequenceClassification,
    RobertaModel,
    RobertaPreTrainedModel,
)
from transformers.models.roberta.modeling_roberta import RobertaClassificationHead, RobertaSelfAttention

from gifine.models.attention.bert import BertChangedAttention, BertChangedBackbone
from gifine.models.change_config import ChangedConfig
from gifine.models.families import Family
from gifine.models.pretraining.heads import ElectraReplacedHead, MaskedHead
from gifine.models.pretraining.parts import ELECTRA_SHARES, Pretraining
from gifine.models.trained import TrainedOver


class GiRobertaConfig(ChangedConfig, RobertaConfig):
    model_type = "gi_roberta"


# transformers says that it returns tuple[Tensor], and returns two.
class GiRobertaSelfAttention(BertChangedAttention, RobertaSelfAttention):  # pyrefly: ignore[inconsistent-inheritance] - forward has other keywords
    pass


class GiRobertaModel(BertChangedBackbone, RobertaModel):
    config_class = GiRobertaConfig
    attention_class = GiRobertaSelfAttention


class GiRobertaForSequenceClassification(TrainedOver, RobertaForSequenceClassification):
    config_class = GiRobertaConfig

    def __init__(self, config: GiRobertaConfig) -> None:
        # Past RobertaForSequenceClassification's: it would build a plain backbone first, and draw its weights.
        super(RobertaForSequenceClassification, self).__init__(config)
        self.num_labels = config.num_labels
        self.roberta = GiRobertaModel(config, add_pooling_layer=False)
        self.classifier = RobertaClassificationHead(config)
        self.post_init()


class GiRobertaForQuestionAnswering(TrainedOver, RobertaForQuestionAnswering):
    config_class = GiRobertaConfig

    def __init__(self, config: GiRobertaConfig) -> None:
        # Past RobertaForQuestionAnswering's, as above.
        super(RobertaForQuestionAnswering, self).__init__(config)
        assert config.num_labels is not None
        self.num_labels = config.num_labels
        self.roberta = GiRobertaModel(config, add_pooling_layer=False)
        self.qa_outputs = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()


FAMILY = Family(
    GiRobertaConfig,
    GiRobertaModel,
    GiRobertaForSequenceClassification,
    GiRobertaForQuestionAnswering,
    RobertaConfig,
    RobertaModel,
    RobertaForSequenceClassification,
    RobertaForQuestionAnswering,
    pretraining=Pretraining(
        RobertaPreTrainedModel,
        "RobertaForMaskedLM",
        ("lm_head", partial(MaskedHead, dense="dense", norm="layer_norm", activation="gelu")),
        ("discriminator_predictions", ElectraReplacedHead),
        shared=ELECTRA_SHARES,
    ),
)
