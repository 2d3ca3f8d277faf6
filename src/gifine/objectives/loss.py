"""The loss of classifiers where `train` has weights of classes or smoothed labels; without, it is the model's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from gifine.config import BALANCED, TrainConfig
from gifine.errors import DataError


class Loss:
    """PyTorch's cross-entropy, the weighted mean over all examples of a step.

    Over a step, not over a batch: however many batches and processes make the step, it is the same number. The mean of
    each batch alone would leave weights without an effect where a batch has one example.
    """

    def __init__(self, weights: Sequence[float] | None, smoothing: float, names: Sequence[str] = ()) -> None:
        self.class_weights = dict(zip(names, weights or []))  # for the record
        self.weights_C = None if weights is None else torch.tensor(weights)
        self.smoothing = smoothing

    def __call__(
        self, logits_BC: torch.Tensor, labels_B: torch.Tensor, total: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The sum over a batch, divided by `total`, the weight of all examples of the step (None: of this batch)."""
        weights_C = None if self.weights_C is None else self.weights_C.to(logits_BC)
        losses = nn.functional.cross_entropy(
            logits_BC, labels_B, weights_C, reduction="sum", label_smoothing=self.smoothing
        )
        return losses / (self.total(labels_B) if total is None else total)

    def of(
        self,
        outputs: Mapping[str, torch.Tensor],
        batch: Mapping[str, torch.Tensor],
        total: torch.Tensor | None,
    ) -> torch.Tensor:
        return self(outputs["logits"], batch["labels"], total)

    def weight_of(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return self.total(batch["labels"])

    def total(self, labels_B: torch.Tensor) -> torch.Tensor:
        """The weight of these examples; without weights, their number."""
        if self.weights_C is None:
            return torch.tensor(float(len(labels_B)), device=labels_B.device)
        return self.weights_C.to(labels_B.device)[labels_B].sum()


def class_weights(train: TrainConfig, labels: Any, names: Sequence[str]) -> list[float] | None:
    """A weight for each class, or None; `labels` (N,) are the ids in the training set.

    Raises:
        DataError: for balanced weights of a class that no example has.
    """
    if train.class_weights != BALANCED:
        return None if train.class_weights is None else [float(weight) for weight in train.class_weights]
    counts = np.bincount(np.asarray(labels), minlength=len(names))
    missing = [name for name, count in zip(names, counts, strict=True) if not count]
    if missing:
        raise DataError(
            f"train.class_weights={BALANCED}: the training set has no example of {', '.join(missing)}; "
            "give a list of weights, or other data"
        )
    return [len(labels) / (len(names) * int(count)) for count in counts]


def choose(train: TrainConfig, labels: Any, names: Sequence[str]) -> Loss | None:
    """The loss that replaces the model's own, or None where there is no need for one. Raises as `class_weights`."""
    weights = class_weights(train, labels, names)
    return Loss(weights, train.label_smoothing, names) if weights is not None or train.label_smoothing else None
