"""The maths of comparing two settings over the same seeds: numbers in, numbers out.

`differences` are gated minus baseline, one a pair of runs of the same seed, in any unit. Which test a verdict rests on,
and why: `comparison.judge`.

scipy.stats has the t-tests, but importing it takes three times as long as scipy.special: most of a report on few runs.
Holm's correction is statsmodels' too, which would bring pandas along for ten lines.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
from scipy import special

ALPHA = 0.05  # of every test and verdict
_SEED = 2208  # of every resampling: the same records, the same report
_EXACT_SIGNS = 16  # up to so many pairs all 2ⁿ signs are tried
_DRAWS = 9_999


def paired_t(differences: np.ndarray) -> tuple[float, float, float] | None:
    """Two-sided p of the paired t-test, and the 95 % interval of the mean difference; None below two pairs.

    Where all differences are equal, t is infinite for no better reason than the steps of a metric on few examples: then
    p is the sign-flip test's, and the interval is the point.
    """
    n = len(differences)
    if n < 2:
        return None
    mean, sd = float(np.mean(differences)), float(np.std(differences, ddof=1))
    interval = mean_interval(differences)
    assert interval is not None
    if is_constant(differences):
        return sign_flip(differences), *interval
    return float(2 * special.stdtr(n - 1, -abs(mean) * math.sqrt(n) / sd)), *interval


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


def bootstrap_interval(differences: np.ndarray) -> tuple[float, float] | None:
    """The 95 % percentile interval of the mean, pairs drawn with replacement; None below two pairs.

    Too narrow for few seeds: with normal differences it covers the truth in about 84 % of experiments at n = 5 and in
    90 % at n = 10. The t interval covers it in 95 %.
    """
    if len(differences) < 2:
        return None
    low, high = np.quantile(_drawn(differences).mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def sign_flip(differences: np.ndarray) -> float:
    """Two-sided p of the permutation test that gives each difference either sign (Fisher 1935; Dror et al. 2018).

    Exact up to 16 pairs, by all 2ⁿ signs; beyond by 9,999 random ones, with the observed ones counted as one of them
    (Phipson and Smyth 2010). No p is smaller than `sign_flip_floor`.
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


def sign_flip_floor(n: int) -> float:
    """The smallest p that n pairs can give: all differences of one sign. 0.0625 at n = 5, so never below 0.05 there."""
    return min(1.0, 2.0 ** (1 - n)) if n <= _EXACT_SIGNS else 1 / (1 + _DRAWS)


def sign(differences: np.ndarray) -> float:
    """Two-sided p of the sign test: how many seeds are better, and by how much does not matter. Ties are left out."""
    better, worse = int(np.sum(differences > 0)), int(np.sum(differences < 0))
    n = better + worse
    return min(1.0, float(2 * special.bdtr(min(better, worse), n, 0.5))) if n else 1.0


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


def almost_stochastic_order(gated: np.ndarray, baseline: np.ndarray) -> float | None:
    """ε_min: how far the gated scores may fail to be stochastically larger, at most, with 95 % confidence.

    Below 0.5 the gated setting is almost stochastically dominant (below 0.2 is a safer rule: Ulmer et al. 2022), above
    it is not shown to be. None below two scores a side. Unlike the other tests it does not use that runs are paired.

    The violation ratio is the share of the squared distance between the two quantile functions where the baseline's is
    the larger one; the bound is the ratio plus 1.645 times its bootstrap standard deviation (del Barrio,
    Cuesta-Albertos and Matrán 2018, arXiv 1705.01788; Dror, Shlomov and Reichart 2019, ACL P19-1266). With as many
    scores on both sides the quantile functions are steps of one width, and the integral a sum. The package deepsig has
    the same numbers, but is under the GPL.
    """
    n = len(gated)
    assert n == len(baseline), "scores of pairs"
    if n < 2:
        return None
    ratio = float(_violation(gated[None], baseline[None])[0])
    rng = np.random.default_rng(_SEED)
    drawn = [side[rng.integers(n, size=(1000, n))] for side in (gated, baseline)]
    return float(np.clip(ratio + special.ndtri(0.95) * np.std(_violation(*drawn)), 0, 1))


def _violation(gated: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Of scores (B, N) a ratio (B,); a half where the two do not differ."""
    behind = np.sort(baseline, axis=1) - np.sort(gated, axis=1)
    total = np.sum(behind**2, axis=1)
    worse = np.sum(np.maximum(behind, 0) ** 2, axis=1)
    return np.where(total > 0, worse / np.where(total > 0, total, 1), 0.5)


def _drawn(numbers: np.ndarray) -> np.ndarray:
    """(B, N), each row drawn with replacement."""
    return numbers[_places(len(numbers))]


@functools.lru_cache(maxsize=4)
def _places(n: int) -> np.ndarray:
    return np.random.default_rng(_SEED).integers(n, size=(_DRAWS, n))
