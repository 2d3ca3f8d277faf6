"""How many seeds a question takes, from what pilot runs differed by: numbers in, numbers out.

The error of a mean difference over n pairs of runs has two parts (`crossed.crossed`): what runs differ by, which is
divided by n, and what the dev set is a sample of, which no number of runs makes smaller:

    error(n)² = runs²/n + dev²
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from gifine.report.analysis import power
from gifine.report.analysis.crossed import Estimate
from gifine.report.analysis.families import FEWEST_PAIRS
from gifine.report.analysis.power import POWER

MOST_SEEDS = 1_000  # nobody runs more


@dataclass(slots=True, frozen=True)
class Spread:
    """What differences of scores vary by, as fractions, in a pilot of so many pairs."""

    pairs: int
    runs: float  # sample standard deviation of the pairs' differences
    dev: float | None = None  # standard deviation of what the dev set adds to any mean; None: not known
    examples: int | None = None  # of the dev set, if `dev` is known

    def runs_interval(self) -> tuple[float, float]:
        """95 %, of the standard deviation over runs, by χ²."""
        freedom = self.pairs - 1
        low, high = self.runs * np.sqrt(freedom / special.chdtri(freedom, [0.025, 0.975]))
        return float(low), float(high)

    def at_most(self) -> Spread:
        """With the upper end of that interval."""
        return Spread(self.pairs, self.runs_interval()[1], self.dev, self.examples)

    def error(self, n: float) -> float:
        """The standard error of the mean over n pairs."""
        return math.hypot(self.runs / math.sqrt(n), self.dev or 0.0)

    def expected(self, n: int) -> Estimate:
        """What n pairs may be expected to give, of no difference."""
        share = ((self.dev or 0.0) / self.error(n)) ** 2
        return Estimate(0.0, self.error(n), n - 1, share, self.examples - 1 if self.examples else math.inf)

    def floor(self, alpha: float) -> float:
        """The smallest difference that ever so many seeds show with 80 % power at this level; 0 if nothing is known."""
        if not self.dev or self.examples is None:
            return 0.0
        return power.detectable(Estimate(0.0, self.dev, self.examples - 1), alpha)

    def dev_half_width(self) -> float | None:
        """Half of the 95 % interval that ever so many seeds leave."""
        if self.dev is None or self.examples is None:
            return None
        return float(special.stdtrit(self.examples - 1, 0.975)) * self.dev


def spread(pairs: int, deviation: float, error: float | None = None, examples: int | None = None) -> Spread:
    """Of a pilot's differences of scores: their sample standard deviation over so many pairs; and, if predictions were
    kept, the standard error of their mean by `crossed.crossed`, of so many examples.
    """
    if error is None:
        return Spread(pairs, deviation)
    return Spread(pairs, deviation, math.sqrt(max(error**2 - deviation**2 / pairs, 0.0)), examples)


def shows_difference(of: Spread, n: int, margin: float, alpha: float) -> float:
    """The probability that n pairs give p < α, two-sided, where the true difference is `margin`."""
    return power.power_of(margin, of.expected(n), alpha)


def shows_none(of: Spread, n: int, margin: float, alpha: float) -> float:
    """The probability that n pairs show a difference below `margin` where there is none: both one-sided p below α."""
    return power.power_of_none(margin, of.expected(n), alpha)


def seeds(shows: Callable[[Spread, int, float, float], float], of: Spread, margin: float, alpha: float) -> int | None:
    """The fewest seeds with which `shows` has 80 % power; None for more than 1,000, and if no number has."""
    sizes = range(FEWEST_PAIRS, MOST_SEEDS + 1)
    place = bisect.bisect_left(sizes, POWER, key=lambda n: shows(of, n, margin, alpha))
    return sizes[place] if place < len(sizes) else None
