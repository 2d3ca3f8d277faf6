"""Sweeps on a real SLURM: whatever happens to jobs, the same command ends with every record, and nothing ran twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from gifine.sweep import __main__ as sweep
from gifine.sweep import ledger, slurm
from outcomes import differing, result
from test_sweep import attempts, status, submit, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]

SETTINGS = ["hydra.launcher.timeout_min=10", "hydra.launcher.mem_gb=2"]
LONG = ["data.demo_train_rows=960", "train.epochs=2", "train.batch_size=8", "train.save_model=true"]


@pytest.fixture(scope="module", autouse=True)
def _cluster():
    if shutil.which("sinfo") is None or subprocess.run(["sinfo"], capture_output=True, check=False).returncode:
        pytest.skip("needs a SLURM cluster: tests/slurm/up starts one on this machine")


def job_of(book: ledger.Ledger, run: ledger.Entry) -> str:
    place = book.latest(run)
    assert place is not None
    job = place[0].job(place[1])
    assert job is not None
    return job


def process_of(folder: Path, run_id: str) -> int:
    """The id of the run's own process, on whatever node of this machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text()
        except OSError:
            continue
        if "gifine.sweep.attempt" in words and f"{folder}/" in words and run_id in words:
            return int(path.parent.name)
    raise AssertionError(f"no process of {run_id}")


def test_a_disturbed_grid_ends_as_an_undisturbed_one(tmp_path, capsys):
    folder, rows = tmp_path / "sweep", tmp_path / "rows.csv"
    grid = [*LONG, "gi.side=none,both", "seed=1,2"]
    waiting = ["hydra.launcher.wait=false"]
    assert "4 runs: 4 to submit" in submit(folder, *SETTINGS, *grid, *waiting, launcher="slurm")
    rows.write_text("sentence,label\nit sleeps,good\nit runs,nothing\n")
    own = [*(f"task.files.{split}={rows}" for split in ("train", "validation")), "task.labels=[bad,good]"]
    submit(folder, *SETTINGS, *own, *waiting, "seed=3", launcher="slurm")

    book = ledger.read(folder)
    on, cancelled, killed, signalled, raising = book.runs.values()
    wait_for(lambda: all(Path(run.folder, "metrics.jsonl").exists() for run in (cancelled, killed, signalled)), "steps")
    jobs = {run.run_id: job_of(book, run) for run in book.runs.values()}
    assert sweep.main(["cancel", str(folder), cancelled.run_id]) == 0
    os.kill(process_of(folder, killed.run_id), signal.SIGKILL)
    subprocess.run(["scancel", "--signal=USR2", jobs[signalled.run_id]], check=True)

    def settled() -> bool:
        now = status(folder, capsys)
        return (now[cancelled.slug], now[killed.slug], now[raising.slug]) == ("cancelled", "killed", "failed")

    wait_for(settled, "cancelled, killed and failed", 90)
    told = {jobs[cancelled.run_id]: "CANCELLED", jobs[killed.run_id]: "FAILED", jobs[raising.run_id]: "FAILED"}
    wait_for(lambda: slurm.states(told) == told, str(told))
    assert sweep.main(["logs", str(folder), raising.run_id]) == 0
    assert "label" in capsys.readouterr().out

    said = submit(folder, *SETTINGS, *grid, launcher="slurm")
    assert "2 to submit" in said, "the one that was requeued is not submitted again, nor the undisturbed one"
    rows.write_text("sentence,label\n" + "it sleeps,good\nit runs,bad\n" * 8)
    submit(folder, *SETTINGS, *own, "seed=3", "hydra.launcher.retry_failed=true", launcher="slurm")
    assert set(status(folder, capsys).values()) <= {"done", "degenerate"}
    counted = [json.loads(Path(run.folder, "record.json").read_text())["attempts"] for run in book.runs.values()]
    assert counted == [1, 2, 2, 2, 2]
    assert json.loads(Path(signalled.folder, "record.json").read_text())["resumed_at"] > 0
    assert len(ledger.read(folder).runs[signalled.run_id].places) == 1
    assert "0 to submit" in submit(folder, *SETTINGS, *grid, launcher="slurm")

    calm = tmp_path / "calm"
    submit(calm, *grid, "hydra.launcher.parallelism=2")
    for run in (on, cancelled, killed, signalled):
        assert differing(result(Path(run.folder)), result(calm / Path(run.folder).name)) == []


def test_arrays_are_cut_and_packs_share_a_job(tmp_path):
    folder = tmp_path / "sweep"
    words = ["seed=1,2,3,4,5", "hydra.launcher.pack=2", "hydra.launcher.max_array_size=2"]
    submit(folder, *SETTINGS, *words, launcher="slurm")
    book = ledger.read(folder)
    assert [batch.tasks for batch in book.batches.values()] == [2, 1]
    assert [place.task for run in book.runs.values() for place in run.places] == [0, 0, 1, 1, 0]
    assert attempts(folder) == [1] * 5


def test_a_submission_that_was_not_written_down_is_found(tmp_path):
    """As after a crash between sbatch and the ledger."""
    folder = tmp_path / "sweep"
    submit(folder, *SETTINGS, "seed=1,2", "hydra.launcher.wait=false", launcher="slurm")
    book = ledger.read(folder)
    (batch,) = book.batches.values()
    job, batch.job_id = batch.job_id, None
    ledger.write(folder, book)
    assert "to submit" in submit(folder, *SETTINGS, "seed=1,2", launcher="slurm")
    (batch,) = ledger.read(folder).batches.values()
    assert batch.job_id == job
    assert attempts(folder) == [1, 1]


def test_two_tasks_are_one_run_on_two_processes(tmp_path):
    folder = tmp_path / "sweep"
    words = ["hydra.launcher.tasks_per_node=2", "seed=1"]
    submit(folder, *SETTINGS, *words, launcher="slurm")
    (path,) = folder.glob("*/record.json")
    record = json.loads(path.read_text())
    assert record["provenance"]["processes"] == 2
    assert record["steps"] == {"done": 4, "planned": 4}  # 64 rows, 2 × 16 a step, 2 epochs
    assert record["attempts"] == 1


def test_wait_says_what_slurm_refuses(tmp_path):
    said = submit(tmp_path / "sweep", "seed=1", "hydra.launcher.partition=nowhere", code=2, launcher="slurm")
    assert "sbatch: " in said
    assert "invalid partition" in said
    assert ledger.read(tmp_path / "sweep").batches == {}
    assert not list((tmp_path / "sweep").glob("*/record.json"))
