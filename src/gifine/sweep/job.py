"""What a job does: the runs of one task of a batch, one after another or some at a time, each in its own process.

    python -m gifine.sweep.job BATCH_FOLDER [TASK]

Whatever ends a run's process, this one is left to say what it was. Of the processes of a run on several devices each
has one of these beside it; the first one decides about the job.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Any

from gifine.errors import ClusterError, ExitCode
from gifine.machine import disk, signals
from gifine.runs import records
from gifine.runs.records import Status
from gifine.sweep import devices, slurm, snapshot

log = logging.getLogger(__name__)

JOB = "job.json"  # in the batch's folder
AGAIN = "--again"  # a word for attempt.py: the job was requeued
LOCAL, MASTER = "GIFINE_LOCAL", "GIFINE_MASTER"  # variables: set by pool.py, and in the script of several processes
BY_SIGNAL = 128  # and the signal's number: the exit code of a process that it has ended
CONFIGS, OUTCOMES, STARTED, REQUEUES, FAILURES = "runs", "outcomes", "started", "requeues", "failures"
# What a shell within another distributed run hands on: a run of one process would wait for the others.
_FOREIGN = re.compile(
    r"(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)|ROLE_NAME|MASTER_(ADDR|PORT)|TORCHELASTIC_.*|(OMPI|MV2)_COMM_WORLD_.*|PMI_.*"
)
_ENDED = (ExitCode.DONE, ExitCode.DIVERGED, ExitCode.INTERRUPTED)  # as the record says
_PATIENCE_SECONDS = 10.0  # for a process whose run has failed elsewhere


def config_file(folder: Path, run_id: str) -> Path:
    """Where a batch's folder has the config of a run."""
    return folder / CONFIGS / f"{run_id}.json"


def outcome_file(folder: Path, run_id: str) -> Path:
    """Where it has the exit code of a run's process, once that has ended."""
    return folder / OUTCOMES / f"{run_id}.json"


@dataclass
class Seat:
    """Where this process is in the job."""

    task: int
    job_id: str | None  # of SLURM; of an array's task 123_4, since 123 may mean all of them
    rank: int = 0
    processes: int = 1
    local_rank: int = 0
    local_processes: int = 1
    restarts: int = 0
    first_port: int = 0

    def environment(self, position: int) -> dict[str, str]:
        """What torch reads to find the other processes of the run that is `position`-th in this job."""
        if self.processes == 1:
            return {}
        return {
            "MASTER_ADDR": os.environ.get(MASTER, "localhost"),
            "MASTER_PORT": str(self.first_port + position),
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.processes),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_processes),
        }


def main(words: Sequence[str] | None = None) -> int:
    """Run a task's runs (words: null for the process's own); 0 if all ended well, else the code of the worst."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    word, *task = sys.argv[1:] if words is None else words
    folder = Path(word)
    seat = _seat(int(task[0] if task else os.environ.get("SLURM_ARRAY_TASK_ID", "0")))
    job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    if seat.rank == 0 and seat.job_id is not None:
        (folder / STARTED).mkdir(exist_ok=True)
        (folder / STARTED / seat.job_id).write_text(os.environ.get("SLURM_CLUSTER_NAME", ""), encoding="utf-8")
    expected = job.get("processes", seat.processes)
    if expected != seat.processes:
        return _refuse(folder, job["tasks"][seat.task], seat, expected)
    try:
        os.chdir(job.get("cwd", "."))
    except OSError as error:
        log.warning("%s: %s; relative paths of the runs are from there", job["cwd"], error.strerror)
    if job["code"] is not None and job["code"] != snapshot.digest():
        log.warning("the code has changed since this was submitted: snapshot=false runs it as it is now")
    relay = _Relay()
    places: SimpleQueue[int] = SimpleQueue()
    for place in range(job["side_by_side"]):
        places.put(place)

    def attend(position: int, run: dict[str, str]) -> int:
        place = places.get()
        try:
            share = devices.share(place, job["side_by_side"], gpus) if job["side_by_side"] > 1 else {}
            return _code(folder, run, seat, position, share, relay)
        finally:
            places.put(place)

    gpus = devices.gpus() if job["side_by_side"] > 1 else []
    with signals.handled(relay.forward), ThreadPoolExecutor(job["side_by_side"]) as threads:
        futures = [threads.submit(attend, position, run) for position, run in enumerate(job["tasks"][seat.task])]
        while wait(futures, timeout=1).not_done:
            pass  # the signals' handler runs in this thread, between two looks
    codes = [future.result() for future in futures]
    if seat.rank != 0:
        return ExitCode.DONE  # SLURM ends a job with the first process that fails, and the first is not done yet
    if relay.received and ExitCode.INTERRUPTED in codes:
        _go_on(folder, seat, relay.received, job["max_num_timeout"])
    return max(codes)


def _refuse(folder: Path, runs: list[dict[str, str]], seat: Seat, expected: int) -> int:
    """Do not train what would not be the run that was asked for: batches depend on the number of processes."""
    said = f"the job has {seat.processes} processes, the launcher's nodes and tasks_per_node make {expected}"
    if seat.rank == 0:
        log.error("%s", said)
        (folder / OUTCOMES).mkdir(exist_ok=True)
        outcome = {"code": ExitCode.BAD_INPUT, "signal": None, "job": seat.job_id, "reason": said}
        for run in runs:
            disk.write_text(outcome_file(folder, run["run_id"]), json.dumps(outcome))
    return ExitCode.BAD_INPUT if seat.rank == 0 else ExitCode.DONE


@dataclass
class _Relay:
    """Passes the signals that this process gets on to the runs."""

    received: list[int] = field(default_factory=list)
    processes: set[subprocess.Popen[bytes]] = field(default_factory=set)

    def forward(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
        for process in [*self.processes]:
            if process.returncode is None:
                process.send_signal(number)

    def start(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        # close_fds=False: the lock by which a process of this machine is known to be at work goes with it.
        process = subprocess.Popen(command, env=environment, close_fds=False)  # noqa: S603 - our own module
        self.processes.add(process)
        if self.received:  # before it was among those to be told; to be told twice does no harm
            process.send_signal(self.received[0])
        return process


def _seat(task: int) -> Seat:
    env = os.environ
    if "SLURM_JOB_ID" not in env or env.get(LOCAL):
        return Seat(task, None)
    processes, nodes = int(env.get("SLURM_NTASKS", "1")), int(env.get("SLURM_JOB_NUM_NODES", "1"))
    job = f"{env['SLURM_ARRAY_JOB_ID']}_{task}" if "SLURM_ARRAY_JOB_ID" in env else env["SLURM_JOB_ID"]
    return Seat(
        task,
        job,
        rank=int(env.get("SLURM_PROCID", "0")),
        processes=processes,
        local_rank=int(env.get("SLURM_LOCALID", "0")),
        local_processes=processes // nodes,
        restarts=int(env.get("SLURM_RESTART_COUNT", "0")),
        first_port=12000 + 10 * int(env["SLURM_JOB_ID"]) % 20000,  # below those that systems give out themselves
    )


def _code(folder: Path, run: dict[str, str], seat: Seat, position: int, share: dict[str, str], relay: _Relay) -> int:
    """How the run has ended: in this job, or in it before it was requeued."""
    outcome = outcome_file(folder, run["run_id"])
    before = json.loads(outcome.read_text(encoding="utf-8"))["code"] if outcome.exists() else ExitCode.INTERRUPTED
    if before != ExitCode.INTERRUPTED or relay.received:
        return before
    return _run(folder, run, seat, position, share, relay)


def _run(folder: Path, run: dict[str, str], seat: Seat, position: int, share: dict[str, str], relay: _Relay) -> int:
    """One run in its own process, which gets the signals that this one gets; the exit code, 128 + n for signal n."""
    command = [sys.executable, "-m", "gifine.sweep.attempt", str(config_file(folder, run["run_id"]))]
    if seat.restarts > 0:
        command.append(AGAIN)
    own = {name: value for name, value in os.environ.items() if not _FOREIGN.fullmatch(name)}
    environment = {**own, **seat.environment(position), **share}
    failure = folder / FAILURES / f"{run['run_id']}-{seat.job_id}-{seat.restarts}.json"
    if seat.rank == 0:
        outcome_file(folder, run["run_id"]).unlink(missing_ok=True)
    process = relay.start(command, environment)
    code = _watch(process, failure if seat.processes > 1 else None)
    relay.processes.discard(process)
    if relay.received and code in (BY_SIGNAL + number for number in signals.STOP):
        code = ExitCode.INTERRUPTED  # it ended by the signal itself: Python had not started yet
    if code not in _ENDED and seat.processes > 1:
        host = os.environ.get("SLURMD_NODENAME", platform.node())
        _mark(failure, {"rank": seat.rank, "host": host, "code": code})
    if seat.rank == 0:
        _conclude(folder, run, seat, code, failure)
    return code


def _watch(process: subprocess.Popen[bytes], failure: Path | None) -> int:
    """Wait for the process; end it where the run has failed in another one, which it would wait for in vain."""
    since: float | None = None
    while True:
        try:
            code = process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            if failure is not None and failure.exists():
                since = since or time.monotonic()
                if time.monotonic() - since > _PATIENCE_SECONDS:
                    process.kill()
            continue
        return code if code >= 0 else BY_SIGNAL - code


def _mark(path: Path, entries: dict[str, Any]) -> None:
    """The first process to fail says so; those that fail because of it do not."""
    path.parent.mkdir(exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(json.dumps(entries))
    except FileExistsError:
        return


def _conclude(folder: Path, run: dict[str, str], seat: Seat, code: int, failure: Path) -> None:
    """Leave a word about how the process ended, which the run's own record may not have."""
    (folder / OUTCOMES).mkdir(exist_ok=True)
    by = signal.Signals(code - BY_SIGNAL).name if code > BY_SIGNAL else None
    outcome = {"code": code, "signal": by, "job": seat.job_id}
    disk.write_text(outcome_file(folder, run["run_id"]), json.dumps(outcome))
    if code > BY_SIGNAL:
        log.error("%s %s", run["slug"], _end(code))
    if not failure.exists():
        return
    first = json.loads(failure.read_text(encoding="utf-8") or "{}")
    record = records.read(Path(run["folder"]))
    if record is None or first.get("rank", 0) == 0:
        return
    said = f"rank {first['rank']} on {first['host']} {_end(first['code'])}; the job's log has its words"
    # As the first line, which is the one that is shown: this process's own error is that the other one was gone.
    record.status, record.error = Status.FAILED, "\n".join(filter(None, [said, record.error]))
    records.write(Path(run["folder"]), record)


def _end(code: int) -> str:
    if code > BY_SIGNAL:
        return f"was killed by {signal.Signals(code - BY_SIGNAL).name}"
    return f"ended with exit code {code}"


def _go_on(folder: Path, seat: Seat, received: list[int], max_num_timeout: int) -> None:
    """Ask SLURM for another allocation, unless it was the user who has ended the job.

    SLURM itself does not requeue a job that it preempts if that one ends by itself in the time that it is left.
    """
    if seat.job_id is None:
        return
    path = folder / REQUEUES / str(seat.task)
    before = int(path.read_text()) if path.exists() else 0
    try:
        preempted = slurm.is_preempted(seat.job_id)
        if not preempted and signal.SIGTERM in received:
            return
        if not preempted and before >= max_num_timeout:
            log.error("not put into the queue again: max_num_timeout=%d", max_num_timeout)
            return
        path.parent.mkdir(exist_ok=True)
        path.write_text(str(before if preempted else before + 1))
        log.info("putting job %s into the queue again", seat.job_id)
        slurm.requeue(seat.job_id)
    except ClusterError as error:
        log.error("not put into the queue again, the same sweep command does it: %s", error)


if __name__ == "__main__":
    sys.exit(main())
