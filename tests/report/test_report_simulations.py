"""How often verdicts are wrong, in sweeps whose truth is known. The numbers are in docs/verdicts.md.

A rate is held against its bound with what chance leaves open: three and a half standard deviations of a binomial share,
which 1 of 2,000 right simulations is beyond. Rates of several sizes are held against it one by one, and all together.

The document's numbers are from ten times as many repetitions: GIFINE_SIMULATIONS=10 (`support.null_sweeps.times`).
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from gifine.report.analysis import comparison, crossed, families, power
from gifine.report.analysis.comparison import Comparison, Effect, Verdict
from gifine.report.analysis.crossed import Estimate
from gifine.report.analysis.families import MARGIN, Rules
from gifine.report.settings import Settings, Task
from support import null_sweeps
from support.null_sweeps import ALIKE, BOTH, EXAMPLES, RUNS, Kind, times
from support.synthetic import given

KINDS = {"runs": RUNS, "examples": EXAMPLES, "both": BOTH, "alike": ALIKE}
DEV_ROWS = (1043, 872, 408, 1500, 40430, 9815, 5463, 277, 71)  # of GLUE's nine tasks


def chance(rate: float, count: int) -> float:
    return 3.5 * math.sqrt(rate * (1 - rate) / count)


def check_is_3_to_5_percent(wrong: list[bool]) -> None:
    rate, count = np.mean(wrong), len(wrong)
    assert 0.03 - chance(0.03, count) < rate < 0.05 + chance(0.05, count), rate


def check_is_5_percent_at_most(wrong: list[bool]) -> None:
    assert np.mean(wrong) < 0.05 + chance(0.05, len(wrong)), np.mean(wrong)


def of_differences(differences: np.ndarray) -> Effect:
    """As `comparison.compare` has it of predictions."""
    effect = comparison.effect_of(differences.mean(axis=1))
    estimate = crossed.crossed(differences)
    if estimate is not None and effect.estimate is not None:
        effect.estimate, effect.p = estimate, estimate.p()
    return effect


def estimates(seed: int, kind: Kind, pairs: int, examples: int, count: int, difference: float = 0.0) -> list[Effect]:
    rng = np.random.default_rng([seed, pairs, examples])
    return [of_differences(null_sweeps.differences(rng, kind, pairs, examples, difference)) for _ in range(count)]


SIZES = [(3, 277), (5, 277)]
MORE_SIZES = list(itertools.product([3, 5, 10, 20], [277, 872, 3000]))


@pytest.mark.parametrize("sizes", [SIZES, pytest.param(MORE_SIZES, marks=pytest.mark.long)], ids=["few", "many"])
@pytest.mark.parametrize("name", KINDS)
def test_one_comparison_is_wrong_in_3_to_5_percent(name, sizes):
    found = []
    for pairs, examples in sizes:
        effects = estimates(1, KINDS[name], pairs, examples, times(400))
        found.append([given(each.p) < 0.05 for each in effects])
        check_is_3_to_5_percent(found[-1])
    check_is_3_to_5_percent(list(itertools.chain(*found)))


@pytest.mark.parametrize("metric", ["matthews", "f1", "f1_macro", "pearson", "spearman"])
def test_other_metrics_are_wrong_as_rarely(metric):
    rng, examples = np.random.default_rng(len(metric)), 100 if metric == "spearman" else 277
    found = []
    for kind in (RUNS, EXAMPLES, BOTH):
        wrong = []
        for _ in range(times(300)):
            labels, arms = null_sweeps.predictions(rng, kind, metric, 5, examples)
            baseline, changed = (crossed.pseudovalues(metric, each, labels) for each in arms)
            wrong.append(given(of_differences(changed - baseline).p) < 0.05)
        check_is_3_to_5_percent(wrong)
        found += wrong
    check_is_3_to_5_percent(found)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("pairs", "examples"), [(5, 277), (10, 872)])
def test_intervals_hold_the_truth_and_a_difference_at_the_margin_is_rarely_called_none(name, pairs, examples):
    effects = estimates(2, KINDS[name], pairs, examples, times(400), difference=0.02)
    found = [given(each.estimate) for each in effects if each.estimate is not None]
    check_is_5_percent_at_most([not low <= 0.02 <= high for low, high in (each.interval() for each in found)])
    check_is_5_percent_at_most([each.p_equivalent(0.02) < 0.05 for each in found])


@pytest.mark.parametrize("name", ["runs", "alike"])
@pytest.mark.parametrize(("pairs", "examples"), [(3, 872), (5, 277), (10, 872)])
def test_where_the_t_test_is_right_its_power_is_kept(name, pairs, examples):
    """Within 3 points: examples are no part of what varies, and the t-test of runs could be used as well."""
    kind, rng = KINDS[name], np.random.default_rng(pairs)
    deviation = np.std([null_sweeps.differences(rng, kind, 1, examples).mean() for _ in range(400)])
    difference = 0.8 * power.detectable(Estimate(0.0, float(deviation) / math.sqrt(pairs), pairs - 1))
    found, count = [0, 0], times(400)
    for _ in range(count):
        differences = null_sweeps.differences(rng, kind, pairs, examples, difference)
        found[0] += given(of_differences(differences).p) < 0.05
        found[1] += given(comparison.effect_of(differences.mean(axis=1)).p) < 0.05
    ours, theirs = (each / count for each in found)
    assert 0.4 < theirs < 0.9, "power that could be lost"
    assert abs(ours - theirs) < 0.03


def compared(task: int, effect: Effect) -> Comparison:
    """A comparison that only has its numbers."""
    return Comparison(
        model="m",
        extra={},
        gate=Settings({}),
        task=Task(f"t{task}", "T", ("accuracy",), "accuracy", True, False),
        measure="accuracy",
        tried=[],
        pairs=[],
        effect=effect,
        regular=None,
        failures={},
    )


def sweep(
    rng: np.random.Generator, kind: Kind, changes: int, pairs: int, difference: float = 0.0, most: int = 872
) -> list[Verdict]:
    """Verdicts on changes × nine tasks; all changes of a task share its baseline. At most `most` examples a task."""
    made = []
    for task, rows in enumerate(DEV_ROWS):
        shifts = (0.0, *[kind.shift(difference)] * changes)
        baseline, *changed = null_sweeps.answers(rng, kind, pairs, min(rows, most), shifts)
        effects = (of_differences(each.astype(np.int8) - baseline) for each in changed)
        made += [compared(task, effect) for effect in effects]
    families.judge(made, Rules(margin=difference or MARGIN))
    return [given(each.effect.verdict) for each in made]


SWEEPS = {1: (150, 872), 3: (50, 277)}  # by the number of changes: sweeps, and examples a task at most
MORE_SWEEPS = {1: (200, 872), 3: (100, 872), 12: (40, 872), 48: (15, 872)}
FAMILIES = [
    *(pytest.param([5], *each, id=f"{each[0]} changes") for each in SWEEPS.items()),
    *(
        pytest.param([3, 5, 10], *each, id=f"{each[0]} changes, many", marks=pytest.mark.long)
        for each in MORE_SWEEPS.items()
    ),
]


@pytest.mark.parametrize(("seeds", "changes", "how_many"), FAMILIES)
@pytest.mark.parametrize("name", ["runs", "both"])
def test_of_twenty_sweeps_without_an_effect_one_claims_one(name, seeds, changes, how_many):
    count, most = how_many
    found = []
    for pairs in seeds:
        rng = np.random.default_rng([changes, pairs])
        verdicts = [sweep(rng, KINDS[name], changes, pairs, most=most) for _ in range(times(count))]
        claimed = [bool({Verdict.HELPS, Verdict.HURTS} & set(each)) for each in verdicts]
        check_is_5_percent_at_most(claimed)
        found += claimed
    check_is_5_percent_at_most(found)


@pytest.mark.parametrize("changes", [1, pytest.param(3, marks=pytest.mark.long)])
def test_of_twenty_sweeps_with_effects_at_the_margin_one_calls_one_none(changes):
    rng = np.random.default_rng(changes)
    check_is_5_percent_at_most(
        [Verdict.SAME in sweep(rng, ALIKE, changes, 5, difference=0.03) for _ in range(times(200))]
    )


def test_half_a_point_takes_many_examples():
    rng = np.random.default_rng(3)
    verdicts = [verdict for _ in range(20) for verdict in sweep(rng, ALIKE, 1, 10, most=872)]
    assert verdicts.count(Verdict.SAME) == 0, "872 examples are too few"
    differences = null_sweeps.differences(rng, ALIKE, 10, 40_000)
    alone = compared(0, of_differences(differences))
    families.judge([alone], Rules())
    assert alone.effect.verdict is Verdict.SAME


def test_runs_that_collapse_make_no_false_claims():
    """Where one run of twenty predicts one class only, differences are far from normal: the test becomes cautious."""
    rng, claimed = np.random.default_rng(1), []
    for _ in range(times(100)):
        made = []
        for task in range(9):
            arms = null_sweeps.answers(rng, RUNS, 5, 277)
            majority = rng.random(277) < 0.53
            for arm in arms:
                arm[rng.random(5) < 0.05] = majority
            made.append(compared(task, of_differences(arms[1].astype(np.int8) - arms[0])))
        families.judge(made, Rules())
        claimed.append(any(each.effect.verdict in (Verdict.HELPS, Verdict.HURTS) for each in made))
    check_is_5_percent_at_most(claimed)
