"""SLURM's commands, as few calls as will do: sbatch, squeue, sacct, scancel, scontrol."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from gifine.errors import ClusterError

_ANSWER_SECONDS = 60.0
_MOST_IDS = 500  # in one call: a command line has an end
ACTIVE = frozenset(
    {"PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
    | {"REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
)
WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"})


def check() -> None:
    """Raise a ClusterError where there is no SLURM to submit to."""
    for command in ("sbatch", "squeue", "scancel", "scontrol"):
        if shutil.which(command) is None:
            raise ClusterError(
                f"{command} is not on the PATH: is this a login node of a SLURM cluster? "
                "hydra/launcher=local runs on this machine"
            )


def submit(script: Path) -> str:
    """Submit a batch script; the job id.

    Raises:
        ClusterError: with what sbatch says.
    """
    return _call("sbatch", "--parsable", str(script)).strip().split(";")[0]


def is_here() -> bool:
    """Whether this machine knows SLURM at all; a sweep's folder may be a copy."""
    return shutil.which("squeue") is not None


def states(jobs: Iterable[str], *, needs_sacct: bool = False) -> dict[str, str]:
    """The state of each of these jobs (`123`, `123_4`), as SLURM names it; those that SLURM does not know are left out.

    squeue is up to date and knows jobs for some minutes after their end; sacct, where there is accounting, knows them
    for years, but some seconds late.

    Raises:
        ClusterError: if squeue does not answer: that says nothing about the jobs. With `needs_sacct` also if sacct does
            not, on a cluster with accounting.
    """
    wanted = set(jobs)
    found: dict[str, str] = {}
    for ids in _portions({job.partition("_")[0] for job in wanted}):
        words = ["--noheader", "--array", "--states=all", "--format=%F|%K|%T", f"--jobs={','.join(ids)}"]
        for line in _call("squeue", *words, unless="Invalid job id").splitlines():
            job, task, state = line.strip().split("|")
            found[job if task == "N/A" else f"{job}_{task}"] = state
    ended = wanted - found.keys()
    for ids in _portions({job.partition("_")[0] for job in ended}):
        words = ["--allocations", "--noheader", "--parsable2", "--format=JobID,State", f"--jobs={','.join(ids)}"]
        try:
            answer = _call("sacct", *words)
        except ClusterError as error:
            if needs_sacct and not any(word in str(error) for word in ("is disabled", "not on the PATH")):
                raise
            break  # these jobs have ended, and how they did is not known
        for line in answer.splitlines():
            job, state = line.split("|")
            if "[" in job and state.split()[0] in ACTIVE:
                continue  # an array's waiting tasks as it was submitted with; squeue knows which of them still wait
            for each in _tasks(job):
                found.setdefault(each, state.split()[0])  # "CANCELLED by 1000"
    return {job: found[job] for job in wanted if job in found}


def reasons(jobs: Iterable[str]) -> dict[str, str]:
    """Why jobs wait, in SLURM's words: Priority, Resources, QOSMaxJobsPerUserLimit; those that do not are left out."""
    wanted, found = set(jobs), {}
    for ids in _portions({job.partition("_")[0] for job in wanted}):
        words = ["--noheader", "--array", "--states=PENDING", "--format=%F|%K|%r", f"--jobs={','.join(ids)}"]
        for line in _call("squeue", *words, unless="Invalid job id").splitlines():
            job, task, reason = line.strip().split("|", 2)
            found[job if task == "N/A" else f"{job}_{task}"] = reason
    return {job: found[job] for job in wanted if found.get(job) not in (None, "", "None")}


def find(comment: str) -> str | None:
    """The job that was submitted with this comment, if it is queued or running or was so some minutes ago."""
    for line in _call("squeue", "--noheader", "--states=all", "--format=%F|%k").splitlines():
        job, _, given = line.strip().partition("|")
        if given == comment:
            return job
    return None


def cancel(jobs: Iterable[str]) -> None:
    """Take jobs out of the queue, and end those that run."""
    for ids in _portions(set(jobs)):
        _call("scancel", *ids, unless="Invalid job id")


def max_array_size() -> int:
    """How many tasks an array may have.

    Raises:
        ClusterError: if the cluster does not say.
    """
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", _call("scontrol", "show", "config"), re.MULTILINE)
    if match is None:
        raise ClusterError("scontrol show config names no MaxArraySize; give hydra.launcher.max_array_size=N")
    return int(match.group(1))


def is_preempted(job: str) -> bool:
    """Whether SLURM is about to take the nodes away: a job that ends by itself then would not be requeued."""
    match = re.search(r"\bPreemptTime=(\S+)", _call("scontrol", "show", "job", job))
    return match is not None and match.group(1) != "None"


def requeue(job: str) -> None:
    """Put the running job back into the queue; SLURM ends it."""
    _call("scontrol", "requeue", job)


def _call(*words: str, unless: str | None = None) -> str:
    """The command's stdout; an empty one if it fails for the reason that `unless` is a part of."""
    for patience in (1.0, 5.0, None):  # a busy controller answers on the second or third call
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=_ANSWER_SECONDS)  # noqa: S603 - no shell
        except FileNotFoundError:
            raise ClusterError(f"{words[0]} is not on the PATH") from None
        except subprocess.TimeoutExpired:
            raise ClusterError(f"{words[0]} gives no answer within {_ANSWER_SECONDS:.0f} s") from None
        if done.returncode == 0:
            return done.stdout
        reason = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        if unless is not None and unless in reason:
            return ""
        is_busy = any(word in reason for word in ("temporarily", "Socket timed out", "Unable to contact"))
        if not is_busy or patience is None or words[0] == "sbatch":  # which may have succeeded
            break
        time.sleep(patience)
    raise ClusterError(f"{words[0]}: {reason}")


def _portions(ids: set[str]) -> list[list[str]]:
    ordered = sorted(ids)
    return [ordered[start : start + _MOST_IDS] for start in range(0, len(ordered), _MOST_IDS)]


def _tasks(job: str) -> list[str]:
    """`123_4` as it is, and `123_[4-6,9%2]`, tasks that were never started, one by one."""
    match = re.fullmatch(r"(\d+)_\[([\d,-]+)(%\d+)?\]", job)
    if match is None:
        return [job]
    spans = [span.partition("-") for span in match.group(2).split(",")]
    return [
        f"{match.group(1)}_{task}" for first, _, last in spans for task in range(int(first), int(last or first) + 1)
    ]
