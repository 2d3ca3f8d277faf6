"""What a sweep has submitted, in `<sweep>/.sweep/ledger.json`: which run is in which job, and when.

A batch is one sbatch call (an array), or one pool of processes. It is in the ledger before it is submitted, without a
job id, and with it afterwards: after a crash in between, `slurm.find` says whether there was a submission.
"""

from __future__ import annotations

import json
import re
import secrets
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from gifine.errors import OutputError, RunError
from gifine.machine import disk
from gifine.runs import records
from gifine.runs.records import Record
from gifine.sweep import pool

SCHEMA_VERSION = 2  # 1 had absolute paths everywhere
FOLDER = ".sweep"  # below the sweep's folder: all that is not a run's
LEDGER = "ledger.json"
_LOCK_SECONDS = 600.0  # composing is done before, so another process holds it for as long as sbatch takes


@dataclass
class Place:
    """Where a run was submitted to: a task of a batch, which may run several."""

    batch: str
    task: int
    seen: str = ""  # `mark` of the record that was there then
    cancelled: str = ""  # when `cancel` has taken it back, UTC


@dataclass
class Entry:
    """One run of the sweep."""

    run_id: str
    slug: str
    folder: str  # absolute; in the file it is relative to the sweep if it is below it
    overrides: list[str] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)  # the newest last
    first: str | None = None  # the run_id of the run that it starts from


@dataclass
class Batch:
    name: str  # its folder's, too
    launcher: str  # a key of compose.launchers.LAUNCHERS
    settings: dict[str, Any]
    tasks: int
    submitted: str  # UTC, ISO 8601
    job_id: str | None = None  # of SLURM; null for processes of this machine, and until sbatch has answered
    host: str | None = None  # where processes are
    log: str = ""  # SLURM's pattern for the file with what a job prints, in the batch's folder unless it is absolute
    cluster: str | None = None  # of job_id, where sbatch was told a cluster; null: this machine's

    @property
    def is_local(self) -> bool:
        """Processes of this machine or another one, not jobs of SLURM."""
        return self.launcher == "local"

    def job(self, task: int) -> str | None:
        """What SLURM calls one task."""
        return f"{self.job_id}_{task}" if self.job_id is not None and self.tasks > 1 else self.job_id


@dataclass
class Ledger:
    runs: dict[str, Entry] = field(default_factory=dict)  # by run_id
    batches: dict[str, Batch] = field(default_factory=dict)  # by name
    schema_version: int = SCHEMA_VERSION

    def latest(self, entry: Entry) -> tuple[Batch, int] | None:
        """The batch and task that a run was last submitted to."""
        if not entry.places:
            return None
        return self.batches[entry.places[-1].batch], entry.places[-1].task

    def runs_of(self, batch: Batch, task: int) -> list[Entry]:
        """Those whose latest submission is this task."""
        return [entry for entry in self.runs.values() if self.latest(entry) == (batch, task)]


def read(sweep: Path) -> Ledger:
    """The ledger of a sweep; an empty one if nothing was submitted yet.

    Raises:
        OutputError: for a file that is no ledger of ours.
    """
    path = sweep / FOLDER / LEDGER
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        if entries["schema_version"] not in (1, SCHEMA_VERSION):
            raise ValueError(f"schema_version {entries['schema_version']}, this gifine writes {SCHEMA_VERSION}")
        runs = [Entry(**run) for run in entries["runs"]]
        for run in runs:
            run.places = [Place(**cast("dict[str, Any]", place)) for place in run.places]
            _check_types(run, *run.places)
            run.folder = _moved(sweep, run) if entries["schema_version"] == 1 else str(sweep / run.folder)
        batches = [Batch(**batch) for batch in entries["batches"]]
        _check_types(*batches)
        lost = {place.batch for run in runs for place in run.places} - {batch.name for batch in batches}
        if lost:
            raise ValueError(f"it does not have the batches {', '.join(sorted(lost))} that runs are in")
    except FileNotFoundError:
        return Ledger()
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise OutputError(f"{path} is no readable ledger ({error}); move it away: records stay") from error
    return Ledger({run.run_id: run for run in runs}, {batch.name: batch for batch in batches})


def _check_types(*things: Entry | Place | Batch) -> None:
    """Raise a TypeError for values of another type than the default's, or than those of keys without one."""
    for thing in things:
        for key in fields(thing):
            value = getattr(thing, key.name)
            wanted = _TYPES.get(key.type if isinstance(key.type, str) else "", object)
            if not isinstance(value, wanted):
                raise TypeError(f"{key.name} is {value!r}")


_TYPES: dict[str, Any] = {"str": str, "int": int, "str | None": (str, type(None)), "dict[str, Any]": dict}
_TYPES |= {"list[str]": list, "list[Place]": list}


def read_existing(sweep: Path) -> Ledger:
    """The ledger of a folder that a user has named as a sweep's.

    Raises:
        RunError: if it is none.
    """
    if not (sweep / FOLDER / LEDGER).is_file():
        if not sweep.is_dir():
            raise RunError(f"{sweep}: no such folder")
        raise RunError(
            f"{sweep}: no {FOLDER}/{LEDGER} there: nothing was submitted into it, as with hydra/launcher=local or "
            "slurm; gifine report shows the runs of any folder"
        )
    return read(sweep)


def write(sweep: Path, ledger: Ledger) -> None:
    """Replace the ledger as a whole; the caller holds `locked`."""
    entries = {key.name: getattr(ledger, key.name) for key in fields(ledger)}
    entries["schema_version"] = SCHEMA_VERSION
    entries["runs"] = [asdict(entry) | {"folder": _relative(sweep, entry.folder)} for entry in ledger.runs.values()]
    entries["batches"] = [asdict(batch) for batch in ledger.batches.values()]
    disk.write_text(sweep / FOLDER / LEDGER, json.dumps(entries, indent=1, ensure_ascii=False) + "\n")


def locked(sweep: Path) -> AbstractContextManager[None]:
    """Nobody else decides what to submit meanwhile, on this machine or another one with the same folder.

    Raises:
        OutputError: if the folder cannot be written, or another process does not let go of it.
    """
    busy = f"{sweep}: another process is submitting into it, for {_LOCK_SECONDS:.0f} s now"
    return disk.locked(sweep / FOLDER / ".lock", busy=busy, seconds=_LOCK_SECONDS)


def _relative(sweep: Path, path: str) -> str:
    """A sweep's folder may be moved, with its ledger; what lies elsewhere stays there."""
    return str(Path(path).relative_to(sweep)) if Path(path).is_relative_to(sweep) else path


def _moved(sweep: Path, run: Entry) -> str:
    """Where a run is by an older ledger, which may have been moved since."""
    here = sweep / Path(run.folder).name
    return str(here) if (here / records.RECORD).is_file() and not Path(run.folder).is_dir() else run.folder


def log_of(sweep: Path, batch: Batch, task: int) -> Path | None:
    """The file with what a task's job prints, as far as its name is known; null if it was not submitted."""
    if batch.is_local:
        return pool.log_file(batch_folder(sweep, batch.name), task)
    if batch.job_id is None:
        return None
    words = {"A": batch.job_id, "a": str(task), "j": batch.job_id, "x": str(batch.settings["name"]), "%": "%"}
    path = Path(re.sub(r"%([Aajx%])", lambda match: words[match.group(1)], batch.log))
    own = batch_folder(sweep, batch.name)
    return own / (path.name if path.parent.name == batch.name else path)  # the former in an older ledger


def mark(record: Record | None) -> str:
    """Another one for each attempt: what an earlier submission has left says nothing about a later one."""
    return "" if record is None else f"{record.attempts} {record.started}"


def batch_folder(sweep: Path, batch: str) -> Path:
    return sweep / FOLDER / "jobs" / batch


def new_name() -> str:
    """Of a batch: sorts by time, and is not another's. SLURM knows the job by it, too."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
