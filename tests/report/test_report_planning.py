"""Planned numbers of seeds: the power that is promised is the power that sweeps have, and advice costs no error."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gifine.report.analysis import crossed, planning, power
from gifine.report.analysis.crossed import Estimate
from gifine.report.analysis.planning import Spread

ALPHA = 0.05


def layouts(
    rng: np.random.Generator,
    sweeps: int,
    pairs: int,
    examples: int,
    *,
    mean: float,
    runs: float,
    dev: float,
    rest: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of sweeps with normal differences: means, errors and the examples' shares (sweeps,), as `crossed` has them.

    A pair's difference has the deviation `runs`, the dev set as a whole adds one of `dev`, an answer one of `rest`. The
    mean squares of such a layout are drawn as they are distributed: nobody needs the answers.
    """
    of_rest, of_runs = rest**2, examples * runs**2  # expected mean squares; `runs` holds the rest's part
    of_examples = of_rest + pairs * examples * dev**2

    def squares(expected: float, freedom: int) -> np.ndarray:
        return expected * rng.chisquare(freedom, sweeps) / freedom

    variance = runs**2 / pairs + dev**2
    means = mean + np.sqrt(variance) * rng.standard_normal(sweeps)
    of_pairs = squares(of_runs, pairs - 1)
    both = squares(of_rest, (pairs - 1) * (examples - 1))
    beyond = np.maximum(squares(of_examples, examples - 1) - both, 0)
    bracket = of_pairs + beyond
    return means, np.sqrt(bracket / (pairs * examples)), beyond / bracket


def limits(share: np.ndarray, pairs: int, examples: int, tail: float) -> np.ndarray:
    """`Estimate.limit` of many sweeps at once."""
    runs, others = stats.t.isf(tail, [pairs - 1, examples - 1])
    return np.sqrt(crossed.squared_limit(1 - share, runs, others))


def test_the_layouts_are_those_of_crossed():
    """The shortcut that the simulations below take, against whole layouts."""
    rng = np.random.default_rng(1)
    pairs, examples, sweeps = 5, 60, 400
    runs, dev, rest = 0.02, 0.03, 0.1
    found = []
    for _ in range(sweeps):
        by_pair = rng.normal(0, np.sqrt(runs**2 - rest**2 / examples), (pairs, 1))
        answers = by_pair + rng.normal(0, dev * np.sqrt(examples), examples) + rng.normal(0, rest, (pairs, examples))
        estimate = crossed.crossed(answers)
        assert estimate is not None
        found.append((estimate.mean, estimate.error, estimate.share))
    whole = np.asarray(found).T
    drawn = layouts(rng, sweeps, pairs, examples, mean=0, runs=runs, dev=dev, rest=rest)
    for ours, theirs in zip(drawn, whole, strict=True):
        assert stats.ks_2samp(ours, theirs).pvalue > 0.01


def test_the_parts_of_a_pilot_are_those_of_its_layout():
    answers = np.random.default_rng(2).normal(0, 1, (6, 200)) + np.random.default_rng(3).normal(0, 2, 200)
    estimate, scores = crossed.crossed(answers), answers.mean(axis=1)
    assert estimate is not None
    found = planning.spread(6, float(np.std(scores, ddof=1)), estimate.error, 200)
    assert found.error(6) == pytest.approx(estimate.error, rel=1e-12)
    assert planning.spread(6, 0.01) == Spread(6, 0.01)


def test_the_interval_of_the_deviation_is_of_chi_squared():
    low, high = Spread(5, 0.01).runs_interval()
    assert low == pytest.approx(0.01 * np.sqrt(4 / stats.chi2.ppf(0.975, 4)))
    assert high == pytest.approx(0.01 * np.sqrt(4 / stats.chi2.ppf(0.025, 4)))
    assert Spread(5, 0.01).at_most().runs == high


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 9])
@pytest.mark.parametrize(("n", "dev"), [(4, None), (10, None), (5, 0.001), (10, 0.002), (40, 0.002)])
def test_power_is_that_of_simulated_sweeps(n, dev, alpha):
    """Of 0.5 points, where runs differ by 0.6; with 872 examples, or given the dev set."""
    sweeps, examples, margin, of = 20_000, 872, 0.005, Spread(5, 0.006, dev, 872 if dev else None)
    rng = np.random.default_rng(5)
    drawn = {"runs": 0.006, "dev": dev or 0.0, "rest": 0.1}
    for mean, promised in ((margin, planning.shows_difference), (0.0, planning.shows_none)):
        if dev is None:
            scores = rng.normal(mean, 0.006, (sweeps, n))
            means, errors = scores.mean(axis=1), scores.std(axis=1, ddof=1) / np.sqrt(n)
            share = np.zeros(sweeps)
        else:
            means, errors, share = layouts(rng, sweeps, n, examples, mean=mean, **drawn)
        if mean:
            shown = np.abs(means) > limits(share, n, examples, alpha / 2) * errors
        else:
            shown = np.abs(means) < margin - limits(share, n, examples, alpha) * errors
        expected = promised(of, n, margin, alpha)
        assert abs(shown.mean() - expected) < 0.015, (mean, shown.mean(), expected)


@pytest.mark.parametrize("n", [3, 5, 20])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_given_the_dev_set_power_is_that_of_the_noncentral_t(n, alpha):
    of = Spread(5, 0.006)
    shift, limit = np.sqrt(n) * 0.005 / 0.006, stats.t.isf(alpha / 2, n - 1)
    exact = stats.nct.sf(limit, n - 1, shift) + stats.nct.cdf(-limit, n - 1, shift)
    assert planning.shows_difference(of, n, 0.005, alpha) == pytest.approx(exact, abs=1e-3)


def test_seeds_are_the_fewest_that_do():
    of = Spread(5, 0.006, 0.001, 872)
    for shows in (planning.shows_difference, planning.shows_none):
        n = planning.seeds(shows, of, 0.005, ALPHA)
        assert n is not None
        assert shows(of, n, 0.005, ALPHA) >= power.POWER > shows(of, n - 1, 0.005, ALPHA)
    assert planning.seeds(planning.shows_difference, Spread(5, 0.1), 0.005, ALPHA) is None  # thousands
    assert planning.seeds(planning.shows_difference, Spread(5, 1e-9), 0.005, ALPHA) == 3


def test_no_number_of_seeds_makes_a_dev_set_larger():
    of = Spread(5, 0.006, 0.002, 277)
    assert of.floor(ALPHA) == pytest.approx(power.detectable(Estimate(0.0, 0.002, 276), ALPHA))
    assert of.floor(ALPHA) > 0.005
    assert planning.seeds(planning.shows_difference, of, 0.005, ALPHA) is None
    assert planning.seeds(planning.shows_difference, of, 1.01 * of.floor(ALPHA), ALPHA) is not None
    assert planning.shows_difference(of, 10**6, of.floor(ALPHA), ALPHA) == pytest.approx(power.POWER, abs=1e-3)
    assert of.dev_half_width() == pytest.approx(0.002 * stats.t.ppf(0.975, 276))
    assert (Spread(5, 0.006).floor(ALPHA), Spread(5, 0.006).dev_half_width()) == (0.0, None)


@pytest.mark.parametrize("dev", [0.0, 0.001])
def test_following_the_advice_costs_no_error(dev):
    """n from a pilot of 5 pairs, a new sweep of n pairs without the pilot's: both false verdicts stay below 6 %."""
    examples, margin, pilots = 872, 0.005, 400
    rng = np.random.default_rng(7)
    truth = {"runs": 0.004, "dev": dev, "rest": 0.1}
    wrong, alike, planned = [], [], []
    _, errors, _ = layouts(rng, pilots, 5, examples, mean=0.0, **truth)
    # The pilot's deviation over pairs: of its error, what its degrees of freedom say is the runs' part.
    scores = 0.004 * np.sqrt(rng.chisquare(4, pilots) / 4)
    for deviation, error in zip(scores, errors, strict=True):
        of = planning.spread(5, float(deviation), float(error), examples)
        n = planning.seeds(planning.shows_difference, of, margin, ALPHA) or 50
        planned.append(n)
        n = min(n, 50)
        for mean, said in ((0.0, wrong), (margin, alike)):
            means, errors_n, share = layouts(rng, 50, n, examples, mean=mean, **truth)
            if mean:
                said.extend(np.abs(means) < margin - limits(share, n, examples, ALPHA) * errors_n)
            else:
                said.extend(np.abs(means) > limits(share, n, examples, ALPHA / 2) * errors_n)
    assert len(set(planned)) > 5  # the advice differs from pilot to pilot
    assert np.mean(wrong) < 0.06
    assert np.mean(alike) < 0.06
