"""Extractive questions: the answer is a part of a context, which is read in windows where it is long.

A trained model scores each token of a window as the first and as the last of the answer. Examples are windows; what is
decided, scored and predicted are questions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import transformers
from datasets import Dataset
from transformers import PreTrainedTokenizerFast

from gifine.choices import Objective, Padding
from gifine.config import RunConfig
from gifine.inputs import tokenizers
from gifine.objectives import predictions
from gifine.objectives.contract import Outcome
from gifine.objectives.ordering import order
from gifine.objectives.question_answering import decoding, scoring
from gifine.objectives.question_answering.decoding import Answers
from gifine.objectives.question_answering.examples import arrange, describe, learnable, read
from gifine.objectives.question_answering.scoring import Scored
from gifine.objectives.question_answering.windows import LAYOUT, prepare

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


def choose_loss(config: RunConfig, examples: Dataset) -> Loss | None:
    from gifine.objectives.question_answering.loss import SpanLoss  # torch: seconds

    return SpanLoss()


def build(config: RunConfig, tokenizer: PreTrainedTokenizerFast, provenance: dict[str, Any]) -> PreTrainedModel:
    """A model with transformers' head for spans. ModelError: see `models.build`. Seed torch first."""
    from gifine import models

    return models.build(
        config.model,
        config.gi,
        config.change,
        labels=(),
        objective=Objective.questions,
        vocab_size=tokenizers.size(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        token_types=tokenizers.token_types(tokenizer, len(config.task.inputs)),
        parameters=config.train.parameters,
        provenance=provenance,
    )


def reload(config: RunConfig, folder: Path) -> PreTrainedModel:
    """
    Raises:
        ModelError: for weights that cannot be read, or that are not those of this run.
    """
    from gifine import models

    own = config.change.get("file")
    loaded = models.from_pretrained(folder, whole=True, base=config.model.base, change_file=own)
    return models.with_attention(loaded, config.model.attention)


def make_collator(tokenizer: PreTrainedTokenizerFast, config: RunConfig) -> Callable[..., Any]:
    """Padding follows the tokens whatever the tokenizer's own side is, so that a token's number is its place."""
    options: dict[str, Any] = {"padding": True}
    if config.train.padding is Padding.max_length:
        options = {"padding": "max_length", "max_length": config.train.max_length}

    def collate(windows: list[dict[str, Any]]) -> Any:
        tokenizer.deprecation_warnings["Asking-to-pad-a-fast-tokenizer"] = True  # told already: they are tokens
        return tokenizer.pad(windows, padding_side="right", return_tensors="pt", **options)

    return collate


class _Split:
    """Questions of one split, and what their windows' logits mean."""

    def __init__(self, examples: Dataset, config: RunConfig) -> None:
        self.examples, self.config = examples, config

    @cached_property
    def read(self) -> tuple[scoring.Questions, decoding.Windows]:
        return read(self.examples)

    def decode(self, logits: Any) -> Answers | None:
        """Of start and end logits (N, T or more columns) each; None if one is NaN or infinite."""
        questions, asked = self.read
        starts, ends = (np.asarray(each) for each in logits)
        try:
            return decoding.decode(
                starts, ends, asked, questions.contexts, max_tokens=self.config.task.max_answer_tokens
            )
        except decoding.NotFiniteError:
            return None

    def score(self, answers: Answers, threshold: float) -> Scored:
        return scoring.score(self.read[0], answers, no_answers=self.config.task.unanswerable, threshold=threshold)


class _Judge:
    """Scores splits one after the other; of two halves the first gives both the threshold of doubt.

    Without halves it is 0: "no answer" has to score higher than the answer. So nothing is chosen on what is reported.
    """

    def __init__(self, evaluated: Mapping[str, Dataset], config: RunConfig) -> None:
        self.splits = {name: _Split(examples, config) for name, examples in evaluated.items()}
        self.config, self.threshold = config, 0.0

    def judge(self, name: str, logits: Any) -> tuple[Answers, Scored] | None:
        """None if a logit is NaN or infinite."""
        split, task = self.splits[name], self.config.task
        answers = split.decode(logits)
        if answers is None:
            return None
        if self.config.evaluate.split_dev and task.unanswerable and name == next(iter(self.splits)):
            self.threshold = scoring.choose_threshold(split.read[0], answers, task.select_by)
        halves = [*self.splits][: 2 if self.config.evaluate.split_dev else 0]
        return answers, split.score(answers, self.threshold if name in halves else 0.0)


def make_metrics(
    config: RunConfig, evaluated: Mapping[str, Dataset]
) -> Callable[[EvalPrediction, str], dict[str, float]]:
    """The task's metrics during training. Undefined ones are NaN, which never is the Trainer's best."""
    judge, names = _Judge(evaluated, config), config.task.metrics

    def compute(output: EvalPrediction, split: str) -> dict[str, float]:
        found = judge.judge(split, output.predictions)
        values = {} if found is None else found[1].metrics
        return {f"/{name}": float("nan") if (value := values.get(name)) is None else value for name in names}

    return compute


def score(trainer: transformers.Trainer, evaluated: Mapping[str, Dataset], config: RunConfig, folder: Path) -> Outcome:
    """In the batches that the config says; predictions go to `folder`."""
    task, outcome, flat, judge = config.task, Outcome(), [], _Judge(evaluated, config)
    for split, examples in evaluated.items():
        found = judge.judge(split, _logits(trainer, examples))
        if found is None:
            return Outcome(diverged=f"{split}: logits are NaN or infinite after the last step")
        answers, scored = found
        questions = judge.splits[split].read[0]
        for name in task.metrics:
            outcome.metrics[f"{task.name}/{split}/{name}"] = scored.metrics[name]
        if scored.threshold is not None:
            outcome.thresholds[split] = scored.threshold
        if len({*scored.texts}) == 1 and len(scored.texts) > 1:
            told = f"'{scored.texts[0]}'" if scored.texts[0] else "no answer"
            flat.append(f"{split}: {told} to all {len(scored.texts)} questions")
        if config.train.save_predictions and trainer.is_world_process_zero():
            columns = scoring.columns(questions, answers, scored)
            path = predictions.locate(folder, split)
            outcome.predictions[split] = predictions.write_answers(path, questions.idx, columns)
    outcome.degenerate = "; ".join(flat) or None
    return outcome


def predict(trainer: transformers.Trainer, examples: Dataset, config: RunConfig) -> Any:
    """Questions and their answers, in the order of the file; None if a logit is NaN or infinite."""
    ordered = order(examples, config)
    split = _Split(ordered, config)
    answers = split.decode(_logits(trainer, ordered))
    return None if answers is None else (split.read[0], answers)


def _logits(trainer: transformers.Trainer, examples: Dataset) -> Any:
    """Start and end logits, (N, T) each."""
    return trainer.predict(cast("Any", examples)).predictions  # its type leaves datasets' own out
