"""How large an effect so many seeds can show, and how many seeds an effect takes: the paired t-test's power.

The test statistic has a noncentral t distribution with noncentrality √n·δ/σ (Cohen 1988, chapter 2).
"""

from __future__ import annotations

import bisect
import functools
import math

import numpy as np
from scipy import special

from gifine.report.analysis.statistics import ALPHA

POWER = 0.8
_EXACT = 1e-9
MOST_PAIRS = 200  # beyond, the number of seeds that an effect takes is not worth telling: nobody runs them


def power(effect: float, n: int, alpha: float = ALPHA) -> float:
    """The probability that n pairs give p < α, two-sided, where the mean difference is `effect` standard deviations."""
    return power_of(abs(effect) * math.sqrt(n), n - 1, alpha)


def power_of(shift: float, freedom: float, alpha: float = ALPHA) -> float:
    """The probability of p < α, two-sided, of a mean that is `shift` of its standard errors away from 0.

    α from 10⁻⁵ on where there is one degree of freedom: below, scipy has no number.
    """
    limit = special.stdtrit(freedom, 1 - alpha / 2)
    # NaN is what scipy gives where a tail is far below what a float can add to 1
    below, opposite = np.nan_to_num(special.nctdtr(freedom, shift, [limit, -limit]), nan=0.0)
    return float(1 - below + opposite)


@functools.lru_cache(maxsize=256)
def detectable_effect(n: int, alpha: float = ALPHA) -> float | None:
    """The mean difference, in standard deviations of the differences, that n pairs show with 80 % power.

    None below two pairs.
    """
    return detectable_shift(n - 1, alpha) / math.sqrt(n) if n > 1 else None


def detectable_shift(freedom: float, alpha: float = ALPHA) -> float:
    """The mean, in standard errors, that gives p < α with 80 % power.

    Found by bisection: scipy's own inverse, `nctdtrinc`, does not return where α is tiny.
    """
    low, high = 0.0, 1.0
    while power_of(high, freedom, alpha) < POWER:
        low, high = high, 2 * high
    while high - low > _EXACT * high:
        middle = (low + high) / 2
        low, high = (middle, high) if power_of(middle, freedom, alpha) < POWER else (low, middle)
    return high


def pairs_needed(mean: float, sd: float, alpha: float = ALPHA) -> int | None:
    """The smallest n that shows the observed difference with 80 % power, if the truth is what was observed.

    None for more than 200. Both numbers are estimates themselves, from as few seeds as there are: a hint, no promise.
    """
    if sd == 0:
        return 2 if mean else None
    sizes = range(2, MOST_PAIRS + 1)
    place = bisect.bisect_left(sizes, POWER, key=lambda n: power(mean / sd, n, alpha))
    return sizes[place] if place < len(sizes) else None
