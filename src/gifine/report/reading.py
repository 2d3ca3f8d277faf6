"""Runs from their records, in little memory: 10,000 of them are a few megabytes.

A record that cannot be read, is not ours or is there twice becomes a `Problem`; it stops nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from gifine.errors import RunError
from gifine.report import circumstances, measured, settings
from gifine.report.circumstances import Circumstances
from gifine.report.measured import Measured
from gifine.report.pool import Pool
from gifine.report.settings import Settings, Task
from gifine.runs import records, staleness
from gifine.runs.records import FINISHED, RECORD, SCHEMA_VERSION, Status
from gifine.runs.replicate import Replicate
from gifine.runs.tree import below

T = TypeVar("T")

_LONGEST_ERROR = 200  # characters: the rest is in the record


@dataclass(slots=True, eq=False)
class Run:
    folder: Path
    run_id: str
    slug: str
    status: Status
    setup: Settings  # all that decides the result but gate and seeds
    gate: Settings
    replicate: Replicate  # what its random numbers start from
    first: Replicate | None  # of the run that it starts from; None: not known, or there is none
    first_run: str | None  # run_id of that run
    first_status: Status | None  # of that run when this one began; None: not recorded, or there is none
    first_task: str | None  # that run's task
    task: Task
    scores: tuple[float | None, ...]  # of task.measures; None: undefined, or it did not come so far
    last: float | None  # the primary measure at the last evaluation while it trained; None: not recorded, or none
    evaluations: int | None  # while it trained; None: not recorded
    selected: float | None  # of task.logged: where dev is split, the score of the half that chose the checkpoint
    trial: tuple[str, int, int] | None  # of a random search: the space, search.seed and search.trial
    data: str | None  # fingerprint of what was read; None: it did not come so far
    weights: str | None  # fingerprint of those that were read; None for random ones and those of another run
    tokenizer: str | None  # fingerprint of its word pieces
    processes: int | None  # that made a step together
    circumstances: Circumstances  # what else moves results; runs that were computed alike share the object
    measured: Measured  # what it took
    error: str | None
    started: str | None  # UTC, ISO 8601; of this attempt
    finished: str | None
    files: dict[str, str]  # that it has read: by path the sha256; runs of a sweep share the object
    predictions: dict[str, str]  # that it has written: by split the sha256, where the record has it
    begun: str | None  # as `started`, of the first attempt
    plan: tuple[str, str] | None  # that it has named: path and sha256

    @property
    def seed(self) -> int:
        return self.replicate.seed

    def score(self, measure: str) -> float | None:
        return self.scores[self.task.measures.index(measure)]


@dataclass(slots=True)
class Problem:
    path: Path
    reason: str
    is_double: bool = False  # it is sound, and another record of the same result counts


@dataclass(slots=True)
class Reading:
    runs: list[Run] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    changed: list[tuple[Run, list[str]]] = field(default_factory=list)  # runs, and the files that are others now


@dataclass(slots=True)
class Reader:
    """Reads the records below some paths; again, only those that have changed."""

    paths: Sequence[Path]
    pool: Pool = field(default_factory=Pool)
    known: dict[Path, tuple[tuple[int, int, int], Run | Problem]] = field(default_factory=dict)

    def read(self) -> Reading:
        """All runs, in the order of their folders.

        Raises:
            RunError: for a path that is not there, or if there is no record at all.
        """
        missing = [str(path) for path in self.paths if not path.exists()]
        if missing:
            raise RunError("\n".join(f"{path}: no such file or folder" for path in missing))
        folders = list(dict.fromkeys(folder for path in self.paths for folder in below(path)))
        if not folders:
            raise RunError(f"no {RECORD} in or below {', '.join(map(str, self.paths))}")
        found = [self._one(folder / RECORD) for folder in progress(sorted(folders), "reading", "runs")]
        reading = Reading(problems=[each for each in found if isinstance(each, Problem)])
        reading.runs, twice = _distinct([each for each in found if isinstance(each, Run)])
        reading.problems += twice
        reading.changed = [*staleness.files({run: run.files for run in reading.runs}).items()]
        return reading

    def _one(self, path: Path) -> Run | Problem:
        try:
            state = path.stat()
            stamp = (state.st_mtime_ns, state.st_size, state.st_ino)
            if path not in self.known or self.known[path][0] != stamp:
                self.known[path] = stamp, _run(path, self.pool)
        except OSError as error:
            return Problem(path, f"cannot be read: {error.strerror}")
        return self.known[path][1]


class _ForeignError(Exception):
    """A file that is no record of ours."""


def progress(things: Iterable[T], doing: str, unit: str, total: int | None = None) -> Iterator[T]:
    """The things, with a bar on stderr where that is a terminal and it takes more than a moment.

    `total` says how many they are where they have no length.
    """
    yield from tqdm(things, doing, total, unit=f" {unit}", leave=False, delay=0.5, disable=not sys.stderr.isatty())


def _run(path: Path, pool: Pool) -> Run | Problem:
    try:
        return _parsed(path, pool)
    except _ForeignError as error:
        return Problem(path, str(error))


def _parsed(path: Path, pool: Pool) -> Run:
    try:
        entries = records.load(path.parent)
    except (ValueError, RecursionError) as error:
        raise _ForeignError(f"no JSON: {error}") from error
    if not {"run_id", "slug", "config", "status"} <= entries.keys():
        raise _ForeignError("no record of gifine: it has no run_id, slug, config or status")
    if entries.get("schema_version") != SCHEMA_VERSION:
        raise _ForeignError(f"schema_version {entries.get('schema_version')}, this gifine reads {SCHEMA_VERSION}")
    try:
        return _from_entries(path.parent, entries, pool)
    except KeyError as error:
        raise _ForeignError(f"its config has no {error.args[0]}") from error
    except (TypeError, AttributeError, ValueError, IndexError, OverflowError) as error:
        raise _ForeignError(f"not a record as gifine writes them: {error}") from error


def _from_entries(folder: Path, entries: dict[str, Any], pool: Pool) -> Run:
    status = Status(entries["status"])
    provenance = entries.get("provenance") or {}
    start = pool.starts.find(folder, entries)
    defaults = (provenance.get("change") or {}).get("defaults")
    setup, gate, drawn, task = pool.take(entries["config"], start, entries.get("contents") or {}, defaults)
    settings.gate(gate), settings.model(setup)  # whether they can be told
    metrics = (entries.get("metrics") or {}) if status in FINISHED else {}
    return Run(
        folder=folder,
        run_id=str(entries["run_id"]),
        slug=str(entries["slug"]),
        status=status,
        setup=setup,
        gate=gate,
        replicate=drawn,
        first=start.seeds,
        first_run=start.run_id,
        first_status=Status(start.status) if start.status is not None else None,
        first_task=start.task,
        task=task,
        scores=tuple(_number(metrics.get(measure)) for measure in task.measures),
        last=_number((entries.get("last") or {}).get(task.metric(task.primary))),
        evaluations=_count(entries.get("evaluations")),
        selected=_number(metrics.get(task.logged)),
        trial=_trial(entries["config"].get("search") or {}),
        data=_fingerprint(provenance.get("data")),
        weights=_fingerprint(provenance.get("weights")) if "init_from" not in provenance else None,
        tokenizer=_fingerprint(provenance.get("tokenizer")),
        processes=provenance.get("processes"),
        circumstances=pool.shared(circumstances.collect(entries["config"], provenance)),
        measured=measured.collect(entries),
        error=_shortened(entries.get("error")),
        started=_date(entries.get("started")),
        finished=_date(entries.get("finished")),
        files=pool.shared(provenance.get("files") or {}),
        predictions=dict(provenance.get("predictions") or {}),
        begun=_date(provenance.get("begun") or entries.get("started")),
        plan=_plan(provenance.get("plan")),
    )


def _trial(search: dict[str, Any]) -> tuple[str, int, int] | None:
    if search.get("trial") is None:
        return None
    return sys.intern(json.dumps(search["space"], sort_keys=True)), int(search["seed"]), int(search["trial"])


def _number(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"a metric is {value!r}")
    if abs(value) > 1:
        raise ValueError(f"a metric is {value!r}: all are fractions, -1 … 1")
    return float(value)


def _count(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"its evaluations are {value!r}")
    return value


def _date(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"a date is {value!r}")
    return value


def _plan(noted: dict[str, Any] | None) -> tuple[str, str] | None:
    return (sys.intern(str(noted["path"])), sys.intern(str(noted["sha256"]))) if noted else None


def _fingerprint(hashes: dict[str, str] | str | None) -> str | None:
    if not hashes:
        return None
    return sys.intern(hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()[:12])


def _shortened(error: str | None) -> str | None:
    found = records.reason(error)
    return sys.intern(found[:_LONGEST_ERROR]) if found is not None else None


def _distinct(runs: Sequence[Run]) -> tuple[list[Run], list[Problem]]:
    """One run for each result asked for, finished ones first, then the latest; the others as problems."""
    best: dict[tuple[Settings, Settings, Replicate], Run] = {}
    twice = []
    for run in runs:
        key = (run.setup, run.gate, run.replicate)
        other = best.setdefault(key, run)
        if other is not run:
            best[key], left = (run, other) if _merit(run) > _merit(other) else (other, run)
            twice.append((left, key))
    problems = [
        Problem(left.folder / RECORD, f"asks for the same result as {best[key].folder}, which is counted", True)
        for left, key in twice
    ]
    return list(best.values()), problems


def _merit(run: Run) -> tuple[bool, str]:
    return run.status in FINISHED, run.finished or ""
