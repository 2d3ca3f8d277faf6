"""Examples chosen and put in order; no torch."""

from __future__ import annotations

import numpy as np
from datasets import Dataset

from gifine.config import RunConfig


def order(examples: Dataset, config: RunConfig) -> Dataset:
    """Longest first, so that batches hold little padding, or as they are; idx tells the order of the file."""
    if not config.train.group_by_length:
        return examples
    return take(examples, np.argsort(-np.asarray(examples["length"]), kind="stable"))


def take(examples: Dataset, places: np.ndarray) -> Dataset:
    chosen = examples.select(places)
    assert isinstance(chosen, Dataset)
    return chosen
