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
MOST_PAIRS = 200  # beyond, the number of seeds that an effect takes is not worth telling: nobody runs them


def power(effect: float, n: int, alpha: float = ALPHA) -> float:
    """The probability that n pairs give p < α, two-sided, where the mean difference is `effect` standard deviations.

    α from 10⁻⁵ on: below, scipy has no number for two pairs.
    """
    assert alpha >= 1e-5, alpha
    limit, shift = special.stdtrit(n - 1, 1 - alpha / 2), abs(effect) * math.sqrt(n)
    # NaN is what scipy gives where a tail is far below what a float can add to 1
    below, opposite = np.nan_to_num(special.nctdtr(n - 1, shift, [limit, -limit]), nan=0.0)
    return float(1 - below + opposite)


@functools.lru_cache(maxsize=256)
def detectable_effect(n: int, alpha: float = ALPHA) -> float | None:
    """The mean difference, in standard deviations of the differences, that n pairs show with 80 % power.

    None below two pairs. Found by bisection: scipy's own inverse, `nctdtrinc`, does not return where α is tiny.
    """
    if n < 2:
        return None
    low, high = 0.0, 1.0
    while power(high, n, alpha) < POWER:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle, n, alpha) < POWER else (low, middle)
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
