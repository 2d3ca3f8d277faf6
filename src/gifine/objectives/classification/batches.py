"""The batches that a trained model sees, its logits in them, and what these say of an example."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import transformers
from datasets import Dataset
from transformers import DataCollatorWithPadding, PreTrainedTokenizerFast

from gifine.choices import Padding
from gifine.config import RunConfig, TaskConfig


def make_collator(tokenizer: PreTrainedTokenizerFast, config: RunConfig) -> DataCollatorWithPadding:
    if config.train.padding is Padding.max_length:
        return DataCollatorWithPadding(tokenizer, padding="max_length", max_length=config.train.max_length)
    return DataCollatorWithPadding(tokenizer)


def compute_logits(trainer: transformers.Trainer, examples: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, C) and labels (N,; None without) in the order of `examples`."""
    output = trainer.predict(cast("Any", examples))  # its type leaves datasets' own out
    return np.asarray(output.predictions), np.asarray(output.label_ids)


def decide(logits: np.ndarray, task: TaskConfig) -> np.ndarray:
    """Class ids, or the numbers themselves for regression."""
    return logits.argmax(axis=-1) if task.labels else logits.reshape(len(logits))
