"""Sweeps on a real SLURM: how runs become jobs. What happens to jobs is in test_slurm_events.py."""

from __future__ import annotations

import json
import subprocess

import pytest

from gifine.sweep import ledger, slurm
from support.sweeps import SLURM, attempts, submit

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm"), pytest.mark.usefixtures("cluster")]


def test_arrays_are_cut_and_packs_share_a_job(tmp_path):
    folder = tmp_path / "sweep"
    words = ["seed=1,2,3,4,5", "hydra.launcher.pack=2", "hydra.launcher.max_array_size=2"]
    submit(folder, *SLURM, *words, launcher="slurm")
    book = ledger.read(folder)
    assert [batch.tasks for batch in book.batches.values()] == [2, 1]
    assert [place.task for run in book.runs.values() for place in run.places] == [0, 0, 1, 1, 0]
    assert attempts(folder) == [1] * 5


def test_a_submission_that_was_not_written_down_is_found(tmp_path):
    """As after a crash between sbatch and the ledger."""
    folder = tmp_path / "sweep"
    submit(folder, *SLURM, "seed=1,2", "hydra.launcher.wait=false", launcher="slurm")
    book = ledger.read(folder)
    (batch,) = book.batches.values()
    job, batch.job_id = batch.job_id, None
    ledger.write(folder, book)
    assert "to submit" in submit(folder, *SLURM, "seed=1,2", launcher="slurm")
    (batch,) = ledger.read(folder).batches.values()
    assert batch.job_id == job
    assert attempts(folder) == [1, 1]


def test_two_tasks_are_one_run_on_two_processes(tmp_path):
    folder = tmp_path / "sweep"
    words = ["hydra.launcher.tasks_per_node=2", "seed=1"]
    submit(folder, *SLURM, *words, launcher="slurm")
    (path,) = folder.glob("*/record.json")
    record = json.loads(path.read_text())
    assert record["provenance"]["processes"] == 2
    assert record["steps"] == {"done": 4, "planned": 4}  # 64 rows, 2 × 16 a step, 2 epochs
    assert record["attempts"] == 1


def test_a_job_hangs_on_the_launcher_s_keys_alone(tmp_path, monkeypatch):
    """From within another job, with a site's variables, into a folder that SLURM could take for a pattern."""
    foreign = {"SLURM_NTASKS": "4", "SLURM_NNODES": "1", "SLURM_JOB_ID": "1", "SLURM_MEM_PER_CPU": "100"}
    foreign |= {"SLURM_CPUS_PER_TASK": "2", "SRUN_CPUS_PER_TASK": "9", "SLURM_EXPORT_ENV": "NONE", "WORLD_SIZE": "4"}
    foreign |= {"SBATCH_OUTPUT": "/dev/null", "SBATCH_TIMELIMIT": "1", "SBATCH_NO_REQUEUE": "1", "RANK": "3"}
    for name, value in foreign.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    folder = tmp_path / "here" / "50%j"
    own = ["hydra.launcher.additional_parameters.exclusive=true", "hydra.launcher.additional_parameters.comment=paid"]
    own += [f"hydra.launcher.additional_parameters.chdir={tmp_path}", "output_root='50%j'"]
    submit(folder, *SLURM, *own, launcher="slurm")
    (path,) = tmp_path.rglob("record.json")
    assert path.parents[1] == folder
    record = json.loads(path.read_text())
    assert (record["provenance"]["processes"], record["steps"]["done"]) == (1, 8)
    book = ledger.read(folder)
    (batch,) = book.batches.values()
    log = ledger.log_of(folder, batch, 0)
    assert log is not None
    assert batch.job_id is not None
    assert f"record: {path}" in log.read_text()
    said = subprocess.run(["scontrol", "show", "job", batch.job_id], capture_output=True, text=True, check=True).stdout
    assert {"Requeue=1", "NumTasks=1", "TimeLimit=00:10:00", "Comment=paid"} <= {*said.split()}
    assert slurm.find(batch.name) == (batch.job_id, None)


def test_wait_says_what_slurm_refuses(tmp_path):
    said = submit(tmp_path / "sweep", "seed=1", "hydra.launcher.partition=nowhere", code=2, launcher="slurm")
    assert "sbatch: " in said
    assert "invalid partition" in said
    assert ledger.read(tmp_path / "sweep").batches == {}
    assert not list((tmp_path / "sweep").glob("*/record.json"))
