"""What a model's logits say of examples, and how good that is: of classes, or of questions.

Shapes: N examples, C classes, T tokens of the longest example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from datasets import Dataset

from gifine.config import TaskConfig
from gifine.errors import ModelError
from gifine.inspect.findings import Score
from gifine.objectives import metrics
from gifine.objectives.question_answering import decoding, examples, scoring
from gifine.objectives.question_answering.decoding import Answers, Windows
from gifine.objectives.question_answering.loss import SpanLoss
from gifine.objectives.question_answering.windows import NOT_LEARNT

_MOVED = 0.01  # a regression's prediction that differs by more counts as changed
_NONE = "no answer"


class Meaning(Protocol):
    def labels(self) -> list[str] | None:
        """What is right, of each example, in words; None if that is not known."""
        ...

    def answers(self, logits: np.ndarray) -> list[str]:
        """What the model says of each example, in words."""
        ...

    def flipped(self, logits: np.ndarray, others: np.ndarray) -> int:
        """Of how many examples the two say something else."""
        ...

    def score(self, logits: np.ndarray) -> Score: ...


@dataclass
class Classes:
    """Logits are (N, C)."""

    names: list[str]  # by id; none: regression
    references: np.ndarray | None = None  # (N,)
    measure: str | None = None

    def labels(self) -> list[str] | None:
        return None if self.references is None else [self._named(each) for each in self.references]

    def answers(self, logits: np.ndarray) -> list[str]:
        return [self._named(each) for each in self._predicted(logits)]

    def flipped(self, logits: np.ndarray, others: np.ndarray) -> int:
        if not self.names:
            return int((np.abs(others - logits) > _MOVED).sum())
        return int((self._predicted(others) != self._predicted(logits)).sum())

    def score(self, logits: np.ndarray) -> Score:
        """The measure, which may be undefined, and the mean loss."""
        if self.references is None or self.measure is None:
            return Score(None, None, None)
        value = metrics.compute([self.measure], self._predicted(logits), self.references)[self.measure]
        if not self.names:
            return Score(self.measure, value, float(((logits.reshape(-1) - self.references) ** 2).mean()))
        shifted = logits - logits.max(axis=-1, keepdims=True)
        chosen = np.take_along_axis(shifted, self.references[:, None].astype(int), axis=-1)[:, 0]
        return Score(self.measure, value, float((np.log(np.exp(shifted).sum(axis=-1)) - chosen).mean()))

    def _predicted(self, logits: np.ndarray) -> np.ndarray:
        return logits.argmax(axis=-1) if self.names else logits.reshape(len(logits))

    def _named(self, answer: float) -> str:
        return self.names[int(answer)] if self.names else f"{answer:.2f}"


class Spans:
    """Examples are windows, each with an answer of its own; scores are those of their questions. Logits are (N, 2, T),
    of starts and ends."""

    def __init__(self, windows: Dataset, task: TaskConfig, threshold: float, *, labelled: bool) -> None:
        self.task, self.threshold, self.labelled = task, threshold, labelled
        self.questions, self.windows = examples.read(windows)
        self.first, self.last = (np.asarray(windows[f"{end}_positions"]) for end in ("start", "end"))
        self.lengths = np.asarray(windows["length"])
        self.contexts = [self.questions.contexts[place] for place in self.windows.question]

    def labels(self) -> list[str] | None:
        if not self.labelled:
            return None
        rows = np.arange(len(self.first))
        starts, ends = self.windows.starts[rows, self.first], self.windows.ends[rows, self.last]
        known = self.first != NOT_LEARNT
        told = zip(self.contexts, starts.tolist(), ends.tolist(), known.tolist(), strict=True)
        return [
            (context[start:end].strip() if start >= 0 else _NONE) if is_known else "at a place that is not known"
            for context, start, end, is_known in told
        ]

    def answers(self, logits: np.ndarray) -> list[str]:
        """A window's best span; none where cls is above by the threshold, in v1.1, too: another window may have it."""
        alone = replace(self.windows, question=np.arange(len(self.first)))
        found = self._decode(logits, alone, self.contexts)
        texts = found.texts(self.contexts)
        return [
            _NONE if none else text for text, none in zip(texts, (found.doubts > self.threshold).tolist(), strict=True)
        ]

    def flipped(self, logits: np.ndarray, others: np.ndarray) -> int:
        return sum(one != other for one, other in zip(self.answers(logits), self.answers(others), strict=True))

    def score(self, logits: np.ndarray) -> Score:
        """The task's metric, of questions, and the mean loss, of windows."""
        if not self.labelled:
            return Score(None, None, None)
        answers = self._decode(logits, self.windows, self.questions.contexts)
        scored = scoring.score(self.questions, answers, no_answers=self.task.unanswerable, threshold=self.threshold)
        starts, ends = (torch.from_numpy(np.ascontiguousarray(logits[:, end])) for end in range(2))
        batch = {
            "attention_mask": torch.arange(starts.shape[1]) < torch.from_numpy(self.lengths)[:, None],
            "start_positions": torch.from_numpy(self.first).long(),
            "end_positions": torch.from_numpy(self.last).long(),
        }
        loss = SpanLoss().of({"start_logits": starts, "end_logits": ends}, batch, None)
        return Score(self.task.select_by, scored.metrics[self.task.select_by], float(loss))

    def _decode(self, logits: np.ndarray, windows: Windows, contexts: Sequence[str]) -> Answers:
        starts, ends = logits[:, 0], logits[:, 1]
        try:
            return decoding.decode(starts, ends, windows, contexts, max_tokens=self.task.max_answer_tokens)
        except decoding.NotFiniteError as error:
            raise ModelError(str(error)) from None
