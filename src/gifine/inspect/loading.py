"""A trained model with the examples that it is looked at on, in the batches of its own evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from datasets import Dataset
from torch.nn import functional as F  # noqa: N812 - torch's own name for it
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerFast

from gifine import models, objectives
from gifine.choices import Objective
from gifine.errors import DataError, ModelError
from gifine.inputs import architecture, dataset, tokenizers
from gifine.inputs.questions import Question
from gifine.inputs.rows import Row
from gifine.inspect.meaning import Classes, Meaning, Spans
from gifine.models import heads
from gifine.objectives.ordering import take
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
    names: list[str]  # of the examples, for people
    meaning: Meaning
    batches: list[list[int]]
    of_run: bool = True

    def logits(self, **arguments: Any) -> np.ndarray:
        """Of all examples in their order, (N, C), or of windows (N, 2, T): starts and ends."""
        found = [self.forward(batch, **arguments) for batch in self.batches]
        places = np.argsort(np.concatenate([np.asarray(batch) for batch in self.batches]))
        return np.concatenate(found)[places]

    @torch.inference_mode()
    def forward(self, batch: Sequence[int], **arguments: Any) -> np.ndarray:
        collated = self.padded(batch)
        output = self.model(**collated, **arguments)
        if "logits" in output:
            return output.logits.float().cpu().numpy()
        both_B2T = torch.stack([output.start_logits, output.end_logits], dim=1).float()
        both_B2T = both_B2T.masked_fill(~collated["attention_mask"].bool()[:, None], 0.0)  # nothing is read of padding
        longest = max(len(each["input_ids"]) for each in self.features)
        return F.pad(both_B2T, (0, longest - both_B2T.shape[-1])).cpu().numpy()

    def padded(self, batch: Sequence[int]) -> dict[str, torch.Tensor]:
        made = self.collate([self.features[place] for place in batch])
        return {key: value.to(self.model.device) for key, value in made.items()}


def of_run(run: FinishedRun, split: str, count: int, texts: Sequence[Sequence[str]], scratch: Path) -> Loaded:
    """The first `count` rows of a split of a run's data, or texts; of questions, their windows."""
    config, objective = run.config, objectives.choose(run.config.task)
    is_asked = config.task.objective is Objective.questions
    trainer, tokenizer = restoration.restore(run, scratch)
    model = trainer.model
    assert isinstance(model, PreTrainedModel)
    model.eval().requires_grad_(False)
    task, max_length = config.task, config.train.max_length
    if texts:
        given = [
            Question(tuple(each), n, id=str(n)) if is_asked else Row(tuple(each), n) for n, each in enumerate(texts)
        ]
        chosen = objective.prepare(given, task, tokenizer, max_length, labelled=False, fingerprint="texts")
    else:
        reader = dataset.Reader(config, run.prefetched)
        read = reader.load if split == task.train_split else reader.load_evaluation
        chosen = _first(read(tokenizer, objective)[split].examples, count, split)
    features = [{key: row[key] for key in _TAKEN if key in row} for row in cast("Any", chosen)]
    if is_asked:
        threshold = next(iter(run.record.thresholds.values()), 0.0)  # the one that was chosen, if any was
        meaning: Meaning = Spans(chosen, task, threshold, labelled=not texts)
    elif texts:
        meaning = Classes(task.labels)
    else:
        meaning = Classes(task.labels, np.asarray(chosen["labels"]), task.select_by)
    return Loaded(
        model,
        tokenizer,
        objective.make_collator(tokenizer, config),
        features,
        _names(chosen, is_text=bool(texts)),
        meaning,
        _batches(features, config.train.eval_batch_size, by_length=config.train.group_by_length),
    )


def _first(examples: Dataset, count: int, split: str) -> Dataset:
    """Of the first so many rows of the file."""
    if not len(examples):
        raise DataError(f"--split {split}: has no rows")
    idx = np.asarray(examples["idx"])
    return take(examples, np.flatnonzero(np.isin(idx, np.unique(idx)[:count])))


def of_model(folder: Path, texts: Sequence[Sequence[str]], base: str | None) -> Loaded:
    """Texts, for a saved model that may be no run's."""
    tokenizer = tokenizers.load(str(folder))
    model = models.from_pretrained(folder, base=base).requires_grad_(False)
    if heads.objective_of(model) is not Objective.classification:
        raise ModelError(f"{folder}: a {type(model).__name__}; to look at one, give the folder of its run")
    longest = architecture.longest_input(model.config.to_dict())
    features = _tokenised(tokenizer, texts, longest or 512)
    names = model.config.id2label or {}
    regression = model.config.problem_type == "regression" or len(names) == 1
    labels = [] if regression else [name for _, name in sorted(names.items())]
    collate = DataCollatorWithPadding(tokenizer)
    batches = _batches(features, _BATCH, by_length=True)
    told = [f"text {number + 1}" for number in range(len(texts))]
    return Loaded(model, tokenizer, collate, features, told, Classes(labels), batches, of_run=False)


def _names(examples: Dataset, *, is_text: bool) -> list[str]:
    """By the row in the file, or the number of the text; of questions in several windows, by the window, too."""
    idx = np.asarray(examples["idx"])
    names = [f"text {each + 1}" if is_text else f"row {each}" for each in idx]
    if "window" not in examples.column_names:
        return names
    several = np.bincount(idx)[idx] > 1
    told = zip(names, examples["window"], several, strict=True)
    return [f"{name}, window {number + 1}" if is_one else name for name, number, is_one in told]


def _tokenised(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[Sequence[str]], longest: int
) -> list[dict[str, list[int]]]:
    found = [tokenizer(*each, truncation=True, max_length=longest) for each in texts]
    return [{key: list(each[key]) for key in _TAKEN if key in each} for each in found]


def _batches(features: Sequence[Mapping[str, Sequence[int]]], size: int, *, by_length: bool) -> list[list[int]]:
    lengths = np.asarray([len(each["input_ids"]) for each in features])
    order = np.argsort(-lengths, kind="stable") if by_length else np.arange(len(lengths))
    return [[int(place) for place in order[start : start + size]] for start in range(0, len(order), size)]
