"""How many seeds a question takes, from what pilot runs differed by: numbers in, numbers out.

The error of a mean difference over n pairs of runs has two parts (`crossed.crossed`): what runs differ by, which is
divided by n, and what the dev set is a sample of, which no number of runs makes smaller:

    error(n)² = runs²/n + dev²
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from gifine.report.analysis import power
from gifine.report.analysis.families import FEWEST_PAIRS
from gifine.report.analysis.power import POWER

MOST_SEEDS = 1_000  # nobody runs more
_QUANTILES = 1_000  # of χ², in the place of an integral


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

    def floor(self, alpha: float) -> float:
        """The smallest difference that ever so many seeds show with 80 % power at this level; 0 if nothing is known."""
        if not self.dev or self.examples is None:
            return 0.0
        return power.detectable_shift(self.examples - 1, alpha) * self.dev

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
    """The probability that n pairs give p < α, two-sided, where the true difference is `margin`.

    Without the dev set's part it is the noncentral t distribution's.
    """
    errors, limits = _drawn(of, n, 1 - alpha / 2)
    return float(
        np.mean(
            special.ndtr(margin / of.error(n) - limits * errors) + special.ndtr(-margin / of.error(n) - limits * errors)
        )
    )


def shows_none(of: Spread, n: int, margin: float, alpha: float) -> float:
    """The probability that n pairs show a difference below `margin` where there is none: both one-sided p below α."""
    errors, limits = _drawn(of, n, 1 - alpha)
    room = margin / of.error(n) - limits * errors
    return float(np.mean(np.where(room > 0, 2 * special.ndtr(room) - 1, 0.0)))


def _drawn(of: Spread, n: int, quantile: float) -> tuple[np.ndarray, np.ndarray]:
    """Standard errors that n pairs may observe, in true ones, equally likely each; and t's quantile for each of them.

    The runs' part varies as χ² does; that of the dev set, of hundreds of examples, hardly does. Degrees of freedom are
    those of what is observed, so they vary, too: with their expectation instead, as in a noncentral t distribution, the
    power of 5 pairs would be 4 points off.
    """
    of_runs = of.runs**2 / n * special.chdtri(n - 1, _upper_tails()) / (n - 1)
    of_dev = (of.dev or 0.0) ** 2
    freedom = (of_runs + of_dev) ** 2 / (of_runs**2 / (n - 1) + of_dev**2 / ((of.examples or 2) - 1))
    return np.sqrt(of_runs + of_dev) / of.error(n), special.stdtrit(freedom, quantile)


@functools.cache
def _upper_tails() -> np.ndarray:
    return (np.arange(_QUANTILES) + 0.5) / _QUANTILES


def seeds(shows: Callable[[Spread, int, float, float], float], of: Spread, margin: float, alpha: float) -> int | None:
    """The fewest seeds with which `shows` has 80 % power; None for more than 1,000, and if no number has."""
    sizes = range(FEWEST_PAIRS, MOST_SEEDS + 1)
    place = bisect.bisect_left(sizes, POWER, key=lambda n: shows(of, n, margin, alpha))
    return sizes[place] if place < len(sizes) else None
