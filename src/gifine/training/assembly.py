"""The Trainer of a run, put together from its config, model and examples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerFast, TrainerCallback, TrainingArguments

from gifine.config import RunConfig
from gifine.models.pretraining.pair import Pair
from gifine.objectives.contract import Loss, Objective
from gifine.runs import replicate
from gifine.training import budget
from gifine.training.callbacks import logged_key
from gifine.training.ending import Patience
from gifine.training.pair import PairTrainer
from gifine.training.sampler import EpochSampler
from gifine.training.trainer import Trainer


def examples_of_a_step(arguments: TrainingArguments) -> int:
    """Of all processes and batches that make it."""
    return arguments.train_batch_size * arguments.world_size * arguments.gradient_accumulation_steps


def make(
    config: RunConfig,
    objective: Objective,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    arguments: TrainingArguments,
    examples: Dataset,
    evaluated: Mapping[str, Dataset],
    loss: Loss | None,
    callbacks: Sequence[TrainerCallback],
) -> Trainer:
    """A budget of tokens goes into the number of steps of `arguments`.

    Raises:
        DataError: for a budget that is spent before the warm-up is over.
    """
    train, task, seeds = config.train, config.task, replicate.of(config)
    lengths = np.asarray(examples.with_format("numpy")["length"][:]).tolist()
    batch = examples_of_a_step(arguments)
    sampler = EpochSampler(lengths, batch, seeds.order, group_by_length=train.group_by_length)
    if train.max_tokens is not None:
        arguments.max_steps = budget.steps_for(train.max_tokens, sampler)
        budget.check(train, arguments.max_steps)
    elif task.objective.pretrains and train.max_steps is None and train.max_seconds is None:
        budget.check(train, math.ceil(train.epochs * math.ceil(len(lengths) / batch)))
    chooser = logged_key(next(iter(evaluated)), task.select_by)
    collate = objective.make_collator(tokenizer, config)
    options: dict[str, Any] = {
        "model": model,
        "args": arguments,
        "train_dataset": examples,
        "sampler": sampler,
        "loss": loss,
        "patience": Patience(train.patience, chooser, task.select_by) if train.patience is not None else None,
        "clock": budget.Clock(train),
        "eval_dataset": cast("Any", evaluated),  # its type leaves datasets' own out
        "data_collator": collate,
        "processing_class": tokenizer,
        "compute_metrics": objective.make_metrics(config, evaluated),
        "callbacks": [*callbacks, *([collate] if isinstance(collate, TrainerCallback) else [])],
    }
    if isinstance(model, Pair):
        decoupled, rate = task.steps_apart(model.config.model_type), task.generator.learning_rate
        return PairTrainer(decoupled=decoupled, generator_rate=rate, **options)
    return Trainer(**options)
