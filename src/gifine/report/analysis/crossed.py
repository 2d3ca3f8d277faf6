"""A mean difference of which both the runs and the examples are a sample: numbers in, numbers out.

Seeds and dev examples are both random: another sweep has other seeds, another dev set other examples. The two-way
layout of differences, a row a pair of runs and a column an example, has a mean square for each of the two and for what
they do together; the error of the mean has a part of each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

_MANY = 1e9  # degrees of freedom that are none: scipy has no quantile of infinitely many
_EXACT = 1e-9


@dataclass(slots=True, frozen=True)
class Estimate:
    """A mean with its standard error, above 0 and in the same unit.

    A share of the squared error is the examples', with degrees of freedom of its own; the rest is the runs'. Without a
    share of the examples this is Student's t.
    """

    mean: float
    error: float
    freedom: float  # of the runs' part
    share: float = 0.0  # of the examples
    examples: float = math.inf  # degrees of freedom of their part

    def limit(self, tail: float) -> float:
        """How many errors away from the truth the mean is with probability `tail`, to one side.

        With t of the runs' degrees of freedom, z of the examples' and the runs' share r of the squared error, the
        square of the limit is w·t² + (1 − w)·z², w = r^(1 + z/t). Where seeds are many this is Student's t with
        Satterthwaite's degrees of freedom, as Hillis (2007) has it (w → r²); where they are few, and z/t is small, the
        squares of both half-widths are added (Howe 1974, JASA 69; w → r). Satterthwaite's alone is wrong there: few
        seeds that happen to agree pass for many, so that p is below the level of nine tasks up to 5 times as often as
        it should be with 3 seeds, and twice with 5; adding squares alone finds half of what it could. In between, the
        error is 1.02 times the level of 0.05 at most, and 1.18 times at any level down to 0.0001
        (tests/report/test_report_crossed.py).
        """
        return float(np.sqrt(squared_limit(1 - self.share, *self.limits(tail))))

    def limits(self, tail: float) -> tuple[float, float]:
        """If all of the error were the runs', and if all were the examples': Student's t."""
        runs, examples = -special.stdtrit([self.freedom, min(self.examples, _MANY)], tail)  # 1 - tail may round to 1
        return float(runs), float(examples)

    def tail(self, errors: float) -> float:
        """The other way round: the probability of so many errors, at least 0, or more, to one side."""
        runs, examples = special.stdtr([self.freedom, min(self.examples, _MANY)], -errors)
        if not self.share:
            return float(runs)
        low, high = float(min(runs, examples)), float(max(runs, examples))
        while high - low > _EXACT * high:
            middle = math.sqrt(low * high) if low > 0 else high / 1e3
            low, high = (middle, high) if self.limit(middle) > errors else (low, middle)
        return high

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided."""
        half = self.limit((1 - level) / 2) * self.error
        return self.mean - half, self.mean + half

    def p(self) -> float:
        """Two-sided, of no difference."""
        return 2 * self.tail(abs(self.mean) / self.error)

    def p_equivalent(self, margin: float) -> float:
        """Of a difference of at least `margin` either way: the larger of two one-sided tests' (Schuirmann 1987).

        Below α, the interval of level 1 − 2α lies within ±margin, and the other way round.
        """
        inside = (margin - abs(self.mean)) / self.error
        return self.tail(inside) if inside >= 0 else 1 - self.tail(-inside)

    def error_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Of the standard error itself, by χ² of the runs' part: of few seeds it is hardly known."""
        tails = np.asarray([(1 - level) / 2, (1 + level) / 2])  # upper ones: the larger quantile is the lower end
        runs = (1 - self.share) * self.freedom / special.chdtri(self.freedom, tails)
        low, high = self.error * np.sqrt(runs + self.share)
        return float(low), float(high)


def squared_limit(share: float | np.ndarray, runs: float, examples: float) -> np.ndarray:
    """See `Estimate.limit`; `share` is of the runs, `runs` and `examples` are limits of Student's t."""
    weight = np.power(share, 1 + examples / runs)
    return weight * runs**2 + (1 - weight) * examples**2


def crossed(differences: np.ndarray) -> Estimate | None:
    """The mean of `differences` (S, N), one of each of S pairs of runs on each of N examples.

    With the mean squares of pairs, of examples and of both together, the variance of the mean is
    [MS_S + max(MS_I − MS_SI, 0)] / (S·N) (Dorfman, Berbaum and Metz 1992): the runs' part, with S − 1 degrees of
    freedom, and the examples', with N − 1.

    None below two pairs or two examples, and where nothing varies, up to rounding: no error can be told from that.
    """
    pairs, examples = differences.shape
    if min(pairs, examples) < 2:
        return None
    by_pair = differences.mean(axis=1, dtype=float)
    by_example = differences.mean(axis=0, dtype=float)
    mean = float(by_pair.mean())
    squares_pairs = examples * float(np.sum((by_pair - mean) ** 2))
    squares_examples = pairs * float(np.sum((by_example - mean) ** 2))
    squares_all = float(np.sum(np.square(differences, dtype=float))) - pairs * examples * mean**2
    rest = max(squares_all - squares_pairs - squares_examples, 0.0)
    of_pairs, of_examples = squares_pairs / (pairs - 1), squares_examples / (examples - 1)
    beyond = max(of_examples - rest / ((pairs - 1) * (examples - 1)), 0.0)
    bracket = of_pairs + beyond
    if bracket <= 1e-12 * (of_pairs + of_examples + mean**2):
        return None
    return Estimate(mean, math.sqrt(bracket / (pairs * examples)), pairs - 1, beyond / bracket, examples - 1)


def pseudovalues(metric: str, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each example's part in a run's score: jackknife pseudovalues (S, N) of `predictions` (S, N) with `labels` (N,).

    N·score − (N − 1)·score without the example, shifted so that their mean is the score itself ("normalised", Hillis,
    Obuchowski, Schartz and Berbaum 2005). Of accuracy they are 1 where the answer is right and 0 where it is not.
    NaN where the score, or the score without one example, is undefined.
    """
    if metric == "accuracy":
        return (predictions == labels).astype(float)
    whole, without = (
        _NUMBERS[metric](predictions, labels) if metric in _NUMBERS else _classes(metric, predictions, labels)
    )
    count = len(labels)
    found = count * whole[:, None] - (count - 1) * without
    return found + (whole - found.mean(axis=1))[:, None]


def _classes(metric: str, predictions: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The score of each run (S,), and without each example (S, N).

    All examples of one label and answer are alike, so a score without one of them is found once.
    """
    classes = np.union1d(labels, predictions)
    runs, size = len(predictions), len(classes)
    cells = np.searchsorted(classes, labels) * size + np.searchsorted(classes, predictions)
    places = cells + size**2 * np.arange(runs)[:, None]
    counts = np.bincount(places.ravel(), minlength=runs * size**2).reshape(runs, size, size).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):  # of labels and answers that do not occur
        whole, without = _CLASSES[metric](counts, classes)
    return whole, without.ravel()[places]


def _f1(counts: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of counts (S, C, C) by label and answer: the score (S,), and without one of each (S, C, C)."""
    positive = classes == 1
    hits = counts[:, positive][..., positive].sum((1, 2))
    involved = counts[:, positive].sum((1, 2)) + counts[..., positive].sum((1, 2))
    label, answer = positive[:, None].astype(float), positive[None].astype(float)

    def score(hits: np.ndarray, involved: np.ndarray) -> np.ndarray:
        return np.where(involved > 0, 2 * hits / np.where(involved > 0, involved, 1), 0.0)

    without = score(hits[:, None, None] - label * answer, involved[:, None, None] - label - answer)
    return score(hits, involved), without


def _f1_macro(counts: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    hits, involved = np.diagonal(counts, axis1=1, axis2=2), counts.sum(1) + counts.sum(2)  # (S, C)

    def parts(hits: np.ndarray, involved: np.ndarray) -> np.ndarray:
        return np.where(involved > 0, 2 * hits / involved, 0.0)

    each, total, occurring = parts(hits, involved), parts(hits, involved).sum(1), (involved > 0).sum(1)
    change = parts(hits, involved - 1) - each  # of a class that was the label, or the answer, and not both
    gone = involved == 1
    sums = total[:, None, None] + change[:, :, None] + change[:, None]
    numbers = occurring[:, None, None] - gone[:, :, None] - gone[:, None]
    same = np.arange(len(classes))
    sums[:, same, same] = total[:, None] - each + parts(hits - 1, involved - 2)
    numbers[:, same, same] = occurring[:, None] - (involved == 2)
    return total / occurring, np.where(numbers > 0, sums / numbers, 0.0)


def _matthews(counts: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, answers = counts.sum(2), counts.sum(1)  # (S, C)
    same = np.eye(len(classes))
    hits, total = np.trace(counts, axis1=1, axis2=2), labels.sum(1)
    both, labels_2, answers_2 = (labels * answers).sum(1), (labels**2).sum(1), (answers**2).sum(1)

    def score(
        hits: np.ndarray, total: np.ndarray, both: np.ndarray, labels_2: np.ndarray, answers_2: np.ndarray
    ) -> np.ndarray:
        spread = (total**2 - labels_2) * (total**2 - answers_2)
        return np.where(spread > 0, (hits * total - both) / np.sqrt(np.where(spread > 0, spread, 1)), 0.0)

    def of(numbers: np.ndarray) -> np.ndarray:
        return numbers[:, None, None]

    without = score(
        of(hits) - same,
        of(total) - 1,
        of(both) - answers[:, :, None] - labels[:, None] + same,
        of(labels_2) - 2 * labels[:, :, None] + 1,
        of(answers_2) - 2 * answers[:, None] + 1,
    )
    return score(hits, total, both, labels_2, answers_2), without


_CLASSES = {"f1": _f1, "f1_macro": _f1_macro, "matthews": _matthews}


def _pearson(predictions: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `_classes`. Without an example, a sum of products of centred numbers loses N/(N − 1) times its product."""
    x, y = (_centred(each) for each in (predictions, labels[None]))
    less = len(labels) / max(len(labels) - 1, 1)
    products, squares_x, squares_y = (np.sum(each, axis=1, keepdims=True) for each in (x * y, x * x, y * y))
    whole = products / np.sqrt(squares_x * squares_y)
    left_x, left_y = (_left(squares, each, less) for squares, each in ((squares_x, x), (squares_y, y)))
    return whole[:, 0], (products - less * x * y) / np.sqrt(left_x * left_y)


def _centred(numbers: np.ndarray) -> np.ndarray:
    centred = numbers - numbers.mean(axis=1, keepdims=True, dtype=float)
    largest = np.abs(centred).max(axis=1, keepdims=True)  # of very large or small numbers the squares are lost
    return centred / np.where(largest > 0, largest, np.nan)


def _left(squares: np.ndarray, numbers: np.ndarray, less: float) -> np.ndarray:
    """The sum of squares without each; NaN where the others are equal, up to rounding."""
    left = squares - less * numbers**2
    return np.where(left > 1e-12 * squares, left, np.nan)


def _spearman(predictions: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `_pearson`, of ranks: without an example, larger ones' ranks are lower by 1, those of equal ones by ½.

    So for each example the sum of products of the others' new ranks is wanted; the sums of ranks and of their squares
    depend on the number of examples and on ties alone.
    """
    count = len(labels)
    mean, rest = (count + 1) / 2, count - 1
    ranks_y, left_y, spread_y = _ranked(labels)
    whole, without = [], []
    for each in predictions:
        ranks_x, left_x, spread_x = _ranked(each)
        products = float(ranks_x @ ranks_y)
        # Of the others' new ranks: (rank − lowered) of both, where lowered is 1, ½ or 0.
        above = (count + 1 - 2 * ranks_x + count + 1 - 2 * ranks_y + rest + _concordance(each, labels)) / 4
        sums = products - ranks_x * ranks_y - _lowered(each, ranks_y) - _lowered(labels, ranks_x) + above
        whole.append((products - count * mean**2) / math.sqrt(spread_x * spread_y) if spread_x * spread_y else np.nan)
        spread = left_x * left_y
        spread = np.where(spread > 0, spread, np.nan)
        without.append((sums - rest * (count / 2) ** 2) / np.sqrt(spread))
    return np.asarray(whole), np.asarray(without)


def _ranked(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Ranks (N,), ties sharing their mean; their squared deviations, summed, without each (N,), and of all."""
    _, inverse, ties = np.unique(numbers, return_inverse=True, return_counts=True)
    last = ties.cumsum()
    count, cubes = len(numbers), float(np.sum(ties.astype(float) ** 3 - ties))
    alike = ties[inverse].astype(float)
    rest = count - 1
    without = (rest**3 - rest - (cubes - (alike**3 - alike) + (alike - 1) ** 3 - (alike - 1))) / 12
    return (last - (ties - 1) / 2)[inverse], without, (count**3 - count - cubes) / 12


def _lowered(numbers: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """For each of N, the weights of larger numbers and half the weights of other equal ones, added up."""
    _, inverse = np.unique(numbers, return_inverse=True)
    sums = np.bincount(inverse, weights)
    larger = sums.sum() - sums.cumsum()
    return larger[inverse] + (sums[inverse] - weights) / 2


_ROWS = 1 << 22  # numbers of a block


def _concordance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """For each of N, how many of the others differ from it the same way in x and y, less those that do not."""
    found = []
    step = max(1, _ROWS // len(x))
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        signs = [(each > each[part, None]).view(np.int8) - (each < each[part, None]).view(np.int8) for each in (x, y)]
        found.append(np.sum(signs[0] * signs[1], axis=1, dtype=np.int32))
    return np.concatenate(found)


_NUMBERS = {"pearson": _pearson, "spearman": _spearman}
