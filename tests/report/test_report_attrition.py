"""Runs that are lost or degenerate: no verdict from survivors."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from gifine.choices import GateSide
from gifine.report import contents
from gifine.report.analysis import attrition
from gifine.report.analysis.comparison import Verdict
from gifine.report.analysis.crossed import Estimate
from gifine.report.contents import Contents
from gifine.report.formats import answer, sheets
from gifine.report.reading import Reader
from gifine.runs import origin
from gifine.runs.records import Status
from support.synthetic import BOTH, PLAIN, config, measures, record, write
from support.synthetic import given as sure


@pytest.mark.parametrize(("baseline", "gated"), [(0, 0), (0, 4), (0, 6), (2, 9), (7, 1), (5, 5)])
def test_the_test_of_arms_is_mcnemars_exact_one(baseline, gated):
    theirs = stats.binomtest(gated, baseline + gated).pvalue if baseline + gated else 1
    assert attrition.exact(baseline, gated) == pytest.approx(theirs)


def test_lost_runs_are_filled_with_the_limits():
    nan = np.nan
    baseline, gated = np.asarray([0.6, 0.7, nan, nan, 0.8]), np.asarray([0.7, nan, 0.6, nan, 0.9])
    worst, best = attrition.filled(baseline, gated, (0.5, 0.9), None)
    for found, last in ((worst, [0.1, 0.5 - 0.7, 0.6 - 0.9, 0.5 - 0.9, 0.1]), (best, [0.1, 0.2, 0.1, 0.4, 0.1])):
        assert found.mean == pytest.approx(np.mean(last))
        assert found.interval() == pytest.approx(stats.ttest_1samp(last, 0).confidence_interval())


def test_the_worst_case_is_no_surer_than_what_is_left():
    scores = np.asarray([0.6, 0.7, 0.8])
    wide = Estimate(0.0, 0.5, 3)
    worst, _ = attrition.filled(scores, scores + np.asarray([0.01, 0.02, 0.03]), (0.5, 0.9), wide)
    assert worst.error == wide.error


def gather(
    root: Path, gap: float, spread: float, seeds: int, lost: dict[GateSide, dict[int, Status]], tasks=("rte",)
) -> Contents:
    """Runs of both arms whose accuracies differ by `gap`; some of them end with another status."""
    for task in tasks:
        for gate in (PLAIN, BOTH):
            for seed in range(seeds):
                made = config(f"task={task}", "model=debertav3", seed=seed, **gate)
                status = lost.get(made.gi.side, {}).get(seed, Status.DONE)
                noise = np.random.default_rng([seed, made.gi.side is GateSide.both]).normal(0, spread)
                score = 0.7 + noise + gap * (made.gi.side is GateSide.both)
                scores = [] if status in (Status.DIVERGED, Status.FAILED, Status.RUNNING) else [score]
                write(root, record(made, [0.5] if status is Status.DEGENERATE else scores, status))
    return contents.gather(Reader([root]).read())


def gone(status: Status, *seeds: int) -> dict[int, Status]:
    return dict.fromkeys(seeds, status)


def test_without_lost_runs_there_is_no_doubt(tmp_path):
    found = gather(tmp_path, 0.03, 0.005, 10, {})
    (comparison,) = found.comparisons
    assert (comparison.effect.verdict, comparison.doubt, comparison.worst) == (Verdict.HELPS, None, None)
    assert [each.p for each in found.losses] == [1.0]
    assert sheets.make(found, ["attrition"]) == []


def test_four_of_ten_diverged_gated_runs_allow_no_verdict(tmp_path):
    """The six that are left are clearly better than their twins."""
    found = gather(tmp_path, 0.03, 0.005, 10, {GateSide.both: gone(Status.DIVERGED, 0, 1, 2, 3)})
    (comparison,), (change,) = found.comparisons, found.losses
    assert sure(comparison.effect.p) < 0.001
    assert comparison.effect.verdict is Verdict.UNDECIDED
    assert "4 of 10 pairs are lost; in the worst case" in sure(comparison.effect.why)
    low, high = attrition.around(sure(comparison.worst))
    assert low < -0.1 < 0.02 < high
    assert (change.only, change.p) == ((0, 4), 0.125), "not beyond chance, yet it could have made the difference"
    (said,) = answer.answer(found)
    assert ": undecided, since 4 of 10 pairs are lost; in the worst case it is −" in said.quote


def test_a_lost_run_that_could_not_have_turned_it_leaves_the_verdict(tmp_path):
    """An effect of 25 points, of which one lost run of twelve can take a part only."""
    found = gather(tmp_path, 0.25, 0.005, 12, {GateSide.both: gone(Status.FAILED, 3)})
    (comparison,) = found.comparisons
    assert comparison.effect.verdict is Verdict.HELPS
    assert attrition.around(sure(comparison.worst))[0] > 0
    (sheet,) = sheets.make(found, ["comparison"])
    assert "worst case" in "".join(piece.text for item in sheet.rows[0] for piece in item)


def test_no_difference_does_not_outlast_a_lost_run(tmp_path):
    whole = gather(tmp_path / "whole", 0.0, 0.0005, 10, {})
    assert whole.comparisons[0].effect.verdict is Verdict.SAME
    found = gather(tmp_path / "lost", 0.0, 0.0005, 10, {GateSide.none: gone(Status.DIVERGED, 2)})
    assert found.comparisons[0].effect.verdict is Verdict.UNDECIDED


def test_degenerate_runs_beyond_chance_allow_no_verdict(tmp_path):
    """They have scores, and count; but a change that makes runs collapse is not one of score alone."""
    found = gather(tmp_path, 0.28, 0.005, 20, {GateSide.both: gone(Status.DEGENERATE, *range(6))})
    (comparison,), (change,) = found.comparisons, found.losses
    assert change.only == (0, 6)
    assert change.is_beyond_chance
    assert sure(comparison.effect.p) < 0.05
    assert comparison.effect.verdict is Verdict.UNDECIDED
    assert "6" in sure(comparison.effect.why)
    assert "more than chance" in sure(comparison.effect.why)


def test_runs_that_answer_the_same_for_all_show_no_difference_of_anything(tmp_path):
    every = gone(Status.DEGENERATE, *range(5))
    found = gather(tmp_path, 0.0, 0.005, 5, {GateSide.both: every, GateSide.none: every}, tasks=("rte", "wnli"))
    for each in found.comparisons:
        if each.is_primary:
            assert each.effect.verdict is Verdict.UNDECIDED
            assert each.effect.why == "in 5 of 5 pairs a run is lost or degenerate"
    assert [each.effect.verdict for each in found.answers] == [Verdict.UNDECIDED]


def test_as_many_of_both_arms_are_chance(tmp_path):
    both = {GateSide.both: gone(Status.DEGENERATE, 0, 1, 2), GateSide.none: gone(Status.DEGENERATE, 3, 4, 5)}
    (change,) = gather(tmp_path, 0.0, 0.005, 20, both).losses
    assert (change.only, change.is_beyond_chance) == ((3, 3), False)


def test_pairs_of_all_tasks_are_tested_together_and_tasks_without_such_runs_are_left_alone(tmp_path):
    lost = {GateSide.both: gone(Status.DEGENERATE, 0, 1, 2)}
    found = gather(tmp_path, 0.25, 0.005, 8, lost, tasks=("rte", "qnli"))
    found = gather(tmp_path, 0.25, 0.005, 8, {}, tasks=("wnli",))
    (change,) = found.losses
    assert (change.pairs, change.only, change.is_beyond_chance) == (24, (0, 6), True)
    assert {each.task.name: each.effect.verdict for each in found.comparisons} == {
        "rte": Verdict.UNDECIDED,
        "qnli": Verdict.UNDECIDED,
        "wnli": Verdict.HELPS,
    }
    (given,) = found.answers
    assert given.effect.verdict is Verdict.UNDECIDED
    assert "more than chance" in sure(given.effect.why)


def test_unfinished_runs_are_lost_as_well(tmp_path):
    """A sweep whose baselines ran first: what is there of the changed runs is no sample of them."""
    found = gather(tmp_path, 0.3, 0.005, 10, {GateSide.both: gone(Status.RUNNING, *range(6))})
    assert found.losses[0].is_beyond_chance
    assert found.comparisons[0].effect.verdict is Verdict.UNDECIDED


def test_the_sheet_has_the_arms_and_the_worst_case(tmp_path):
    found = gather(tmp_path, 0.03, 0.005, 10, {GateSide.both: gone(Status.DIVERGED, 0, 1, 2, 3)})
    (sheet,) = sheets.make(found, ["attrition"])
    whole, rte = ([" ".join(piece.text for piece in item) for item in row] for row in sheet.rows)
    assert whole[2:9] == ["all", "10", "4 diverged", "", "4", "0", "0.125"]
    assert rte[2:6] == ["RTE", "10", "4 diverged", ""]
    assert "…" in rte[9]


def after(root: Path, lost: dict[GateSide, set[int]], *, noted: bool = True) -> Contents:
    """RTE, MRPC and CoLA after MNLI; what would start from the lost runs on MNLI fails before it begins.

    Records of a gifine that had not `noted` it do not say what became of these.
    """
    for gate in (PLAIN, BOTH):
        for seed in range(8):
            before = config("task=mnli", "model=debertav3", seed=seed, **gate)
            is_lost = seed in lost.get(before.gi.side, set())
            scores = [0.35, 0.35] if is_lost else [0.8 + seed / 1000, 0.8]
            first = record(before, scores, Status.DEGENERATE if is_lost else Status.DONE)
            write(root, first)
            for task in ("rte", "mrpc", "cola"):
                own = config(f"task={task}", "model=debertav3", seed=seed, **gate)
                own = replace(own, first=replace(own.first, task="mnli", run=first.run_id))
                made = record(own, [] if is_lost else [0.7 + seed / 1000] * len(measures(own)))
                made.provenance["init_from"] = {"run_id": first.run_id, **origin.as_parent(vars(first))}
                if noted:
                    made.provenance["init_from"]["status"] = str(first.status)
                if is_lost:
                    made.status = Status.FAILED
                write(root, made)
    return contents.gather(Reader([root]).read())


def test_what_one_run_takes_with_it_is_one_accident(tmp_path):
    """Two gated runs on MNLI of eight and none of the others, which is chance, and not eight of 32 to none."""
    (change,) = after(tmp_path, {GateSide.both: {2, 5}}).losses
    assert (change.only, change.causes) == ((0, 8), (0, 2))
    assert change.p == attrition.exact(0, 2) == 0.5
    assert not change.is_beyond_chance


def test_what_was_never_trained_is_known_by_the_run_before_it(tmp_path):
    """Of older records that is all that there is to know it by."""
    (change,) = after(tmp_path, {GateSide.both: {2, 5}}, noted=False).losses
    assert (change.only, change.causes) == ((0, 8), (0, 2))


def test_of_a_run_before_that_is_not_there_those_after_it_tell(tmp_path):
    after(tmp_path, {GateSide.both: {2, 5}})
    for folder in tmp_path.glob("mnli*"):
        shutil.rmtree(folder)
    (change,) = contents.gather(Reader([tmp_path]).read()).losses
    assert (change.only, change.causes) == ((0, 6), (0, 2))


def test_two_steps_after_a_run_that_went_wrong_it_is_still_that_one(tmp_path):
    """MRPC after RTE after MNLI."""
    for gate, seed in itertools.product((PLAIN, BOTH), range(2)):
        before = None
        for task in ("mnli", "rte", "mrpc"):
            own, is_lost = config(f"task={task}", seed=seed, **gate), gate is BOTH
            made = record(own, [] if is_lost else [0.7] * len(measures(own)))
            if is_lost:
                made.status = Status.FAILED if before is not None else Status.DIVERGED
            if before is not None:
                made.provenance["init_from"] = {"run_id": before.run_id, **origin.as_parent(vars(before))}
            write(tmp_path, made)
            before = made
    (change,) = contents.gather(Reader([tmp_path]).read()).losses
    assert (change.only, change.causes) == ((0, 6), (0, 2))


def test_accidents_beyond_chance_are_told_with_what_they_took(tmp_path):
    found = after(tmp_path, {GateSide.both: {0, 1, 2, 3, 4, 5}})
    (change,) = found.losses
    assert (change.only, change.causes) == ((0, 24), (0, 6))
    assert change.is_beyond_chance
    assert "degenerate in 24 and the baseline alone in 0, by 6 and 0 runs that went wrong: more" in change.words
    (sheet,) = sheets.make(found, ["attrition"])
    first = [item[0].text for item in sheet.rows[0]]
    assert first[sheet.columns.index("changed alone")] == "24 (by 6)"


def test_the_worst_case_keeps_the_examples_part_of_the_error():
    """Student's t of few runs for all of it would be wider than what is known."""
    own = Estimate(0.01, 0.05, 3, share=0.8, examples=276)
    scores = np.asarray([0.70, 0.71, 0.72, 0.73])
    for found in attrition.filled(scores, scores + 0.01, (0.5, 0.9), own):
        assert (found.error, found.share, found.examples) == (own.error, own.share, own.examples)
