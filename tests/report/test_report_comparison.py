"""Gated runs against their baseline: what is paired, what is not, and how often a verdict is wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gifine.report.analysis import cells, comparison, pairing, power, statistics
from gifine.report.analysis.comparison import Effect, Verdict
from gifine.runs.records import Status
from support.synthetic import BOTH, KEY, PLAIN, config, given, measures, read, record, sweep, write

DEV_ROWS = (1043, 872, 408, 1500, 40430, 9815, 5463, 277, 71)  # of the nine tasks


def helpful(config) -> list[float]:
    """Gates on both sides help by 0.02 on each seed, give or take 0.002; others do nothing."""
    seed = np.random.default_rng([config.seed, len(config.task.name)])
    base, noise = 0.8 + seed.normal(0, 0.02), np.random.default_rng([config.seed, *config.gi.side.value.encode()])
    return [base + 0.02 * (config.gi.side.value == "both") + noise.normal(0, 0.002) for _ in measures(config)]


def compared(root, **options) -> list[comparison.Comparison]:
    pairs, _ = pairing.pair(read(root))
    return comparison.compare(pairs, **options)


def test_each_gate_and_task_is_compared_over_its_seeds(tmp_path):
    found = compared(sweep(tmp_path, helpful, tasks=("rte", "mrpc"), gates=(PLAIN, BOTH, KEY)))
    assert [(each.gate.get("gi.side"), each.measure) for each in found] == [
        (side, measure)
        for side in ("key", "both")
        for measure in ("mrpc/validation/accuracy", "mrpc/validation/f1", "rte/validation/accuracy")
    ]
    assert [each.effect.verdict for each in found if each.is_primary] == [Verdict.UNDECIDED] * 2 + [Verdict.HELPS] * 2
    assert [each.effect.verdict for each in found if not each.is_primary] == [None, None]
    last = found[-1]
    baseline, gated = (np.asarray(side) for side in last.scores)
    expected = given(statistics.paired_t(gated - baseline))
    assert (last.effect.p, *given(last.effect.interval)) == pytest.approx(expected)
    assert last.effect.summary.mean == pytest.approx(np.mean(gated - baseline))
    family = [each.effect for each in found[3:] if each.is_primary]
    assert [each.p_holm for each in family] == statistics.holm([each.p for each in family])
    primary = [each for each in found if each.is_primary]
    assert [each.p_holm_all for each in primary] == statistics.holm([each.effect.p for each in primary])
    assert [each.gated.seed for each in last.pairs] == [1, 2, 3, 4, 5]
    assert last.effect.p_sign_flip == 2 / 2**5
    assert given(last.predictions).reason == "no predictions were kept"


def test_level_zero_is_a_gate(tmp_path):
    level_zero = BOTH | {"level": 0.0}
    found = compared(sweep(tmp_path, helpful, gates=(PLAIN, level_zero)))
    assert [each.gate.get("gi.level") for each in found] == [0.0]


def test_the_same_report_twice(tmp_path):
    root = sweep(tmp_path, helpful)
    assert [each.effect for each in compared(root)] == [each.effect for each in compared(root)]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["train.epochs=3"], "the nearest baseline differs: train.epochs 6, there 3"),
        (["seed=9"], "no baseline of the same seed; there are seeds 9"),
        (["task=mrpc"], "no baseline of this task"),
        (["model=bert"], "model.checkpoint microsoft/deberta-v3-large, there google-bert/bert-large-uncased"),
        (["data.max_train_rows=100"], "data.max_train_rows null, there 100"),
    ],
)
def test_runs_that_differ_in_more_than_the_gate_are_no_pair(tmp_path, overrides, said):
    seed = next((int(each.partition("=")[2]) for each in overrides if each.startswith("seed=")), 1)
    rest = [each for each in overrides if not each.startswith("seed=")]
    baseline = config("task=rte", "model=debertav3", *rest, seed=seed)
    gated = config("task=rte", "model=debertav3", seed=1, **BOTH)
    for each in (baseline, gated):
        write(tmp_path, record(each, [0.5] * len(measures(each))))
    pairs, unpaired = pairing.pair(read(tmp_path))
    assert pairs == []
    assert {each.is_baseline for each in unpaired} == {True, False}
    assert said in next(each.reason for each in unpaired if not each.is_baseline)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"data": {"validation": "other"}, "processes": 1}, "it differs in the data's fingerprint"),
        ({"data": {"validation": "rte"}, "processes": 4}, "it differs in the number of processes (4, 1)"),
    ],
)
def test_runs_of_other_data_or_on_more_devices_are_no_pair(tmp_path, entries, said):
    write(tmp_path, record(config("task=rte", "model=debertav3"), [0.5]))
    write(tmp_path, record(config("task=rte", "model=debertav3", **BOTH), [0.5], provenance=entries))
    pairs, unpaired = pairing.pair(read(tmp_path))
    assert pairs == []
    assert len(unpaired) == 2
    assert all(each.reason.startswith(said) for each in unpaired)


def test_a_run_that_failed_early_is_a_partner_without_a_score(tmp_path):
    write(tmp_path, record(config("task=rte", "model=debertav3"), [0.5]))
    failed = record(
        config("task=rte", "model=debertav3", **BOTH), [], Status.FAILED, provenance={}, error="x\nOSError: y"
    )
    write(tmp_path, failed)
    (found,) = compared(tmp_path)
    assert found.pairs == []
    assert found.failures == {"baseline": {}, "gated": {Status.FAILED: 1}}
    assert (found.effect.summary.n, found.effect.verdict, found.effect.p) == (0, Verdict.UNDECIDED, None)


def test_with_and_without_degenerate_runs(tmp_path):
    sweep(tmp_path, helpful)
    collapsed = config("task=rte", "model=debertav3", seed=6, **BOTH)
    write(tmp_path, record(collapsed, [0.53], Status.DEGENERATE))
    write(tmp_path, record(config("task=rte", "model=debertav3", seed=6), [0.8]))
    (found,) = compared(tmp_path)
    assert (found.effect.summary.n, found.effect.verdict) == (6, Verdict.UNDECIDED)
    assert (given(found.regular).summary.n, given(found.regular).verdict) == (5, Verdict.HELPS)
    assert found.failures["gated"] == {Status.DEGENERATE: 1}


def test_an_undefined_correlation_has_no_pair(tmp_path):
    sweep(tmp_path, helpful, tasks=("stsb",))
    write(tmp_path, record(config("task=stsb", "model=debertav3", seed=6, **BOTH), [None, None], Status.DEGENERATE))
    write(tmp_path, record(config("task=stsb", "model=debertav3", seed=6), [0.8, 0.8]))
    found = compared(tmp_path)
    assert [each.effect.summary.n for each in found] == [5, 5]
    assert found[0].failures["gated"] == {Status.DEGENERATE: 1}


def test_other_settings_are_compared_on_their_own(tmp_path):
    sweep(tmp_path, helpful)
    sweep(tmp_path, helpful, overrides=["train.epochs=3"])
    found = compared(tmp_path)
    assert [(each.extra, each.effect.summary.n) for each in found] == [
        ({"train.epochs": 3.0}, 5),
        ({"train.epochs": 6.0}, 5),
    ]
    assert len({each.family for each in found}) == 2


@pytest.mark.parametrize(("seeds", "verdict"), [(2, Verdict.UNDECIDED), (3, Verdict.HELPS)])
def test_a_verdict_takes_three_pairs(tmp_path, seeds, verdict):
    def clear(config) -> list[float]:
        return [0.8 + 0.1 * (config.gi.side.value == "both") + 1e-4 * config.seed**2 * (config.gi.side.value == "both")]

    (found,) = compared(sweep(tmp_path, clear, seeds=range(1, seeds + 1)))
    assert found.effect.verdict is verdict
    assert given(found.effect.p) < 0.05


def test_how_many_more_seeds(tmp_path):
    differences = np.asarray([0.01, 0.02, -0.01, 0.02, 0.01])
    effect = comparison.effect_of(np.zeros(5), differences)
    others = [comparison.effect_of(np.zeros(5), np.asarray([0.01, -0.01, 0.02, -0.02, 0.001])) for _ in range(3)]
    comparison.judge([effect, *others])
    needed = power.pairs_needed(0.01, float(np.std(differences, ddof=1)), 0.05 / 4)
    assert effect.verdict is Verdict.UNDECIDED
    assert effect.more_seeds == given(needed) - 5
    assert others[0].more_seeds is None, "beyond reach"
    assert effect.detectable == pytest.approx(given(power.detectable_effect(5)) * given(effect.summary.sd))


def simulated(rng, rows: int, seeds: int, effect: float = 0.0, collapse: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies of baseline and gated on a task with so many examples; pairs share what the seed does."""
    shared = rng.normal(0, 0.01, size=seeds)
    sides = []
    for helped in (0.0, effect):
        true = np.clip(0.85 + helped + shared + rng.normal(0, 0.01, size=seeds), 0, 1)
        collapsed = rng.random(seeds) < collapse
        sides.append(np.where(collapsed, 0.53, rng.binomial(rows, true) / rows))
    return sides[0], sides[1]


def effects(rng, seeds: int = 5, **options: float) -> list[Effect]:
    """A sweep of the nine tasks, judged; only with what a verdict rests on, since the rest takes time."""
    found = []
    for rows in DEV_ROWS:
        baseline, gated = simulated(rng, rows, seeds, **options)
        differences = gated - baseline
        found.append(Effect(cells.summarise(list(differences)), p=given(statistics.paired_t(differences))[0]))
    comparison.judge(found)
    return found


def within(share: float, of: float, times: int) -> bool:
    """Three and a half standard deviations of a binomial share: 1 of 2,000 right simulations is outside."""
    return abs(share - of) < 3.5 * math.sqrt(of * (1 - of) / times)


def test_no_effect_is_claimed_in_about_one_of_twenty_sweeps():
    """1,000 sweeps of nine tasks and five seeds in which the gates do nothing."""
    rng = np.random.default_rng(2208)
    claimed = [any(each.verdict is not Verdict.UNDECIDED for each in effects(rng)) for _ in range(1000)]
    assert within(float(np.mean(claimed)), 0.05, 1000), np.mean(claimed)


@pytest.mark.parametrize("seeds", [3, 10])
def test_so_with_other_numbers_of_seeds(seeds):
    rng = np.random.default_rng(seeds)
    claimed = [any(each.verdict is not Verdict.UNDECIDED for each in effects(rng, seeds)) for _ in range(500)]
    assert within(float(np.mean(claimed)), 0.05, 500), np.mean(claimed)


def test_runs_that_collapse_make_no_false_claims():
    """Where one run of twenty predicts one class only, differences are far from normal: the test becomes cautious."""
    rng = np.random.default_rng(1)
    claimed = [any(each.verdict is not Verdict.UNDECIDED for each in effects(rng, collapse=0.05)) for _ in range(500)]
    assert np.mean(claimed) < 0.05 + 3.5 * math.sqrt(0.05 * 0.95 / 500)


def test_an_effect_is_found_as_often_as_the_power_says():
    """One task; the true effect is what five seeds show with 80 % power."""
    rng, times, rows, seeds = np.random.default_rng(5), 1000, 40430, 5
    sd = math.sqrt(2 * (0.01**2 + 0.85 * 0.15 / rows))
    effect = given(power.detectable_effect(seeds)) * sd
    found = []
    for _ in range(times):
        baseline, gated = simulated(rng, rows, seeds, effect)
        made = Effect(cells.summarise(list(gated - baseline)), p=given(statistics.paired_t(gated - baseline))[0])
        comparison.judge([made])
        found.append(made.verdict)
    assert within(float(np.mean([each is Verdict.HELPS for each in found])), 0.8, times)
    assert Verdict.HURTS not in found
