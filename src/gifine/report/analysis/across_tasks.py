"""One change over several tasks, as a sample of tasks: numbers in, numbers out.

Each task has an estimate of the same change. Tasks are random here: the mean is of tasks like these, and its error has
the spread of true differences between tasks in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from gifine.report.analysis.crossed import Estimate

_ENOUGH = 1e-10  # relative: τ² is found, or there is no scatter
_MEANINGFUL = 0.75  # of pairs


@dataclass(slots=True, frozen=True)
class Mean:
    """The mean of a change over tasks."""

    estimate: Estimate
    spread: float  # τ: the standard deviation of true differences between tasks
    prediction: tuple[float, float] | None  # 95 %, where another such task's true difference lies; of three tasks on
    weights: np.ndarray  # (K,) of the tasks; their sum is 1


def combine(estimates: Sequence[Estimate]) -> Mean | None:
    """The random-effects mean of estimates by task; None below two.

    τ² is Paule and Mandel's (1982), so a task's weight is 1 / (error² + τ²). The standard error is the one of Hartung
    and Knapp (2001) and of Sidik and Jonkman (2002), its factor not truncated at 1; or the jackknife's over tasks, τ²
    found anew without each, if that is larger. Student's t has the effective number of tasks, 1 / Σ weight² (Kish
    1965), less 1 as degrees of freedom, and at least 1.

    Why not the first error alone, with K − 1 degrees of freedom: the weights come from errors of few seeds, and a task
    whose error came out small by chance has too much of a say. In simulated sweeps whose mean change is 0 it finds one
    in 5 to 14 %; truncated at 1, in up to 11 % with nine tasks, and of two or three tasks it finds hardly anything.
    This one stays at 5 % (tests/report/test_report_across.py), and finds less of what is there: docs/verdicts.md.

    The prediction interval is that of Higgins, Thompson and Spiegelhalter (2009), with one degree of freedom less.
    """
    if len(estimates) < 2:
        return None
    means = np.asarray([each.mean for each in estimates])
    variances = np.square([each.error for each in estimates])
    mean, error, freedom, between, weights = (each[0] for each in combined(means[None], variances[None]))
    prediction = None
    if len(estimates) > 2:
        half = float(special.stdtrit(max(freedom - 1, 1), 0.975)) * math.sqrt(between + error**2)
        prediction = (float(mean - half), float(mean + half))
    return Mean(Estimate(float(mean), float(error), float(freedom)), math.sqrt(between), prediction, weights)


def by_run(mean: Mean, estimates: Sequence[Estimate], differences: np.ndarray) -> Mean:
    """The same mean where tasks start from the same runs: `differences` (R, K), a row a run, NaN where a task has none.

    Luck of these runs is luck on all tasks, so the tasks' errors are not independent, which `combine` takes them for.
    What they have in common, `covariance`, is added to the squared error, in two ways of which the wider is taken:

    - to that of `combine`, with the same degrees of freedom;
    - to the tasks' own, Σ w² error², with the degrees of freedom of the task of the fewest runs. Where all tasks start
      from the same S runs, and errors are of runs alone, that is Student's t of these runs' means over the tasks.

    Either alone is too narrow in some sweeps; together they find a mean change that is not there in 5 % at most
    (tests/report/test_report_across.py): docs/verdicts.md.
    """
    counts = np.sum(~np.isnan(differences), axis=0)
    common = float(covariance(differences[None], mean.weights[None])[0])
    alone = sum((weight * each.error) ** 2 for weight, each in zip(mean.weights, estimates, strict=True))
    made = mean.estimate
    wider = max(
        replace(made, error=math.sqrt(made.error**2 + common)),
        replace(
            made,
            error=math.sqrt(alone + common),
            freedom=float(min([*(each.freedom for each in estimates), *(counts[counts > 1] - 1)])),
        ),
        key=lambda each: each.interval()[1],
    )
    low, high = wider.interval()
    prediction = mean.prediction and (min(mean.prediction[0], low), max(mean.prediction[1], high))
    return replace(mean, estimate=wider, prediction=prediction)


def covariance(differences: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What the runs that tasks share add to the squared error of B weighted means of K tasks, (B,), and at least 0.

    Of `differences` (B, R, K), NaN where a task has none of that run, and `weights` (B, K): the covariances of the
    tasks' means, Σ_r d_rj d_rk / √(n_j (n_j − 1) n_k (n_k − 1)), times w_j w_k, summed over all j ≠ k. Task k has n_k
    runs, d is around its mean. Of a task of one run nothing is told.
    """
    counts = np.sum(~np.isnan(differences), axis=1, keepdims=True)
    means = np.nansum(differences, axis=1, keepdims=True) / np.maximum(counts, 1)
    scale = np.where(counts > 1, weights[:, None] / np.sqrt(np.maximum(counts * (counts - 1), 1)), 0.0)
    parts = np.nan_to_num(differences - means) * scale
    return np.maximum(np.sum(parts.sum(axis=2) ** 2, axis=1) - np.sum(parts**2, axis=(1, 2)), 0.0)


def combined(means: np.ndarray, variances: np.ndarray) -> tuple[np.ndarray, ...]:
    """`combine` of B sets of K tasks at once, (B, K): mean, error, freedom and τ², (B,) each, and weights (B, K)."""
    tasks = means.shape[1]
    between = paule_mandel(means, variances)
    mean, weights, total = _weighted(means, variances, between)
    scatter = np.sum(weights * (means - mean[:, None]) ** 2, axis=1) / (tasks - 1)  # HKSJ: the factor over Σ weights
    without = np.stack([_without(means, variances, task) for task in range(tasks)], axis=1)
    jackknife = (tasks - 1) / tasks * np.sum((without - without.mean(axis=1, keepdims=True)) ** 2, axis=1)
    squared = np.maximum(scatter, jackknife)
    # Means that all agree, up to rounding, would give no error: then it is what the tasks' own errors leave.
    error = np.sqrt(np.where(squared * total > _ENOUGH, squared, 1 / total))
    freedom = np.maximum(1 / np.sum(weights**2, axis=1) - 1, 1.0)
    return mean, error, freedom, between, weights


def _without(means: np.ndarray, variances: np.ndarray, task: int) -> np.ndarray:
    means, variances = np.delete(means, task, axis=1), np.delete(variances, task, axis=1)
    between = paule_mandel(means, variances) if means.shape[1] > 1 else np.zeros(len(means))
    return _weighted(means, variances, between)[0]


def _weighted(means: np.ndarray, variances: np.ndarray, between: np.ndarray) -> tuple[np.ndarray, ...]:
    """The mean (B,), the weights (B, K) with a sum of 1, and the sum that they had before (B,)."""
    weights = 1 / (variances + between[:, None])
    total = weights.sum(axis=1)
    weights = weights / total[:, None]
    return np.sum(weights * means, axis=1), weights, total


def paule_mandel(means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """τ² (B,) at which K − 1 is the weighted sum of squares of (B, K) means around their mean; 0 if it is less at 0.

    By the iteration of DerSimonian and Kacker (2007), which rises to it from 0.
    """
    between = np.zeros(len(means))
    for _ in range(1000):
        weights = 1 / (variances + between[:, None])
        mean = np.sum(weights * means, axis=1) / weights.sum(axis=1)
        squares = weights * (means - mean[:, None]) ** 2
        beyond = squares.sum(axis=1) - (means.shape[1] - 1)
        slope = np.sum(weights * squares, axis=1)
        step = np.where((beyond > 0) & (slope > 0), beyond / np.where(slope > 0, slope, 1), 0.0)
        between = between + step
        if np.all(step <= _ENOUGH * between):
            break
    return between


@dataclass(slots=True, frozen=True)
class Better:
    """P(better): the share of pairs in which the changed run has the higher score, ties half."""

    share: float
    low: float  # 95 %
    high: float

    @property
    def is_meaningful(self) -> bool:
        """As Bouthillier et al. (2021) advise: the interval is above a half, and reaches 0.75."""
        return self.low > 0.5 and self.high > _MEANINGFUL


def better(differences: Sequence[np.ndarray]) -> Better | None:
    """Of the differences of pairs by task, the mean share over tasks; None where there is no pair.

    After Bouthillier et al. (2021, arXiv 2103.03098), whose pairs share what is random, too. The interval is Clopper
    and Pearson's (1934) for as many pairs, of these tasks: it is too wide where tasks differ, never too narrow.
    """
    tasks = [each for each in differences if len(each)]
    if not tasks:
        return None
    share = float(np.mean([np.mean((each > 0) + 0.5 * (each == 0)) for each in tasks]))
    count = len(tasks) ** 2 / sum(1 / len(each) for each in tasks)  # of pairs that a mean of shares is worth
    hits = share * count
    low = float(special.betaincinv(hits, count - hits + 1, 0.025)) if hits > 0 else 0.0
    high = float(special.betaincinv(hits + 1, count - hits, 0.975)) if hits < count else 1.0
    return Better(share, low, high)
