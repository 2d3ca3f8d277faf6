"""The power of what verdicts rest on, against scipy, textbooks and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from scipy import stats

from gifine.report.analysis import power, statistics
from gifine.report.analysis.crossed import Estimate
from support.synthetic import given


@for_all(st.integers(2, 200), st.floats(0, 3))
def test_of_runs_alone_it_is_the_noncentral_t_distribution(n, effect):
    limit = stats.t.ppf(0.975, n - 1)
    expected = stats.nct.sf(limit, n - 1, effect * math.sqrt(n)) + stats.nct.cdf(-limit, n - 1, effect * math.sqrt(n))
    found = power.power_of(effect, Estimate(0.0, 1 / math.sqrt(n), n - 1))
    assert np.isnan(expected) or found == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(("effect", "n"), [(0.3, 90), (1, 10), (0.5, 34)])
def test_80_percent_where_textbooks_have_it(effect, n):
    """d = 0.3, 0.5, 1: 90, 34, 10 pairs (G*Power 3.1, two-sided paired t, 80 %)."""
    enough, few = (power.power_of(effect, Estimate(0.0, 1 / math.sqrt(each), each - 1)) for each in (n, n - 1))
    assert few < 0.8 < enough


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("freedom", [2, 4, 19])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 9, 0.05 / 432])
def test_what_is_detectable_has_the_power_that_it_says(share, freedom, alpha):
    estimate = Estimate(0.1, 0.02, freedom, share, 276)
    assert power.power_of(power.detectable(estimate, alpha), estimate, alpha) == pytest.approx(0.8, abs=1e-4)


def drawn(rng: np.random.Generator, mean: float, truth: Estimate) -> Estimate:
    """Of another sweep, in which both parts of the error are estimated anew."""
    parts = [1 - truth.share, truth.share]
    found = [
        part * rng.chisquare(each) / each for part, each in zip(parts, (truth.freedom, truth.examples), strict=True)
    ]
    error = truth.error * math.sqrt(sum(found))
    return Estimate(rng.normal(mean, truth.error), error, truth.freedom, found[1] / sum(found), truth.examples)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_power_in_simulation(share):
    truth, rng, times = Estimate(0.0, 0.01, 4, share, 276), np.random.default_rng(3), 2000
    effect = power.detectable(truth)
    found = [drawn(rng, effect, truth).p() < statistics.ALPHA for _ in range(times)]
    assert np.mean(found) == pytest.approx(0.8, abs=3.5 * math.sqrt(0.8 * 0.2 / times))
    same = [drawn(rng, 0.0, truth).p_equivalent(0.04) < statistics.ALPHA for _ in range(times)]
    expected = power.power_of_none(0.04, truth)
    assert 0.5 < expected < 0.99
    assert np.mean(same) == pytest.approx(expected, abs=3.5 * math.sqrt(expected * (1 - expected) / times))


def test_power_of_real_differences():
    """Five seeds, and a true effect as large as five seeds show with 80 % power: 80 % of experiments show it."""
    effect, rng = power.detectable(Estimate(0.0, 1 / math.sqrt(5), 4)), np.random.default_rng(3)
    found = [given(statistics.paired_t(each)).p() < 0.05 for each in rng.normal(effect, 1, size=(2000, 5))]
    assert np.mean(found) == pytest.approx(0.8, abs=3.5 * math.sqrt(0.8 * 0.2 / 2000))
