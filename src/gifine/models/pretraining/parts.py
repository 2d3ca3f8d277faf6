"""Backbones with the heads of pre-training: a masked language model, and a discriminator of replaced tokens.

A class is made for a family's backbone, plain or changed. A plain masked language model has the name of transformers'
own, whose checkpoints it reads and writes.

Shapes: B examples, T positions, N places that are scored, D features, E of the word embeddings, V tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn import functional as F  # noqa: N812 - torch's own name for it
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from gifine.choices import Objective
from gifine.models.change_config import ChangedConfig
from gifine.models.pretraining.decoder import WithDecoder, mixed
from gifine.models.pretraining.heads import DebertaReplacedHead, MaskedHead, put
from gifine.models.pretraining.narrow import WithNarrowLayers
from gifine.models.trained import TrainedOver

UNSCORED = -100  # the label of a token that is not asked for


@dataclass(frozen=True, eq=False)
class Pretraining:
    """What a family says of its pre-training."""

    base: type[PreTrainedModel]  # transformers' class that its models with heads inherit from
    masked_lm: str  # transformers' name of its masked language model
    masked_head: tuple[str, Callable[[PreTrainedConfig], MaskedHead]]  # where it lies, and how it is made
    replaced_head: tuple[str, Callable[[PreTrainedConfig], nn.Module]]
    shared: tuple[str, ...]  # below the embeddings: what a generator and a discriminator share, if they do
    takes_queries: type[nn.Module] | None = None  # attention for DeBERTa's mask decoder; None: a family without
    settled: Mapping[str, Any] = field(default_factory=dict)  # entries of a masked language model's config.json

    def part(self, objective: Objective, backbone: type[PreTrainedModel]) -> type[PreTrainedModel]:
        """The class of a masked language model (mlm) or a discriminator (rtd) around a backbone."""
        return _part(self, objective is Objective.mlm, backbone)


# As in google-research/electra at 8a46635, model/modeling.py: all of the embeddings.
ELECTRA_SHARES = ("word_embeddings", "position_embeddings", "token_type_embeddings", "LayerNorm")
# As in microsoft/DeBERTa at 4d7fe0b, apps/tasks/rtd_task.py: position_embeddings where the encoder has them.
DEBERTA_SHARES = ("word_embeddings", "position_embeddings")


def deberta_pretraining(base: type[PreTrainedModel], masked_lm: str, takes_queries: type[nn.Module]) -> Pretraining:
    """What both DeBERTas have, under the names of their original checkpoints."""
    masked = partial(MaskedHead, dense="dense", norm="LayerNorm")
    return Pretraining(
        base,
        masked_lm,
        ("lm_predictions.lm_head", masked),
        ("mask_predictions", DebertaReplacedHead),
        DEBERTA_SHARES,
        takes_queries,
        settled={"legacy": False},  # with which transformers has these names
    )


@dataclass
class MaskedOutput(ModelOutput):
    loss: Tensor | None = None  # the mean over the places
    nll: Tensor | None = None  # `nll_BT`, float32: −log p of the label; 0 where nothing is asked
    hits: Tensor | None = None  # `hits_BT`, float32: 1 where the likeliest token is the label; 0 where nothing is asked


class MaskedLM(PreTrainedModel):
    """Says which token stood where the mask is, of the places that have a label and of no others."""

    pretraining: ClassVar[Pretraining]
    backbone_class: ClassVar[type[PreTrainedModel]]
    supports_gradient_checkpointing = True

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        setattr(self, self.base_model_prefix, self.backbone_class(config, **_without_pooler(self.pretraining)))
        put(self, self.pretraining.masked_head[0], self.pretraining.masked_head[1](config))
        self.post_init()

    @property
    def not_in_encoders(self) -> tuple[str, ...]:
        """Parameters beside the head that a checkpoint of an encoder need not have."""
        if self.pretraining.takes_queries is None or getattr(self.config, "position_biased_input", True):
            return ()
        return (f"{self.base_model_prefix}.embeddings.position_embeddings.weight",)

    @property
    def head(self) -> MaskedHead:
        found = self.get_submodule(self.pretraining.masked_head[0])
        assert isinstance(found, MaskedHead)
        return found

    def scores(
        self, labels_BT: Tensor, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None
    ) -> Tensor:
        """`scores_NV` of the places that have a label, row by row."""
        hidden_BTD = _states(self, input_ids, attention_mask, token_type_ids)
        embeddings = self.get_input_embeddings()
        assert isinstance(embeddings, nn.Embedding)
        if isinstance(embeddings, FSDPModule):  # a unit of its own, which has let go of its whole table
            embeddings.unshard()  # until the backward pass is over
        return self.head(hidden_BTD[labels_BT != UNSCORED], embeddings.weight)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> MaskedOutput:
        """Of texts with masks, and labels that are UNSCORED where nothing is asked."""
        assert labels is not None, "a masked language model is asked for places with a label"
        return of_scores(self.scores(labels, input_ids, attention_mask, token_type_ids), labels)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, MaskedHead):
            init.zeros_(module.bias)
        else:
            super()._init_weights(module)


def of_scores(scores_NV: Tensor, labels_BT: Tensor) -> MaskedOutput:
    """How well the scores of the places that have a label say it."""
    places_BT = labels_BT != UNSCORED
    labels_N = labels_BT[places_BT]
    precise_NV = scores_NV if scores_NV.dtype == torch.float64 else scores_NV.float()
    nll_N = F.cross_entropy(precise_NV, labels_N, reduction="none")
    hits_N = (scores_NV.argmax(dim=-1) == labels_N).to(nll_N.dtype)
    nll_BT, hits_BT = (
        torch.zeros(places_BT.shape, dtype=nll_N.dtype, device=nll_N.device).masked_scatter(places_BT, each_N)
        for each_N in (nll_N, hits_N)
    )
    return MaskedOutput(loss=nll_N.sum() / max(1, len(nll_N)), nll=nll_BT, hits=hits_BT)


class ReplacedTokens(PreTrainedModel):
    """Says of each token whether a generator has put it there."""

    pretraining: ClassVar[Pretraining]
    backbone_class: ClassVar[type[PreTrainedModel]]
    supports_gradient_checkpointing = True

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        setattr(self, self.base_model_prefix, self.backbone_class(config, **_without_pooler(self.pretraining)))
        put(self, self.pretraining.replaced_head[0], self.pretraining.replaced_head[1](config))
        self.post_init()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """`logits_BT`: above 0 a token is held to be replaced."""
        hidden_BTD = _states(self, input_ids, attention_mask, token_type_ids)
        return self.get_submodule(self.pretraining.replaced_head[0])(hidden_BTD)


def _states(
    model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None
) -> Tensor:
    given = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
    return model.base_model(input_ids, attention_mask=attention_mask, **given)[0]


def _without_pooler(pretraining: Pretraining) -> dict[str, Any]:
    """DeBERTas' backbones have none to leave out."""
    return {} if pretraining.takes_queries is not None else {"add_pooling_layer": False}


@cache
def _part(pretraining: Pretraining, masked: bool, backbone: type[PreTrainedModel]) -> type[PreTrainedModel]:
    assert backbone.config_class is not None
    is_changed = issubclass(backbone.config_class, ChangedConfig)
    plain = pretraining.masked_lm if masked else pretraining.masked_lm.replace("MaskedLM", "ReplacedTokens")
    extended = backbone
    if masked:
        extended = mixed(WithNarrowLayers if pretraining.takes_queries is None else WithDecoder, backbone)
        extended.takes_queries = pretraining.takes_queries
    kind: type[PreTrainedModel] = MaskedLM if masked else ReplacedTokens
    bases = (*((TrainedOver,) if is_changed else ()), kind, pretraining.base)
    own = {"config_class": backbone.config_class, "backbone_class": extended, "pretraining": pretraining}
    return type(f"Gi{plain}" if is_changed else plain, bases, own)
