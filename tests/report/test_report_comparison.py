"""Changed runs against their baseline: what is paired, what is not, what is judged together, and the verdicts."""

from __future__ import annotations

import re

import numpy as np
import pytest

from gifine.errors import ArgumentError
from gifine.report.analysis import comparison, families, pairing, power, statistics
from gifine.report.analysis.comparison import Basis, Comparison, Verdict
from gifine.report.analysis.families import Rules
from gifine.report.settings import Settings, Task
from gifine.runs.records import Status
from support.synthetic import BOTH, KEY, PLAIN, config, given, measures, read, record, sweep, write


def helpful(config) -> list[float]:
    """Gates on both sides help by 0.02 on each seed, give or take 0.002; others do nothing."""
    seed = np.random.default_rng([config.seed, len(config.task.name)])
    base, noise = 0.8 + seed.normal(0, 0.02), np.random.default_rng([config.seed, *config.gi.side.value.encode()])
    return [base + 0.02 * (config.gi.side.value == "both") + noise.normal(0, 0.002) for _ in measures(config)]


def compared(root, rules: Rules | None = None) -> list[Comparison]:
    pairs, _ = pairing.pair(read(root))
    found = comparison.compare(pairs)
    families.judge(found, rules or Rules())
    return found


def test_each_gate_and_task_is_compared_over_its_seeds(tmp_path):
    found = compared(sweep(tmp_path, helpful, tasks=("rte", "mrpc"), gates=(PLAIN, BOTH, KEY)))
    assert [(each.gate.get("gi.side"), each.measure) for each in found] == [
        (side, measure)
        for side in ("key", "both")
        for measure in ("mrpc/validation/accuracy", "mrpc/validation/f1", "rte/validation/accuracy")
    ]
    assert [each.effect.verdict for each in found if each.is_primary] == [Verdict.SAME] * 2 + [Verdict.HELPS] * 2
    assert [each.effect.verdict for each in found if not each.is_primary] == [None, None]
    last = found[-1]
    baseline, gated = (np.asarray(side) for side in last.scores)
    assert last.effect.estimate == statistics.paired_t(gated - baseline)
    assert last.effect.summary.mean == pytest.approx(np.mean(gated - baseline))
    assert [each.gated.seed for each in last.pairs] == [1, 2, 3, 4, 5]
    assert last.effect.p_sign_flip == 2 / 2**5
    assert (last.effect.basis, last.effect.reason) == (Basis.RUNS, "no predictions were kept")


def test_all_changes_and_tasks_of_a_model_are_one_family(tmp_path):
    sweep(tmp_path, helpful, tasks=("rte", "mrpc"), gates=(PLAIN, BOTH, KEY))
    sweep(tmp_path, helpful, overrides=["train.epochs=3"])
    sweep(tmp_path, helpful, model="bert")
    found = [each for each in compared(tmp_path) if each.is_primary]
    sizes = {"deberta-v3-large": 5, "bert-large-uncased": 1}
    for model, size in sizes.items():
        family = [each.effect for each in found if each.model == model]
        assert [each.family for each in found if each.model == model] == [size] * size
        assert [each.p_holm for each in family] == statistics.holm([each.p for each in family])
        assert [each.p_equivalent_holm for each in family] == statistics.holm([each.p_equivalent for each in family])
        for each in family:
            estimate = given(each.estimate)
            assert each.p_equivalent == estimate.p_equivalent(0.005)
            assert each.detectable == power.detectable(estimate, 0.05 / size)
            shift = given(each.detectable) / estimate.error
            assert each.detectable_interval == pytest.approx([shift * end for end in estimate.error_interval()])
    assert len(found) == sum(sizes.values())


def test_declared_comparisons_are_a_family_of_their_own(tmp_path):
    sweep(tmp_path, helpful, tasks=("rte", "mrpc"), gates=(PLAIN, BOTH, KEY))
    rules = Rules(primary=((("gi.side", "both"), ("gi.level", "0.3"), ("task", "rte")),))
    found = [each for each in compared(tmp_path, rules) if each.is_primary]
    whole = statistics.holm([each.effect.p for each in found])
    assert [each.is_declared for each in found] == [False, False, False, True]
    assert [each.family for each in found] == [4, 4, 4, 1]
    assert [each.effect.p_holm for each in found] == [*whole[:3], found[3].effect.p]


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (
            (("gi.side", "bith"),),
            "--primary gi.side=bith: no comparison has it (did you mean 'both'?); there are key, both",
        ),
        ((("gi.sides", "both"),), "gi.sides: no run has such a config key"),
        (
            (("gi.side", "both"), ("gi.level", "0.1")),
            "gi.side=both,gi.level=0.1: no comparison has all of it",
        ),
    ],
)
def test_primary_comparisons_that_there_are_not(tmp_path, selection, said):
    sweep(tmp_path, helpful, gates=(PLAIN, BOTH, KEY))
    with pytest.raises(ArgumentError, match=re.escape(said)):
        compared(tmp_path, Rules(primary=(selection,)))


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


def test_survivors_are_shown_and_not_judged(tmp_path):
    sweep(tmp_path, helpful)
    collapsed = config("task=rte", "model=debertav3", seed=6, **BOTH)
    write(tmp_path, record(collapsed, [0.53], Status.DEGENERATE))
    write(tmp_path, record(config("task=rte", "model=debertav3", seed=6), [0.8]))
    (found,) = compared(tmp_path)
    assert (found.effect.summary.n, found.effect.verdict) == (6, Verdict.UNDECIDED)
    regular = given(found.regular)
    assert (regular.summary.n, regular.verdict, regular.p_holm) == (5, None, None)
    assert found.failures["gated"] == {Status.DEGENERATE: 1}


def test_a_doubt_is_no_verdict_and_says_why(tmp_path):
    sweep(tmp_path, helpful)
    pairs, _ = pairing.pair(read(tmp_path))
    (found,) = comparison.compare(pairs)
    found.doubt = "four of ten runs diverged"
    families.judge([found], Rules())
    assert given(found.effect.p_holm) < 0.05
    assert (found.effect.verdict, found.effect.why) == (Verdict.UNDECIDED, "four of ten runs diverged")


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


@pytest.mark.parametrize(("seeds", "verdict"), [(2, Verdict.UNDECIDED), (3, Verdict.HELPS)])
def test_a_verdict_takes_three_pairs(tmp_path, seeds, verdict):
    def clear(config) -> list[float]:
        return [0.8 + 0.1 * (config.gi.side.value == "both") + 1e-4 * config.seed**2 * (config.gi.side.value == "both")]

    (found,) = compared(sweep(tmp_path, clear, seeds=range(1, seeds + 1)))
    assert found.effect.verdict is verdict
    assert given(found.effect.p) < 0.05


def judged(differences: np.ndarray, margin: float = 0.005) -> Comparison:
    """One comparison of these differences of scores."""
    made = Comparison(
        model="m",
        extra={},
        gate=Settings({}),
        task=Task("t", "T", ("t/validation/accuracy",), "t/validation/accuracy", True, False),
        measure="t/validation/accuracy",
        tried=[],
        pairs=[],
        effect=comparison.effect_of(differences),
        regular=None,
        failures={},
    )
    families.judge([made], Rules(margin))
    return made


def test_equal_differences_prove_no_more_than_a_permutation():
    """0.25 points five times over is one step of 400 examples: no interval, and p is that of the signs."""
    five, eight, none = (judged(np.full(n, size)).effect for n, size in ((5, 0.0025), (8, 0.0025), (8, 0.0)))
    assert (five.interval, five.p, five.verdict) == (None, 2 / 2**5, Verdict.UNDECIDED)
    assert (eight.interval, eight.p, eight.verdict) == (None, 2 / 2**8, Verdict.HELPS)
    assert (none.p, none.p_equivalent, none.verdict) == (1, None, Verdict.UNDECIDED)


@pytest.mark.parametrize(
    ("mean", "spread", "margin", "verdict"),
    [
        (0.0, 0.001, 0.005, Verdict.SAME),
        (0.0, 0.001, 0.0005, Verdict.UNDECIDED),
        (0.02, 0.001, 0.005, Verdict.HELPS),
        (-0.02, 0.001, 0.005, Verdict.HURTS),
        (0.003, 0.0001, 0.005, Verdict.HELPS),  # by less than the margin
        (0.0, 0.02, 0.005, Verdict.UNDECIDED),
    ],
)
def test_the_four_verdicts(mean, spread, margin, verdict):
    differences = mean + spread * np.asarray([-1.0, 1.0, -0.5, 0.5, 0.1])
    found = judged(differences, margin).effect
    assert found.verdict is verdict
    low, high = given(found.estimate).interval(0.9)
    assert (given(found.p_equivalent) < 0.05) == (-margin < low and high < margin)
