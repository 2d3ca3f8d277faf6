"""How sure a model has to be that there is no answer, chosen on questions whose answers are known."""

from __future__ import annotations

import numpy as np


def choose(doubts: np.ndarray, scores: np.ndarray, answerable: np.ndarray) -> float:
    """The threshold t with the best mean score, if answers (Q,) are taken back where doubt > t.

    A question that is answered scores `scores`, one whose answer is taken back 1 if it has none and else 0. Questions
    of the same doubt go together, since no threshold parts them; of several that are best, the one that answers least.
    t lies halfway between two doubts, or 1 beyond the last: elsewhere they will not be the same to the last bit.
    """
    finite = np.isfinite(doubts)  # a question without any answer has none at every threshold
    doubts, gains = doubts[finite], np.where(answerable, scores, scores - 1.0)[finite]
    if not len(doubts):
        return 0.0
    values, which = np.unique(doubts, return_inverse=True)
    sums = np.concatenate([[0.0], np.cumsum(np.bincount(which, gains))])  # of the lowest 0, 1, … values answered
    answered = int(np.argmax(sums))
    if answered == 0:
        return float(values[0]) - 1.0
    if answered == len(values):
        return float(values[-1]) + 1.0
    low, high = float(values[answered - 1]), float(values[answered])
    middle = (low + high) / 2
    return middle if middle < high else low  # of neighbours among the floats
