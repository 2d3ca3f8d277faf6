"""XLNet with a change to attention.

Its projections are no linear layers but parameters of d_model × heads × features, without biases. A change acts on a
projection as in any other family: on its features head by head, before the vectors of a score's three terms are added
to queries (`r_w_bias` for content, `r_r_bias` positions, `r_s_bias` segments). The projection of positions and the
vectors of segments are nobody's site. What pretraining has beside the text, memories, targets and permutations, is
refused.

Shapes: T positions, B examples, in this order inside of the model; D features of the hidden states, H heads, E features
of a head, K = H·E. Changes get B first, as in all families.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    XLNetConfig,
    XLNetForQuestionAnsweringSimple,
    XLNetForSequenceClassification,
    XLNetModel,
)
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.xlnet.modeling_xlnet import (
    XLNetLayer,
    XLNetRelativeAttention,
    XLNetSequenceSummary,
)

from gifine.changes.contract import Site
from gifine.errors import ModelError
from gifine.models import at_site
from gifine.models.attention.fast_dropout import FastDropout
from gifine.models.attention.xlnet import FastXLNetAttention
from gifine.models.change_config import ChangedConfig
from gifine.models.changed import ChangedAttention, ChangedBackbone, ChangedModule
from gifine.models.families import Family
from gifine.models.trained import TrainedOver

_PRETRAINING = ("mems", "perm_mask", "target_mapping", "input_mask", "use_mems")


class GiXLNetConfig(ChangedConfig, XLNetConfig):
    model_type = "gi_xlnet"
    use_mems_eval: bool = False
    attribute_map = XLNetConfig.attribute_map | {"hidden_act": "ff_activation", "intermediate_size": "d_inner"}

    def check_change(self) -> None:
        super().check_change()
        if self.attn_type != "bi" or self.bi_data:
            raise ModelError("attn_type must be bi, and bi_data false: changes are for encoders of whole texts")


class _LengthFirst(ChangedModule):
    """Of modules whose values have the positions before the examples."""

    def at(self, site: Site, value: Tensor, hidden_TBD: Tensor, taken: Tensor | None = None) -> Tensor:
        """A value, TBF or TBHE, as a change at this site leaves it."""
        if site not in self.sites:
            return value
        value_BTF, hidden_BTD = _batch_first(value), _batch_first(hidden_TBD)
        taken_BTF = None if taken is None else _batch_first(taken)
        current = at_site.now()
        if current.real_BT is not None:  # of the last layer, the last position alone may be computed
            kept, current = current.kept, at_site.Pass(current.real_BT[:, -len(value) :], current.count)
            current.kept = kept
        with at_site.during(current):
            changed_BTF = self.changed(site, value_BTF, hidden_BTD, taken=taken_BTF)
        changed = changed_BTF.transpose(0, 1).reshape(value.shape)
        # In the value's order in memory, in which a product rounds as it does without a change.
        return torch.empty_like(value, dtype=changed.dtype).copy_(changed)


def _batch_first(value: Tensor) -> Tensor:
    """In memory, too: how a product of a view rounds depends on whether its weights train."""
    return value.flatten(2).transpose(0, 1).contiguous()


class GiXLNetAttention(_LengthFirst, ChangedAttention, XLNetRelativeAttention):
    SITES = (*ChangedAttention.SITES, "output")

    @property
    def all_head_size(self) -> int:  # pyrefly: ignore[bad-override] - read only
        return self.n_head * self.d_head

    def features(self, site: Site, config: ChangedConfig) -> tuple[int, int]:
        return (self.all_head_size, config.hidden_size) if site == "output" else super().features(site, config)

    def forward(  # pyrefly: ignore[bad-override] - transformers has no types here
        self,
        h: Tensor,
        g: Tensor | None,
        attn_mask_h: Tensor | None,
        attn_mask_g: Tensor | None,
        r: Tensor,
        seg_mat: Tensor | None,
        mems: Tensor | None = None,
        target_mapping: Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor | None, ...]:
        assert g is mems is target_mapping is None, "the model has refused them"
        query_TBHE = self.at("query", torch.einsum("ibh,hnd->ibnd", h, self.q), h)
        key_TBHE = self.at("key", torch.einsum("ibh,hnd->ibnd", h, self.k), h)
        value_TBHE = self.at("value", torch.einsum("ibh,hnd->ibnd", h, self.v), h)
        position_RBHE = torch.einsum("ibh,hnd->ibnd", r.type(self.r.dtype), self.r)
        arguments = (query_TBHE, key_TBHE, value_TBHE, position_RBHE, seg_mat, attn_mask_h)
        if "weights" in self.sites:
            context_TBHE, weights_TTBH = self._written_out(h, *arguments)
        else:
            found: Any = self.rel_attn_core(*arguments, output_attentions=output_attentions)
            context_TBHE, weights_TTBH = found if output_attentions else (found, None)
        context_TBHE = self.at("context", context_TBHE, h)
        output = (self.post_attention(h, context_TBHE), None)
        return (*output, weights_TTBH) if output_attentions else output

    def _written_out(
        self,
        hidden_TBD: Tensor,
        query_TBHE: Tensor,
        key_TBHE: Tensor,
        value_TBHE: Tensor,
        position_RBHE: Tensor,
        seg_mat: Tensor | None,
        mask_TTB1: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """`rel_attn_core` step by step, for a change of its weights."""
        scores_BHTT = torch.einsum("ibnd,jbnd->bnij", query_TBHE + self.r_w_bias, key_TBHE)
        by_position_BHTR = torch.einsum("ibnd,jbnd->bnij", query_TBHE + self.r_r_bias, position_RBHE)
        scores_BHTT = scores_BHTT + self.rel_shift_bnij(by_position_BHTR, klen=scores_BHTT.shape[3])
        if seg_mat is not None:
            by_segment_TBH2 = torch.einsum("ibnd,snd->ibns", query_TBHE + self.r_s_bias, self.seg_embed)
            scores_BHTT = scores_BHTT + torch.einsum("ijbs,ibns->bnij", seg_mat, by_segment_TBH2)
        scores_BHTT = scores_BHTT * self.scale
        if mask_TTB1 is not None:
            lowest = 65500 if mask_TTB1.dtype == torch.float16 else 1e30
            scores_BHTT = scores_BHTT - lowest * torch.einsum("ijbn->bnij", mask_TTB1)
        weights_BHTT = self.changed(
            "weights", scores_BHTT.softmax(dim=-1), hidden_TBD.transpose(0, 1), taken=scores_BHTT
        )
        weights_BHTT = self.dropout(weights_BHTT)
        context_TBHE = torch.einsum("bnij,jbnd->ibnd", weights_BHTT, value_TBHE)
        return context_TBHE, torch.einsum("bnij->ijbn", weights_BHTT)

    def post_attention(self, h: Tensor, attn_vec: Tensor, residual: bool = True) -> Tensor:
        if "output" not in self.sites:
            return super().post_attention(h, attn_vec, residual)
        value_TBD = self.at("output", torch.einsum("ibnd,hnd->ibh", attn_vec, self.o), h, attn_vec)
        return self.layer_norm(self.dropout(value_TBD) + h)


class FastGiXLNetAttention(FastXLNetAttention, GiXLNetAttention):
    pass


class GiXLNetFeedForward(_LengthFirst):
    SITES = ("ffn", "ffn_output")
    layer_1: nn.Linear
    layer_2: nn.Linear
    layer_norm: nn.LayerNorm
    dropout: nn.Dropout

    def features(self, site: Site, config: ChangedConfig) -> tuple[int, int]:
        layer = self.layer_1 if site == "ffn" else self.layer_2
        return layer.in_features, layer.out_features

    def forward(self, inp: Tensor) -> Tensor:
        inner_TBI = self.at("ffn", self.get_submodule("activation_function")(self.layer_1(inp)), inp)
        inner_TBI = self.dropout(inner_TBI)
        value_TBD = self.at("ffn_output", self.layer_2(inner_TBI), inp, inner_TBI)
        return self.layer_norm(self.dropout(value_TBD) + inp)


class CheckpointedXLNetLayer(GradientCheckpointingLayer, XLNetLayer):
    """transformers' own cannot be computed again for its gradients."""


class GiXLNetModel(ChangedBackbone, XLNetModel):
    config_class = GiXLNetConfig
    attention_class = GiXLNetAttention
    other_modules: ClassVar = {"ff": GiXLNetFeedForward}
    supports_gradient_checkpointing = True

    def post_init(self) -> None:
        make_checkpointed(self)
        super().post_init()

    def forward(  # pyrefly: ignore[bad-override] - with fewer names, as ChangedBackbone's
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> Any:
        """
        Raises:
            ValueError: for what only pretraining has.
        """
        given = [name for name in _PRETRAINING if kwargs.get(name) is not None and kwargs[name] is not False]
        if given:
            raise ValueError(f"{', '.join(given)}: changes to attention are for whole texts with an attention_mask")
        return super().forward(input_ids, attention_mask=attention_mask, **(kwargs | {"use_mems": False}))


class GiXLNetForSequenceClassification(TrainedOver, XLNetForSequenceClassification):
    config_class = GiXLNetConfig
    supports_gradient_checkpointing = True

    def __init__(self, config: GiXLNetConfig) -> None:
        # Past XLNetForSequenceClassification's: it would build a plain backbone first, and draw its weights.
        super(XLNetForSequenceClassification, self).__init__(config)
        assert config.num_labels is not None
        self.num_labels = config.num_labels
        self.transformer = GiXLNetModel(config)
        self.sequence_summary = XLNetSequenceSummary(config)
        self.logits_proj = nn.Linear(config.d_model, config.num_labels)
        self.post_init()


class GiXLNetForQuestionAnswering(TrainedOver, XLNetForQuestionAnsweringSimple):
    """Beginnings and ends apart. transformers' XLNetForQuestionAnswering mixes up the order of its ends."""

    config_class = GiXLNetConfig
    supports_gradient_checkpointing = True

    def __init__(self, config: GiXLNetConfig) -> None:
        # Past XLNetForQuestionAnsweringSimple's, as above.
        super(XLNetForQuestionAnsweringSimple, self).__init__(config)
        assert config.num_labels is not None
        self.num_labels = config.num_labels
        self.transformer = GiXLNetModel(config)
        self.qa_outputs = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()


def make_checkpointed(model: PreTrainedModel) -> None:
    """Let train.gradient_checkpointing work, for transformers' own class, too."""
    model.supports_gradient_checkpointing = True
    for module in model.modules():
        if type(module) is XLNetLayer:
            module.__class__ = CheckpointedXLNetLayer


FAMILY = Family(
    GiXLNetConfig,
    GiXLNetModel,
    GiXLNetForSequenceClassification,
    GiXLNetForQuestionAnswering,
    XLNetConfig,
    XLNetModel,
    XLNetForSequenceClassification,
    XLNetForQuestionAnsweringSimple,
    classifier_dropout="summary_last_dropout",
    fast={
        nn.Dropout: FastDropout,
        XLNetRelativeAttention: FastXLNetAttention,
        GiXLNetAttention: FastGiXLNetAttention,
    },
    settled={"use_mems_eval": False, "use_mems_train": False, "d_head": None},  # the last: d_model / n_head
    complete=make_checkpointed,
)
