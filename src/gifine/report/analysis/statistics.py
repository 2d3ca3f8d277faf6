"""The maths of comparing two settings over the same seeds: numbers in, numbers out.

`differences` are gated minus baseline, one a pair of runs of the same seed, in any unit. Which test a verdict rests on,
and why: `families.judge`.

scipy.stats has the t-tests, but importing it takes three times as long as scipy.special: most of a report on few runs.
Holm's correction is statsmodels' too, which would bring pandas along for ten lines.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from gifine.report.analysis.crossed import Estimate
from gifine.runs import preregistration

ALPHA = preregistration.ALPHA  # of every test and verdict
_SEED = 2208  # of every resampling: the same records, the same report
_EXACT_SIGNS = 16  # up to so many pairs all 2ⁿ signs are tried
_DRAWS = 9_999


def paired_t(differences: np.ndarray) -> Estimate | None:
    """The mean difference of pairs of runs (S,), as the paired t-test has it: given this dev set.

    None below two pairs, and where all differences are equal: no error can be told from them.
    """
    n = len(differences)
    if n < 2 or is_constant(differences):
        return None
    return Estimate(float(np.mean(differences)), float(np.std(differences, ddof=1)) / math.sqrt(n), n - 1)


def mean_interval(numbers: np.ndarray) -> tuple[float, float] | None:
    """The 95 % interval of the mean, of Student's t; None below two numbers, and a point where all are equal."""
    n = len(numbers)
    if n < 2:
        return None
    mean = float(np.mean(numbers))
    if is_constant(numbers):
        return mean, mean
    half = float(special.stdtrit(n - 1, 0.975)) * float(np.std(numbers, ddof=1)) / math.sqrt(n)
    return mean - half, mean + half


def welch_t(one: np.ndarray, other: np.ndarray) -> float | None:
    """Two-sided p of the t-test that assumes no equal variances and no pairs; None below two numbers a side.

    Where neither side varies, p is 1 if they agree, else the smallest that a permutation of the numbers could give.
    """
    if min(len(one), len(other)) < 2:
        return None
    parts = [float(np.var(each, ddof=1)) / len(each) for each in (one, other)]
    difference = float(np.mean(one) - np.mean(other))
    if is_constant(one) and is_constant(other):
        return 1.0 if difference == 0 else min(1.0, 2 / math.comb(len(one) + len(other), len(one)))
    freedom = sum(parts) ** 2 / sum(part**2 / (len(each) - 1) for part, each in zip(parts, (one, other), strict=True))
    return float(2 * special.stdtr(freedom, -abs(difference) / math.sqrt(sum(parts))))


def is_constant(numbers: np.ndarray) -> bool:
    """Up to rounding: a sum of accuracies in another order is no difference."""
    return bool(np.ptp(numbers) <= 1e-12 * max(1.0, float(np.abs(numbers).max())))


def sign_flip(differences: np.ndarray) -> float:
    """Two-sided p of the permutation test that gives each difference either sign (Fisher 1935; Dror et al. 2018).

    Exact up to 16 pairs, by all 2ⁿ signs; beyond by 9,999 random ones, with the observed ones counted as one of them
    (Phipson and Smyth 2010). No p is below 2^(1 − n), 0.0625 of
    five pairs.
    """
    n = len(differences)
    if not n:
        return 1.0
    magnitudes = np.abs(differences)
    threshold = abs(float(np.sum(differences))) * (1 - 1e-12) - 1e-15  # sums in another order round otherwise
    if n <= _EXACT_SIGNS:
        return float(np.mean(np.abs(_signs(n) @ magnitudes) >= threshold))
    signs = np.random.default_rng(_SEED).choice([-1.0, 1.0], size=(_DRAWS, n))
    return float((1 + np.sum(np.abs(signs @ magnitudes) >= threshold)) / (1 + _DRAWS))


@functools.lru_cache(maxsize=4)
def _signs(n: int) -> np.ndarray:
    return 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) correction: below α, they are significant with a family-wise error of at most α.

    What could not be tested (None) is not of the family.
    """
    tested = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(tested):
        highest = max(highest, min(1.0, p * (len(tested) - rank)))
        corrected[place] = highest
    return corrected
