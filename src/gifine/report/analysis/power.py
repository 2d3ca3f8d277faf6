"""How large an effect may be and go unseen: the power of the tests that verdicts rest on."""

from __future__ import annotations

import functools

import numpy as np
from scipy import special

from gifine.report.analysis.crossed import Estimate, squared_limit
from gifine.report.analysis.statistics import ALPHA

POWER = 0.8
_QUANTILES = 200  # of χ², in the place of an integral
_EXACT = 1e-6


def power_of(mean: float, estimate: Estimate, alpha: float = ALPHA) -> float:
    """The probability of p < α, two-sided, where the true mean is `mean`, in the unit of the estimate.

    If the errors of runs and of examples are what was observed: of another sweep, the runs' squared error is χ² with
    their degrees of freedom, the mean is normal, and the limit is `Estimate.limit`; the examples' error, of hundreds,
    is as good as known. Without a share of the examples this is the noncentral t distribution (Cohen 1988, chapter 2).
    """
    return _found(mean / estimate.error, _limits(estimate, alpha / 2))


def power_of_none(margin: float, estimate: Estimate, alpha: float = ALPHA) -> float:
    """The probability that both one-sided p of a difference of `margin` or more are below α where there is none."""
    room = margin / estimate.error - _limits(estimate, alpha)
    return float(np.mean(np.where(room > 0, 2 * special.ndtr(room) - 1, 0.0)))


def detectable(estimate: Estimate, alpha: float = ALPHA) -> float:
    """The true mean that gives p < α with 80 % power, in the unit of the estimate."""
    limits = _limits(estimate, alpha / 2)
    low, high = 0.0, 1.0
    while _found(high, limits) < POWER:
        low, high = high, 2 * high
    while high - low > _EXACT * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _found(middle, limits) < POWER else (low, middle)
    return high * estimate.error


def _found(shift: float, limits: np.ndarray) -> float:
    return float(np.mean(special.ndtr(shift - limits) + special.ndtr(-shift - limits)))


def _limits(estimate: Estimate, tail: float) -> np.ndarray:
    """How far from 0, in true standard errors, a mean has to be in other sweeps, equally likely each."""
    runs = (1 - estimate.share) * _drawn(estimate.freedom)
    squared = runs + estimate.share  # error
    return np.sqrt(squared * squared_limit(runs / squared, *estimate.limits(tail)))


@functools.lru_cache(maxsize=64)
def _drawn(freedom: float) -> np.ndarray:
    """Equally likely values of χ² over its degrees of freedom."""
    return special.chdtri(freedom, (np.arange(_QUANTILES) + 0.5) / _QUANTILES) / freedom
