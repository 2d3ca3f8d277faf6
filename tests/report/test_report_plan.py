"""A plan held against the runs: what deviates, what counts, and by which rules."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gifine import commands
from gifine.choices import GateSide
from gifine.compose.grid import Cell
from gifine.config import RunConfig
from gifine.errors import ArgumentError, ExitCode, PlanError
from gifine.report import __main__ as report
from gifine.report import contents, settings
from gifine.report.analysis import families, planned
from gifine.report.analysis.families import Rules
from gifine.report.analysis.planned import Kind
from gifine.report.formats import answer, sheets
from gifine.report.reading import Reader
from gifine.runs import identity, preregistration
from gifine.runs.preregistration import Preregistration
from gifine.runs.records import Status
from gifine.sweep import preregister
from support import synthetic
from support.synthetic import BOTH, KEY, PLAIN

BEFORE, WRITTEN, AFTER = (f"2026-01-0{day}T00:00:00+00:00" for day in (1, 2, 3))


def runs(tasks: Sequence[str] = ("rte",), gates=(PLAIN, BOTH), seeds=range(1, 6)) -> list[RunConfig]:
    return [
        synthetic.config(f"task={task}", "model=debertav3", seed=seed, **gate)
        for task in tasks
        for gate in gates
        for seed in seeds
    ]


def preregistered(folder: Path, configs: Sequence[RunConfig], primary=(), finished=()) -> Preregistration:
    cells = {identity.run_id(config): Cell([], config) for config in configs}
    plan = preregister.plan(
        preregister.compared({run_id: cell.config for run_id, cell in cells.items()}, primary),
        cells,
        command=["gifine"],
        margin=0.005,
        primary=primary,
        finished=finished,
    )
    path = folder / "PLAN.yaml"
    preregistration.write(replace(plan, written=plan.written.fromisoformat(WRITTEN)), path)
    return preregistration.read(path)


def score(config: RunConfig) -> float:
    """Half a point better with gates, and what a seed adds to both."""
    return (
        0.8
        + 0.01 * np.sin(config.seed)
        + (0.005 + 0.0005 * np.cos(7 * config.seed)) * (config.gi.side is not GateSide.none)
    )


def make(
    root: Path, configs: Sequence[RunConfig], plan: Preregistration | None, started: str = AFTER, **entries
) -> None:
    for config in configs:
        made = synthetic.record(config, [score(config)] * len(synthetic.measures(config)), started=started, **entries)
        if plan is not None:
            preregistration.note(made, None, plan.path)
        synthetic.write(root, made)


def gather(root: Path, plan: Preregistration) -> contents.Contents:
    return contents.gather(Reader([root]).read(), rules=Rules.of(plan))


def deviating(found: contents.Contents) -> dict[Kind, list[str]]:
    return {each.kind: each.names for each in synthetic.given(found.plan).deviations}


def notes(found: contents.Contents) -> str:
    return " ".join(note for sheet in sheets.make(found, ["plan"]) for note in sheet.notes)


def test_nothing_deviates(tmp_path):
    plan = preregistered(tmp_path, runs())
    make(tmp_path, runs(), plan)
    found = gather(tmp_path, plan)
    assert deviating(found) == {}
    assert "Nothing deviates from the plan" in notes(found)
    assert "Of 10 planned runs 10 are there; all of these were started after it was written" in notes(found)
    assert plan.sha256 in notes(found)
    assert (
        f"by the plan {tmp_path / 'PLAN.yaml'} (sha256 {plan.sha256[:12]}) of 2026-01-02 00:00 UTC"
        in sheets.summary(found)
    )
    assert [(each.is_declared, each.family) for each in found.comparisons] == [(True, 1)]


def test_each_way_to_deviate_is_listed(tmp_path):
    configs = runs()
    plan = preregistered(tmp_path, configs, finished=[identity.run_id(configs[9])])
    make(tmp_path, configs[:1], plan, started=BEFORE)
    make(tmp_path, configs[1:2], None)
    make(tmp_path, configs[2:3], plan, status=Status.FAILED, metrics={})
    make(tmp_path, configs[3:5] + configs[6:], plan)
    make(tmp_path, runs(gates=[PLAIN, BOTH], seeds=[7]), plan)
    make(tmp_path, runs(gates=[KEY], seeds=[2]), plan)
    slugs = [identity.slug(config) for config in configs]
    assert deviating(gather(tmp_path, plan)) == {
        Kind.MISSING: [slugs[5]],
        Kind.UNFINISHED: [slugs[2]],
        Kind.SEED: [identity.slug(config) for config in runs(gates=[BOTH, PLAIN], seeds=[7])],
        Kind.EXTRA: [identity.slug(config) for config in runs(gates=[KEY], seeds=[2])],
        Kind.LATE: [slugs[9]],
        Kind.EARLY: [slugs[0]],
        Kind.UNNAMED: [slugs[1]],
    }
    found = gather(tmp_path, plan)
    assert "Of 10 planned runs 9 are there; 7 of these were started after it was written, 8 have its sha256" in notes(
        found
    )
    assert "without 2 of other seeds" in sheets.summary(found)


def test_the_first_attempt_counts_and_another_plan_is_told(tmp_path):
    configs = runs()
    plan = preregistered(tmp_path, configs)
    earlier = synthetic.record(configs[0], [0.5], started=BEFORE)
    again = synthetic.record(configs[0], [0.5], started=AFTER)
    preregistration.note(again, earlier, plan.path)
    synthetic.write(tmp_path, again)
    make(tmp_path, configs[1:], plan)
    (tmp_path / "other").mkdir()
    other = preregistered(tmp_path / "other", runs(tasks=["cola"]))
    make(tmp_path, configs[1:2], other)
    assert deviating(gather(tmp_path, plan)) == {
        Kind.EARLY: [identity.slug(configs[0])],
        Kind.OTHER: [identity.slug(configs[1])],
    }


def test_seeds_that_were_not_planned_do_not_count(tmp_path):
    plan = preregistered(tmp_path, runs())
    make(tmp_path, runs(seeds=range(1, 9)), plan)
    found = gather(tmp_path, plan)
    assert [len(each.pairs) for each in found.comparisons] == [5]
    assert {run.seed for run in found.runs} == {1, 2, 3, 4, 5}


def test_what_was_planned_and_not_run_is_of_the_family(tmp_path):
    """Without that, whoever runs the promising tasks first would be corrected over few."""
    tasks = ["rte", "cola", "mrpc", "sst2"]
    plan = preregistered(tmp_path, runs(tasks))
    make(tmp_path, runs(tasks[:2]), plan)
    found = [each for each in gather(tmp_path, plan).comparisons if each.is_primary]
    assert [each.family for each in found] == [4, 4]
    lowest = min(found, key=lambda each: synthetic.given(each.effect.p))
    assert lowest.effect.p_holm == pytest.approx(4 * synthetic.given(lowest.effect.p))


def test_primary_comparisons_are_a_family_and_others_explore(tmp_path):
    primary = [(("gi.side", "both"), ("task", "rte"))]
    configs = runs(["rte", "cola"], [PLAIN, BOTH])
    plan = preregistered(tmp_path, configs, primary)
    make(tmp_path, [*configs, *runs(["rte", "cola"], [KEY])], plan)
    found = gather(tmp_path, plan)
    judged = {(str(each.gate.get("gi.side")), each.task.name): each for each in found.comparisons if each.is_primary}
    assert {key: (each.is_declared, each.family) for key, each in judged.items()} == {
        ("both", "rte"): (True, 1),
        ("both", "cola"): (False, 4),
        ("key", "rte"): (False, 4),
        ("key", "cola"): (False, 4),
    }
    (sheet,) = sheets.make(found, ["comparison"])
    text = " ".join(piece.text for row in sheet.rows for item in row for piece in item)
    assert (text.count("(primary)"), text.count("(exploratory)")) == (1, 3)
    assert "Nobody can see" not in " ".join(sheet.notes)


def test_a_plan_of_other_runs_is_refused(tmp_path):
    plan = preregistered(tmp_path, runs(["cola"]))
    make(tmp_path, runs(["rte"]), None)
    with pytest.raises(
        PlanError, match=r"has none of the runs that there are \(10\), but others \(10\), such as cola_"
    ):
        gather(tmp_path, plan)
    same_name = [replace(config, train=replace(config.train, epochs=9)) for config in runs(["rte"])]
    (tmp_path / "other").mkdir()
    with pytest.raises(PlanError, match=r"was planned as .*, the run of that name is"):
        gather(tmp_path, preregistered(tmp_path / "other", same_name))


def test_runs_that_name_a_plan_which_was_not_given(tmp_path, capsys):
    plan = preregistered(tmp_path, runs())
    make(tmp_path, runs()[:9], plan)
    make(tmp_path, runs()[9:], None)
    assert report.main([str(tmp_path), "--show", "plan"]) == ExitCode.DONE
    said = f"9 of the 10 runs name the plan {plan.path} (sha256 {plan.sha256[:12]}), which was not given"
    assert said in capsys.readouterr().out.replace("\\_", "_")


def test_the_command_takes_margin_and_primary_from_the_plan(tmp_path, capsys):
    plan = preregistered(tmp_path, runs())
    make(tmp_path, runs(), plan)
    words = [str(tmp_path), "--plan", plan.path]
    assert report.main([*words, "--format", "json"]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert found["rules"] == {
        "margin": 0.005,
        "primary": [],
        "plan": {"path": plan.path, "sha256": plan.sha256, "written": WRITTEN},
    }
    assert found["plan"] == []
    for option in (["--margin", "1"], ["--primary", "gi.side=both"]):
        assert report.main([*words, *option]) == ExitCode.BAD_INPUT
        assert (
            capsys.readouterr().err
            == f"error: {option[0]}: {plan.path} has decided it, before the runs; leave it out\n"
        )
    assert report.main([str(tmp_path), "--plan", str(tmp_path / "none.yaml")]) == ExitCode.BAD_INPUT
    assert "none.yaml: no such file" in capsys.readouterr().err


def test_all_formats_of_a_report_have_the_plan(tmp_path):
    plan = preregistered(tmp_path, runs())
    make(tmp_path / "runs", runs(seeds=range(1, 7))[1:], plan)
    out = tmp_path / "out"
    assert report.main([str(tmp_path / "runs"), "--plan", plan.path, "--out", str(out)]) == ExitCode.DONE
    for name in ("report.md", "report.tex", "report.html", "report.json"):
        assert plan.sha256 in (out / name).read_text(), name
    assert planned.Kind.MISSING.value in (out / "plan.csv").read_text()


def test_runs_without_a_start_are_not_taken_for_later_ones(tmp_path):
    plan = preregistered(tmp_path, runs())
    make(tmp_path, runs()[:8], plan)
    make(tmp_path, runs()[8:], plan, started="2026-01-03")  # no time zone: nobody knows
    found = gather(tmp_path, plan)
    assert "8 of these were started after it was written (of 2 the start is not recorded), 10 have" in notes(found)
    assert ", of a plan (of its 10 runs of 2 the start is not recorded)," in answer.answer(found)[0].quote


def test_values_are_compared_and_not_their_spelling(tmp_path, capsys):
    rates = [synthetic.config("task=rte", f"train.learning_rate={rate}", seed=1) for rate in (2e-4, 3e-4)]
    for config, gate in itertools.product(rates, (PLAIN, BOTH)):
        made = replace(config, gi=replace(config.gi, **gate))
        synthetic.write(tmp_path, synthetic.record(made, [0.7]))
    for word, count in (
        ("train.learning_rate=2e-4", 1),
        ("train.learning_rate=0.0002,gi.level=0.30", 1),
        ("gi.level=.3", 2),
    ):
        found = contents.gather(Reader([tmp_path]).read(), rules=Rules(primary=(commands.selection(word),)))
        assert sum(each.is_declared for each in found.comparisons) == count
    for word in ("gi.layers=all", "gi.layers=null"):  # a table has the first, a command line the second
        found = contents.gather(Reader([tmp_path]).read(), rules=Rules(primary=(commands.selection(word),)))
        assert all(each.is_declared for each in found.comparisons)
    with pytest.raises(ArgumentError, match=r"gi.level=0.31: no comparison has it"):
        contents.gather(Reader([tmp_path]).read(), rules=Rules(primary=((("gi.level", "0.31"),),)))


def test_a_plan_of_two_learning_rates_has_two_answers_in_its_family(tmp_path):
    configs = [
        synthetic.config(f"task={task}", f"train.learning_rate={rate}", seed=seed, **gate)
        for task, rate, seed, gate in itertools.product(("rte", "mrpc"), (2e-5, 3e-5), (1, 2, 3), (PLAIN, BOTH))
    ]
    plan = preregistered(tmp_path, configs)
    assert families.planned_changes(plan) == {"deberta-v3-large": 2}
    make(tmp_path, [each for each in configs if each.train.learning_rate == 2e-5], plan)
    (given,) = gather(tmp_path, plan).answers
    assert given.family == 2


def test_a_plan_of_a_learning_rate_of_each_tasks_own_has_one_answer(tmp_path):
    configs = [
        synthetic.config(f"task={task}", f"train.learning_rate={rate}", seed=seed, **gate)
        for (task, rate), seed, gate in itertools.product((("rte", 2e-5), ("mrpc", 3e-5)), (1, 2, 3), (PLAIN, BOTH))
    ]
    assert families.planned_changes(preregistered(tmp_path, configs)) == {"deberta-v3-large": 1}


def frozen(gates=(PLAIN, BOTH)) -> list[RunConfig]:
    return [
        synthetic.config("task=rte", "model=debertav3", "train.parameters=change", seed=seed, **gate)
        for gate, seed in itertools.product(gates, range(1, 6))
    ]


def test_the_plan_says_what_is_compared_with_what(tmp_path):
    """Frozen arms are planned against the head alone; that somebody ran the whole model as well changes nothing."""
    plan = preregistered(tmp_path, frozen())
    make(tmp_path, frozen(), plan)
    make(tmp_path, runs(gates=[PLAIN]), None)
    found = gather(tmp_path, plan)
    assert [(settings.gate(each.gate), each.is_declared) for each in found.comparisons] == [
        ("both 0.3 trained alone", True)
    ]


def test_a_planned_baseline_that_is_not_there_yet_has_no_substitute(tmp_path):
    plan = preregistered(tmp_path, [*runs(gates=[PLAIN]), *frozen()])
    make(tmp_path, frozen(), plan)
    assert gather(tmp_path, plan).comparisons == []


def test_a_key_that_no_run_has_is_refused_of_a_plan_too(tmp_path):
    plan = preregistered(tmp_path, runs())
    make(tmp_path, runs(), plan)
    odd = replace(plan, primary=[{"gi.nope": "1"}])
    with pytest.raises(PlanError, match=r"primary: gi.nope: no run has such a config key"):
        gather(tmp_path, odd)
