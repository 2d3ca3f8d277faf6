"""A trained model with the examples that it is looked at on, in the batches of its own evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerFast

from gifine import models, objectives
from gifine.choices import Objective
from gifine.errors import DataError, ModelError
from gifine.inputs import architecture, dataset, tokenizers
from gifine.models import heads
from gifine.objectives import metrics
from gifine.runs.finished import FinishedRun
from gifine.training import restoration

_BATCH = 32  # of a saved model, which does not say; a run evaluates in batches of its own
_TAKEN = ("input_ids", "attention_mask", "token_type_ids")


@dataclass
class Loaded:
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    collate: Callable[[list[Any]], Mapping[str, Any]]
    features: list[dict[str, list[int]]]
    rows: list[int] | None  # in the file; None: given with --text
    references: np.ndarray | None
    labels: list[str]  # by id; none: regression
    measure: str | None
    batches: list[list[int]]

    def logits(self, **arguments: Any) -> np.ndarray:
        """Of all examples, (N, C), in their order."""
        found = [self.forward(batch, **arguments) for batch in self.batches]
        places = np.argsort(np.concatenate([np.asarray(batch) for batch in self.batches]))
        return np.concatenate(found)[places]

    @torch.inference_mode()
    def forward(self, batch: Sequence[int], **arguments: Any) -> np.ndarray:
        collated = self.padded(batch)
        return self.model(**collated, **arguments).logits.float().cpu().numpy()

    def padded(self, batch: Sequence[int]) -> dict[str, torch.Tensor]:
        made = self.collate([self.features[place] for place in batch])
        return {key: value.to(self.model.device) for key, value in made.items()}

    def predicted(self, logits: np.ndarray) -> np.ndarray:
        return logits.argmax(axis=-1) if self.labels else logits.reshape(len(logits))

    def named(self, answer: float) -> str:
        return self.labels[int(answer)] if self.labels else f"{answer:.2f}"


def of_run(run: FinishedRun, split: str, count: int, texts: Sequence[Sequence[str]], scratch: Path) -> Loaded:
    """The first `count` rows of a split of a run's data, or texts."""
    config, objective = run.config, objectives.choose(run.config.task)
    trainer, tokenizer = restoration.restore(run, scratch)
    model = trainer.model
    assert isinstance(model, PreTrainedModel)
    model.eval().requires_grad_(False)
    rows = references = None
    if texts:
        features = _tokenised(tokenizer, texts, config.train.max_length)
    else:
        reader = dataset.Reader(config, run.prefetched)
        read = reader.load if split == config.task.train_split else reader.load_evaluation
        examples = read(tokenizer, objective)[split].examples
        if not len(examples):
            raise DataError(f"--split {split}: has no rows")
        chosen: Any = examples.select(range(min(count, len(examples))))  # its type leaves out what its rows are
        features = [{key: row[key] for key in _TAKEN if key in row} for row in chosen]
        rows, references = list(chosen["idx"]), np.asarray(chosen["labels"])
    return Loaded(
        model,
        tokenizer,
        objective.make_collator(tokenizer, config),
        features,
        rows,
        references,
        config.task.labels,
        config.task.select_by,
        _batches(features, config.train.eval_batch_size, by_length=config.train.group_by_length),
    )


def of_model(folder: Path, texts: Sequence[Sequence[str]], base: str | None) -> Loaded:
    """Texts, for a saved model that may be no run's."""
    tokenizer = tokenizers.load(str(folder))
    model = models.from_pretrained(folder, base=base).requires_grad_(False)
    if heads.objective_of(model) is not Objective.classification:
        raise ModelError(f"{folder}: a {type(model).__name__}; inspect looks at classifiers alone")
    longest = architecture.longest_input(model.config.to_dict())
    features = _tokenised(tokenizer, texts, longest or 512)
    names = model.config.id2label or {}
    regression = model.config.problem_type == "regression" or len(names) == 1
    labels = [] if regression else [name for _, name in sorted(names.items())]
    collate = DataCollatorWithPadding(tokenizer)
    batches = _batches(features, _BATCH, by_length=True)
    return Loaded(model, tokenizer, collate, features, None, None, labels, None, batches)


def score(loaded: Loaded, logits: np.ndarray) -> tuple[float | None, float | None]:
    """The task's measure, which may be undefined, and the mean loss; None without labels."""
    if loaded.references is None or loaded.measure is None:
        return None, None
    value = metrics.compute([loaded.measure], loaded.predicted(logits), loaded.references)[loaded.measure]
    if not loaded.labels:
        return value, float(((logits.reshape(-1) - loaded.references) ** 2).mean())
    shifted = logits - logits.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(shifted, loaded.references[:, None].astype(int), axis=-1)[:, 0]
    return value, float((np.log(np.exp(shifted).sum(axis=-1)) - chosen).mean())


def _tokenised(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[Sequence[str]], longest: int
) -> list[dict[str, list[int]]]:
    found = [tokenizer(*each, truncation=True, max_length=longest) for each in texts]
    return [{key: list(each[key]) for key in _TAKEN if key in each} for each in found]


def _batches(features: Sequence[Mapping[str, Sequence[int]]], size: int, *, by_length: bool) -> list[list[int]]:
    lengths = np.asarray([len(each["input_ids"]) for each in features])
    order = np.argsort(-lengths, kind="stable") if by_length else np.arange(len(lengths))
    return [[int(place) for place in order[start : start + size]] for start in range(0, len(order), size)]
