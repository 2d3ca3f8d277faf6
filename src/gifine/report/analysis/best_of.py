"""What the best of k trials is expected to score: numbers in, numbers out.

A trial is a recipe that was drawn and tried. It has two scores: `chooses` (n,), by which the best one is found, and
`reported` (n,), which it is then said to have. On one dev set both are the same numbers; on two halves of it the
reported one knows nothing of the choice. Of trials that choose alike the first is the best.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from gifine.report.analysis.statistics import ALPHA

Interval = tuple[float, float] | None


@dataclass(slots=True, frozen=True)
class Curve:
    """By k = 1 … n the mean, and its 95 % interval: None for k above n / 2, and where nothing varies."""

    means: list[float]
    intervals: list[Interval]


@functools.lru_cache(maxsize=64)
def weights(trials: int) -> np.ndarray:
    """(n, n): in row k − 1 the part that each trial, from worst to best, has in the expected best of k.

    It is the probability that the i-th of n is the best of k drawn without replacement: C(i − 1, k − 1) / C(n, k). The
    weighted sum is the unbiased estimator of Tang et al. (2020, arXiv 2004.13705). Drawn with replacement (Dodge et al.
    2019, EMNLP D19-1224), one trial counts several times, and the sum is too low.
    """
    found = np.zeros((trials, trials))
    for k in range(1, trials + 1):
        for place in range(k, trials + 1):
            found[k - 1, place - 1] = math.comb(place - 1, k - 1) / math.comb(trials, k)
    return found


def best(chooses: np.ndarray) -> int:
    """The place of the trial that is chosen."""
    return int(np.argmax(chooses))


def expected(chooses: np.ndarray, reported: np.ndarray) -> np.ndarray:
    """The expected reported score of the best of k = 1 … n trials, (n,)."""
    return weights(len(chooses)) @ reported[_order(chooses)]


def curves(baseline: np.ndarray, changed: np.ndarray) -> tuple[Curve, Curve, Curve]:
    """Of two arms that have tried the same n ≥ 2 trials, (2, n) each (chooses, reported): both, and changed − baseline.

    The trials are the sample: other draws would have given others. Errors are the jackknife's, which leaves out one
    trial, in both arms at once. Student's t has n / k degrees of freedom, at most n − 1: n trials hold about n / k
    bests of k. For normal scores, for a long lower tail and for a fifth of collapses, 93 … 98 % of an arm's intervals
    hold the truth (at k = 1 of ten trials 89 %), and 95 … 100 % of the difference's. A bootstrap's would in 81 % of
    cases for the best of 5 of 20, and in 46 % for the best of all 20: the largest of n numbers says little of how large
    the next may be. So there is none for more than half of the trials. All simulated:
    tests/report/test_report_best_of.py.
    """
    ours, theirs = expected(*changed), expected(*baseline)
    our_parts, their_parts = _without(*changed), _without(*baseline)
    return _curve(theirs, their_parts), _curve(ours, our_parts), _curve(ours - theirs, our_parts - their_parts)


def _curve(means: np.ndarray, without: np.ndarray) -> Curve:
    """Of means (n,), and of those without each trial (n, n / 2)."""
    trials = len(means)
    errors = np.sqrt((trials - 1) * np.mean((without - without.mean(axis=0)) ** 2, axis=0))
    found: list[Interval] = [None] * trials
    for place, error in enumerate(errors):
        if error > 1e-12:  # else it is rounding
            half = float(special.stdtrit(min(trials - 1, trials / (place + 1)), 1 - ALPHA / 2) * error)
            found[place] = float(means[place]) - half, float(means[place]) + half
    return Curve([float(each) for each in means], found)


def _without(chooses: np.ndarray, reported: np.ndarray) -> np.ndarray:
    """The expected best of k = 1 … n / 2 without each of the n trials: (n, n / 2)."""
    trials = len(chooses)
    factors = weights(trials - 1)[: trials // 2]
    order = _order(chooses)
    return np.asarray([factors @ reported[order[order != trial]] for trial in range(trials)])


def _order(chooses: np.ndarray) -> np.ndarray:
    """Places of the trials from the worst to the best."""
    return len(chooses) - 1 - np.argsort(chooses[::-1], kind="stable")
