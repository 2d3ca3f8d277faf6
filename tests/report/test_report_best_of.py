"""The expected best of k trials: closed forms, every subset, and how often the intervals hold the truth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gifine.report.analysis import best_of

NUMBERS = st.lists(st.integers(0, 5), min_size=2, max_size=7)  # few, so that many are equal


def by_subsets(chooses: np.ndarray, reported: np.ndarray, k: int) -> float:
    """Over every subset of k trials the reported score of the one that is chosen."""
    found = []
    for subset in itertools.combinations(range(len(chooses)), k):
        places = list(subset)
        found.append(reported[places[best_of.best(chooses[places])]])
    return float(np.mean(found))


@given(NUMBERS, st.randoms(use_true_random=False))
def test_it_is_the_mean_over_every_subset(numbers, random):
    chooses = np.asarray(numbers, dtype=float)
    reported = np.asarray([random.random() for _ in numbers])
    for scores in (chooses, reported):
        expected = best_of.expected(chooses, scores)
        wanted = [by_subsets(chooses, scores, k) for k in range(1, len(numbers) + 1)]
        np.testing.assert_allclose(expected, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [2, 5, 20, 200])
def test_order_statistics_of_the_uniform_distribution(n):
    """At i / (n + 1), their expectations, the best of k is k / (k + 1) exactly; and the parts sum up to 1."""
    places = np.arange(1, n + 1) / (n + 1)
    k = np.arange(1, n + 1)
    np.testing.assert_allclose(best_of.expected(places, places), k / (k + 1), rtol=1e-12)
    np.testing.assert_allclose(best_of.weights(n).sum(axis=1), 1, rtol=1e-12)


def test_order_statistics_of_the_exponential_distribution():
    """The expected largest of k is 1 + 1/2 + … + 1/k: the estimator's mean over samples is that."""
    rng = np.random.default_rng(3)
    found = np.mean([best_of.expected(each, each) for each in rng.exponential(size=(20_000, 6))], axis=0)
    wanted = np.cumsum(1 / np.arange(1, 7))
    np.testing.assert_allclose(found, wanted, atol=4 * math.sqrt(math.pi**2 / 6 / 20_000))


def test_drawing_with_replacement_would_be_too_low():
    """Dodge et al.'s estimator, sum of y_i (i^k − (i − 1)^k) / n^k, for the same numbers."""
    places = np.arange(1, 11) / 11
    plug_in = sum(y * ((i / 10) ** 5 - ((i - 1) / 10) ** 5) for i, y in enumerate(places, start=1))
    assert plug_in < best_of.expected(places, places)[4] - 0.03


def test_a_choice_on_one_half_is_reported_on_the_other():
    chooses, reported = np.asarray([0.9, 0.8, 0.7]), np.asarray([0.1, 0.2, 0.3])
    np.testing.assert_allclose(best_of.expected(chooses, reported), [0.2, (0.1 + 0.1 + 0.2) / 3, 0.1])
    assert best_of.best(chooses) == 0


def test_of_equal_trials_the_first_is_chosen():
    equal = np.asarray([0.5, 0.5, 0.5])
    assert best_of.best(equal) == 0
    np.testing.assert_allclose(best_of.expected(equal, np.asarray([3.0, 2.0, 1.0])), [2, (3 + 3 + 2) / 3, 3])


def test_the_interval_of_one_trial_is_students_t():
    scores = np.random.default_rng(1).normal(size=(2, 9))
    one = np.stack([scores[0], scores[0]])
    curve = best_of.curves(one, one)[0]
    from scipy import stats

    low, high = stats.ttest_1samp(scores[0], 0).confidence_interval()
    assert curve.intervals[0] == pytest.approx((low, high))
    assert [interval is None for interval in curve.intervals] == [False] * 4 + [True] * 5


def test_arms_that_always_agree_do_not_differ():
    scores = np.random.default_rng(1).normal(size=(2, 8))
    *_, difference = best_of.curves(scores, scores)
    assert difference.means == [0.0] * 8
    assert difference.intervals == [None] * 8, "nothing varies"
    *_, shifted = best_of.curves(scores, scores + 0.25)
    np.testing.assert_allclose(shifted.means, 0.25)
    assert shifted.intervals == [None] * 8


def test_two_trials_are_enough():
    first, second, difference = best_of.curves(np.asarray([[1.0, 2], [1, 2]]), np.asarray([[2.0, 1], [3, 5]]))
    assert (first.means, second.means, difference.means) == ([1.5, 2.0], [4.0, 3.0], [2.5, 1.0])
    assert difference.intervals[1] is None


LAWS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "long lower tail": lambda rng, n: -(np.abs(rng.normal(size=n)) ** 1.5),
    "collapses": lambda rng, n: np.where(rng.random(n) < 0.2, -5, 0) - rng.exponential(0.5, size=n),
}


def simulated(law: str, trials: int, sweeps: int) -> tuple[np.ndarray, np.ndarray]:
    """How often the intervals at k = 1 … n / 2 hold the truth: of an arm, and of the difference of two that are alike.

    Both arms try the same recipes; noise comes to each trial, and to each half of dev.
    """
    rng = np.random.default_rng(5)
    many = np.sort(LAWS[law](rng, 400_000) + 0.3 * math.sqrt(2) * rng.normal(size=400_000))
    steps = np.arange(len(many) + 1) / len(many)
    half = trials // 2
    truth = [float(np.sum(many * np.diff(steps**k))) for k in range(1, half + 1)]
    held = np.zeros((2, half))
    for _ in range(sweeps):
        recipes = LAWS[law](rng, trials)
        one, other = (recipes + 0.3 * rng.normal(size=trials) + 0.3 * rng.normal(size=(2, trials)) for _ in range(2))
        # Of an arm that is chosen and reported on the same scores the truth is an order statistic's.
        arm = best_of.curves(np.stack([one[0], one[0]]), np.stack([one[0], one[0]]))[0]
        *_, difference = best_of.curves(one, other)
        held[0] += [interval[0] <= true <= interval[1] for interval, true in zip(arm.intervals, truth) if interval]
        held[1] += [interval[0] <= 0 <= interval[1] for interval in difference.intervals if interval]
    return held[0] / sweeps, held[1] / sweeps


@pytest.mark.parametrize("law", LAWS)
def test_intervals_hold_the_truth(law):
    arm, difference = simulated(law, trials=20, sweeps=300)
    assert arm.min() > 0.93 - 3 * math.sqrt(0.93 * 0.07 / 300), "of collapses, which a few trials may not have met"
    assert arm[2:].min() > 0.94 - 3 * math.sqrt(0.94 * 0.06 / 300)
    assert difference.min() > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 300)


def test_a_bootstrap_would_hold_it_far_less_often():
    """Why the errors are the jackknife's, and end at half of the trials."""
    rng = np.random.default_rng(7)
    truth = {5: 1.16296, 20: 1.86748}  # the expected largest of k normal numbers (Harter 1961)
    held = dict.fromkeys(truth, 0)
    for scores in rng.normal(size=(400, 20)):
        drawn = np.sort(scores[rng.integers(20, size=(400, 20))], axis=1)
        for k in truth:
            low, high = np.quantile(drawn @ best_of.weights(20)[k - 1], [0.025, 0.975])
            held[k] += low <= truth[k] <= high
    assert abs(held[5] / 400 - 0.81) < 4 * math.sqrt(0.81 * 0.19 / 400)
    assert abs(held[20] / 400 - 0.46) < 4 * math.sqrt(0.46 * 0.54 / 400)


@pytest.mark.long
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("trials", [10, 20, 40])
def test_intervals_hold_the_truth_in_many_sweeps(law, trials):
    arm, difference = simulated(law, trials, sweeps=3000)
    assert arm.min() > 0.89 - 3 * math.sqrt(0.89 * 0.11 / 3000), "at k = 1 of ten trials"
    assert arm[1:].min() > 0.94 - 3 * math.sqrt(0.94 * 0.06 / 3000)
    assert difference.min() > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 3000)
