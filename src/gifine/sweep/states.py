"""What each run of a sweep is now: what its record says, what the scheduler says of its job, and how its process ended.

A record alone is not enough: it says `running` of a run whose process was killed.
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gifine import records
from gifine.errors import OutputError
from gifine.records import Record, Status
from gifine.sweep import ledger, logtail, pool, slurm
from gifine.sweep.job import OUTCOMES
from gifine.sweep.ledger import Batch, Entry, Ledger


class State(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    DEGENERATE = "degenerate"
    DIVERGED = "diverged"
    FAILED = "failed"  # raised: it would raise again
    INTERRUPTED = "interrupted"
    TIMED_OUT = "timed out"
    OUT_OF_MEMORY = "out of memory"
    KILLED = "killed"  # by a signal that SLURM has not sent
    CANCELLED = "cancelled"
    LOST = "lost"  # its job is gone, and nothing says why


FINISHED = frozenset({State.DONE, State.DEGENERATE, State.DIVERGED})
ACTIVE = frozenset({State.QUEUED, State.RUNNING})
_BY_RECORD = {
    Status.DONE: State.DONE,
    Status.DEGENERATE: State.DEGENERATE,
    Status.DIVERGED: State.DIVERGED,
    Status.FAILED: State.FAILED,
    Status.INTERRUPTED: State.INTERRUPTED,
}
_BY_JOB = {
    "OUT_OF_MEMORY": State.OUT_OF_MEMORY,
    "TIMEOUT": State.TIMED_OUT,
    "DEADLINE": State.TIMED_OUT,
    "CANCELLED": State.CANCELLED,
    "PREEMPTED": State.INTERRUPTED,
    "FAILED": State.FAILED,
}


@dataclass
class Run:
    """A run of the sweep as it is now."""

    entry: Entry
    state: State
    record: Record | None
    job: str | None = None  # SLURM's, of the latest submission
    reason: str | None = None  # what went wrong, in one line


def of(sweep: Path, book: Ledger) -> list[Run]:
    """All runs of the ledger.

    Raises:
        ClusterError: if SLURM does not answer.
    """
    jobs = job_states(sweep, book)
    return [_run(sweep, book, entry, jobs) for entry in book.runs.values()]


def job_states(sweep: Path, book: Ledger) -> dict[tuple[str, int], str]:
    """The state in SLURM's words by batch and task, where the scheduler knows it; of latest submissions only."""
    wanted: dict[str, tuple[Batch, set[int]]] = {}
    for entry in book.runs.values():
        place = book.latest(entry)
        if place is not None:
            wanted.setdefault(place[0].name, (place[0], set()))[1].add(place[1])
    found: dict[tuple[str, int], str] = {}
    in_slurm: dict[str | None, dict[str, tuple[str, int]]] = {}  # by cluster
    for batch, tasks in wanted.values():
        if batch.launcher == "local":
            if batch.host == platform.node():
                states = pool.states(ledger.batch_folder(sweep, batch.name), batch.tasks)
                found |= {(batch.name, task): state for task, state in states.items()}
            continue
        for task in tasks:
            job = batch.job(task)
            if job is not None:
                in_slurm.setdefault(batch.cluster, {})[job] = (batch.name, task)
    for cluster, places in in_slurm.items():
        found |= {places[job]: state for job, state in slurm.states(places, cluster).items()}
    return found


def _run(sweep: Path, book: Ledger, entry: Entry, jobs: dict[tuple[str, int], str]) -> Run:
    reason = None
    try:
        record = records.read(Path(entry.folder))
    except OutputError as error:  # not ours: one of many must not hide the others
        record, reason = None, str(error)
    place = book.latest(entry)
    if place is None:
        state = _BY_RECORD.get(record.status, State.LOST) if record else State.LOST
        return Run(entry, state, record, reason=reason or _reason(record))
    batch, task = place
    outcome, said = _outcome(sweep, batch, entry)
    job = jobs.get((batch.name, task))
    current = record if ledger.mark(record) != entry.places[-1].seen else None
    if job in slurm.ACTIVE:
        is_alone = batch.settings.get("pack", 1) == 1
        state = _in_job(current, job, outcome, is_alone=is_alone)
    else:
        state = _without_job(record, current, job, outcome)
    if state is State.KILLED:
        reason = "its process was killed from outside: by a person, or for want of memory"
    reason = reason or said or _reason(current)
    if reason is None and state not in FINISHED | ACTIVE:
        reason = _ending(sweep, batch, task, job, outcome)
    return Run(entry, state, record, batch.job(task), reason)


def _ending(sweep: Path, batch: Batch, task: int, job: str | None, outcome: int | None) -> str:
    """Of a run whose record does not say why it ended: what the scheduler and the job's log say."""
    if batch.launcher == "local":
        said = f"its process is gone from {batch.host}" if job is None else f"its process has ended ({job})"
    else:
        said = "SLURM does not know its job any more" if job is None else f"SLURM says {job}"
    if outcome is not None:
        said += f"; exit code {outcome}"
    path = ledger.log_of(sweep, batch, task)
    line = None if path is None else logtail.last_line(path)
    if line is not None:
        return f"{said}; its log ends: {line}"
    return said if path is None else f"{said}; {path} {'is empty' if path.exists() else 'was not written'}"


def _in_job(current: Record | None, job: str | None, outcome: int | None, *, is_alone: bool) -> State:
    if current is not None and current.status in records.FINISHED:
        return _BY_RECORD[current.status]
    if job in slurm.WAITING:
        return State.QUEUED
    if outcome is not None and outcome > 128:
        return State.KILLED  # the job goes on with the next run
    if current is None:
        return State.RUNNING if is_alone else State.QUEUED
    # Interrupted is what it was before the job was requeued.
    return State.FAILED if current.status is Status.FAILED and outcome is not None else State.RUNNING


def _without_job(record: Record | None, current: Record | None, job: str | None, outcome: int | None) -> State:
    if record is not None and record.status in records.FINISHED:
        return _BY_RECORD[record.status]
    by_job = _BY_JOB.get(job or "", State.LOST)
    if current is not None and current.status is Status.INTERRUPTED:
        return by_job if by_job in (State.TIMED_OUT, State.CANCELLED) else State.INTERRUPTED
    if current is not None and current.status is Status.FAILED:
        return State.FAILED
    if by_job in (State.FAILED, State.LOST) and outcome is not None:
        return State.KILLED if outcome > 128 else State.INTERRUPTED if outcome == 75 else State.FAILED
    if by_job is State.FAILED and current is not None:
        return State.KILLED  # the record says that it is running, its process has not said a word
    return by_job


def _outcome(sweep: Path, batch: Batch, entry: Entry) -> tuple[int | None, str | None]:
    """The exit code of the run's own process, if the job has lived to see it; and why it was not even started."""
    path = ledger.batch_folder(sweep, batch.name) / OUTCOMES / f"{entry.run_id}.json"
    try:
        outcome = json.loads(path.read_text(encoding="utf-8"))
        return int(outcome["code"]), outcome.get("reason")
    except FileNotFoundError:
        return None, None


def _reason(record: Record | None) -> str | None:
    return records.reason(record.error) if record is not None else None
