"""The functions of an objective with their types; objectives/__init__.py says what they are for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import transformers
    from datasets import Dataset
    from torch import Tensor
    from transformers import EvalPrediction, PreTrainedModel, PreTrainedTokenizerFast

    from gifine.config import RunConfig, TaskConfig
    from gifine.inputs.dataset import Split
    from gifine.inputs.rows import Row


@dataclass
class Outcome:
    """What the evaluation at a run's end found. Metrics are keyed `task/split/metric`; an undefined one is None."""

    metrics: dict[str, float | None] = field(default_factory=dict)
    invariance: list[dict[str, Any]] = field(default_factory=list)  # with evaluate.invariance
    predictions: dict[str, str] = field(default_factory=dict)  # by split the sha256 of the file that was written
    diverged: str | None = None  # why there are no metrics
    degenerate: str | None = None  # why they say nothing of the examples
    thresholds: dict[str, float] = field(default_factory=dict)  # by split, of doubt: beyond it there is no answer


class Loss(Protocol):
    """What replaces a model's own loss: the weighted mean over all examples of a step, however many batches it has."""

    class_weights: dict[str, float]  # for the record

    def of(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], total: Tensor | None) -> Tensor:
        """The sum over a batch, divided by `total`, the weight of all examples of the step (None: of this batch)."""
        ...

    def weight_of(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The weight of a batch's examples."""
        ...


class Objective(Protocol):
    """What a module has to have. The type checker holds it against this; no module inherits from it."""

    LAYOUT: int

    def prepare(
        self,
        rows: Sequence[Row],
        task: TaskConfig,
        tokenizer: PreTrainedTokenizerFast,
        max_length: int,
        *,
        labelled: bool,
        fingerprint: str,
    ) -> Dataset:
        """Columns input_ids, attention_mask, idx and length, with which everything works, and what `build` takes."""
        ...

    def arrange(self, splits: Mapping[str, Split], config: RunConfig) -> dict[str, Dataset]:
        """By name; the one that chooses the best checkpoint is the first."""
        ...

    def learnable(self, examples: Dataset) -> Dataset:
        """Those of a training set that a model can learn from."""
        ...

    def describe(self, examples: Dataset, split: str) -> dict[str, Any]:
        """For the record, what is to be known of a split beside the number of its examples; empty for nothing."""
        ...

    def choose_loss(self, config: RunConfig, examples: Dataset) -> Loss | None: ...

    def build(
        self, config: RunConfig, tokenizer: PreTrainedTokenizerFast, provenance: dict[str, Any]
    ) -> PreTrainedModel: ...

    def reload(self, config: RunConfig, folder: Path) -> PreTrainedModel: ...

    def make_collator(self, tokenizer: PreTrainedTokenizerFast, config: RunConfig) -> Callable[..., Any]: ...

    def make_metrics(
        self, config: RunConfig, evaluated: Mapping[str, Dataset]
    ) -> Callable[[EvalPrediction, str], dict[str, float]]:
        """Of what was predicted, and the name of its split in `evaluated`."""
        ...

    def score(
        self, trainer: transformers.Trainer, evaluated: Mapping[str, Dataset], config: RunConfig, folder: Path
    ) -> Outcome: ...

    def predict(self, trainer: transformers.Trainer, examples: Dataset, config: RunConfig) -> np.ndarray | None:
        """By `idx`; None if the model has diverged."""
        ...
