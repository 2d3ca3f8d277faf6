"""Two halves of a dev set: one to choose on, one to report. No torch."""

from __future__ import annotations

import numpy as np


def halves(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of the half to choose on and of the half to report, in order, of labels (N,) in the order of their file.

    Both have the same distribution of labels (of a regression: of numbers), and they are the same ones whatever a run's
    seed is.
    """
    shuffled = np.random.default_rng(0).permutation(len(labels))
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    return np.sort(by_label[::2]), np.sort(by_label[1::2])
