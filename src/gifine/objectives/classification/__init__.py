"""A class for each example, or a number (regression: a task without labels), from one text or two.

Imports no torch before a loss or a model is wanted: `gifine.prefetch` and `gifine.doctor` only tokenise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import transformers
from datasets import Dataset
from transformers import PreTrainedTokenizerFast

from gifine.config import RunConfig
from gifine.errors import ModelError
from gifine.inputs import tokenizers
from gifine.objectives import metrics, predictions
from gifine.objectives.classification import batches, invariance
from gifine.objectives.classification.batches import make_collator
from gifine.objectives.classification.examples import LAYOUT, arrange, prepare
from gifine.objectives.contract import Outcome
from gifine.objectives.ordering import order

if TYPE_CHECKING:
    from transformers import EvalPrediction, PreTrainedModel

    from gifine.objectives.loss import Loss

__all__ = [
    "LAYOUT",
    "arrange",
    "build",
    "choose_loss",
    "describe",
    "learnable",
    "make_collator",
    "make_metrics",
    "predict",
    "prepare",
    "reload",
    "score",
]


def choose_loss(config: RunConfig, examples: Dataset) -> Loss | None:
    """One with weights of classes or smoothed labels, where `train` has them."""
    from gifine.objectives import loss

    return loss.choose(config.train, examples["labels"], config.task.labels)


def build(config: RunConfig, tokenizer: PreTrainedTokenizerFast, provenance: dict[str, Any]) -> PreTrainedModel:
    """A sequence classifier. ModelError: see `models.build`. Seed torch first."""
    from gifine import models

    model = models.build(
        config.model,
        config.gi,
        config.change,
        labels=config.task.labels,
        vocab_size=tokenizers.size(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        token_types=tokenizers.token_types(tokenizer, len(config.task.inputs)),
        parameters=config.train.parameters,
        provenance=provenance,
    )
    return _leave_out_the_rest(model)


def reload(config: RunConfig, folder: Path) -> PreTrainedModel:
    """
    Raises:
        ModelError: for weights that cannot be read, or that are not those of this run.
    """
    from gifine import models

    own = config.change.get("file")
    loaded = models.from_pretrained(folder, whole=True, base=config.model.base, change_file=own)
    model = models.with_attention(loaded, config.model.attention)
    labels = [name for _, name in sorted((model.config.id2label or {}).items())]
    if config.task.labels and labels != config.task.labels:
        raise ModelError(f"{folder}: its labels are {labels}, those of the run {config.task.labels}")
    return _leave_out_the_rest(model)


def _leave_out_the_rest(model: PreTrainedModel) -> PreTrainedModel:
    """The head reads one token alone."""
    from gifine.models.speedups import last_layer

    last_layer.one_token(model)
    return model


def learnable(examples: Dataset) -> Dataset:
    """All of them."""
    return examples


def describe(examples: Dataset, split: str) -> dict[str, Any]:
    """Nothing: what does not fit was refused."""
    return {}


def make_metrics(
    config: RunConfig, evaluated: Mapping[str, Dataset]
) -> Callable[[EvalPrediction, str], dict[str, float]]:
    """The task's metrics during training. Undefined ones are NaN, which never is the Trainer's best."""

    def compute(output: EvalPrediction, split: str) -> dict[str, float]:
        logits, names = np.asarray(output.predictions), config.task.metrics
        if not np.isfinite(logits).all():
            return dict.fromkeys([f"/{name}" for name in names], float("nan"))
        values = metrics.compute(names, batches.decide(logits, config.task), np.asarray(output.label_ids))
        return {f"/{name}": float("nan") if value is None else value for name, value in values.items()}

    return compute


def score(trainer: transformers.Trainer, evaluated: Mapping[str, Dataset], config: RunConfig, folder: Path) -> Outcome:
    """In the batches that the config says; predictions go to `folder`."""
    task, outcome, flat = config.task, Outcome(), []
    for split, examples in evaluated.items():
        logits, references = batches.compute_logits(trainer, examples)
        if not np.isfinite(logits).all():
            outcome.diverged = f"{split}: logits are NaN or infinite after the last step"
            outcome.metrics = {}
            return outcome
        predicted = batches.decide(logits, task)
        for name, value in metrics.compute(task.metrics, predicted, references).items():
            outcome.metrics[f"{task.name}/{split}/{name}"] = value
        reason = metrics.degenerate(predicted, is_regression=not task.labels)
        if reason is not None:
            flat.append(f"{split}: {reason}")
        if config.evaluate.invariance:
            outcome.invariance += invariance.compare(trainer, split, examples, config, logits)
        if config.train.save_predictions and trainer.is_world_process_zero():
            path, idx = predictions.locate(folder, split), np.asarray(examples["idx"])
            outcome.predictions[split] = predictions.write(path, idx, references, logits)
    outcome.degenerate = "; ".join(flat) or None
    return outcome


def predict(trainer: transformers.Trainer, examples: Dataset, config: RunConfig) -> np.ndarray | None:
    """Class ids, or numbers, by the row in the file; None if a logit is NaN or infinite."""
    ordered = order(examples, config)
    logits, _ = batches.compute_logits(trainer, ordered)
    if not np.isfinite(logits).all():
        return None
    idx = np.asarray(ordered["idx"])
    assert len(logits) == len(idx)
    assert (np.sort(idx) == np.arange(len(idx))).all(), "every row of the file, once"
    return batches.decide(logits[np.argsort(idx)], config.task)
