"""SLURM that does not answer, refuses, forgets or is not there: its commands are faked, since a real one does not do it
when it is asked to."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from conftest import TINY_DEMO
from gifine.compose import grid
from gifine.compose.launchers import SlurmConfig
from gifine.errors import ClusterError, ExitCode, UnfinishedError
from gifine.runs.records import Record, Status, write
from gifine.sweep import __main__ as sweep
from gifine.sweep import launch, ledger, waiting
from gifine.sweep.ledger import Batch, Entry, Ledger, Place
from support.sweeps import rows, status

# Each answers with what is in a file of its name, and fails as often as another one has lines.
ANSWER = """#!/bin/sh
name=$(basename "$0"); cd "$(dirname "$0")"
case "$*" in *%r*) name=reasons;; *%k*) exit 0;; esac
echo "$@" >> "$name.calls"
if [ -s "$name.fails" ]; then head -n 1 "$name.fails" >&2; sed -i 1d "$name.fails"; exit 1; fi
[ ! -e "$name.answer" ] || cat "$name.answer"
"""


class Cluster:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("squeue", "sacct", "sbatch", "scancel", "scontrol"):
            (folder / name).write_text(ANSWER)
            (folder / name).chmod(0o755)
        self.answers("sbatch", "7")
        self.answers("scontrol", "MaxArraySize = 1001")

    def answers(self, name: str, *lines: str) -> None:
        (self.folder / f"{name}.answer").write_text("".join(f"{line}\n" for line in lines))

    def fails(self, name: str, *lines: str) -> None:
        (self.folder / f"{name}.fails").write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Cluster:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setattr(waiting, "_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(waiting, "_LATE_SECONDS", 0.0)
    return Cluster(tmp_path / "bin")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two tasks of job 7, of which the first is done."""
    root = tmp_path / "runs"
    batch = Batch("b", "slurm", {"name": "gifine", "pack": 1}, 2, "", job_id="7", log="%A_%a.log")
    entries = [
        Entry(name * 12, name, str(root / name), places=[Place("b", task)]) for task, name in enumerate(("a", "b"))
    ]
    (root / "a").mkdir(parents=True)
    write(root / "a", Record("a" * 12, "a", {}, status=Status.DONE, metrics={"x/y/accuracy": 0.5}))
    ledger.batch_folder(root, "b").mkdir(parents=True)
    ledger.write(root, Ledger({entry.run_id: entry for entry in entries}, {"b": batch}))
    return root


def test_waiting_outlasts_slurms_silence(slurm, folder, caplog):
    slurm.answers("squeue")
    slurm.fails("squeue", *["slurm_load_jobs error: Zero Bytes were transmitted or received"] * 3)
    slurm.fails("sacct", *["sacct: error: Problem talking to the database: Connection refused"] * 2)
    slurm.answers("sacct", "7_1|OUT_OF_MEMORY")
    with caplog.at_level(logging.INFO), pytest.raises(UnfinishedError, match=r"1 of 2 .*1 out of memory"):
        waiting.follow(folder, {"a" * 12, "b" * 12}, is_wanted=True)
    assert caplog.text.count("Zero Bytes were transmitted or received; asking again, for half an hour") == 1


def test_waiting_ends_at_last(slurm, folder, monkeypatch):
    monkeypatch.setattr(waiting, "_OUTAGE_SECONDS", -1.0)
    slurm.fails("squeue", "squeue: error: Zero Bytes")
    with pytest.raises(ClusterError, match="Zero Bytes"):
        waiting.follow(folder, {"a" * 12, "b" * 12}, is_wanted=True)


def test_without_accounting_a_job_that_is_gone_is_lost(slurm, folder):
    slurm.fails("sacct", *["Slurm accounting storage is disabled"] * 9)
    with pytest.raises(UnfinishedError, match="1 lost"):
        waiting.follow(folder, {"a" * 12, "b" * 12}, is_wanted=True)


@pytest.mark.parametrize("kind", ["no SLURM", "no answer"])
def test_a_sweep_is_shown_as_its_records_say(slurm, folder, kind, monkeypatch, capsys, caplog):
    if kind == "no SLURM":
        monkeypatch.setenv("PATH", str(folder))
        said = "there is no SLURM on this machine"
    else:
        said = "squeue: Invalid authentication credential"
        slurm.fails("squeue", *["squeue: error: Invalid authentication credential"] * 9)
    (ledger.batch_folder(folder, "b") / "7_0.log").write_text("a line\n")
    book = ledger.read(folder)
    book.batches["b"].log = str(ledger.batch_folder(folder, "b") / "%A_%a.log")
    ledger.write(folder, book)
    assert status(folder, capsys) == {"a": "done", "b": "unknown"}
    assert sweep.main(["table", str(folder)]) == ExitCode.DONE
    assert "1 of 2 runs have metrics" in capsys.readouterr().out
    assert caplog.messages == [f"{said}: of unfinished runs no more is known than their records say"] * 2
    assert sweep.main(["logs", str(folder), "a"]) == ExitCode.DONE
    assert capsys.readouterr().out == "a line\n"
    for command in ("cancel", "retry"):
        assert sweep.main([command, str(folder)]) == ExitCode.BAD_INPUT, "what these do depends on the answer"


def test_a_finished_sweep_does_not_ask_slurm(slurm, folder, monkeypatch, capsys, caplog):
    (folder / "b").mkdir()
    write(folder / "b", Record("b" * 12, "b", {}, status=Status.DIVERGED))
    monkeypatch.setenv("PATH", str(folder))
    assert status(folder, capsys) == {"a": "done", "b": "diverged"}
    assert caplog.messages == []


def test_what_was_cancelled_before_it_started_is_cancelled(slurm, folder, capsys):
    slurm.answers("squeue", "7|1|PENDING")
    assert status(folder, capsys) == {"a": "done", "b": "queued"}
    assert sweep.main(["cancel", str(folder)]) == ExitCode.DONE
    assert (slurm.folder / "scancel.calls").read_text() == "7_1\n"
    slurm.answers("squeue")
    for array in ([], ["7_[0-1%2]|PENDING"], ["7_[0-1%2]|CANCELLED by 0"]):  # what sacct says of such tasks, in turn
        slurm.answers("sacct", *array)
        assert status(folder, capsys) == {"a": "done", "b": "cancelled"}
    slurm.fails("squeue", *["squeue: error: Invalid authentication credential"] * 9)
    assert status(folder, capsys) == {"a": "done", "b": "cancelled"}


def test_a_waiting_task_that_only_accounting_knows_is_not_waited_for(slurm, folder):
    """As after `scancel 7_1`: sacct shows the array as it was submitted for as long as another task waits."""
    slurm.answers("sacct", "7_[0-1%2]|PENDING")
    with pytest.raises(UnfinishedError, match="1 lost"):
        waiting.follow(folder, {"a" * 12, "b" * 12}, is_wanted=True)


def test_queued_runs_say_why_they_wait(slurm, folder, capsys):
    slurm.answers("squeue", "7|1|PENDING")
    slurm.answers("reasons", "7|1|QOSMaxJobsPerUserLimit")
    assert rows(folder, capsys)["b"]["reason"] == "QOSMaxJobsPerUserLimit"
    slurm.answers("reasons", "7|1|None")
    assert rows(folder, capsys)["b"]["reason"] is None


def test_runs_that_slurm_takes_no_more_of_are_not_submitted(slurm, tmp_path, capsys):
    root = tmp_path / "sweep"
    runs = grid.expand([*TINY_DEMO, f"output_root={root}", "seed=1,2,3,4,5"])
    settings = SlurmConfig(wait=False, snapshot=False, max_array_size=2)
    real = (slurm.folder / "sbatch").read_text()
    refusal = 'echo "sbatch: error: AssocMaxSubmitJobLimit" >&2; exit 1'
    (slurm.folder / "sbatch").write_text(f"{real}[ $(wc -l < sbatch.calls) -lt 2 ] || {{ {refusal}; }}\n")
    slurm.answers("squeue", "7|0|PENDING", "7|1|PENDING")
    with pytest.raises(ClusterError) as error:
        launch.launch(runs, settings, sweep=root)
    assert "AssocMaxSubmitJobLimit" in str(error.value)
    assert "2 of 5 runs are submitted, 3 are not; the same command goes on with those" in str(error.value)
    assert sorted(status(root, capsys).values()) == ["not submitted"] * 3 + ["queued"] * 2
    left = next(row for row in rows(root, capsys).values() if row["state"] == "not submitted")
    assert left["reason"] == "the sweep's command submits it"
    assert sweep.main(["retry", str(root), str(left["run_id"])]) == ExitCode.BAD_INPUT
    assert "is not submitted: the sweep's command submits it" in capsys.readouterr().err
    (slurm.folder / "sbatch").write_text(real)
    slurm.answers("sbatch", "8")
    launch.launch(runs, settings, sweep=root)
    assert [batch.tasks for batch in ledger.read(root).batches.values()] == [2, 2, 1]
