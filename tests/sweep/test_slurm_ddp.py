"""Runs on several processes as jobs of a real SLURM: DDP over nodes, and what becomes of all if one dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TINY_DEMO
from gifine.sweep import ledger, slurm
from support.outcomes import FINISHED, differing, record_of, result
from support.sweeps import SLURM, job_of, pause, process_of, rows, status, step_of, submit, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm"), pytest.mark.usefixtures("cluster")]

LONG = ["data.demo_train_rows=1920", "train.batch_size=8", "train.save_model=true", "train.save_steps=5"]


def test_two_nodes_of_two_tasks_are_signalled_requeued_and_end_as_undisturbed(tmp_path, capsys, request):
    folder, calm = tmp_path / "sweep", tmp_path / "calm"
    words = [*SLURM, *LONG, "hydra.launcher.nodes=2", "hydra.launcher.tasks_per_node=2"]
    submit(folder, *words, "hydra.launcher.wait=false", launcher="slurm")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4", "-m", "gifine"]
    own = [*TINY_DEMO, *LONG, f"output_root={calm}", f"data.cache_dir={tmp_path / 'cache'}"]
    undisturbed = subprocess.Popen([*torchrun, *own], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    request.addfinalizer(undisturbed.kill)

    book = ledger.read(folder)
    (run,) = book.runs.values()
    process = pause(folder, {run.run_id: 7}, book)[run.run_id]
    subprocess.run(["scancel", "--signal=USR2", job_of(book, run)], check=True)
    os.kill(process, signal.SIGCONT)
    wait_for(lambda: status(folder, capsys) == {run.slug: "queued"}, "queued")
    assert "0 to submit" in submit(folder, *words, launcher="slurm"), "queued, or running again already"

    record = record_of(Path(run.folder))
    assert record is not None
    assert (record["attempts"], record["provenance"]["processes"]) == (2, 4)
    assert 7 <= record["resumed_at"] < 120
    output, _ = undisturbed.communicate(timeout=120)
    assert undisturbed.returncode == 0, output
    assert differing(result(Path(run.folder)), result(calm / Path(run.folder).name)) == []


def test_a_process_that_dies_ends_the_others_and_the_record_names_it(tmp_path, capsys):
    folder = tmp_path / "sweep"
    words = [*SLURM, *LONG, "hydra.launcher.tasks_per_node=2"]
    submit(folder, *words, "hydra.launcher.wait=false", launcher="slurm")
    book = ledger.read(folder)
    (run,) = book.runs.values()
    job = job_of(book, run)
    wait_for(lambda: step_of(run) > 5, "steps", 120)
    node = subprocess.check_output(["squeue", "--noheader", f"--jobs={job}", "--format=%N"], text=True).strip()
    process = process_of(folder, run.run_id, rank=1)
    assert process is not None
    os.kill(process, signal.SIGKILL)
    wait_for(lambda: slurm.states([job]) == {job: "FAILED"}, "the job's end", 30)
    wait_for(lambda: process_of(folder, run.run_id) is None, "the other process's end", 5)
    (row,) = rows(folder, capsys).values()
    said = f"rank 1 on {node} was killed by SIGKILL; the job's log has its words"
    assert (row["state"], row["reason"]) == ("failed", said)
    record = record_of(Path(run.folder))
    assert record is not None
    assert record["error"].startswith(f"{said}\n")

    submit(folder, *words, "hydra.launcher.retry_failed=true", launcher="slurm")
    record = record_of(Path(run.folder))
    assert record is not None
    assert record["status"] in FINISHED
    assert record["attempts"] == 2
    assert record["resumed_at"] >= 5
