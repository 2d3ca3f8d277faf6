"""`first.task`: a run trains what it starts from, if that is not there, and starts from nothing that is no good."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gifine.errors import ExitCode
from support import first

STILL = ["train.learning_rate=1e-12", "train.weight_decay=0", "train.save_model=true", "first.train.learning_rate=3e-3"]


@pytest.fixture
def run(command, tmp_path, cache):
    """Give the command line; its exit code, what it said, and the records by task."""
    where = first.write(tmp_path)

    def call(*words: str) -> tuple[int, str, dict[str, dict]]:
        given = [*where, *first.BASE, "output_root=runs", f"data.cache_dir={cache}", *words]
        code, said = command(*given)
        found = [json.loads(path.read_text()) for path in sorted(Path("runs").glob("*/record.json"))]
        return code, said, {record["config"]["task"]["name"]: record for record in found}

    return call


def folder_of(task: str) -> Path:
    (folder,) = Path("runs").glob(f"{task}_*")
    return folder


def test_a_run_starts_from_the_weights_that_it_trains_first(run):
    code, said, records = run(*first.FIRST, *STILL, "seed=1")
    assert code == ExitCode.DONE, said
    assert records["three"]["status"] == "done"
    before, after = (load_file(folder_of(task) / "model" / "model.safetensors") for task in ("three", "two"))
    assert any("select_k" in name for name in before)
    for name, tensor in before.items():
        if not name.startswith("classifier."):
            torch.testing.assert_close(after[name], tensor, atol=1e-6, rtol=0)
    assert after["classifier.weight"].shape == (2, 32)
    two, three = records["two"], records["three"]
    assert two["slug"] == "two_bert-large-random-from-three_both-0.3_s1"
    assert two["contents"]["model.init_from"] == two["config"]["first"]["run"] == three["run_id"]
    made_by = two["provenance"]["init_from"]
    assert (made_by["run_id"], made_by["task"], made_by["seed"]) == (three["run_id"], "three", 1)
    assert made_by["gi"]["side"] == "both"


def test_what_is_there_is_not_trained_again(run):
    run("task=three", "first.task=three", "seed=1")
    (alone,) = Path("runs").glob("*/record.json")
    stamp = alone.stat().st_mtime_ns
    code, _, records = run(*first.FIRST, "seed=1")
    assert code == ExitCode.DONE
    assert records["two"]["config"]["first"]["run"] == records["three"]["run_id"]
    assert alone.stat().st_mtime_ns == stamp
    shutil.rmtree(folder_of("three"))  # nobody needs it any more
    code, said, records = run(*first.FIRST, "seed=1")
    assert (code, [*records]) == (ExitCode.DONE, ["two"]), said


@pytest.mark.long
def test_weights_that_were_not_kept_are_told_before_anything_is_trained(run):
    run("task=three", "seed=1")
    code, said, records = run(*first.FIRST, "seed=1")
    assert (code, [*records]) == (ExitCode.BAD_INPUT, ["three"])
    assert said.startswith(f"error: {folder_of('three')} has no weights any more, or has kept none")
    assert "task=three overwrite=true" in said
    code, said, records = run("--multirun", *first.FIRST, "seed=1")
    assert (code, [*records]) == (ExitCode.BAD_INPUT, ["three"])
    assert run("task=three", "first.task=three", "overwrite=true", "seed=1")[0] == ExitCode.DONE
    assert run(*first.FIRST, "seed=1")[0] == ExitCode.DONE


def test_a_run_does_not_start_from_one_that_answers_one_for_all(run):
    code, said, records = run(*first.FIRST, first.NEVER, "seed=1")
    assert code == ExitCode.BAD_INPUT
    assert (records["three"]["status"], records["two"]["status"]) == ("degenerate", "failed")
    assert f"error: nothing to start from: {folder_of('three').name} is degenerate: " in said
    assert records["two"]["error"] in said
    noted = records["two"]["provenance"]["init_from"]
    assert noted["run_id"] == records["three"]["run_id"], "it may have a twin"
    assert noted["status"] == "degenerate", "the report counts both as one accident"


def test_a_run_does_not_start_from_one_that_has_not_finished(run):
    """Of a sweep the run before is another one's; here it was stopped, and its record says so."""
    run(*first.FIRST, "seed=1")
    shutil.rmtree(folder_of("two"))
    path = folder_of("three") / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "interrupted"}))
    from gifine import execution
    from gifine.compose import grid

    where = [*first.BASE, "output_root=runs", *first.FIRST, "seed=1"]
    *_, child = grid.expand(where, "conf")
    assert execution.execute(child.config) == ExitCode.INTERRUPTED
    assert not (child.folder / "record.json").exists()


@pytest.mark.long
def test_a_sweep_in_one_process_has_both(run):
    code, said, records = run("--multirun", "task=two,three", "first.task=three", "gi.side=none,both", "seed=1")
    assert code == ExitCode.DONE, said
    assert "4 runs: 0 finished, 4 to do." in said
    assert {record["status"] for record in records.values()} <= {"done", "degenerate"}
    found = [json.loads(path.read_text()) for path in sorted(Path("runs").glob("*/record.json"))]
    sides = {record["run_id"]: record["config"]["gi"]["side"] for record in found}
    children = [record for record in found if record["config"]["first"]["run"]]
    assert len(children) == 2
    assert all(record["config"]["gi"]["side"] == sides[record["config"]["first"]["run"]] for record in children)
    assert (
        "4 runs: 4 finished, 0 to do."
        in run("--multirun", "task=two,three", "first.task=three", "gi.side=none,both", "seed=1")[1]
    )
