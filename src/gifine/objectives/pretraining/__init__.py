"""Learning from a text alone: masked words (MLM), or words that a generator has replaced (RTD).

A row is a piece of a corpus, which inputs/corpora has tokenised and packed. What comes out is an encoder to start from.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import datasets
import numpy as np
import transformers
from datasets import Dataset
from transformers import PreTrainedTokenizerFast

from gifine.choices import Evaluate, Objective
from gifine.config import RunConfig, TaskConfig
from gifine.errors import DataError
from gifine.inputs.dataset import Split, evaluation_splits
from gifine.inputs.rows import Row
from gifine.objectives import pretraining_scores
from gifine.objectives.contract import Outcome
from gifine.objectives.ordering import order

if TYPE_CHECKING:
    from transformers import EvalPrediction, PreTrainedModel

    from gifine.objectives.contract import Loss

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

LAYOUT: int = 1

log = logging.getLogger(__name__)


def prepare(
    rows: Sequence[Row],
    task: TaskConfig,
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    *,
    labelled: bool,
    fingerprint: str,
) -> NoReturn:
    """A corpus is no table of rows: `dataset.Reader` has it from inputs/corpora, which never asks for this."""
    raise DataError(f"task={task.name} reads a corpus (data.files, or data), not a file of rows")


def learnable(examples: Dataset) -> Dataset:
    """All of them."""
    return examples


def describe(examples: Dataset, split: str) -> dict[str, Any]:
    """Nothing: a corpus tells of itself (`Split.told`)."""
    return {}


def arrange(splits: Mapping[str, Split], config: RunConfig) -> dict[str, Dataset]:
    """What is held out, its rows marked, so that their masks are those of every other run."""
    from gifine.objectives.pretraining.batches import HELD_OUT  # torch

    datasets.disable_progress_bars()
    task, train = config.task, config.train
    if task.objective is Objective.rtd and train.select_best and train.evaluate is not Evaluate.end:
        log.warning(
            "train.select_best=true keeps the checkpoint with the highest %s, which may be an early one: what is "
            "replaced gets harder to find as the generator gets better; train.select_best=false keeps the last",
            task.select_by,
        )
    if not (train.save_model or train.keep_checkpoints):
        log.warning("no weights will be left to fine-tune: train.save_model=true keeps them")
    chosen = {}
    for name in evaluation_splits(config.task):
        examples = order(splits[name].examples, config)
        marked = examples.add_column(HELD_OUT, np.ones(len(examples), dtype=bool))  # pyrefly: ignore[missing-argument] - its decorator gives new_fingerprint
        assert isinstance(marked, Dataset)
        chosen[name] = marked
    return chosen


def choose_loss(config: RunConfig, examples: Dataset) -> Loss | None:
    from gifine.objectives.pretraining.loss import PretrainingLoss

    return PretrainingLoss(config.task.rtd_weight)


def build(config: RunConfig, tokenizer: PreTrainedTokenizerFast, provenance: dict[str, Any]) -> PreTrainedModel:
    """A model with a head for masked words, or generator and discriminator. ModelError: see there. Seed torch first."""
    from gifine.models import pairs

    return pairs.build(config, tokenizer, provenance)


def reload(config: RunConfig, folder: Path) -> PreTrainedModel:
    """
    Raises:
        ModelError: for weights that cannot be read, or that are not those of this run.
    """
    from gifine.models import pairs

    return pairs.reload(config, folder)


def make_collator(tokenizer: PreTrainedTokenizerFast, config: RunConfig) -> Callable[..., Any]:
    from gifine.objectives.pretraining.batches import Collator

    return Collator(tokenizer, config)


def make_metrics(
    config: RunConfig, evaluated: Mapping[str, Dataset]
) -> Callable[[EvalPrediction, str], dict[str, float]]:
    """The task's metrics during training. Undefined ones are NaN, which never is the Trainer's best."""
    names = config.task.metrics

    def compute(output: EvalPrediction, split: str) -> dict[str, float]:
        values = _values(output.predictions, output.label_ids, evaluated[split], config.task.objective) or {}
        return {f"/{name}": float("nan") if (value := values.get(name)) is None else value for name in names}

    return compute


def score(trainer: transformers.Trainer, evaluated: Mapping[str, Dataset], config: RunConfig, folder: Path) -> Outcome:
    """Of what is held out; there are no predictions of examples to keep."""
    task, outcome = config.task, Outcome()
    for split, examples in evaluated.items():
        output = trainer.predict(cast("Any", examples))  # its type leaves datasets' own out
        values = _values(output.predictions, output.label_ids, examples, task.objective)
        if values is None:
            return Outcome(diverged=f"{split}: losses are NaN or infinite after the last step")
        outcome.metrics |= {f"{task.name}/{split}/{name}": values[name] for name in task.metrics}
    return outcome


def predict(trainer: transformers.Trainer, examples: Dataset, config: RunConfig) -> NoReturn:
    raise DataError(f"task={config.task.name} pre-trains: it predicts nothing of a test set; fine-tune its model first")


def _values(predictions: Any, labels: Any, examples: Dataset, objective: Objective) -> dict[str, float | None] | None:
    """By metric; None if a number is NaN or infinite. `predictions` are a model's outputs, (N, T) each:

    nll, hits; of RTD then replaced, the tokens that the discriminator has read, logits and bce. `labels` (N, T).
    """
    nll, hits, *of_rtd = (np.asarray(each) for each in predictions)
    labels = np.asarray(labels)
    asked = labels >= 0
    values = pretraining_scores.of_masked(nll[asked], hits[asked])
    checked = [nll[asked]]
    if objective is Objective.rtd:
        replaced, logits, _ = of_rtd
        real = np.arange(labels.shape[1]) < np.asarray(examples["length"])[:, None]
        is_replaced = (asked & (replaced != labels))[real].astype(np.int64)
        values |= pretraining_scores.of_replaced(logits[real], is_replaced)
        checked.append(logits[real])
    return values if all(np.isfinite(each).all() for each in checked) else None
