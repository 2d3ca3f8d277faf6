"""What each run of a sweep is now: what its record says, what the scheduler says of its job, and how its process ended.

A record alone is not enough: it says `running` of a run whose process was killed.
"""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gifine.errors import ClusterError, ExitCode, OutputError
from gifine.runs import records
from gifine.runs.records import Record, Status
from gifine.sweep import ledger, logtail, pool, slurm
from gifine.sweep.job import BY_SIGNAL, outcome_file
from gifine.sweep.ledger import Batch, Entry, Ledger

log = logging.getLogger(__name__)


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
    NOT_SUBMITTED = "not submitted"  # SLURM has refused it, or the command was ended before
    UNKNOWN = "unknown"  # unfinished by its record, and there is no SLURM to ask


ACTIVE = frozenset({State.QUEUED, State.RUNNING})
_BY_RECORD = {
    Status.DONE: State.DONE,
    Status.DEGENERATE: State.DEGENERATE,
    Status.DIVERGED: State.DIVERGED,
    Status.FAILED: State.FAILED,
    Status.INTERRUPTED: State.INTERRUPTED,
}
FINISHED = frozenset(_BY_RECORD[status] for status in records.FINISHED)
NO_ANSWER = "NO_ANSWER"  # instead of a word of SLURM's
_BY_JOB = {
    NO_ANSWER: State.UNKNOWN,
    "OUT_OF_MEMORY": State.OUT_OF_MEMORY,
    "TIMEOUT": State.TIMED_OUT,
    "DEADLINE": State.TIMED_OUT,
    "CANCELLED": State.CANCELLED,
    "PREEMPTED": State.INTERRUPTED,
    "FAILED": State.FAILED,
}


@dataclass
class RunState:
    """A run of the sweep as it is now."""

    entry: Entry
    state: State
    record: Record | None
    job: str | None = None  # SLURM's, of the latest submission
    cluster: str | None = None  # where that is, if not on this machine's cluster
    reason: str | None = None  # what went wrong, in one line


def read(sweep: Path, book: Ledger, *, needs_slurm: bool = True, needs_sacct: bool = False) -> list[RunState]:
    """All runs of the ledger.

    Raises:
        ClusterError: if `needs_slurm` and SLURM does not answer, or `needs_sacct` and accounting does not.
    """
    found = {run_id: _read(entry) for run_id, entry in book.runs.items()}
    open_ = [entry for run_id, entry in book.runs.items() if not _is_concluded(entry, found[run_id][0])]
    jobs = job_states(sweep, book, open_, needs_slurm=needs_slurm, needs_sacct=needs_sacct)
    return [_run(sweep, book, entry, jobs, *found[run_id]) for run_id, entry in book.runs.items()]


def _read(entry: Entry) -> tuple[Record | None, str | None]:
    """The run's record, or what is wrong with it: one of many must not hide the others."""
    try:
        return records.read(Path(entry.folder)), None
    except OutputError as error:
        return None, str(error)


def _is_concluded(entry: Entry, record: Record | None) -> bool:
    """Whether the record of the latest submission says all: nothing more can happen to the run."""
    is_current = bool(entry.places) and ledger.mark(record) != entry.places[-1].seen
    return record is not None and record.status in records.FINISHED and is_current


def job_states(
    sweep: Path, book: Ledger, entries: Iterable[Entry], *, needs_slurm: bool = True, needs_sacct: bool = False
) -> dict[tuple[str, int], str]:
    """The state in SLURM's words by batch and task, where the scheduler knows it; of latest submissions only."""
    wanted: dict[str, tuple[Batch, set[int]]] = {}
    for entry in entries:
        place = book.latest(entry)
        if place is not None:
            wanted.setdefault(place[0].name, (place[0], set()))[1].add(place[1])
    found: dict[tuple[str, int], str] = {}
    in_slurm: dict[str | None, dict[str, tuple[str, int]]] = {}  # by cluster
    for batch, tasks in wanted.values():
        if batch.is_local:
            if batch.host == platform.node():
                states = pool.states(ledger.batch_folder(sweep, batch.name), batch.tasks)
                found |= {(batch.name, task): state for task, state in states.items()}
            continue
        for task in tasks:
            job = batch.job(task)
            if job is not None:
                in_slurm.setdefault(batch.cluster, {})[job] = (batch.name, task)
    for cluster, places in in_slurm.items():
        answers = _ask(places, cluster, needs_slurm=needs_slurm, needs_sacct=needs_sacct)
        found |= {places[job]: state for job, state in answers.items()}
    return found


def _ask(jobs: Collection[str], cluster: str | None, *, needs_slurm: bool, needs_sacct: bool) -> dict[str, str]:
    try:
        if not needs_slurm and not slurm.is_here():
            raise ClusterError("there is no SLURM on this machine")
        return slurm.states(jobs, cluster, needs_sacct=needs_sacct)
    except ClusterError as error:
        if needs_slurm:
            raise
        log.warning("%s: of unfinished runs no more is known than their records say", error)
        return dict.fromkeys(jobs, NO_ANSWER)


def _run(
    sweep: Path,
    book: Ledger,
    entry: Entry,
    jobs: dict[tuple[str, int], str],
    record: Record | None,
    reason: str | None,
) -> RunState:
    place = book.latest(entry)
    if place is None:
        state = _BY_RECORD.get(record.status, State.NOT_SUBMITTED) if record else State.NOT_SUBMITTED
        if state is State.NOT_SUBMITTED:
            reason = reason or "the sweep's command submits it"
        return RunState(entry, state, record, reason=reason or _reason(record))
    batch, task = place
    outcome, said = _outcome(sweep, batch, entry)
    job = jobs.get((batch.name, task))
    if entry.places[-1].cancelled and (job in (None, NO_ANSWER) or job in slurm.WAITING):
        job = "CANCELLED"
    current = record if ledger.mark(record) != entry.places[-1].seen else None
    if job in slurm.ACTIVE:
        is_alone = batch.settings.get("pack", 1) == 1
        state = _in_job(current, job, outcome, is_alone=is_alone)
    else:
        state = _without_job(record, current, job, outcome)
    if state is State.KILLED:
        reason = "its process was killed from outside: by a person, or for want of memory"
    elif state is State.UNKNOWN:
        reason = reason or "SLURM gives no answer here"
    reason = reason or said or _reason(current)
    if reason is None and state not in FINISHED | ACTIVE:
        reason = _ending(sweep, batch, task, job, outcome)
    return RunState(entry, state, record, batch.job(task), batch.cluster, reason)


def _ending(sweep: Path, batch: Batch, task: int, job: str | None, outcome: int | None) -> str:
    """Of a run whose record does not say why it ended: what the scheduler and the job's log say."""
    if batch.is_local:
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
    if outcome is not None and outcome > BY_SIGNAL:
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
    if by_job in (State.FAILED, State.LOST, State.UNKNOWN) and outcome is not None:
        if outcome > BY_SIGNAL:
            return State.KILLED
        return State.INTERRUPTED if outcome == ExitCode.INTERRUPTED else State.FAILED
    if by_job is State.FAILED and current is not None:
        return State.KILLED  # the record says that it is running, its process has not said a word
    return by_job


def _outcome(sweep: Path, batch: Batch, entry: Entry) -> tuple[int | None, str | None]:
    """The exit code of the run's own process, if the job has lived to see it; and why it was not even started."""
    path = outcome_file(ledger.batch_folder(sweep, batch.name), entry.run_id)
    try:
        outcome = json.loads(path.read_text(encoding="utf-8"))
        return int(outcome["code"]), outcome.get("reason")
    except (OSError, ValueError, TypeError, LookupError, AttributeError):  # none yet, or damaged
        return None, None


def _reason(record: Record | None) -> str | None:
    return records.reason(record.error) if record is not None else None
