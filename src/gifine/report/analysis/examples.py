"""Tests on single predictions: would the same trained models differ on other examples of the task?

They complement tests over seeds, which ask whether other seeds would differ on the same examples. Both sides of all
pairs answer the same N examples, so an example, with the answers of all seeds, is the unit that is flipped or drawn:
answers of several seeds to one example are not independent, and pooling them would claim more than there is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import optimize, special, stats

from gifine.objectives import metrics

_SEED = 2208
_DRAWS = 2_000
_NEGLIGIBLE = 1e-30  # probabilities below are left out
_STEEPEST = 20.0  # where tanh is 1: all signs are +
_CHUNK = 200  # draws at a time: memory


def mcnemar(net: np.ndarray) -> float:
    """Two-sided mid-p of McNemar's test, for one pair of runs or for several over the same examples.

    `net` (N,) counts for each example in how many pairs only the gated run is right, less those in which only the
    baseline is. With one pair they are −1, 0 and 1, and this is McNemar's exact test with mid-p (Fagerland, Lydersen
    and Laake 2013, the variant they recommend). With several, it is the same conditional test with examples as units:
    under the null hypothesis each example's net count is as likely to have the other sign, and the distribution of
    their sum S is a convolution of binomials, one for each magnitude. A p that no float can hold, below 5e-324, is 0.

    The smallest p is as exact as a large one: it is summed up under a distribution Q of the signs that expects the sum
    that was observed, where P(S = s) = Q(s) · E[exp(θS)] · exp(−θs) and an example's sign is + with 1/(1 + exp(−2θm)).
    """
    magnitudes, counts = np.unique(np.abs(net[net != 0]).astype(int), return_counts=True)
    observed, largest = abs(int(np.sum(net, dtype=int))), int(magnitudes @ counts)
    if observed == 0:
        return 1.0

    def excess(tilt: float) -> float:
        return float(counts @ (magnitudes * np.tanh(tilt * magnitudes))) - observed

    tilt = optimize.brentq(excess, 0, _STEEPEST) if observed < largest else _STEEPEST
    lowest, parts = -largest, []  # Q of S, from `lowest` on in steps of 2
    for magnitude, count in zip(magnitudes, counts, strict=True):
        binomial = stats.binom.pmf(np.arange(count + 1), count, special.expit(2 * tilt * magnitude))
        (kept,) = np.nonzero(binomial > _NEGLIGIBLE)
        lowest += 2 * magnitude * kept[0]
        spread = np.zeros(magnitude * (len(kept) - 1) + 1)
        spread[::magnitude] = binomial[kept]
        parts.append(spread)
    tail = _convolved(parts)[(observed - lowest) // 2 :]
    tail *= np.exp(-2 * tilt * np.arange(len(tail)))
    beside = counts @ (np.log1p(np.exp(-2 * tilt * magnitudes)) - math.log(2)) + tilt * (largest - observed)
    return min(1.0, math.exp(math.log(2 * (tail.sum() - tail[0] / 2)) + beside))


def _convolved(parts: Sequence[np.ndarray]) -> np.ndarray:
    """By their transforms: of millions of examples the sums would take minutes."""
    size = sum(map(len, parts)) - len(parts) + 1
    return np.fft.irfft(math.prod(np.fft.rfft(part, size) for part in parts), size)


def paired_bootstrap(
    metric: str, baseline: np.ndarray, gated: np.ndarray, labels: np.ndarray
) -> tuple[float, float, float]:
    """Two-sided p, and the 95 % interval, of the metric's mean difference over pairs, examples drawn with replacement.

    `baseline` and `gated` (S, N) are predictions of S pairs, `labels` (N,). p is twice the smaller share of draws on
    one side of zero, with one draw added to each (Efron and Tibshirani 1993, chapter 15; Berg-Kirkpatrick et al. 2012).
    """
    rng = np.random.default_rng(_SEED)
    scores_of, pairs, drawn = draws(metric, np.concatenate([gated, baseline]), labels), len(baseline), []
    for start in range(0, _DRAWS, _CHUNK):
        scores = scores_of(rng, min(_CHUNK, _DRAWS - start))
        drawn.append(np.mean(scores[:pairs] - scores[pairs:], axis=0))
    differences = np.concatenate(drawn)
    differences = differences[np.isfinite(differences)]  # a correlation of equal numbers, which few examples may give
    if not len(differences):
        return 1.0, 0.0, 0.0
    below, above = np.sum(differences <= 0), np.sum(differences >= 0)
    p = min(1.0, 2 * (1 + min(below, above)) / (1 + len(differences)))
    low, high = np.quantile(differences, [0.025, 0.975])
    return float(p), float(low), float(high)


Draws = Callable[[np.random.Generator, int], np.ndarray]  # a number of draws: scores (P, draws)


def draws(metric: str, predictions: np.ndarray, labels: np.ndarray) -> Draws:
    """What gives the metric of predictions (P, N) on examples that are drawn with replacement."""
    return (_of_numbers if metric in ("pearson", "spearman") else _of_classes)(metric, predictions, labels)


def _of_classes(metric: str, predictions: np.ndarray, labels: np.ndarray) -> Draws:
    """A draw of N examples is a draw of how often each combination of label and answers occurs: far fewer than N."""
    combinations, counts = np.unique(np.vstack([labels, predictions]), axis=1, return_counts=True)
    classes = np.union1d(labels, predictions)
    is_label = combinations[:1] == classes[:, None]  # (C, K)

    def measure(rng: np.random.Generator, draws: int) -> np.ndarray:
        weights = rng.multinomial(len(labels), counts / len(labels), size=draws).astype(float)
        scores = []
        for answers in combinations[1:]:
            is_answer = answers == classes[:, None]
            hits = weights @ (is_label & is_answer).T  # (draws, C), here and below
            scores.append(_CLASSES[metric](hits, weights @ is_answer.T, weights @ is_label.T, classes))
        return np.asarray(scores)

    return measure


def _accuracy(hits: np.ndarray, answers: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return hits.sum(1) / labels.sum(1)


def _f1(hits: np.ndarray, answers: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    positive = classes == 1
    involved = (answers + labels)[:, positive].sum(1)
    return 2 * hits[:, positive].sum(1) / np.where(involved > 0, involved, 1)


def _f1_macro(hits: np.ndarray, answers: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    involved = answers + labels
    return (2 * hits / np.where(involved > 0, involved, 1)).sum(1) / (involved > 0).sum(1)


def _matthews(hits: np.ndarray, answers: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    total = labels.sum(1)
    covariance = hits.sum(1) * total - (answers * labels).sum(1)
    spread = (total**2 - (answers**2).sum(1)) * (total**2 - (labels**2).sum(1))
    return np.where(spread > 0, covariance / np.sqrt(np.where(spread > 0, spread, 1)), 0.0)


_CLASSES = {"accuracy": _accuracy, "f1": _f1, "f1_macro": _f1_macro, "matthews": _matthews}


def _of_numbers(metric: str, predictions: np.ndarray, labels: np.ndarray) -> Draws:
    def measure(rng: np.random.Generator, draws: int) -> np.ndarray:
        places = rng.integers(len(labels), size=(draws, len(labels)))
        drawn = _standardised(labels[places], ranks=metric == "spearman")
        return np.asarray(
            [np.mean(_standardised(each[places], ranks=metric == "spearman") * drawn, axis=1) for each in predictions]
        )

    return measure


def _standardised(numbers: np.ndarray, *, ranks: bool) -> np.ndarray:
    """Rows of mean 0 and variance 1; NaN where `numbers` are constant, as metrics.py has it: no correlation then."""
    spread, largest = np.ptp(numbers, axis=1, keepdims=True), np.abs(numbers).max(axis=1, keepdims=True)
    rows = stats.rankdata(numbers, axis=1) if ranks else numbers
    centred = rows - rows.mean(axis=1, keepdims=True)
    centred = centred / np.where(spread > metrics.CONSTANT_TOLERANCE * largest, np.ptp(rows, 1, keepdims=True), np.nan)
    return centred / centred.std(axis=1, keepdims=True)
