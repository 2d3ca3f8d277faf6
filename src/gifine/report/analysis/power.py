"""How large an effect so many seeds can show, and how many seeds an effect takes: the paired t-test's power.

The test statistic has a noncentral t distribution with noncentrality √n·δ/σ (Cohen 1988, chapter 2).
"""

from __future__ import annotations

import bisect
import functools
import math

import numpy as np
from scipy import special

POWER = 0.8
ALPHA = 0.05
MOST_PAIRS = 200  # beyond, the number of seeds that an effect takes is not worth telling: nobody runs them


def of(effect: float, n: int, alpha: float = ALPHA) -> float:
    """The probability that n pairs give p < α, two-sided, where the mean difference is `effect` standard deviations."""
    limit, shift = special.stdtrit(n - 1, 1 - alpha / 2), abs(effect) * math.sqrt(n)
    # NaN is what scipy gives where a tail is far below what a float can add to 1
    below, opposite = np.nan_to_num(special.nctdtr(n - 1, shift, [limit, -limit]), nan=0.0)
    return float(1 - below + opposite)


@functools.lru_cache(maxsize=256)
def detectable_effect(n: int, alpha: float = ALPHA) -> float | None:
    """The mean difference, in standard deviations of the differences, that n pairs show with 80 % power.

    None below two pairs. What the test would find in the wrong direction is left out: less than 10⁻⁴ of power.
    """
    if n < 2:
        return None
    limit = special.stdtrit(n - 1, 1 - alpha / 2)
    return float(special.nctdtrinc(n - 1, 1 - POWER, limit)) / math.sqrt(n)


def pairs_needed(mean: float, sd: float, alpha: float = ALPHA) -> int | None:
    """The smallest n that shows the observed difference with 80 % power, if the truth is what was observed.

    None for more than 200. Both numbers are estimates themselves, from as few seeds as there are: a hint, no promise.
    """
    if sd == 0:
        return 2 if mean else None
    sizes = range(2, MOST_PAIRS + 1)
    place = bisect.bisect_left(sizes, POWER, key=lambda n: of(mean / sd, n, alpha))
    return sizes[place] if place < len(sizes) else None
