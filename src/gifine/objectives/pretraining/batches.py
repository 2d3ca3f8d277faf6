"""Rows of token ids as batches with masks, which are a function of seed, epoch and row, and of nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gifine.choices import Objective, Padding
from gifine.config import RunConfig
from gifine.inputs.corpora import masking
from gifine.runs import replicate

HELD_OUT = "held_out"  # the column of rows that are evaluated: masked alike in all epochs and runs


class Collator(TrainerCallback):
    """Pads and masks. A callback as well, which knows the epoch: resumed training does not begin with the first.

    The masks of a row do not depend on the rows beside it, on processes, on batches, or on what a model draws; so all
    runs of a seed see the same. Of RTD each token gets a number in 0 … 1, `uniforms`, which decides what the generator
    puts in its place: the token up to which its probabilities sum up to that number.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, config: RunConfig) -> None:
        self.mask = masking.Masker(tokenizer, config.task.masking)
        self.padding = tokenizer.pad_token_id
        self.has_types = "token_type_ids" in tokenizer.model_input_names
        self.length = config.train.max_length if config.train.padding is Padding.max_length else None
        self.samples = config.task.objective is Objective.rtd
        self.seed, self.epoch = replicate.of(config).order, 0

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.epoch = int(state.epoch or 0)

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """input_ids, attention_mask, labels (B, T), int64: labels are the tokens at masked places, elsewhere -100.

        With token_type_ids, all 0, where the tokenizer has them, and for RTD `uniforms` (B, T), float64.
        """
        lengths = [len(row["input_ids"]) for row in rows]
        shape = len(rows), self.length or max(lengths)
        ids, real = np.full(shape, self.padding, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            ids[place, :length], real[place, :length] = row["input_ids"], 1
        held_out = HELD_OUT in rows[0]
        seed, epoch = (0, masking.HELD_OUT) if held_out else (self.seed, self.epoch)
        idx = [row["idx"] for row in rows]
        masked, labels = self.mask(ids, real, seed=seed, epoch=epoch, idx=idx)
        batch = {"input_ids": masked, "attention_mask": real, "labels": labels}
        if self.has_types:
            batch["token_type_ids"] = np.zeros(shape, dtype=np.int64)
        if self.samples:
            batch["uniforms"] = masking.uniforms(shape[1], seed=seed, epoch=epoch, idx=idx)
        return {name: torch.from_numpy(np.ascontiguousarray(column)) for name, column in batch.items()}
