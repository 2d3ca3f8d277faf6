"""Rows as examples of token ids; which of them are evaluated, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerFast

from gifine.config import RunConfig, TaskConfig
from gifine.errors import DataError
from gifine.inputs import dataset
from gifine.inputs.dataset import Split
from gifine.inputs.rows import Row
from gifine.objectives import halving
from gifine.objectives.ordering import order, take

LAYOUT: int = 1  # raise it when the columns of `prepare` change: older caches are then left alone


def prepare(
    rows: Sequence[Row],
    task: TaskConfig,
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    *,
    labelled: bool,
    fingerprint: str,
) -> Dataset:
    """Columns input_ids, attention_mask, (token_type_ids,) (labels,) idx, length."""
    texts = {f"text {n}": [row.texts[n] for row in rows] for n in range(len(task.inputs))}  # no names of the user's

    def encode(batch: dict[str, list[Any]]) -> dict[str, Any]:
        encoded = tokenizer(*(batch[column] for column in texts), truncation=True, max_length=max_length)
        return {**encoded, "length": [len(ids) for ids in encoded["input_ids"]]}

    numbers = {"labels": [row.label for row in rows]} if labelled else {}
    numbers["idx"] = [row.idx for row in rows]
    examples = datasets.Dataset.from_dict(texts | numbers).map(
        encode,
        batched=True,  # a thousand at a time: what a tokenizer returns takes far more memory than what is kept of it
        remove_columns=list(texts),
        keep_in_memory=True,
        new_fingerprint=fingerprint,  # spares the hash of the tokenizer that map would compute
    )
    assert isinstance(examples, Dataset)
    return examples


def arrange(splits: Mapping[str, Split], config: RunConfig) -> dict[str, Dataset]:
    """The examples to evaluate on by split, the one that chooses the best checkpoint first, in the order of batches.

    With `evaluate.split_dev` the first split comes as two halves, `<split>_select` and `<split>_report`.
    """
    chosen = {name: splits[name].examples for name in dataset.evaluation_splits(config.task)}
    if config.evaluate.split_dev:
        first, *others = chosen
        _check_halves(first, np.asarray(chosen[first]["labels"]), config.task)
        select, report = halves(chosen[first])
        chosen = {f"{first}_select": select, f"{first}_report": report, **{name: chosen[name] for name in others}}
    return {name: order(examples, config) for name, examples in chosen.items()}


def _check_halves(split: str, labels: np.ndarray, task: TaskConfig) -> None:
    if not task.labels and len(labels) < 2:
        raise DataError(f"evaluate.split_dev=true: {split} has one row, and two halves need two")
    ids, counts = np.unique(labels, return_counts=True)
    alone = [task.labels[int(each)] for each in ids[counts == 1]] if task.labels else []
    if alone:
        raise DataError(
            f"evaluate.split_dev=true: {split} has one row of {', '.join(alone)}; "
            "each half needs one of every label that there is"
        )


def halves(examples: Dataset) -> tuple[Dataset, Dataset]:
    """One to choose on and one to report: `halving.halves`."""
    select, report = halving.halves(np.asarray(examples["labels"]))
    return take(examples, select), take(examples, report)
