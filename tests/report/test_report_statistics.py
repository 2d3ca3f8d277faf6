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
from statsmodels.stats.multitest import multipletests

from gifine.report.analysis import statistics
from support.synthetic import given

scores = st.floats(-1, 1).map(lambda x: round(x, 4))
varied = st.lists(scores, min_size=2, max_size=12).map(np.asarray).filter(lambda d: np.ptp(d) > 1e-3)


@for_all(varied)
def test_paired_t_is_scipys(differences):
    expected = stats.ttest_1samp(differences, 0)
    found = given(statistics.paired_t(differences))
    assert found.p() == pytest.approx(expected.pvalue, abs=1e-12)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval()), abs=1e-9)
    assert statistics.mean_interval(differences) == pytest.approx(found.interval())


@for_all(varied, varied)
def test_welch_t_is_scipys(one, other):
    assert statistics.welch_t(one, other) == pytest.approx(
        stats.ttest_ind(one, other, equal_var=False).pvalue, abs=1e-12
    )


def test_equal_scores_are_not_infinitely_significant():
    assert statistics.paired_t(np.full(5, 1 / 277)) is None
    assert statistics.welch_t(np.full(3, 0.5), np.full(3, 0.6)) == pytest.approx(2 / math.comb(6, 3))
    assert statistics.welch_t(np.full(3, 0.5), np.full(3, 0.5)) == 1


@pytest.mark.parametrize("few", [np.asarray([]), np.asarray([0.1])])
def test_one_pair_says_nothing(few):
    assert statistics.paired_t(few) is None
    assert statistics.welch_t(few, np.asarray([0.1, 0.2])) is None
    assert statistics.sign_flip(few) == 1


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


@pytest.mark.parametrize("n", [1, 2, 5, 6, 16])
def test_the_smallest_p_of_the_sign_flip_test(n):
    assert statistics.sign_flip(np.linspace(1, 2, n)) == pytest.approx(2.0 ** (1 - n))


def test_sign_flip_of_many_pairs_is_near_the_exact_one_and_the_same_each_time():
    differences = np.random.default_rng(0).normal(0.3, 1, size=17)
    signs = np.asarray(list(itertools.product([-1, 1], repeat=17)))
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12)
    assert statistics.sign_flip(differences) == pytest.approx(exact, abs=0.02)
    assert statistics.sign_flip(differences) == statistics.sign_flip(differences.copy())


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


@pytest.mark.long  # statsmodels takes its time
@settings(max_examples=settings().max_examples // 10)
@for_all(st.lists(st.floats(1e-9, 1), min_size=1, max_size=30))
def test_holm_is_statsmodels(p_values):
    _, expected, _, _ = multipletests(p_values, method="holm")
    assert statistics.holm(p_values) == pytest.approx(list(expected))


def test_holm_by_hand_and_without_what_was_not_tested():
    assert statistics.holm([0.01, None, 0.04, 0.03]) == [
        pytest.approx(0.03),
        None,
        pytest.approx(0.06),
        pytest.approx(0.06),
    ]
    assert statistics.holm([]) == []
