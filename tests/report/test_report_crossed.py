"""Runs and examples both random: the arithmetic, against statsmodels, scipy, enumeration and our own metrics."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from gifine.objectives import metrics
from gifine.report.analysis import crossed, statistics
from gifine.report.analysis.crossed import Estimate
from support.synthetic import given

estimates = st.builds(
    Estimate, st.floats(-1, 1), st.floats(1e-3, 1), st.one_of(st.integers(1, 50), st.floats(1, 1e4)).map(float)
)
both = st.builds(
    Estimate, st.floats(-1, 1), st.floats(1e-2, 1), st.integers(1, 20), st.floats(0, 1), st.integers(5, 999)
)


@for_all(estimates, st.sampled_from([0.9, 0.95]))
def test_an_estimate_is_a_t_distribution(estimate, level):
    t = stats.t(estimate.freedom, estimate.mean, estimate.error)
    assert estimate.interval(level) == pytest.approx(t.interval(level), abs=1e-9)
    assert estimate.p() == pytest.approx(2 * stats.t.sf(abs(estimate.mean) / estimate.error, estimate.freedom))
    assert (estimate.p() < 1 - level) == (not t.interval(level)[0] < 0 < t.interval(level)[1])


@for_all(both, st.floats(1e-6, 0.4))
def test_limits_lie_between_those_of_both_parts(estimate, tail):
    runs, examples = (stats.t.isf(tail, each) for each in (estimate.freedom, estimate.examples))
    limit = estimate.limit(tail)
    assert min(runs, examples) * (1 - 1e-9) <= limit <= max(runs, examples) * (1 + 1e-9)
    assert estimate.limit(0.9 * tail) > limit
    assert estimate.tail(limit) == pytest.approx(tail)
    assert estimate.interval(1 - 2 * tail)[1] - estimate.mean == pytest.approx(limit * estimate.error)


def size(pairs: int, level: float, share: float, squared: Callable[[np.ndarray], np.ndarray]) -> float:
    """How often p is below a level, as a multiple of it, where examples have this share of the error's square.

    The mean is normal, the runs' part of its squared error is χ², which is integrated over, and the examples' is known.
    `squared` gives the squared limit by the runs' share.
    """
    runs = (1 - share) * stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, pairs - 1) / (pairs - 1)
    limits = np.sqrt(squared(runs / (runs + share)) * (runs + share))
    return float(np.mean(2 * stats.norm.sf(limits))) / level


@pytest.mark.parametrize("pairs", [3, 4, 5, 7, 10, 20])
@pytest.mark.parametrize("level", [0.1, 0.05, 0.05 / 3, 0.05 / 9, 0.05 / 27, 0.05 / 108, 0.05 / 432])
def test_errors_are_as_rare_as_p_says_whatever_the_examples_share(pairs, level):
    runs, examples = float(stats.t.isf(level / 2, pairs - 1)), float(stats.norm.isf(level / 2))
    found = [
        size(pairs, level, share, lambda of_runs: crossed.squared_limit(of_runs, runs, examples))
        for share in (0.001, 0.01, 0.03, *np.arange(0.05, 1, 0.05), 0.99)
    ]
    assert max(found) < (1.025 if level >= 0.05 else 1.18)
    assert min(found) > 0.6 or level < 0.05, "of one comparison, 3 percent at least"


def test_satterthwaites_degrees_of_freedom_would_be_wrong_far_more_often():
    """Why it is not these: at the level of nine tasks."""
    level = 0.05 / 9
    for pairs, times in ((3, 4), (5, 2)):

        def squared(of_runs: np.ndarray, freedom: int = pairs - 1) -> np.ndarray:
            return stats.t.isf(level / 2, freedom / of_runs**2) ** 2

        assert max(size(pairs, level, share, squared) for share in (0.05, 0.1, 0.2, 0.4)) > times


@for_all(both, st.floats(1e-3, 1))
def test_no_difference_is_the_90_percent_interval_within_the_margin(estimate, margin):
    low, high = estimate.interval(0.9)
    assert (estimate.p_equivalent(margin) < 0.05) == (-margin < low and high < margin)


@for_all(st.integers(0, 1000))
def test_equivalence_is_scipys_two_one_sided_tests(seed):
    differences = np.random.default_rng(seed).normal(0.1, 1, size=6)
    found = Estimate(float(differences.mean()), float(stats.sem(differences)), 5)
    expected = max(
        stats.ttest_1samp(differences, 0.8, alternative="less").pvalue,
        stats.ttest_1samp(differences, -0.8, alternative="greater").pvalue,
    )
    assert found.p_equivalent(0.8) == pytest.approx(expected)


def test_the_errors_interval_holds_it_in_95_percent():
    rng, inside = np.random.default_rng(5), 0
    for sample in rng.normal(0, 3, size=(2000, 5)):
        low, high = Estimate(0.0, float(stats.sem(sample)), 4).error_interval()
        inside += low < 3 / math.sqrt(5) < high
    assert inside / 2000 == pytest.approx(0.95, abs=0.017)


def layout(differences: np.ndarray) -> tuple[float, float, float]:
    """Mean squares of pairs, examples and both, as sums over all places."""
    pairs, examples = differences.shape
    mean, rows, columns = differences.mean(), differences.mean(1, keepdims=True), differences.mean(0, keepdims=True)
    rest = differences - rows - columns + mean
    return (
        float(examples * np.sum((rows - mean) ** 2) / (pairs - 1)),
        float(pairs * np.sum((columns - mean) ** 2) / (examples - 1)),
        float(np.sum(rest**2) / ((pairs - 1) * (examples - 1))),
    )


def test_the_mean_squares_are_statsmodels():
    import pandas as pd
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    differences = np.random.default_rng(6).integers(-1, 2, size=(4, 25)).astype(float)
    pairs, examples = (each.ravel() for each in np.indices(differences.shape))
    rows = pd.DataFrame({"y": differences.ravel(), "pair": pairs, "example": examples})
    squares = anova_lm(ols("y ~ C(pair) + C(example)", rows).fit())["mean_sq"]
    of_pairs, of_examples, rest = (float(squares[name]) for name in ("C(pair)", "C(example)", "Residual"))
    assert layout(differences) == pytest.approx((of_pairs, of_examples, rest))
    found = given(crossed.crossed(differences))
    assert found.error**2 == pytest.approx((of_pairs + max(of_examples - rest, 0)) / differences.size)


def test_equivalence_is_statsmodels():
    differences = np.random.default_rng(7).normal(0.1, 1, size=9)
    p, _, _ = DescrStatsW(differences).ttost_mean(-0.7, 0.7)
    assert given(statistics.paired_t(differences)).p_equivalent(0.7) == pytest.approx(p)


@for_all(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 30), st.sampled_from([0.0, 0.5]))
def test_crossed_is_the_two_way_layout(seed, pairs, examples, of_pairs):
    rng = np.random.default_rng(seed)
    differences = rng.normal(0, of_pairs, size=(pairs, 1)) + rng.integers(-1, 2, size=(pairs, examples))
    found = crossed.crossed(differences)
    by_pair, by_example, rest = layout(differences)
    beyond = max(by_example - rest, 0)
    if by_pair + beyond < 1e-9:
        assert found is None
        return
    found = given(found)
    assert found.mean == pytest.approx(differences.mean())
    assert found.error**2 == pytest.approx((by_pair + beyond) / (pairs * examples))
    assert found.share == pytest.approx(beyond / (by_pair + beyond))
    assert (found.freedom, found.examples) == (pairs - 1, examples - 1)


def test_where_examples_add_nothing_it_is_the_paired_t_test():
    """MS_I below MS_SI: then the variance is that of the runs' means, with S − 1 degrees of freedom."""
    rng = np.random.default_rng(3)
    differences = rng.normal(size=(4, 1)) + np.resize([1.0, -1.0], 50) * np.resize([1, -1], 4)[:, None]
    found, (_, by_example, rest) = given(crossed.crossed(differences)), layout(differences)
    assert by_example < rest
    assert (found.freedom, found.share) == (3, 0)
    assert found.p() == pytest.approx(stats.ttest_1samp(differences.mean(1), 0).pvalue)


def test_where_pairs_agree_it_is_the_t_test_over_examples():
    one = np.random.default_rng(1).integers(-1, 2, size=200)
    found = given(crossed.crossed(np.tile(one, (5, 1))))
    expected = stats.ttest_1samp(one, 0)
    assert (found.p(), found.share) == (pytest.approx(expected.pvalue), pytest.approx(1))


@pytest.mark.parametrize(
    "differences",
    [np.zeros((5, 100)), np.ones((3, 4)), np.full((3, 7), 1 / 3), np.ones((1, 100)), np.ones((3, 1)), np.ones((0, 9))],
    ids=["no difference", "always", "rounded", "one pair", "one example", "no pair"],
)
def test_where_nothing_varies_there_is_no_estimate(differences):
    assert crossed.crossed(differences) is None


def brute_force(metric: str, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Pseudovalues (N,) of one run, by leaving out each example and asking the metric."""

    def score(places: np.ndarray) -> float:
        value = metrics.compute([metric], predictions[places], labels[places])[metric]
        return math.nan if value is None else value

    places = np.arange(len(labels))
    whole = score(places)
    found = len(labels) * whole - (len(labels) - 1) * np.asarray([score(np.delete(places, i)) for i in places])
    return found + (whole - found.mean())


@for_all(st.sampled_from(sorted(metrics.METRICS)), st.integers(0, 10_000), st.integers(2, 20))
def test_pseudovalues_are_those_of_leaving_one_out(metric, seed, examples):
    rng = np.random.default_rng(seed)
    if metric in metrics.REGRESSION_METRICS:
        labels = rng.integers(0, 6, size=examples) / 2.0  # ties
        predictions = np.round(rng.normal(size=(3, examples)), rng.integers(0, 3))
    else:
        classes = 2 if metric == "f1" else rng.integers(2, 6)
        labels, predictions = rng.integers(classes, size=examples), rng.integers(classes, size=(3, examples))
    with np.errstate(invalid="ignore"):
        found = crossed.pseudovalues(metric, predictions, labels)
    for run, answers in zip(found, predictions, strict=True):
        expected = brute_force(metric, answers, labels)
        if np.isfinite(expected).all():
            np.testing.assert_allclose(run, expected, atol=1e-9)
            assert run.mean() == pytest.approx(metrics.compute([metric], answers, labels)[metric])
        else:
            assert not np.isfinite(run).all()


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_pseudovalues_know_no_units(metric, scale):
    rng = np.random.default_rng(2)
    labels, predictions = rng.normal(size=30), rng.normal(size=(2, 30))
    found = crossed.pseudovalues(metric, scale * predictions, scale * labels)
    np.testing.assert_allclose(found, crossed.pseudovalues(metric, predictions, labels), atol=1e-9)


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_a_correlation_that_hangs_on_one_example_has_no_pseudovalues(metric):
    predictions = np.asarray([[0.0, 0.0, 0.0, 0.0, 1.0]])
    assert not np.isfinite(crossed.pseudovalues(metric, predictions, np.arange(5.0))).all()


def test_spearman_in_blocks_is_the_same(monkeypatch):
    rng = np.random.default_rng(4)
    labels, predictions = rng.integers(9, size=40), rng.normal(size=(2, 40))
    whole = crossed.pseudovalues("spearman", predictions, labels)
    monkeypatch.setattr(crossed, "_ROWS", 100)
    np.testing.assert_array_equal(crossed.pseudovalues("spearman", predictions, labels), whole)
