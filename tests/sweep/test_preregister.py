"""Plans before runs: what a grid compares, the file, and what runs that name it note of it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import yaml

from conftest import TINY_DEMO
from gifine.compose import grid
from gifine.compose.grid import Cell
from gifine.errors import ArgumentError, ExitCode
from gifine.runs import identity, preregistration, records
from gifine.sweep import __main__ as sweep
from gifine.sweep import preregister
from gifine.sweep.ledger import FOLDER
from support import synthetic
from support.sweeps import submit

GRID = ["task=rte,mnli", "model=bert,debertav3", "gi.side=none,key,both", "gi.level=0.3", "seed=1,2,3"]


@pytest.fixture
def plan(tmp_path, monkeypatch, capsys):
    """Call `gifine sweep plan`; the exit code, and what it said on stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str]:
        code = sweep.main(["plan", *words])
        return code, capsys.readouterr().err

    return call


def test_each_change_is_a_hypothesis_on_each_task(plan, tmp_path, caplog):
    code, _ = plan(*GRID, "--preregister", "PLAN.yaml", "--margin", "0.8", "--primary", "gi.side=both,task=rte")
    assert code == ExitCode.DONE
    found = preregistration.read(tmp_path / "PLAN.yaml")
    assert (found.margin, found.alpha, found.seeds) == (0.8, 0.05, [1, 2, 3])
    assert found.tasks == {"rte": "validation/accuracy", "mnli": "validation_matched/accuracy"}
    assert [(each.model, each.task, each.change["gi.side"], each.is_primary) for each in found.hypotheses] == [
        (model, task, side, (side, task) == ("both", "rte"))
        for task in ("rte", "mnli")
        for model in ("bert-large-uncased", "deberta-v3-large")
        for side in ("key", "both")
    ]
    assert len(found.runs) == 36
    assert found.runs == {cell.run_id: identity.slug(cell.config) for cell in grid.expand(GRID)}
    assert found.command == ["gifine", "--multirun", *GRID]
    assert f"go on with: {shlex.join([*found.command, 'plan=PLAN.yaml'])}" in caplog.text
    assert found.sha256 in caplog.text


def test_the_same_plan_but_for_the_date(plan, tmp_path):
    for name in ("a.yaml", "b.yaml"):
        assert plan(*GRID, "--preregister", name)[0] == ExitCode.DONE
    one, other = ((tmp_path / name).read_text().splitlines() for name in ("a.yaml", "b.yaml"))
    assert {a.partition(":")[0] for a, b in zip(one, other, strict=True) if a != b} <= {"written", "checksum"}


def test_what_else_differs_tells_hypotheses_apart():
    cells = grid.expand(["task=rte", "gi.side=none,both", "train.learning_rate=1e-5,2e-5", "seed=1,2"])
    found = preregister.compared({cell.run_id: cell.config for cell in cells})
    assert [each.hypothesis.others for each in found] == [{"train.learning_rate": 1e-5}, {"train.learning_rate": 2e-5}]
    assert preregister.families(found) == {("deberta-v3-large", False): 2}


def test_trials_of_a_random_search_are_one_comparison():
    words = ["experiment=random_search", "task=rte", "model=bert", "search.trial=0,1,2", "gi.side=none,both"]
    cells = grid.expand([*words, "gi.level=0.3"])
    found = preregister.compared({cell.run_id: cell.config for cell in cells})
    assert [each.hypothesis.change["gi.side"] for each in found] == ["both"]
    assert preregister.families(found) == {("bert-large-uncased", False): 1}


def test_what_a_run_starts_from_has_its_role():
    """Children of each arm's own parents are twins, and the parents are compared, too."""
    words = ["task=rte", "first.task=mnli", "model=bert", "gi.side=none,both", "gi.level=0.3", "seed=1,2"]
    found = preregister.compared({cell.run_id: cell.config for cell in grid.expand(words)})
    assert sorted(each.hypothesis.task for each in found) == ["mnli", "rte"]
    assert all(each.changed.twins == each.baseline.twins and len(each.changed.twins) == 2 for each in found)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gi.side=both"], "these runs compare nothing"),
        (["gi.side=none,both", "--primary", "gi.sid=both"], "no run has a key gi.sid (did you mean 'gi.side'?)"),
        (["gi.side=none,both", "--primary", "gi.side=key"], "--primary gi.side=key: fits no comparison of these runs"),
        (["gi.side=none,both", "--primary", "gi.side"], "gi.side: not KEY=VALUE,KEY=VALUE"),
        (["gi.side=none,both", "--primary", "task=rte,task=cola"], "a key more than once"),
        (["gi.side=none,both", "--margin", "0"], "points of percent"),
        (["gi.side=none,both", "--margin", "0.005"], "for the fraction 0.005 write 0.5"),
        (["gi.side=none,both", "--margin", "nan"], "points of percent"),
        (["gi.side=none,both", "--preregister", "nowhere/PLAN.yaml"], "cannot write nowhere/PLAN.yaml"),
        (["gi.side=none,both", "plan=other.yaml"], "plan=other.yaml: these runs name a plan already"),
    ],
)
def test_what_cannot_be_planned_is_told_and_nothing_is_written(plan, tmp_path, words, said):
    code, err = plan("task=rte", "--preregister", "PLAN.yaml", *words)
    assert code == ExitCode.BAD_INPUT
    assert said in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", [["--margin", "1"], ["--primary", "task=rte"], ["--late"]])
def test_options_of_a_plan_without_one(plan, option):
    code, err = plan("task=rte", *option)
    assert code == ExitCode.BAD_INPUT
    assert f"{option[0]}: goes with --preregister FILE" in err


def test_two_measures_of_a_task_are_refused():
    cells = grid.distinct(grid.expand(["task=mrpc", "gi.side=none,both", "task.select_by=f1,accuracy"]))
    found = preregister.compared({cell.run_id: cell.config for cell in cells.values()})
    with pytest.raises(ArgumentError, match="task=mrpc is planned with two measures"):
        preregister.plan(found, cells, command=[], margin=0.5, primary=[], finished=[])


def test_finished_runs_are_refused_or_said(plan, tmp_path):
    words = ["task=rte", "model=bert", "gi.side=none,both", "gi.level=0.3", "seed=1,2", f"output_root={tmp_path}"]
    made = synthetic.config("task=rte", "model=bert", "gi=both", seed=2, level=0.3)
    record = synthetic.record(made, [0.5])
    synthetic.write(tmp_path, record)
    code, err = plan(*words, "--preregister", "PLAN.yaml")
    assert code == ExitCode.BAD_INPUT
    assert "1 of these runs are finished" not in err
    assert f"1 of these runs is finished already ({record.slug})" in err
    assert not (tmp_path / "PLAN.yaml").exists()
    assert plan(*words, "--preregister", "PLAN.yaml", "--late")[0] == ExitCode.DONE
    assert preregistration.read("PLAN.yaml").finished_before == [record.run_id]


def test_runs_note_the_plan_that_they_name(plan, tmp_path, train, command, caplog):
    words = [*TINY_DEMO, "gi.side=none,both", "gi.level=0.3"]
    assert plan(*words, "--preregister", "PLAN.yaml")[0] == ExitCode.DONE
    sha256 = preregistration.read("PLAN.yaml").sha256
    planned = train(*TINY_DEMO, "gi=none", "plan=PLAN.yaml").record
    noted = planned.provenance["plan"]
    assert (noted["sha256"], noted["path"], noted["deviates"]) == (sha256, "PLAN.yaml", None)
    assert noted["written"] <= planned.started
    assert "deviates" not in caplog.text
    other = train(*TINY_DEMO, "gi=none", "seed=7", "plan=PLAN.yaml").record
    assert other.provenance["plan"]["deviates"] == "it is not among the 2 runs of PLAN.yaml"
    assert "this run deviates from the plan: it is not among the 2 runs of PLAN.yaml" in caplog.text
    code, err = command("--multirun", *TINY_DEMO, "gi=none", "seed=7,8", "plan=PLAN.yaml", "train.max_steps=1")
    assert code == ExitCode.DONE
    assert "2 deviate from the preregistered plan, which does not have demo_debertav3" not in err
    assert "2 deviate from the preregistered plan, which does not have demo_bert" in err


def test_nothing_starts_with_a_file_that_is_no_plan(command, tmp_path):
    (tmp_path / "PLAN.yaml").write_text(yaml.safe_dump({"version": 1}))
    for words in ([*TINY_DEMO], ["--multirun", *TINY_DEMO, "seed=1,2"]):
        code, err = command(*words, "plan=PLAN.yaml")
        assert code == ExitCode.BAD_INPUT
        assert err.startswith("error: plan=PLAN.yaml: no plan: it has no version or no checksum")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["PLAN.yaml"]


@pytest.mark.integration
@pytest.mark.long
def test_jobs_have_a_copy_of_the_plan(plan, tmp_path):
    folder = tmp_path / "sweep"
    words = [*TINY_DEMO, "gi.side=none,both", "gi.level=0.3", "train.max_steps=1"]
    assert plan(*words, "--preregister", "PLAN.yaml")[0] == ExitCode.DONE
    sha256 = preregistration.read("PLAN.yaml").sha256
    assert "deviate" not in submit(folder, "gi.side=none,both", "gi.level=0.3", "train.max_steps=1", "plan=PLAN.yaml")
    copy = folder / FOLDER / "plans" / f"PLAN-{sha256[:12]}.yaml"
    assert copy.read_bytes() == Path("PLAN.yaml").read_bytes()
    noted = [records.load(each.parent)["provenance"]["plan"] for each in folder.glob("*/record.json")]
    assert [(each["sha256"], each["path"], each["deviates"]) for each in noted] == [(sha256, str(copy), None)] * 2
    Path("PLAN.yaml").unlink()
    assert preregistration.keep(copy, copy.parent) == copy  # as a retry does
    moved = tmp_path / "moved"
    copy.parent.rename(moved)
    assert preregistration.keep(copy, moved) == moved / copy.name


def test_json_has_what_deviates(plan, tmp_path, capsys):
    words = ["task=rte", "gi.side=none,both"]
    assert plan(*words, "--preregister", "PLAN.yaml")[0] == ExitCode.DONE
    assert sweep.main(["plan", *words, "seed=42,1", "plan=PLAN.yaml", "--json"]) == ExitCode.DONE
    assert len(json.loads(capsys.readouterr().out)["deviating"]) == 2


def test_what_varies_is_listed_and_not_seed_alone():
    made = [
        synthetic.config("task=rte", f"seeds.order={order}", seed=1, **gate)
        for order in (1, 2, 3)
        for gate in (synthetic.PLAIN, synthetic.BOTH)
    ]
    cells = {identity.run_id(config): Cell([], config) for config in made}
    found = preregister.compared({run_id: cell.config for run_id, cell in cells.items()})
    planned = preregister.plan(found, cells, command=[], margin=0.005, primary=(), finished=())
    assert planned.seeds == [1, "1 order=2", "1 order=3"]
