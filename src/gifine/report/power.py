"""How large an effect so many seeds can show, and how many seeds an effect takes: the paired t-test's power.

The test statistic has a noncentral t distribution with noncentrality √n·δ/σ (Cohen 1988, chapter 2).
"""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy import optimize, special

POWER = 0.8
ALPHA = 0.05
MOST_PAIRS = 200  # beyond, the number of seeds that an effect takes is not worth telling: nobody runs them


def of(effect: float, n: int, alpha: float = ALPHA) -> float:
    """The probability that n pairs give p < α, two-sided, where the mean difference is `effect` standard deviations."""
    return float(_power(abs(effect), np.asarray([n]), alpha)[0])


def _power(effect: float, n: np.ndarray, alpha: float) -> np.ndarray:
    limit, shift = special.stdtrit(n - 1, 1 - alpha / 2), effect * np.sqrt(n)
    # NaN is what scipy gives where a tail is far below what a float can add to 1
    below, opposite = (np.nan_to_num(special.nctdtr(n - 1, shift, each), nan=0.0) for each in (limit, -limit))
    return 1 - below + opposite


@functools.lru_cache(maxsize=256)
def detectable_effect(n: int, alpha: float = ALPHA) -> float | None:
    """The mean difference, in standard deviations of the differences, that n pairs show with 80 % power.

    None below two pairs.
    """
    if n < 2:
        return None
    highest = 1.0
    while of(highest, n, alpha) < POWER:
        highest *= 2
    found = optimize.root_scalar(lambda effect: of(effect, n, alpha) - POWER, bracket=(0, highest))
    return float(found.root)


def pairs_needed(mean: float, sd: float, alpha: float = ALPHA) -> int | None:
    """The smallest n that shows the observed difference with 80 % power, if the truth is what was observed.

    None for more than 200. Both numbers are estimates themselves, from as few seeds as there are: a hint, no promise.
    """
    if mean == 0:
        return None
    if sd == 0:
        return 2
    n = np.arange(2, MOST_PAIRS + 1)
    enough = _power(min(abs(mean) / sd, math.sqrt(MOST_PAIRS)), n, alpha) >= POWER
    return int(n[np.argmax(enough)]) if enough.any() else None
