"""With a threshold over the batch, an example's logits depend on the examples beside it: how much?"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np
import transformers
from datasets import Dataset
from transformers import DataCollatorWithPadding, PreTrainedTokenizerFast

from gifine.choices import Padding
from gifine.config import RunConfig
from gifine.objectives import metrics
from gifine.objectives.classification.batches import compute_logits, decide, make_collator
from gifine.objectives.ordering import take

log = logging.getLogger(__name__)

# What is compared with the run's own evaluation, one change at a time.
_BATCH_SIZES = (1, 8, 32, 128)
_MOVED = 0.01  # a regression's prediction that differs by more than this, in the label's unit, counts as changed


def compare(
    trainer: transformers.Trainer, split: str, examples: Dataset, config: RunConfig, logits: np.ndarray
) -> list[dict[str, Any]]:
    """One entry for each other batch size, order and padding: what changes against `logits`, the run's own.

    `changed` counts the predictions, of `examples`, that are of another class (for regression: differ by over 0.01),
    `largest_logit_change` is over all of them, `metrics` holds by how much each metric moves (null: undefined).
    """
    task = config.task
    own = decide(logits, task)
    references = np.asarray(examples["labels"])
    own_metrics = metrics.compute(task.metrics, own, references)
    entries = []
    for named, order, changed_config in _other_batches(examples, config):
        other = _logits_in(trainer, examples, order, changed_config)
        predicted = decide(other, task)
        differs = predicted != own if task.labels else np.abs(predicted - own) > _MOVED
        other_metrics = metrics.compute(task.metrics, predicted, references)
        entry = {
            "split": split,
            **named,
            "changed": int(differs.sum()),
            "examples": len(own),
            "largest_logit_change": float(np.abs(other - logits).max()),
            "metrics": {name: _difference(other_metrics[name], own_metrics[name]) for name in task.metrics},
        }
        entries.append(entry)
        log.info("%s evaluated with %s: %d of %d predictions change", split, named, entry["changed"], len(own))
    return entries


def _difference(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else ours - theirs


def _other_batches(examples: Dataset, config: RunConfig) -> Iterator[tuple[dict[str, Any], np.ndarray, RunConfig]]:
    """What is changed, the order of examples, and the config with the batch size and padding to use."""
    train, as_is = config.train, np.arange(len(examples))
    for size in _BATCH_SIZES:
        if size != train.eval_batch_size:
            yield {"batch_size": size}, as_is, replace(config, train=replace(train, eval_batch_size=size))
    lengths, idx = np.asarray(examples["length"]), np.asarray(examples["idx"])
    if train.group_by_length:
        yield {"order": "file"}, np.argsort(idx, kind="stable"), config
    else:
        yield {"order": "length"}, np.argsort(-lengths, kind="stable"), config
    yield {"order": "random"}, np.random.default_rng(0).permutation(len(examples)), config
    padding = Padding.dynamic if train.padding is Padding.max_length else Padding.max_length
    yield {"padding": padding.value}, as_is, replace(config, train=replace(train, padding=padding))


def _logits_in(trainer: transformers.Trainer, examples: Dataset, order: np.ndarray, config: RunConfig) -> np.ndarray:
    """Logits in the order of `examples`, computed in another one and in other batches."""
    size, collate = trainer.args.per_device_eval_batch_size, trainer.data_collator
    assert isinstance(collate, DataCollatorWithPadding)
    trainer.args.per_device_eval_batch_size = config.train.eval_batch_size
    trainer.data_collator = make_collator(cast("PreTrainedTokenizerFast", collate.tokenizer), config)
    try:
        logits, _ = compute_logits(trainer, take(examples, order))
    finally:
        trainer.args.per_device_eval_batch_size, trainer.data_collator = size, collate
    return logits[np.argsort(order)]
