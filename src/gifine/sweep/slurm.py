"""SLURM's commands, as few calls as will do: sbatch, squeue, sacct, scancel, scontrol."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from gifine.errors import ClusterError

_ANSWER_SECONDS = 60.0
SCRIPT = "job.sh"  # in the batch's folder
_MOST_IDS = 500  # in one call: a command line has an end
ACTIVE = frozenset(
    {"PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
    | {"REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
)
# SLURM's commands take options from variables of these names, of other commands', too, where a job hands them on.
_OPTIONS = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SALLOC_", "SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_", "PMI")
_WHERE = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")  # the cluster, and the right to use it
# A site's defaults for what no key of the launcher says.
_DEFAULTS = ("ACCOUNT", "CLUSTERS", "CONSTRAINT", "PARTITION", "QOS", "RESERVATION", "WCKEY")
_KEPT = frozenset([*_WHERE, *(f"SBATCH_{name}" for name in _DEFAULTS)])
_DEVICES = frozenset({"CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"})
WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"})


def check() -> None:
    """Raise a ClusterError where there is no SLURM to submit to."""
    for command in ("sbatch", "squeue", "scancel", "scontrol"):
        if shutil.which(command) is None:
            raise ClusterError(
                f"{command} is not on the PATH: is this a login node of a SLURM cluster? "
                "hydra/launcher=local runs on this machine"
            )


def environment() -> dict[str, str]:
    """This process's, for SLURM's commands, without what makes them, or the jobs that they submit, do something else.

    A shell within a job has that job's SLURM_NTASKS and the like: sbatch would size the new job by them and hand them
    on to it, where srun takes them for its own. SQUEUE_USERS and the like hide jobs.
    """
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or not name.startswith(_OPTIONS)}
    if "SLURM_JOB_ID" in os.environ:  # the devices are that job's as well
        kept = {name: value for name, value in kept.items() if name not in _DEVICES}
    return kept


def clusters(given: object) -> list[str | None]:
    """Where a submission may go that was given these `--clusters` or none; null is the cluster of this machine."""
    names = str(given or os.environ.get("SBATCH_CLUSTERS") or os.environ.get("SLURM_CLUSTERS") or "")
    return [name.strip() for name in names.split(",") if name.strip()] or [None]


def submit(script: Path, options: Sequence[str]) -> tuple[str, str | None]:
    """Submit a batch script; the job id, and the cluster's name where sbatch was told one.

    The options are sbatch's words, not lines of the script: those would give way to SBATCH_* in the environment.

    Raises:
        ClusterError: with what sbatch says.
    """
    answer = _call("sbatch", "--parsable", *options, str(script)).strip()
    job, _, cluster = answer.partition(";")
    if not job.isdecimal():
        raise ClusterError(f"sbatch: names no job, but says: {answer or 'nothing'}")
    return job, cluster or None


def is_here() -> bool:
    """Whether this machine knows SLURM at all; a sweep's folder may be a copy."""
    return shutil.which("squeue") is not None


def states(jobs: Iterable[str], cluster: str | None = None, *, needs_sacct: bool = False) -> dict[str, str]:
    """The state of each of these jobs (`123`, `123_4`), as SLURM names it; those that SLURM does not know are left out.

    All are of one cluster: null is the one of this machine.

    squeue is up to date and knows jobs for some minutes after their end; sacct, where there is accounting, knows them
    for years, but some seconds late.

    Raises:
        ClusterError: if squeue does not answer: that says nothing about the jobs. With `needs_sacct` also if sacct does
            not, on a cluster with accounting.
    """
    wanted = set(jobs)
    found = _queue(wanted, cluster, "--states=all", "%T")
    ended = wanted - found.keys()
    for ids in _portions({job.partition("_")[0] for job in ended}):
        words = ["--allocations", "--noheader", "--parsable2", "--format=JobID,State", f"--jobs={','.join(ids)}"]
        try:
            answer = _call("sacct", *_on(cluster), *words)
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


def reasons(jobs: Iterable[str], cluster: str | None = None) -> dict[str, str]:
    """Why jobs wait, in SLURM's words: Priority, Resources, QOSMaxJobsPerUserLimit; those that do not are left out."""
    wanted = set(jobs)
    found = _queue(wanted, cluster, "--states=PENDING", "%r")
    return {job: found[job] for job in wanted if found.get(job) not in (None, "", "None")}


def _queue(jobs: set[str], cluster: str | None, which: str, what: str) -> dict[str, str]:
    """By job what squeue says of those that are in `which` states; all tasks of an array that has one of the jobs."""
    found = {}
    for ids in _portions({job.partition("_")[0] for job in jobs}):
        words = ["--noheader", "--array", which, f"--format=%F|%K|{what}", f"--jobs={','.join(ids)}"]
        for line in _call("squeue", *_on(cluster), *words, unless="Invalid job id").splitlines():
            job, task, said = line.strip().split("|", 2)
            found[job if task == "N/A" else f"{job}_{task}"] = said
    return found


def find(name: str, clusters: Iterable[str | None] = (None,)) -> tuple[str, str | None] | None:
    """The job that was submitted from the folder of this name, and its cluster: if it is queued or was so minutes ago.

    The folder is unique; a user may give jobs a comment and a name of their own.
    """
    for cluster in clusters:
        for line in _call("squeue", *_on(cluster), "--noheader", "--states=all", "--format=%F|%k|%o").splitlines():
            job, _, rest = line.strip().partition("|")
            if rest.startswith(f"{name}|") or rest.endswith(f"/{name}/{SCRIPT}"):  # by its comment: of an older version
                return job, cluster
    return None


def cancel(jobs: Iterable[str], cluster: str | None = None) -> None:
    """Take jobs of one cluster out of the queue, and end those that run."""
    for ids in _portions(set(jobs)):
        _call("scancel", *_on(cluster), *ids, unless="Invalid job id")


def max_array_size(clusters: Iterable[str | None] = (None,)) -> int:
    """How many tasks an array may have on each of these clusters.

    Raises:
        ClusterError: if the cluster does not say.
    """
    sizes = []
    for cluster in clusters:
        answer = _call("scontrol", *_on(cluster), "show", "config")
        match = re.search(r"^MaxArraySize\s*=\s*(\d+)", answer, re.MULTILINE)
        if match is None:
            raise ClusterError("scontrol show config names no MaxArraySize; give hydra.launcher.max_array_size=N")
        sizes.append(int(match.group(1)))
    return min(sizes)


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
            done = subprocess.run(  # noqa: S603 - no shell
                words, env=environment(), capture_output=True, text=True, timeout=_ANSWER_SECONDS
            )
        except FileNotFoundError:
            raise ClusterError(f"{words[0]} is not on the PATH") from None
        except subprocess.TimeoutExpired:
            raise ClusterError(f"{words[0]} gives no answer within {_ANSWER_SECONDS:.0f} s") from None
        if done.returncode == 0:
            return done.stdout
        # Without the command's name, which stands before it: `squeue: error: …` is what squeue itself prints.
        said = [line.strip().removeprefix(f"{words[0]}: error: ") for line in done.stderr.splitlines()]
        reason = " ".join(" ".join(said).split()) or f"exit code {done.returncode}"
        if unless is not None and unless in reason:
            return ""
        is_busy = any(word in reason for word in ("temporarily", "Socket timed out", "Unable to contact"))
        if not is_busy or patience is None or words[0] == "sbatch":  # which may have succeeded
            break
        time.sleep(patience)
    raise ClusterError(f"{words[0]}: {reason}")


def _on(cluster: str | None) -> list[str]:
    return [] if cluster is None else [f"--clusters={cluster}"]


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
