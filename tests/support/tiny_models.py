"""Tiny models of every family, and batches for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, set_seed

from gifine.choices import GateSide
from gifine.config import GiConfig, ModelConfig, SizeConfig
from gifine.inputs.families import FAMILIES as TRAITS
from gifine.inputs.xlnet_tokenizer import PAD_SEGMENT
from gifine.models import build, family_classes

VOCAB, DEPTH, D, HEADS = 97, 3, 32, 4
TINY: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": D,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "initializer_range": 0.3,  # far from linear, so that a wrong gate shows
}
DISENTANGLED = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}
ARCHITECTURE: dict[str, dict[str, Any]] = {
    "bert": TINY,
    "roberta": TINY,
    "deberta": TINY | DISENTANGLED,
    "deberta_v2": TINY | DISENTANGLED | {"share_att_key": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm"},
    "xlnet": {
        "vocab_size": VOCAB,
        "d_model": D,
        "n_layer": DEPTH,
        "n_head": HEADS,
        "d_inner": TINY["intermediate_size"],
        "initializer_range": TINY["initializer_range"],
    },
}
FAMILIES = list(ARCHITECTURE)
KERNELS = [
    ("bert", "eager"),
    ("bert", "sdpa"),
    ("roberta", "eager"),
    ("roberta", "sdpa"),
    ("deberta", "eager"),
    ("deberta_v2", "eager"),
    ("xlnet", "eager"),
]
LABELS = ["no", "maybe", "yes"]
NONE = GiConfig(side=GateSide.none, level=0.0)
BOTH = GiConfig(side=GateSide.both, level=0.3)
SCALE = 1e-6  # DeBERTa computes the root that divides its scores in float32
ROUNDING = 1e-10  # in float64, where what is compared is mathematically the same: far above rounding, below any fault


def model_config(family: str, **settings: Any) -> ModelConfig:
    sizes = {"tiny": SizeConfig(checkpoint="no-one/tiny", config=ARCHITECTURE[family])}
    model = ModelConfig(name="tiny", family=family, size="tiny", sizes=sizes, random_init=True)
    return replace(model, **settings)


def make(family: str, gi: GiConfig = BOTH, seed: int = 0, **overrides: Any) -> Any:  # Any: for its submodules
    set_seed(seed)
    return build(model_config(family, config_overrides=overrides), gi, labels=LABELS).eval()


def make_batch(family: str, lengths: tuple[int, ...] = (9, 4, 6), width: int = 9, seed: int = 0) -> dict[str, Tensor]:
    """Ids and mask, padded where the family is; of XLNet segments, too."""
    pad = family_classes(family).plain_config().pad_token_id
    tokens = torch.randint(5, VOCAB, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(seed))
    ids = torch.full((len(lengths), width), pad)
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    ids[:, : max(lengths)] = tokens
    batch = {"input_ids": ids.masked_fill(~mask, pad), "attention_mask": mask.long()}
    if not TRAITS[family].cls_last:
        return batch
    segments = (batch["input_ids"] % 2).masked_fill(~mask, PAD_SEGMENT)
    return {name: each.flip(1) for name, each in (batch | {"token_type_ids": segments}).items()}


def trained_names(model: PreTrainedModel) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def logits_of(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return model(**batch).logits
