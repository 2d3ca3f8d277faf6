"""Tiny models of pre-training, and batches for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import set_seed

from gifine.choices import Objective
from gifine.config import GI, GiConfig, ModelConfig, RunConfig, TrainConfig
from gifine.inputs import tokenizers
from gifine.models import pairs
from gifine.models.pretraining.parts import UNSCORED
from gifine.task_config import GeneratorConfig, TaskConfig
from support.tiny_models import NONE, make_batch, model_config

MASKABLE = ["bert", "roberta", "deberta", "deberta_v2"]
DEBERTAS = MASKABLE[2:]
MASK = 4
NARROW = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}


def run_config(
    family: str,
    objective: Objective,
    gi: GiConfig = NONE,
    change: dict[str, Any] | None = None,
    generator: dict[str, Any] | None = None,
    model: ModelConfig | None = None,
    **task: Any,
) -> RunConfig:
    return RunConfig(
        model=model or model_config(family, tokenizer="demo"),
        gi=gi,
        change=change or {"name": GI},
        task=TaskConfig(name="text", objective=objective, generator=GeneratorConfig(**generator or {}), **task),
        train=TrainConfig(),
        seed=1,
    )


def build(config: RunConfig, seed: int = 0, provenance: dict[str, Any] | None = None) -> Any:  # Any: for submodules
    set_seed(seed)
    tokenizer = tokenizers.load_for(model_config(config.model.family, tokenizer="demo"))
    return pairs.build(config, tokenizer, {} if provenance is None else provenance).eval()


def make_masked(family: str) -> dict[str, Tensor]:
    """A padded batch with five places that are asked for, all but one of them masked."""
    batch = make_batch(family)
    ids = batch["input_ids"]
    asked = torch.zeros_like(ids, dtype=torch.bool)
    asked[[0, 0, 1, 2, 2], [2, 8, 1, 0, 4]] = True
    labels = ids.masked_fill(~asked, UNSCORED)
    asked[2, 0] = False
    return {"input_ids": ids.masked_fill(asked, MASK), "attention_mask": batch["attention_mask"], "labels": labels}


def make_drawn(family: str, seed: int = 0) -> dict[str, Tensor]:
    """The same, with the numbers that tokens are drawn from."""
    batch = make_masked(family)
    numbers = torch.Generator().manual_seed(seed)
    return batch | {"uniforms": torch.rand(batch["input_ids"].shape, dtype=torch.float64, generator=numbers)}
