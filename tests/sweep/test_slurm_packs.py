"""Several runs in one job of a real SLURM, and different jobs for different needs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT
from gifine.sweep import ledger
from support.sweeps import SLURM, attempts, command, job_of, pause, status, submit

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm"), pytest.mark.usefixtures("cluster")]

LONG = ["data.demo_train_rows=960", "train.epochs=2", "train.batch_size=8"]


def read(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*/record.json"))]


def test_a_signal_to_a_pack_is_for_all_its_runs_and_they_go_on(tmp_path, capsys):
    """Two at a time, each with half of the job's CPUs; the third one starts when the job was requeued."""
    folder = tmp_path / "sweep"
    words = [*LONG, "seed=1,2,3", "hydra.launcher.pack=3", "hydra.launcher.side_by_side=2"]
    submit(folder, *SLURM, *words, "hydra.launcher.wait=false", launcher="slurm")
    book = ledger.read(folder)
    first, second, _ = book.runs.values()
    paused = pause(folder, {first.run_id: 3, second.run_id: 3}, book)
    assert list(status(folder, capsys).values()) == ["running", "running", "queued"]
    subprocess.run(["scancel", "--signal=USR2", job_of(book, first)], check=True)
    for process in paused.values():
        os.kill(process, signal.SIGCONT)
    submit(folder, *SLURM, *words, launcher="slurm")
    assert sorted(attempts(folder)) == [1, 2, 2]
    assert all(record["resumed_at"] > 0 for record in read(folder) if record["attempts"] == 2)
    assert len(ledger.read(folder).batches) == 1, "requeued, not submitted again"


def test_a_site_s_preset_and_resources_by_model(tmp_path):
    """As a newcomer gives them: --config-dir, with a preset made from the example."""
    example = (ROOT / "launchers" / "site" / "example.yaml").read_text()
    lines = [line for line in example.splitlines() if "module load" not in line and "/bin/activate" not in line]
    preset = "\n".join(lines).replace("partition: gpu", "partition: normal").replace("    account: nlp\n", "")
    preset = preset.replace("python: python #", "python: null #").replace("mem_gb: 32\n", "mem_gb: 2\n")
    preset = preset.replace("{task: [wnli, rte, mrpc, stsb], pack: 5}", "{task: demo, timeout_min: 7, pack: 2}")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mine.yaml").write_text(preset)
    folder = tmp_path / "sweep"
    words = command(folder, "site=mine", "prefetch=null", "seed=1,2", SLURM[-1], launcher="slurm")
    done = subprocess.run([*words, "--config-dir", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (batch,) = ledger.read(folder).batches.values()
    script = (ledger.batch_folder(folder, batch.name) / "job.sh").read_text()
    assert {"--time=0:07:00", "--gres=gpu:1", "--partition=normal"} <= {*script.splitlines()[1].split()}
    assert (batch.tasks, batch.settings["pack"], batch.settings["resources"]) == (1, 2, [])
    assert attempts(folder) == [1, 1]
    assert {record["config"]["tracking"]["mode"] for record in read(folder)} == {"offline"}
