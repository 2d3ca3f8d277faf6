"""Sweeps whose runs start from other runs of theirs (`first.task`): these come first, whoever starts the jobs."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from gifine.sweep import __main__ as sweep
from gifine.sweep import ledger, pool
from gifine.sweep.job import STARTED
from support import first
from support.sweeps import SLURM, attempts, pause, rows, status, submit, wait_for

pytestmark = pytest.mark.integration

ENDED = {"done", "degenerate"}
SLURM_TESTS = [pytest.mark.slurm, pytest.mark.xdist_group("slurm"), pytest.mark.usefixtures("cluster")]


def own(where: list[str], *words: str) -> list[str]:
    return [*where, *first.FIRST, "gi.side=both", *words]


def records(folder: Path) -> dict[str, dict]:
    found = [json.loads(path.read_text()) for path in folder.glob("*/record.json")]
    return {record["run_id"]: record for record in found}


def check_order(folder: Path) -> None:
    """Every run began when the one that it starts from had ended, and with its weights."""
    found = records(folder)
    children = [record for record in found.values() if record["config"]["first"]["run"]]
    assert children
    for child in children:
        before = found[child["config"]["first"]["run"]]
        assert before["finished"] <= child["started"]
        assert child["provenance"]["init_from"]["run_id"] == before["run_id"]
    assert {run_id: run.first for run_id, run in ledger.read(folder).runs.items()} == {
        run_id: record["config"]["first"]["run"] for run_id, record in found.items()
    }


def test_a_pool_takes_what_waits_for_nothing(tmp_path):
    mine, earlier = tmp_path / "mine", tmp_path / "earlier"
    for folder in (mine, earlier):
        (folder / STARTED).mkdir(parents=True)
    with (earlier / pool.LOCK).open("w") as lock, (mine / pool.LOCK).open("w") as own_lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fcntl.flock(own_lock, fcntl.LOCK_EX)
        waits = [[("earlier", 0)], [], [("mine", 1)], [("earlier", 0), ("mine", 1)]]
        assert pool._next(mine, [0, 1, 2, 3], waits) == 1
        assert pool._next(mine, [0, 2, 3], waits) is None  # 1 has not even started by its folder
        (mine / STARTED / "1").touch()  # and has ended: nobody holds its lock
        assert pool._next(mine, [0, 2, 3], waits) == 2
        assert pool._next(mine, [0, 3], waits) is None
        (earlier / STARTED / "0").touch()
        assert pool._next(mine, [0, 3], waits) == 0
        assert pool._next(mine, [], waits) is None
        assert pool._next(mine, [3], []) == 3  # a batch of an older version
    assert pool._next(mine, [0], [[("earlier", 1)]]) == 0  # that pool is gone


@pytest.mark.long
def test_on_this_machine_runs_start_when_what_they_start_from_has_ended(tmp_path, capsys):
    folder = tmp_path / "sweep"
    words = own(first.write(tmp_path), "gi.side=none,both", "seed=1,2", "hydra.launcher.parallelism=2")
    said = submit(folder, *words, base=first.BASE)
    assert "8 runs, 4 of them for others to start from: 0 finished, 8 to do." in said
    assert set(status(folder, capsys).values()) <= ENDED
    check_order(folder)
    assert "8 finished, 0 to do" in submit(folder, *words, base=first.BASE)
    assert attempts(folder) == [1] * 8


@pytest.mark.long
def test_what_has_failed_is_told_by_those_that_start_from_it_and_retried_with_them(tmp_path, capsys):
    folder, obstacle = tmp_path / "sweep", tmp_path / "cache"
    obstacle.write_text("where data.cache_dir is to be")
    words = own(first.write(tmp_path), "seed=1", "hydra.launcher.parallelism=2")
    submit(folder, *words, base=first.BASE, code=1)
    found = rows(folder, capsys)
    assert {row["state"] for row in found.values()} == {"failed"}
    (child,) = (row for row in found.values() if row["first"])
    assert str(child["reason"]).startswith("nothing to start from: three_bert-large-random_both-0.3_s1-")
    assert "is failed: cannot cache tokenised data" in str(child["reason"])
    obstacle.unlink()
    assert sweep.main(["retry", str(folder)]) == 0
    assert "2 submitted again" in capsys.readouterr().out
    wait_for(lambda: set(status(folder, capsys).values()) <= ENDED, "the retried runs")
    check_order(folder)


class TestSlurm:
    pytestmark = SLURM_TESTS

    def test_jobs_wait_for_the_jobs_of_what_they_start_from(self, tmp_path, capsys):
        folder = tmp_path / "sweep"
        words = own(first.write(tmp_path), "task=two,three", "gi.side=none,both", *SLURM)
        submit(folder, *words, base=first.BASE, launcher="slurm")
        assert set(status(folder, capsys).values()) <= ENDED
        check_order(folder)
        book = ledger.read(folder)
        for entry in book.runs.values():
            (place,) = entry.places
            script = (ledger.batch_folder(folder, place.batch) / "job.sh").read_text()
            latest = None if entry.first is None else book.latest(book.runs[entry.first])
            job = None if latest is None else latest[0].job(latest[1])
            assert ("--dependency=" in script) == (job is not None)
            assert job is None or f"--dependency=afterany:{job}" in script

    def test_runs_go_on_after_what_they_start_from_was_cancelled(self, tmp_path, capsys):
        folder = tmp_path / "sweep"
        words = own(first.write(tmp_path), "seed=1", "train.log_steps=1", *SLURM)
        submit(folder, *words, "hydra.launcher.wait=false", base=first.BASE, launcher="slurm")
        book = ledger.read(folder)
        parent, child = sorted(book.runs.values(), key=lambda entry: entry.first is not None)
        pause(folder, {parent.run_id: 3}, book)
        row = rows(folder, capsys)[child.slug]
        assert (row["state"], row["reason"]) == ("queued", f"waits for {parent.slug}")
        assert sweep.main(["cancel", str(folder), parent.run_id]) == 0
        wait_for(lambda: status(folder, capsys)[child.slug] == "interrupted", "the other job")
        assert rows(folder, capsys)[child.slug]["reason"] == f"{parent.slug}, which it starts from, had not finished"
        assert not (Path(child.folder) / "record.json").exists()
        submit(folder, *words, base=first.BASE, launcher="slurm")
        assert set(status(folder, capsys).values()) <= ENDED
        check_order(folder)

    def test_a_job_that_is_put_into_the_queue_again_is_still_waited_for(self, tmp_path, capsys):
        """As at its time limit."""
        folder = tmp_path / "sweep"
        words = own(first.write(tmp_path), "seed=1", "train.log_steps=1", *SLURM)
        submit(folder, *words, "hydra.launcher.wait=false", base=first.BASE, launcher="slurm")
        book = ledger.read(folder)
        (parent,) = (entry for entry in book.runs.values() if entry.first is None)
        paused = pause(folder, {parent.run_id: 3}, book)
        batch, task = book.latest(parent) or (None, 0)
        assert batch is not None
        subprocess.run(["scancel", "--signal=USR2", str(batch.job(task))], check=True)
        os.kill(paused[parent.run_id], signal.SIGCONT)
        wait_for(lambda: set(status(folder, capsys).values()) <= ENDED, lambda: str(rows(folder, capsys)))
        check_order(folder)
        found = records(folder)
        assert found[parent.run_id]["attempts"] == 2
        assert [record["attempts"] for record in found.values() if record["config"]["first"]["run"]] == [1]

    def test_a_first_run_that_is_no_good_leaves_no_job_behind(self, tmp_path, capsys):
        folder = tmp_path / "sweep"
        words = own(first.write(tmp_path), "seed=1", first.NEVER, *SLURM)
        submit(folder, *words, base=first.BASE, launcher="slurm", code=1)
        found = rows(folder, capsys)
        assert sorted(row["state"] for row in found.values()) == ["degenerate", "failed"]
        (child,) = (row for row in found.values() if row["first"])
        assert "is degenerate: validation: one class predicted" in str(child["reason"])
