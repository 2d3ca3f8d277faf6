"""The report's maths, against scipy and formulas by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from scipy import stats

from gifine.report.analysis import power, statistics
from support.synthetic import given

scores = st.floats(-1, 1).map(lambda x: round(x, 4))
several = st.lists(scores, min_size=2, max_size=12).map(np.asarray)
varied = several.filter(lambda d: np.ptp(d) > 1e-3)


@for_all(varied)
def test_paired_t_is_scipys(differences):
    expected = stats.ttest_1samp(differences, 0)
    p, low, high = given(statistics.paired_t(differences))
    assert p == pytest.approx(expected.pvalue, abs=1e-12)
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval()), abs=1e-9)


@for_all(varied, varied)
def test_welch_t_is_scipys(one, other):
    assert statistics.welch_t(one, other) == pytest.approx(
        stats.ttest_ind(one, other, equal_var=False).pvalue, abs=1e-12
    )


def test_equal_differences_are_not_infinitely_significant():
    p, low, high = given(statistics.paired_t(np.full(5, 1 / 277)))
    assert (p, low) == (pytest.approx(2 / 2**5), high)
    assert given(statistics.paired_t(np.zeros(5)))[0] == 1
    assert statistics.welch_t(np.full(3, 0.5), np.full(3, 0.6)) == pytest.approx(2 / math.comb(6, 3))
    assert statistics.welch_t(np.full(3, 0.5), np.full(3, 0.5)) == 1


@pytest.mark.parametrize("few", [np.asarray([]), np.asarray([0.1])])
def test_one_pair_says_nothing(few):
    assert statistics.paired_t(few) is None
    assert statistics.bootstrap_interval(few) is None
    assert statistics.almost_stochastic_order(few, few) is None
    assert statistics.welch_t(few, np.asarray([0.1, 0.2])) is None
    assert power.detectable_effect(len(few)) is None
    assert statistics.sign_flip(few) == statistics.sign(few) == 1


@for_all(st.lists(scores, min_size=2, max_size=9).map(np.asarray))
@settings(max_examples=settings().max_examples // 2)
def test_sign_flip_is_scipys_permutation_test(differences):
    exact = stats.permutation_test(
        (differences, np.zeros(len(differences))),
        lambda x, y: np.abs(np.sum(x - y)),
        permutation_type="samples",
        alternative="greater",
        n_resamples=np.inf,
    )
    assert statistics.sign_flip(differences) == pytest.approx(exact.pvalue)


@pytest.mark.parametrize("n", [1, 2, 5, 6, 16, 17])
def test_the_smallest_p_of_the_sign_flip_test(n):
    same_sign = np.linspace(1, 2, n)
    floor = statistics.sign_flip_floor(n)
    assert statistics.sign_flip(same_sign) == pytest.approx(floor, abs=2e-4 if n > 16 else 1e-12)
    assert (floor > 0.05) == (n < 6)


def test_sign_flip_of_many_pairs_is_near_the_exact_one_and_the_same_each_time():
    differences = np.random.default_rng(0).normal(0.3, 1, size=17)
    signs = np.asarray(list(itertools.product([-1, 1], repeat=17)))
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12)
    assert statistics.sign_flip(differences) == pytest.approx(exact, abs=0.02)
    assert statistics.sign_flip(differences) == statistics.sign_flip(differences.copy())


@for_all(several)
def test_sign_test_is_scipys_without_ties(differences):
    better, n = int(np.sum(differences > 0)), int(np.count_nonzero(differences))
    expected = stats.binomtest(better, n).pvalue if n else 1
    assert statistics.sign(differences) == pytest.approx(expected)


@for_all(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm_rejects_what_its_step_down_procedure_rejects(p_values):
    rejected, places = set(), np.argsort(p_values, kind="stable")
    for rank, place in enumerate(places):
        if p_values[place] * (len(places) - rank) >= 0.05:
            break
        rejected.add(int(place))
    corrected = statistics.holm(p_values)
    assert {place for place, p in enumerate(corrected) if given(p) < 0.05} == rejected
    assert all(p <= given(c) <= 1 for p, c in zip(p_values, corrected, strict=True))


def test_holm_by_hand_and_without_what_was_not_tested():
    assert statistics.holm([0.01, None, 0.04, 0.03]) == [
        pytest.approx(0.03),
        None,
        pytest.approx(0.06),
        pytest.approx(0.06),
    ]
    assert statistics.holm([]) == []


def test_bootstrap_interval_is_deterministic_and_as_narrow_as_its_docstring_says():
    rng = np.random.default_rng(1)
    samples = rng.normal(size=(400, 5))
    intervals = [given(statistics.bootstrap_interval(each)) for each in samples]
    assert intervals[0] == statistics.bootstrap_interval(samples[0])
    assert np.mean([low <= 0 <= high for low, high in intervals]) == pytest.approx(0.84, abs=0.06)
    t = [given(statistics.paired_t(each)) for each in samples]
    assert np.mean([low <= 0 <= high for _, low, high in t]) == pytest.approx(0.95, abs=0.035)


# ε_min by deepsig 1.2.8, 2,000 bootstrap iterations.
TWENTY = (
    "0.446 0.922 0.43 -1.203 1.005 0.546 -0.437 0.681 0.465 0.394 "
    "0.128 0.647 -0.636 -0.063 -0.382 0.699 0.14 -0.192 -0.682 -0.157",
    "0.189 -0.523 -0.413 -2.441 1.8 1.144 -0.325 0.774 0.281 -0.554 "
    "0.978 -0.311 -0.329 -0.792 0.455 -0.099 0.545 -0.607 0.127 -0.892",
)


@pytest.mark.parametrize(
    ("gated", "baseline", "deepsig"),
    [
        ([0.7, 0.72, 0.74, 0.71, 0.73], [0.69, 0.7, 0.715, 0.735, 0.705], 0.455),
        ([0.9, 0.91, 0.92], [0.8, 0.81, 0.82], 0.0),
        (*([float(word) for word in side.split()] for side in TWENTY), 0.680),
    ],
)
def test_almost_stochastic_order_is_deepsigs(gated, baseline, deepsig):
    assert statistics.almost_stochastic_order(np.asarray(gated), np.asarray(baseline)) == pytest.approx(
        deepsig, abs=0.02
    )


@for_all(several, st.randoms())
def test_almost_stochastic_order_knows_no_pairs_no_units_and_is_a_fraction(scores, random):
    other = np.asarray(random.sample(list(scores), len(scores)))
    assert given(statistics.almost_stochastic_order(scores, other)) >= 0.5, "the same scores in another order"
    epsilon = given(statistics.almost_stochastic_order(scores + 0.1, scores**2))
    assert 0 <= epsilon <= 1
    assert statistics.almost_stochastic_order(100 * (scores + 0.1), 100 * scores**2) == pytest.approx(epsilon, abs=1e-6)


def test_almost_stochastic_order_of_clear_cases():
    low, high = np.linspace(0, 1, 10), np.linspace(2, 3, 10)
    assert statistics.almost_stochastic_order(high, low) == 0
    assert statistics.almost_stochastic_order(low, high) == 1


@for_all(st.integers(2, 200), st.floats(0, 3))
def test_power_is_the_integral_over_the_deviations_distribution(n, effect):
    """P(|T| > t) = E[Φ(δ√n − t s) + Φ(−δ√n − t s)], s² distributed as χ²/(n − 1)."""
    points = (np.arange(4000) + 0.5) / 4000
    s = np.sqrt(stats.chi2.ppf(points, n - 1) / (n - 1))
    limit, shift = stats.t.ppf(0.975, n - 1), effect * math.sqrt(n)
    expected = np.mean(stats.norm.cdf(shift - limit * s) + stats.norm.cdf(-shift - limit * s))
    assert power.power(effect, n) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 50])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 9, 0.05 / 432])
def test_detectable_effect_has_the_power_that_it_says(n, alpha):
    assert power.power(given(power.detectable_effect(n, alpha)), n, alpha) == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize(("mean", "sd", "n"), [(0.3, 1, 90), (-1, 1, 10), (0.5, 1, 34), (0.1, 1, None), (0, 1, None)])
def test_pairs_needed_are_those_of_textbooks(mean, sd, n):
    """d = 0.3, 0.5, 1: 90, 34, 10 pairs (G*Power 3.1, two-sided paired t, 80 %)."""
    assert power.pairs_needed(mean, sd) == n


def test_pairs_needed_where_nothing_varies():
    assert power.pairs_needed(0.1, 0) == 2
    assert power.pairs_needed(0, 0) is None


def test_power_in_simulation():
    """Five seeds, and a true effect as large as five seeds show with 80 % power: 80 % of experiments show it."""
    effect, rng = given(power.detectable_effect(5)), np.random.default_rng(3)
    found = [given(statistics.paired_t(each))[0] < 0.05 for each in rng.normal(effect, 1, size=(2000, 5))]
    assert np.mean(found) == pytest.approx(0.8, abs=3 * math.sqrt(0.8 * 0.2 / 2000))
