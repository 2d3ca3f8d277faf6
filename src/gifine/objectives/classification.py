"""What a trained model is worth: metrics and predictions of every evaluation split, in the batches that a config says.

`final` is the end of a run. With a threshold over the batch, an example's logits depend on the examples beside it:
`invariance` tells how much.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import transformers
from datasets import Dataset
from transformers import DataCollatorWithPadding, EvalPrediction, PreTrainedTokenizerFast

from gifine.config import Padding, RunConfig, TaskConfig
from gifine.errors import DataError
from gifine.inputs import dataset
from gifine.inputs.dataset import Split
from gifine.objectives import metrics
from gifine.runs.records import Record, Status

log = logging.getLogger(__name__)

# What `invariance` compares with the run's own evaluation, one change at a time.
_BATCH_SIZES = (1, 8, 32, 128)
_MOVED = 0.01  # a regression's prediction that differs by more than this, in the label's unit, counts as changed


def sets(splits: dict[str, Split], config: RunConfig) -> dict[str, Dataset]:
    """The examples to evaluate on by split, the one that chooses the best checkpoint first, in the order of batches.

    With `evaluate.split_dev` the first split comes as two halves, `<split>_select` and `<split>_report`.
    """
    chosen = {name: splits[name].examples for name in dataset.evaluation_splits(config.task)}
    if config.evaluate.split_dev:
        first, *others = chosen
        _check_halves(first, np.asarray(chosen[first]["labels"]), config.task)
        select, report = halves(chosen[first])
        chosen = {f"{first}_select": select, f"{first}_report": report, **{name: chosen[name] for name in others}}
    return {name: in_order_of_batches(examples, config) for name, examples in chosen.items()}


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
    """Two halves with the same distribution of labels; the same ones whatever a run's seed is."""
    shuffled = np.random.default_rng(0).permutation(len(examples))
    by_label = shuffled[np.argsort(np.asarray(examples["labels"])[shuffled], kind="stable")]
    return _rows(examples, np.sort(by_label[::2])), _rows(examples, np.sort(by_label[1::2]))


def in_order_of_batches(examples: Dataset, config: RunConfig) -> Dataset:
    """Longest first, so that batches hold little padding, or as they are; idx tells the order of the file."""
    if not config.train.group_by_length:
        return examples
    return _rows(examples, np.argsort(-np.asarray(examples["length"]), kind="stable"))


def collator(tokenizer: PreTrainedTokenizerFast, config: RunConfig) -> DataCollatorWithPadding:
    if config.train.padding is Padding.max_length:
        return DataCollatorWithPadding(tokenizer, padding="max_length", max_length=config.train.max_length)
    return DataCollatorWithPadding(tokenizer)


def metrics_for_trainer(config: RunConfig) -> Callable[[EvalPrediction], dict[str, float]]:
    """The task's metrics during training. Undefined ones are NaN, which never is the Trainer's best."""

    def compute(output: EvalPrediction) -> dict[str, float]:
        logits, names = np.asarray(output.predictions), config.task.metrics
        if not np.isfinite(logits).all():
            return dict.fromkeys([f"/{name}" for name in names], float("nan"))
        values = metrics.compute(names, predictions(logits, config.task), np.asarray(output.label_ids))
        return {f"/{name}": float("nan") if value is None else value for name, value in values.items()}

    return compute


def final(
    trainer: transformers.Trainer, evaluated: dict[str, Dataset], config: RunConfig, folder: Path, record: Record
) -> None:
    """Metrics and predictions of every split into record and folder, and what they say of the run."""
    task, flat = config.task, []
    for split, examples in evaluated.items():
        logits, references = logits_of(trainer, examples)
        if not np.isfinite(logits).all():
            record.status, record.error = Status.DIVERGED, f"{split}: logits are NaN or infinite after the last step"
            record.metrics = {}
            return
        predicted = predictions(logits, task)
        for name, value in metrics.compute(task.metrics, predicted, references).items():
            record.metrics[f"{task.name}/{split}/{name}"] = value
        reason = metrics.degenerate(predicted, is_regression=not task.labels)
        if reason is not None:
            flat.append(f"{split}: {reason}")
        if config.evaluate.invariance:
            record.invariance += invariance(trainer, split, examples, config, logits)
        if config.train.save_predictions and trainer.is_world_process_zero():
            write_predictions(folder / f"predictions-{split}.parquet", np.asarray(examples["idx"]), references, logits)
    record.status = Status.DEGENERATE if flat else Status.DONE
    record.error = "; ".join(flat) or None


def logits_of(trainer: transformers.Trainer, examples: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, C) and labels (N,; None without) in the order of `examples`."""
    output = trainer.predict(cast("Any", examples))  # its type leaves datasets' own out
    return np.asarray(output.predictions), np.asarray(output.label_ids)


def predictions(logits: np.ndarray, task: TaskConfig) -> np.ndarray:
    """Class ids, or the numbers themselves for regression."""
    return logits.argmax(axis=-1) if task.labels else logits.reshape(len(logits))


def invariance(
    trainer: transformers.Trainer, split: str, examples: Dataset, config: RunConfig, logits: np.ndarray
) -> list[dict[str, Any]]:
    """One entry for each other batch size, order and padding: what changes against `logits`, the run's own.

    `changed` counts the predictions, of `examples`, that are of another class (for regression: differ by over 0.01),
    `largest_logit_change` is over all of them, `metrics` holds by how much each metric moves (null: undefined).
    """
    task = config.task
    own = predictions(logits, task)
    references = np.asarray(examples["labels"])
    own_metrics = metrics.compute(task.metrics, own, references)
    entries = []
    for named, order, changed_config in _other_batches(examples, config):
        other = _logits_in(trainer, examples, order, changed_config)
        predicted = predictions(other, task)
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


def write_predictions(path: Path, idx: np.ndarray, labels: np.ndarray, logits: np.ndarray) -> None:
    """Columns idx (the example's row in its file), label and logits (a list of one number a class), by idx."""
    order = np.argsort(idx)
    columns = {"idx": idx[order], "label": labels[order], "logits": list(logits[order].reshape(len(idx), -1))}
    temporary = path.with_suffix(".tmp")
    pyarrow.parquet.write_table(pa.table(columns), temporary)
    temporary.replace(path)


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
    trainer.data_collator = collator(cast("PreTrainedTokenizerFast", collate.tokenizer), config)
    try:
        logits, _ = logits_of(trainer, _rows(examples, order))
    finally:
        trainer.args.per_device_eval_batch_size, trainer.data_collator = size, collate
    return logits[np.argsort(order)]


def _rows(examples: Dataset, order: np.ndarray) -> Dataset:
    chosen = examples.select(order)
    assert isinstance(chosen, Dataset)
    return chosen
