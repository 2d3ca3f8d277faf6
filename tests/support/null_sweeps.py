"""Sweeps of known truth, answer by answer: what runs get right where a change does nothing, or just so much.

An answer is right where a latent number is above 0: the example's, the same for all runs, with what a run adds to all
its answers, what an arm adds to an example, and chance. Both arms are drawn alike, so that a change makes no difference
in the population of runs and examples, whatever it does to these.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np
from scipy import stats

ACCURACY = 0.85
_TIMES = int(os.environ.get("GIFINE_SIMULATIONS", "1"))
_EXAMPLES = 2.0  # standard deviation of the examples' numbers


def times(repetitions: int) -> int:
    """How often a simulation is repeated: GIFINE_SIMULATIONS times as often as its tests need."""
    return _TIMES * repetitions


@dataclass(frozen=True)
class Kind:
    """Standard deviations, in the latent unit."""

    runs: float  # of runs, on all their answers
    examples: float  # of what an arm does to single examples
    chance: float = 1.0  # of single answers

    @property
    def spread(self) -> float:
        return math.hypot(_EXAMPLES, self.runs, self.examples, self.chance)

    def shift(self, difference: float) -> float:
        """What has to be added to an arm's numbers for so much more accuracy in the population."""
        ends = stats.norm.ppf([ACCURACY, ACCURACY + difference])
        return self.spread * float(ends[1] - ends[0])


RUNS, EXAMPLES, BOTH = Kind(0.2, 0.0), Kind(0.0, 0.8, 0.3), Kind(0.2, 0.8)  # what an arm differs in
ALIKE = Kind(0.0, 0.0)  # nothing but single answers


def answers(
    rng: np.random.Generator, kind: Kind, pairs: int, examples: int, shifts: tuple[float, ...] = (0.0, 0.0)
) -> list[np.ndarray]:
    """For each arm, which answers (S, N) are right: the first is the baseline."""
    easy = kind.spread * stats.norm.ppf(ACCURACY) + rng.normal(0, _EXAMPLES, examples)
    found = []
    for shift in shifts:
        number = easy + shift + kind.chance * rng.standard_normal((pairs, examples), dtype=np.float32)
        if kind.runs:
            number += rng.normal(0, kind.runs, (pairs, 1))
        if kind.examples:
            number += rng.normal(0, kind.examples, examples)
        found.append(number > 0)
    return found


def differences(rng: np.random.Generator, kind: Kind, pairs: int, examples: int, difference: float = 0.0) -> np.ndarray:
    """Changed minus baseline (S, N), of hits."""
    baseline, changed = answers(rng, kind, pairs, examples, (0.0, kind.shift(difference)))
    return changed.astype(np.int8) - baseline


def predictions(
    rng: np.random.Generator, kind: Kind, metric: str, pairs: int, examples: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Labels (N,), and the predictions (S, N) of two arms that are alike, of classes or of numbers."""
    if metric in ("pearson", "spearman"):
        labels = rng.normal(0, 1, examples)
        found = []
        for _ in range(2):
            noise = np.exp(rng.normal(0, kind.runs, (pairs, 1))) * rng.normal(0, 0.5, (pairs, examples))
            found.append(labels + kind.chance * noise + 0.3 * kind.examples * rng.normal(0, 1, examples))
        return labels, found
    labels = (rng.random(examples) < 0.3).astype(int)
    return labels, [np.where(right, labels, 1 - labels) for right in answers(rng, kind, pairs, examples)]
