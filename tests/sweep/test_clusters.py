"""Submitting where environment, folders or cluster are others than one might think; sbatch is a stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import TINY_DEMO
from gifine import cli
from gifine.compose.launchers import LocalConfig, SlurmConfig
from gifine.config import RunConfig
from gifine.errors import ExitCode, OutputError
from gifine.runs import identity
from gifine.runs.records import Record, Status
from gifine.sweep import __main__ as sweep
from gifine.sweep import batches, job, launch, ledger, listing, logtail, sharing, slurm
from gifine.sweep.batches import Request
from gifine.sweep.commands import retry
from gifine.sweep.ledger import Entry, Ledger
from gifine.sweep.states import State

FAKE = """#!/bin/bash
name=${0##*/}
printf '%s\\n' "$name $*" >> "$CALLS"
env > "$CALLS.$name"
case $name in
  sbatch) number=$(grep -c ^sbatch "$CALLS"); echo "$number${CLUSTER:+;$CLUSTER}" ;;
  squeue) [[ $* == *%K* ]] && echo "${TASK:-1|N/A}|${STATE:-PENDING}" || echo "7|none|${COMMAND:-(null)}" ;;
  scontrol) echo "MaxArraySize = 1001" ;;
esac
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """SLURM's commands, which note their words and environment; the words of each call so far, by command."""
    (tmp_path / "bin").mkdir()
    for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol"):
        (tmp_path / "bin" / name).write_text(FAKE)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    for name in [name for name in os.environ if name.startswith(("SLURM_", "SBATCH_"))]:
        monkeypatch.delenv(name)

    def calls(command: str) -> list[list[str]]:
        lines = (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []
        return [line.split()[1:] for line in lines if line.split()[0] == command]

    return calls


def config(**values) -> RunConfig:
    return replace(cli.config_from(cli.compose(TINY_DEMO)), **values)


def request(folder: Path, settings=None, seed: int = 1, cwd: str = "/") -> Request:
    """A run whose folder is in this sweep's."""
    own = config(seed=seed, output_root=str(folder))
    entry = Entry(identity.run_id(own), identity.slug(own), str(identity.directory(own)))
    return Request(entry, own, settings or SlurmConfig(snapshot=False), cwd)


def submit(folder: Path, *requests: Request) -> Ledger:
    (folder / ledger.FOLDER).mkdir(parents=True, exist_ok=True)
    book = ledger.read(folder)
    book.runs |= {each.entry.run_id: each.entry for each in requests}
    batches.submit(folder, book, requests)
    return book


def words_of(call: list[str]) -> dict[str, str]:
    return {name: value for name, _, value in (word.partition("=") for word in call)}


# What the shell of another job, or a site's profile, has.
FOREIGN = {
    "SLURM_NTASKS": "4",
    "SLURM_JOB_ID": "77",
    "SLURM_MEM_PER_CPU": "100",
    "SLURM_CPU_BIND": "cores",
    "SLURM_EXPORT_ENV": "NONE",
    "SLURM_WORKING_CLUSTER": "x:y:1:2:3",
    "SLURMD_DEBUG": "2",
    "SRUN_CPUS_PER_TASK": "9",
    "SALLOC_PARTITION": "x",
    "SBATCH_ARRAY_INX": "1-3",
    "SBATCH_OUTPUT": "/dev/null",
    "SBATCH_NO_REQUEUE": "1",
    "SBATCH_TIMELIMIT": "1",
    "SBATCH_MEM_PER_CPU": "1",
    "SBATCH_WAIT": "1",
    "SQUEUE_USERS": "nobody",
    "SQUEUE_PARTITION": "nowhere",
    "SCANCEL_STATE": "SUSPENDED",
    "SACCT_LOCAL": "1",
    "PMI_RANK": "1",
    "CUDA_VISIBLE_DEVICES": "3",
}
KEPT = {
    "SLURM_CONF": "/etc/slurm/slurm.conf",
    "SBATCH_ACCOUNT": "nlp",
    "SBATCH_PARTITION": "site",
    "WANDB_MODE": "offline",
    "HOME": "/root",
}


def test_what_another_job_has_in_its_environment_reaches_no_command_and_no_job(tmp_path, fake, monkeypatch):
    for name, value in {**FOREIGN, **KEPT}.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "sweep"
    submit(
        folder,
        request(folder, SlurmConfig(snapshot=False, partition="mine", additional_parameters={"exclusive": True})),
    )
    listing.read(folder)
    slurm.cancel(["1"])
    for command in ("sbatch", "squeue", "sacct", "scancel"):
        path = tmp_path / f"calls.{command}"
        if command != "sacct":  # which squeue has made superfluous
            seen = dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
            assert not FOREIGN.keys() & seen.keys()
            assert KEPT.items() <= seen.items()
    words = words_of(fake("sbatch")[0])
    assert (words["--partition"], words["--time"], words["--ntasks"]) == ("mine", "1:00:00", "1")
    assert words["--output"].startswith(str(folder))
    assert "--requeue" in words


def test_outside_of_a_job_devices_are_the_users_word(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert slurm.environment()["CUDA_VISIBLE_DEVICES"] == "3"


def test_an_answer_without_a_job_is_an_error_and_nothing_is_remembered(tmp_path, fake):
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\necho nothing done\n")
    folder = tmp_path / "sweep"
    with pytest.raises(slurm.ClusterError, match="sbatch: names no job, but says: nothing done"):
        submit(folder, request(folder))
    assert ledger.read(folder).batches == {}


def test_a_job_on_another_cluster_is_asked_for_and_cancelled_there(tmp_path, fake, monkeypatch, capsys):
    monkeypatch.setenv("CLUSTER", "b")
    folder = tmp_path / "sweep"
    book = submit(folder, request(folder, SlurmConfig(snapshot=False, additional_parameters={"clusters": "a,b"})))
    (batch,) = book.batches.values()
    assert (batch.job_id, batch.cluster) == ("1", "b")
    assert words_of(fake("sbatch")[0])["--clusters"] == "a,b"
    assert [run.state for run in listing.read(folder)] == [State.QUEUED]
    assert sweep.main(["cancel", str(folder)]) == 0
    monkeypatch.setenv("TASK", "9|N/A")  # squeue knows it no more
    listing.read(folder)
    assert {words_of(fake(name)[-1])["--clusters"] for name in ("squeue", "sacct", "scancel")} == {"b"}

    batch.job_id = batch.cluster = None
    ledger.write(folder, book)
    monkeypatch.setenv("COMMAND", f"{folder}/.sweep/jobs/{batch.name}/job.sh")
    batches.recover(folder, book)
    assert (batch.job_id, batch.cluster) == ("7", "a"), "found by its script: the comment may be the user's"
    batch.job_id = batch.cluster = None
    started = ledger.batch_folder(folder, batch.name) / job.STARTED
    started.mkdir()
    (started / "8").write_text("b")
    batches.recover(folder, book)
    assert (batch.job_id, batch.cluster) == ("8", "b")


def test_an_array_is_as_small_as_each_of_the_clusters_wants(tmp_path, fake, monkeypatch):
    monkeypatch.setenv("SBATCH_CLUSTERS", "a,b")
    folder = tmp_path / "sweep"
    submit(folder, request(folder), request(folder, seed=2))
    assert [call[0] for call in fake("scontrol")] == ["--clusters=a", "--clusters=b"]


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([(9, 4)], [(4, None)]),
        ([(3, 256)], [(3, None)]),
        ([(9, 4), (9, 4)], [(2, None), (2, None)]),
        ([(1, 4), (9, 4)], [(1, None), (3, None)]),
        ([(9, 1), (9, 1), (5, 1)], [(1, None), (1, 0), (1, 1)]),
        ([(9, 2), (1, 2), (5, 2)], [(1, None), (1, None), (1, 0)]),
        ([(9, 3), (9, 5), (9, 3)], [(1, None), (5, None), (2, None)]),
    ],
)
def test_classes_share_how_many_jobs_run_at_a_time(batches, expected):
    assert sharing.scheduled(batches) == expected


def test_one_at_a_time_of_two_classes_is_one_at_a_time(tmp_path, fake):
    folder = tmp_path / "sweep"
    short, long = (SlurmConfig(snapshot=False, array_parallelism=1, timeout_min=minutes) for minutes in (10, 20))
    own = replace(long, additional_parameters={"dependency": "afterok:99"})
    submit(folder, request(folder, short), request(folder, short, 2), request(folder, long, 3), request(folder, own, 4))
    found = [words_of(call) for call in fake("sbatch")]
    assert [each.get("--array") for each in found] == ["0-1%1", None, None]
    assert [each.get("--dependency") for each in found] == [None, "afterany:1", "afterok:99,afterany:2"]


def test_relative_paths_are_those_of_the_submission_wherever_a_job_starts(tmp_path, fake, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    folder = tmp_path / "here" / "runs"
    each = request(folder, cwd=str(Path.cwd()))
    relative = replace(each, config=replace(each.config, output_root="runs"))
    (batch,) = submit(folder, relative).batches.values()
    place = ledger.batch_folder(folder, batch.name)
    described = identity.from_dict(json.loads((place / job.CONFIGS / f"{each.entry.run_id}.json").read_text()))
    assert identity.directory(described) == Path(each.entry.folder)
    assert identity.run_id(described) == each.entry.run_id
    assert words_of(fake("sbatch")[0])["--chdir"] == str(tmp_path / "here")

    monkeypatch.chdir(tmp_path / "elsewhere")  # from where it is tried again, and where a job may start
    seen = []
    monkeypatch.setattr(job, "_code", lambda *_: seen.append(Path.cwd()) or ExitCode.DONE)
    assert job.main([str(place)]) == ExitCode.DONE
    monkeypatch.chdir(tmp_path / "elsewhere")
    book = ledger.read(folder)
    again = retry._request(folder, book.runs[each.entry.run_id], batch)
    assert (seen, again.cwd) == ([tmp_path / "here"], str(tmp_path / "here"))


def test_a_folder_of_one_s_own_stays_the_run_s(tmp_path, fake):
    folder = tmp_path / "sweep"
    each = request(folder)
    own = replace(each.config, output_dir="own/run")
    each = replace(each, config=own, entry=replace(each.entry, folder=str(tmp_path / "own" / "run")))
    (batch,) = submit(folder, each).batches.values()
    (path,) = (ledger.batch_folder(folder, batch.name) / job.CONFIGS).glob("*")
    assert json.loads(path.read_text())["output_dir"] == str(tmp_path / "own" / "run")


def test_a_sweep_that_was_moved_to_a_name_that_slurm_cannot_have_is_not_submitted(tmp_path, fake):
    with pytest.raises(OutputError, match="has a backslash, which SLURM cannot have"):
        submit(tmp_path / "a\\b", request(tmp_path / "a\\b"))
    assert fake("sbatch") == []


def test_a_folder_that_pythonpath_would_divide_takes_no_copy_of_the_code(tmp_path):
    folder, said = tmp_path / "a:b", "has :, at which PYTHONPATH is divided"
    for settings in (SlurmConfig(), LocalConfig()):
        assert any(said in problem for problem in launch.wrong(settings, sweep=folder))
        assert launch.wrong(replace(settings, snapshot=False), sweep=folder) == []


def finish(folder: Path, own: RunConfig) -> None:
    folder.mkdir(parents=True)
    record = Record(identity.run_id(own), identity.slug(own), identity.to_dict(own), status=Status.DONE, started="now")
    (folder / "record.json").write_text(json.dumps(asdict(record)))


@pytest.mark.parametrize("is_old", [False, True])
def test_a_sweep_that_was_moved_has_its_runs(tmp_path, fake, is_old):
    folder, moved = tmp_path / "sweep", tmp_path / "archive" / "sweep"
    inside, outside = request(folder, seed=1), request(tmp_path / "other", seed=2)
    (batch,) = submit(folder, inside, outside).batches.values()
    for each in (inside, outside):
        finish(Path(each.entry.folder), each.config)
    path = folder / ledger.FOLDER / ledger.LEDGER
    entries = json.loads(path.read_text())
    assert {run["folder"] for run in entries["runs"]} == {Path(inside.entry.folder).name, outside.entry.folder}
    if is_old:
        entries["schema_version"] = 1
        entries["runs"][0]["folder"] = inside.entry.folder
        entries["batches"][0] |= {"log": str(folder / ".sweep" / "jobs" / batch.name / "%A_%a.log")}
        del entries["batches"][0]["cluster"]
        path.write_text(json.dumps(entries))
    moved.parent.mkdir()
    folder.rename(moved)
    runs = listing.read(moved)
    assert [run.state for run in runs] == [State.DONE, State.DONE]
    assert [run.entry.folder for run in runs] == [str(moved / Path(inside.entry.folder).name), outside.entry.folder]
    (batch,) = ledger.read(moved).batches.values()
    assert ledger.log_of(moved, batch, 1) == moved / ".sweep" / "jobs" / batch.name / "1_1.log"


@pytest.mark.parametrize(
    ("state", "log", "reason"),
    [
        (
            "FAILED",
            "hello\nbash: line 3: ml: command not found\n\n",
            "SLURM says FAILED; its log ends: bash: line 3: ml: comm",
        ),
        (
            "FAILED",
            "OSError: no\nsrun: error: node1: task 0: Exited with exit code 1\nsrun: Terminating StepId=1.0\n",
            "SLURM says FAILED; its log ends: OSError: no",
        ),
        (
            "FAILED",
            "error: no\nsrun: launch/slurm: _step_signal: Terminating StepId=369.0\n",
            "SLURM says FAILED; its log ends: error: no",
        ),
        (
            "FAILED",
            "srun: error: node1: task 0: Exited with exit code 1",
            "SLURM says FAILED; its log ends: srun: error",
        ),
        ("NODE_FAIL", "", "SLURM says NODE_FAIL; LOG is empty"),
        ("CANCELLED", None, "SLURM says CANCELLED; LOG was not written"),
        ("TIMEOUT", "step 3\r step 4\x1b[0m", "SLURM says TIMEOUT; its log ends: step 4"),
        (None, None, "SLURM does not know its job any more; LOG was not written"),
    ],
)
def test_a_job_that_ended_without_a_record_says_why(tmp_path, fake, monkeypatch, state, log, reason):
    folder = tmp_path / "50%j"
    (batch,) = submit(folder, request(folder)).batches.values()
    monkeypatch.setenv("STATE", state or "")
    monkeypatch.setenv("TASK", "1|N/A" if state else "9|N/A")
    path = ledger.batch_folder(folder, batch.name) / "1.log"
    if log is not None:
        path.write_text(log)
    (run,) = listing.read(folder)
    assert run.state not in (State.DONE, State.RUNNING, State.QUEUED)
    assert run.reason is not None
    assert run.reason.startswith(reason.replace("LOG", str(path)))


def test_a_log_s_last_line_is_found_in_a_long_one(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"x" * 100_000 + b"\nlast \xff" + b"y" * 1000)
    line = logtail.last_line(path) or ""
    assert line.startswith("last \ufffdyyy")
    assert len(line) == 300
    assert logtail.last_line(tmp_path) is None


@pytest.fixture
def in_job(tmp_path, fake, monkeypatch):
    """Run job.py as SLURM does in a job of so many processes; its exit code, and the environments of what it starts."""

    def run(settings, **environment) -> tuple[int, list[dict[str, str]], Path]:
        folder = tmp_path / "sweep"
        (batch,) = submit(folder, request(folder, settings)).batches.values()
        place = ledger.batch_folder(folder, batch.name)
        for name, value in {"SLURM_JOB_ID": "1", **environment}.items():
            monkeypatch.setenv(name, value)
        started = []

        def start(self, command, own):
            started.append(own)
            return subprocess.Popen(["/bin/true"])

        monkeypatch.setattr(job._Relay, "start", start)
        monkeypatch.chdir(tmp_path)
        return job.main([str(place)]), started, folder

    return run


def test_a_job_of_another_number_of_processes_trains_nothing_and_says_so(in_job, monkeypatch):
    code, started, folder = in_job(SlurmConfig(snapshot=False), SLURM_NTASKS="4", SLURM_JOB_NUM_NODES="1")
    assert (code, started) == (ExitCode.BAD_INPUT, [])
    monkeypatch.setenv("STATE", "FAILED")
    (run,) = listing.read(folder)
    said = "the job has 4 processes, the launcher's nodes and tasks_per_node make 1"
    assert (run.state, run.reason) == (State.FAILED, said)


DISTRIBUTED = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "3", "MASTER_ADDR": "x", "TORCHELASTIC_RUN_ID": "y"}


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_does_not_take_itself_for_a_part_of_the_one_it_was_submitted_from(in_job, processes):
    own = {"SLURM_NTASKS": str(processes), "SLURM_JOB_NUM_NODES": "1"}
    code, (environment,), _ = in_job(SlurmConfig(snapshot=False, tasks_per_node=processes), **own, **DISTRIBUTED)
    assert code == 0
    left = {name: environment[name] for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID") if name in environment}
    assert left == ({} if processes == 1 else {"RANK": "0", "WORLD_SIZE": "2"})


def test_a_launcher_that_would_not_be_used_is_refused(command):
    said = "launches nothing without --multirun; add it, for one run, too, or hydra/launcher=basic"
    assert command("hydra/launcher=slurm", "hydra.launcher.mem_gb=-4")[0] == ExitCode.BAD_INPUT
    assert command(*TINY_DEMO, "hydra/launcher=slurm") == (
        2,
        f"error: hydra/launcher=slurm: {said} to train in this process\n",
    )
    code, error = command("site=offline", "experiment=original_sbatch")
    assert code == ExitCode.BAD_INPUT
    assert f"hydra/launcher=slurm (of site=offline): {said}" in error
    assert "experiment=original_sbatch is a grid over task: add --multirun" in error
    assert command("hydra/launcher=slurm", "--cfg", "job") == (0, "")
    assert command("hydra/launcher=slurm", "--info", "searchpath")[0] == 0


def test_processes_that_srun_has_started_do_not_train_one_by_one(command, monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "2")
    code, error = command(*TINY_DEMO)
    assert code == ExitCode.BAD_INPUT
    said = (
        "error: srun has started 4 processes (SLURM_STEP_NUM_TASKS), of which this is number 2, and each would be a run"
    )
    assert error.startswith(said)
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert command("--multirun", *TINY_DEMO)[0] == ExitCode.BAD_INPUT
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))  # of srun --pty
    assert command(*TINY_DEMO, "gi.level=7")[1].startswith("error: gi.level=7")
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert command(*TINY_DEMO)[1].startswith("error: srun has started 4")
    monkeypatch.setenv("RANK", "2")  # by torchrun, or by job.py
    assert command(*TINY_DEMO, "gi.level=7") == (
        2,
        "error: gi.level=7: a fraction of the maximum, 0 … 1 (did you mean 0.07?)\n",
    )
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")
    monkeypatch.setenv("SLURM_NTASKS", "4")  # in the shell of salloc: one process
    assert command(*TINY_DEMO, "gi.level=7")[1].startswith("error: gi.level=7")


@pytest.mark.parametrize("words", [[], ["--multirun"], ["--multirun", "hydra/launcher=local"]])
def test_hydra_does_not_change_the_folder_of_runs(command, tmp_path, words):
    code, error = command(*words, *TINY_DEMO, "output_root=out", "hydra.job.chdir=true")
    assert code == ExitCode.BAD_INPUT
    assert error.startswith("error: hydra.job.chdir=true: relative paths, such as output_root, would be from another")
    assert not list(tmp_path.rglob("record.json"))
