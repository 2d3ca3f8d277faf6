"""One change over several tasks: the arithmetic against statsmodels, and how often it claims what is not there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from statsmodels.stats.meta_analysis import combine_effects

from gifine.report.analysis import across_tasks, statistics
from gifine.report.analysis.crossed import Estimate
from support.synthetic import given as sure

GLUE = np.asarray([1.0, 0.3, 0.8, 0.3, 0.1, 0.1, 0.2, 1.5, 2.5])  # deviations of paired differences, in points


def estimates(means, errors, freedom: float = 4) -> list[Estimate]:
    return [Estimate(float(mean), float(error), freedom) for mean, error in zip(means, errors, strict=True)]


_NUMBERS = st.lists(
    st.tuples(st.integers(-500, 500).map(lambda each: each / 100), st.floats(0.0625, 4, width=32)),
    min_size=2,
    max_size=9,
    unique_by=lambda x: x[0],
)


@given(_NUMBERS)
def test_mean_spread_and_weights_are_those_of_statsmodels(numbers):
    means, errors = (np.asarray(each, dtype=float) for each in zip(*numbers, strict=True))
    theirs: Any = combine_effects(means, errors**2, method_re="iterated")
    ours = sure(across_tasks.combine(estimates(means, errors)))
    assert ours.spread**2 == pytest.approx(theirs.tau2, rel=1e-4, abs=1e-5), "theirs is found to 1e-5"
    assert ours.estimate.mean == pytest.approx(theirs.mean_effect_re, rel=1e-4, abs=1e-4)
    assert ours.weights == pytest.approx(theirs.weights_rel_re, abs=1e-4)


@given(_NUMBERS)
def test_the_error_is_that_of_hartung_and_knapp_unless_the_jackknifes_is_larger(numbers):
    means, errors = (np.asarray(each, dtype=float) for each in zip(*numbers, strict=True))
    ours = sure(across_tasks.combine(estimates(means, errors)))
    theirs = combine_effects(means, errors**2, method_re="iterated").sd_eff_w_re_hksj
    left = []
    for task in range(len(means)):
        others = np.delete(means, task), np.delete(errors, task)
        if len(means) > 2:
            left.append(sure(across_tasks.combine(estimates(*others))).estimate.mean)
        else:
            left.append(float(others[0][0]))
    jackknife = np.sqrt((len(means) - 1) ** 2 / len(means) * np.var(left, ddof=1))
    assert ours.estimate.error == pytest.approx(max(theirs, jackknife), rel=1e-3)
    assert ours.estimate.freedom == pytest.approx(max(1 / np.sum(ours.weights**2) - 1, 1))


def test_spread_is_where_the_weighted_squares_are_as_many_as_expected():
    means, errors = np.asarray([0.3, -0.4, 1.0, 0.1]), np.asarray([0.1, 0.2, 0.1, 0.3])
    found = sure(across_tasks.combine(estimates(means, errors)))
    weights = 1 / (errors**2 + found.spread**2)
    assert np.sum(weights * (means - np.average(means, weights=weights)) ** 2) == pytest.approx(3, rel=1e-9)


def test_tasks_that_differ_by_no_more_than_their_errors_have_no_spread():
    found = sure(across_tasks.combine(estimates([0.1, 0.11, 0.09], [0.1, 0.1, 0.1])))
    assert found.spread == 0
    assert found.estimate.mean == pytest.approx(0.1)
    assert found.estimate.freedom == pytest.approx(2)


def test_means_that_all_agree_are_not_known_exactly():
    """Three tasks with the same difference, to the last digit: the errors of the tasks are still there."""
    found = sure(across_tasks.combine(estimates([0.1] * 3, [0.3, 0.4, 0.5])))
    assert found.estimate.error == pytest.approx(np.sum(1 / np.square([0.3, 0.4, 0.5])) ** -0.5)


def test_one_task_is_no_sample_of_tasks_and_two_say_nothing_of_the_next_one():
    assert across_tasks.combine(estimates([1], [1])) is None
    assert sure(across_tasks.combine(estimates([1, 2], [1, 1]))).prediction is None


def test_the_prediction_interval_holds_the_spread():
    found = sure(across_tasks.combine(estimates([0.3, -0.4, 1.0, 0.1], [0.1, 0.2, 0.1, 0.3])))
    low, high = sure(found.prediction)
    freedom = found.estimate.freedom - 1
    half = stats.t.ppf(0.975, freedom) * np.hypot(found.spread, found.estimate.error)
    assert (low, high) == pytest.approx((found.estimate.mean - half, found.estimate.mean + half))


def test_a_change_of_units_changes_the_unit_alone():
    means, errors = [0.3, -0.4, 1.0, 0.1], [0.1, 0.2, 0.1, 0.3]
    points = sure(across_tasks.combine(estimates(means, errors)))
    parts = sure(across_tasks.combine(estimates(np.divide(means, 100), np.divide(errors, 100))))
    assert parts.estimate.p() == pytest.approx(points.estimate.p())
    assert parts.spread * 100 == pytest.approx(points.spread)


def rejected(deviations: np.ndarray, seeds: int, spread: float, sweeps: int, mean: float = 0.0) -> float:
    """The share of sweeps, each of K tasks with paired differences of these deviations, in which a change is found."""
    rng = np.random.default_rng(7)
    squares = deviations**2 / seeds
    means = mean + rng.normal(size=(sweeps, len(deviations))) * np.sqrt(squares + spread**2)
    variances = squares * rng.chisquare(seeds - 1, size=means.shape) / (seeds - 1)
    found, error, freedom, _, _ = across_tasks.combined(means, variances)
    return float(np.mean(2 * special.stdtr(freedom, -np.abs(found) / error) < 0.05))


_TASKS = {
    "glue": GLUE,
    "nine alike": np.full(9, 0.5),
    "three": np.asarray([1.0, 0.8, 1.5]),
    "two": np.asarray([0.2, 1]),
}


@pytest.mark.parametrize("spread", [0, 0.1, 0.3])
@pytest.mark.parametrize("tasks", _TASKS)
def test_where_no_change_is_it_finds_one_in_5_percent_at_most(tasks, spread):
    """Five seeds; true differences of single tasks may be there, and their mean is 0."""
    sweeps = 2000
    found = rejected(_TASKS[tasks], 5, spread, sweeps)
    assert round(found * sweeps) <= stats.binom.ppf(0.999, sweeps, 0.05)


def test_it_finds_what_is_there():
    assert rejected(GLUE, 5, 0.0, 2000, mean=0.3) > 0.75
    assert rejected(_TASKS["nine alike"], 5, 0.0, 2000, mean=0.3) > 0.75


@pytest.mark.long
@pytest.mark.parametrize("spread", [0, 0.05, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("seeds", [3, 5, 10, 20])
@pytest.mark.parametrize("tasks", _TASKS)
def test_the_error_in_many_sweeps(tasks, seeds, spread):
    sweeps = 20_000
    found = rejected(_TASKS[tasks], seeds, spread, sweeps)
    assert round(found * sweeps) <= stats.binom.ppf(0.999, sweeps, 0.05), f"{found:.1%}"


def test_better_is_the_mean_share_of_tasks():
    found = sure(across_tasks.better([np.asarray([1, 1, -1, 0]), np.asarray([1, 1, 1, 1])]))
    assert found.share == pytest.approx((2.5 / 4 + 1) / 2)


@pytest.mark.parametrize(("wins", "pairs"), [(0, 5), (3, 5), (5, 5), (20, 45)])
def test_betters_interval_is_that_of_scipy(wins, pairs):
    differences = np.repeat([1.0, -1.0], [wins, pairs - wins])
    found = sure(across_tasks.better([differences]))
    theirs = stats.binomtest(wins, pairs).proportion_ci(0.95, "exact")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))


def test_unequal_tasks_are_worth_fewer_pairs():
    few, many = np.ones(2), np.asarray([1.0, -1.0] * 50)
    found = sure(across_tasks.better([few, many]))
    assert found.share == pytest.approx(0.75)
    assert found.low < sure(across_tasks.better([np.asarray([1.0] * 77 + [-1.0] * 25)])).low


@pytest.mark.parametrize(
    ("wins", "pairs", "meaningful"), [(45, 45, True), (30, 45, True), (24, 45, False), (600, 1000, False)]
)
def test_better_is_meaningful_as_bouthillier_advises(wins, pairs, meaningful):
    found = sure(across_tasks.better([np.repeat([1.0, -1.0], [wins, pairs - wins])]))
    assert found.is_meaningful is meaningful


def test_better_of_nothing_is_nothing():
    assert across_tasks.better([]) is None
    assert across_tasks.better([np.asarray([])]) is None
    assert sure(across_tasks.better([np.asarray([]), np.ones(5)])).share == 1


def shared(tasks: str, seeds: int, part: float, spread: float, sweeps: int) -> tuple[float, float]:
    """The share of sweeps without an effect in which `combine` finds one, and with `by_run`.

    A letter a task: those of one letter start from the same runs, whose luck is this `part` of the variance. True
    differences of tasks have this `spread`, in the deviation of a pair.
    """
    rng = np.random.default_rng([18, seeds])
    groups = [tasks.index(each) for each in tasks]
    found = np.zeros(2)
    for _ in range(sweeps):
        luck = rng.normal(0, np.sqrt(part), (seeds, len(tasks)))[:, groups]
        scores = luck + rng.normal(0, np.sqrt(1 - part), luck.shape) + rng.normal(0, spread, len(tasks))
        each = [sure(statistics.paired_t(task)) for task in scores.T]
        rows = np.full((len({*groups}) * seeds, len(tasks)), np.nan)
        for task, group in enumerate(groups):
            rows[sorted({*groups}).index(group) * seeds :][:seeds, task] = scores[:, task]
        mean = sure(across_tasks.combine(each))
        made = across_tasks.by_run(mean, each, rows)
        found += [mean.estimate.p() < 0.05, made.estimate.p() < 0.05]
    return float(found[0] / sweeps), float(found[1] / sweeps)


def test_luck_that_tasks_share_is_told_by_run():
    """Half of each deviation is that of the run before: of 400 sweeps of four tasks and five seeds with no effect."""
    apart, together = shared("aaaa", 5, 0.5, 0.0, 400)
    assert apart > 0.1  # as if four tasks were four times as much
    assert together < 0.05 + 3 * 0.011


@pytest.mark.long
@pytest.mark.parametrize("part", [0.5, 0.8])
@pytest.mark.parametrize("tasks", ["aaaa", "aaab", "aaaabcdef", "aaabbbccc"])
def test_luck_that_some_tasks_share_makes_no_more_errors(tasks, part):
    apart, together = (np.mean(each) for each in zip(*(shared(tasks, 5, part, each, 500) for each in (0, 0.3))))
    assert apart > 0.05, "it would be too many"
    assert together < 0.05 + 3.5 * np.sqrt(0.05 * 0.95 / 1000)


def test_by_run_it_is_the_t_test_of_means_over_tasks_where_all_share_their_runs():
    """Deviations alike, and hardly any task's own: then the weights are equal, and combine's error is next to none."""
    scores = np.asarray([[1.0, 1.001, 0.999], [-0.5, -0.501, -0.499], [0.1, 0.102, 0.098]]) / 100
    each = [sure(statistics.paired_t(task)) for task in scores.T]
    mean = sure(across_tasks.combine(each))
    made = across_tasks.by_run(mean, each, scores)
    half = stats.ttest_1samp(scores @ mean.weights, 0).confidence_interval()
    assert made.estimate.mean == mean.estimate.mean
    assert np.diff(made.estimate.interval()) == pytest.approx(half.high - half.low)
    low, high = sure(made.prediction)
    assert low <= made.estimate.interval()[0] < made.estimate.interval()[1] <= high


def test_what_tasks_have_in_common_is_the_covariance_of_their_means():
    """Of runs that both have, by hand; a task that shares none, or has one run alone, adds nothing."""
    nan, weights = np.nan, np.asarray([0.4, 0.3, 0.2, 0.1])
    one, other = np.asarray([1.0, 3.0, 2.0, nan]), np.asarray([nan, 5.0, 1.0, 3.0])
    rows = np.full((7, 4), nan)
    rows[:4, 0], rows[:4, 1], rows[4:, 2], rows[0, 3] = one, other, [9.0, 1.0, 2.0], 7.0
    by_hand = 2 * 0.4 * 0.3 * ((3 - 2) * (5 - 3) + (2 - 2) * (1 - 3)) / 6
    assert across_tasks.covariance(rows[None], weights[None]) == pytest.approx([by_hand])
    rows[1, 1], rows[2, 1], rows[3, 1] = 1.0, 5.0, 3.0
    assert across_tasks.covariance(rows[None], weights[None]) == [0.0], "what goes against each other is left out"


def test_what_tasks_have_in_common_is_added_to_the_mean_over_tasks():
    scores = np.random.default_rng(1).normal(loc=[0.0, 3.0, -3.0], size=(10, 3))
    scores[:, 1] += scores[:, 0]
    each = [sure(statistics.paired_t(task)) for task in scores.T]
    mean = sure(across_tasks.combine(each))
    made = across_tasks.by_run(mean, each, scores)
    common = float(across_tasks.covariance(scores[None], mean.weights[None])[0])
    assert common > 0
    assert made.estimate.error**2 == pytest.approx(mean.estimate.error**2 + common)
    assert made.estimate.freedom == mean.estimate.freedom
