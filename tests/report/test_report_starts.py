"""Runs that start from other runs: twins are those that start from twins."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gifine.report import settings
from gifine.report.analysis import pairing
from gifine.report.reading import Reader, Run
from gifine.runs import identity, origin, records
from gifine.runs.records import Record, Status
from support.synthetic import BOTH, PLAIN, Gate, config, record, write

ARMS = (PLAIN, BOTH)
MNLI = [0.8, 0.8]


def parent(seed: int, gate: Gate, *words: str) -> Record:
    return record(config("task=mnli", *words, seed=seed, **gate), MNLI)


def child(before: Record, seed: int, gate: Gate, *, noted: bool = True, status: Status = Status.DONE) -> Record:
    """After `before`, as a run of `first.task=mnli` leaves its record; an older version has not `noted` all."""
    own = config("task=rte", seed=seed, **gate)
    own = replace(own, first=replace(own.first, task="mnli", run=before.run_id))
    entries = vars(before)
    made = record(own, [0.7] if status is Status.DONE else [], status, contents={"model.init_from": before.run_id})
    made.provenance["init_from"] = {"run_id": before.run_id, **(origin.as_parent(entries) if noted else {})}
    return made


def read(root: Path) -> list[Run]:
    found = Reader([root]).read()
    assert found.problems == []
    return found.runs


def pairs(root: Path, task: str = "rte") -> tuple[list[tuple[int, str]], list[str]]:
    """Seed and gate of each pair of a task, and why others have no partner."""
    found, unpaired = pairing.pair([run for run in read(root) if run.task.name == task])
    return [(pair.gated.seed, settings.gate(pair.gated.gate)) for pair in found], [each.reason for each in unpaired]


def test_each_arm_after_its_own_runs_pairs_seed_by_seed(tmp_path):
    for seed in (1, 2, 3):
        for gate in ARMS:
            before = parent(seed, gate)
            write(tmp_path, before)
            write(tmp_path, child(before, seed, gate))
    assert pairs(tmp_path) == ([(seed, "both 0.3") for seed in (1, 2, 3)], [])
    setups = {run.setup for run in read(tmp_path) if run.task.name == "rte"}
    assert len(setups) == 1
    assert str(setups.pop().get("model.init_from")).startswith("mnli (")


def test_a_run_that_failed_before_it_began_has_its_twin(tmp_path):
    """As one does whose run before is degenerate: else only survivors would be compared."""
    plain, gated = (parent(1, gate) for gate in ARMS)
    write(tmp_path, child(plain, 1, PLAIN))
    write(tmp_path, child(gated, 1, BOTH, status=Status.FAILED))
    assert pairs(tmp_path) == ([(1, "both 0.3")], [])


def test_all_after_one_plain_run_pair_too_and_are_another_change(tmp_path):
    """Gates that come at the second task alone are not those that were there at the first."""
    plain, gated = parent(1, PLAIN), parent(1, BOTH)
    for made in (child(plain, 1, PLAIN), child(plain, 1, BOTH), child(gated, 1, BOTH)):
        write(tmp_path, made)
    found, reasons = pairs(tmp_path)
    assert sorted(found) == [(1, "both 0.3"), (1, "both 0.3 first=none")]
    assert reasons == []


def test_gates_at_the_first_task_alone_are_no_baseline(tmp_path):
    write(tmp_path, child(parent(1, PLAIN), 1, PLAIN))
    write(tmp_path, child(parent(1, BOTH), 1, PLAIN))
    assert pairs(tmp_path) == ([(1, "none first=both 0.3")], [])


def test_one_run_for_all_seeds_of_an_arm(tmp_path):
    for gate in ARMS:
        before = parent(7, gate)
        for seed in (1, 2):
            write(tmp_path, child(before, seed, gate))
    assert pairs(tmp_path) == ([(1, "both 0.3"), (2, "both 0.3")], [])


def test_runs_after_other_seeds_are_no_twins(tmp_path):
    write(tmp_path, child(parent(1, PLAIN), 1, PLAIN))
    write(tmp_path, child(parent(2, BOTH), 1, BOTH))
    found, reasons = pairs(tmp_path)
    assert found == []
    assert set(reasons) == {"it differs in the seed of the run that it starts from (2, 1)"}


@pytest.mark.parametrize("word", ["train.epochs=9", "model.size=base", "evaluate.split_dev=true"])
def test_runs_after_other_values_are_no_twins(tmp_path, word):
    write(tmp_path, child(parent(1, PLAIN), 1, PLAIN))
    write(tmp_path, child(parent(1, BOTH, word), 1, BOTH))
    found, reasons = pairs(tmp_path)
    assert found == []
    assert all("model.init_from mnli (" in reason for reason in reasons)


def test_what_decides_nothing_makes_no_other_role():
    """Where it was, and whether its weights were kept."""
    one, other = parent(1, PLAIN), parent(4, BOTH, "train.save_model=true", "output_root=elsewhere")
    assert origin.as_parent(vars(one))["role"] == origin.as_parent(vars(other))["role"]
    assert origin.as_parent({"run_id": "0"}) == {}


def test_a_run_after_a_run_after_a_run(tmp_path):
    """The role of what it starts from has the role of what that one starts from."""
    for gate in ARMS:
        middle = child(parent(1, gate), 1, gate)
        assert middle.provenance["init_from"]["role"]
        write(tmp_path, child(middle, 1, gate))
    assert pairs(tmp_path) == ([(1, "both 0.3")], [])


def test_an_older_record_takes_it_from_the_run_that_it_names(tmp_path):
    """While that is there; then it is known by its run_id alone, as it was before."""
    befores = [parent(1, gate) for gate in ARMS]
    folders = [write(tmp_path / "mnli", before) for before in befores]
    for before, folder, gate in zip(befores, folders, ARMS, strict=True):
        made = record(config("task=rte", seed=1, **gate), [0.7])
        made.config["model"]["init_from"] = str(folder)
        made.contents = {"model.init_from": f"{before.run_id}{'0' * 52}"}
        made.provenance["init_from"] = {"folder": f"{folder}/model", "run_id": before.run_id}
        write(tmp_path / "rte", made)
    assert pairs(tmp_path / "rte") == ([(1, "both 0.3")], [])
    shutil.rmtree(tmp_path / "mnli")
    found, _ = pairs(tmp_path / "rte")
    assert found == []
    assert {run.setup.get("model.init_from") for run in read(tmp_path)} == {before.run_id for before in befores}


def test_a_run_beside_it_is_found_by_its_run_id(tmp_path):
    """Also where a record has nothing but the config's word, as of a job that was killed at once."""
    for gate in ARMS:
        before = parent(1, gate)
        write(tmp_path, before)
        made = child(before, 1, gate)
        del made.provenance["init_from"]
        write(tmp_path, made)
    assert pairs(tmp_path) == ([(1, "both 0.3")], [])


def test_the_run_before_may_be_no_record_of_ours(tmp_path):
    before = parent(1, PLAIN)
    folder = write(tmp_path / "mnli", before)
    (folder / records.RECORD).write_text(json.dumps({"run_id": before.run_id, "config": 7}))
    made = child(before, 1, PLAIN, noted=False)
    made.provenance["init_from"]["folder"] = f"{folder}/model"
    write(tmp_path / "rte", made)
    (run,) = read(tmp_path / "rte")
    assert run.setup.get("model.init_from") == before.run_id
    assert identity.deciding(made.config, made.contents)["model"]["init_from"] == before.run_id


def test_streams_of_random_numbers_belong_to_the_seed():
    """What the gates were drawn from as well, which a baseline has not."""
    plain = parent(1, PLAIN, "seeds.order=5", "seeds.change=7")
    gated = parent(1, BOTH, "seeds.order=5", "seeds.change=7")
    assert [origin.as_parent(vars(each))["seed"] for each in (plain, gated)] == ["1 order=5"] * 2
    assert origin.as_parent(vars(plain))["role"] == origin.as_parent(vars(parent(3, PLAIN)))["role"]
