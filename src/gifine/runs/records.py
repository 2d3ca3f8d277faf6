"""One `record.json` a run: what was run, on what, and what came out. A report reads nothing else.

It is written when the run starts and when it ends, however it ends, and never in part.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import subprocess
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gifine import __version__
from gifine.config import RunConfig
from gifine.errors import MemoryExhaustedError, OutputError, UserError
from gifine.inputs import sources
from gifine.machine import disk, exhaustion, signals
from gifine.runs import identity

SCHEMA_VERSION = 1
RECORD = "record.json"
LOCK = ".lock"
SNAPSHOT = "snapshot.json"  # beside the src of a copy of a checkout: what `git` says of the original
_NO_RUNS = frozenset({"checkpoints", "model", "submission", "wandb"})  # folders in which no run is
_PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "numpy", "safetensors")


class Status(StrEnum):
    RUNNING = "running"
    DONE = "done"
    DEGENERATE = "degenerate"  # ran to the end, but predicts one class or one number for everything
    DIVERGED = "diverged"  # the loss became NaN or infinite
    INTERRUPTED = "interrupted"  # stopped before its last step
    FAILED = "failed"  # raised; `error` has the traceback


# The same config would end so again: running it again is a waste.
FINISHED = frozenset({Status.DONE, Status.DEGENERATE, Status.DIVERGED})


@dataclass
class Record:
    """What `record.json` holds. Metrics are keyed `task/split/metric`; an undefined metric is null."""

    run_id: str
    slug: str
    config: dict[str, Any]
    status: Status = Status.RUNNING
    error: str | None = None  # why a run failed, diverged or is degenerate
    metrics: dict[str, float | None] = field(default_factory=dict)
    invariance: list[dict[str, Any]] = field(default_factory=list)  # what `evaluate.invariance` found
    best: dict[str, Any] = field(default_factory=dict)  # step, epoch and metric of the chosen checkpoint
    class_weights: dict[str, float] = field(default_factory=dict)  # by label, if the loss had any
    stopped_early: dict[str, Any] = field(default_factory=dict)  # step and reason, if train.patience ended training
    attempts: int = 1
    resumed_at: int = 0  # the step that this attempt went on from
    steps: dict[str, int] = field(default_factory=dict)  # done, planned
    parameters: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)  # a split: its examples
    seconds: dict[str, float] = field(default_factory=dict)
    started: str = ""  # UTC, ISO 8601
    finished: str | None = None
    contents: dict[str, str] = field(default_factory=dict)  # `sources.contents`: what the run_id has in place of paths
    provenance: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION


def read(folder: Path) -> Record | None:
    """The record in a run's folder, or None if there is none yet.

    Raises:
        OutputError: for a file that is no record of ours.
    """
    path = folder / RECORD
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        known = {f.name for f in fields(Record)}
        record = Record(**{key: value for key, value in entries.items() if key in known})
        record.status = Status(record.status)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise OutputError(
            f"{path} is no readable record ({error}); move it away, or give another output_dir"
        ) from error
    return record


def below(path: Path) -> Iterator[Path]:
    """The folders with a record, each once: the path itself, or what is below it, links to folders included.

    Checkpoints and the like are not looked into.
    """
    if path.name == RECORD:
        yield path.resolve().parent
        return
    waiting, seen = [path.resolve()], set()
    while waiting:
        folder = waiting.pop()
        if folder in seen:  # by a link before, which may lead upwards
            continue
        seen.add(folder)
        try:
            with os.scandir(folder) as entries:
                inside = {entry.name: _folder(entry) for entry in entries}
        except OSError:  # a file, not ours to look into, or just gone
            continue
        if RECORD in inside:
            yield folder
            continue
        waiting += [
            found
            for name, found in inside.items()
            if found is not None and name not in _NO_RUNS and not name.startswith(".")
        ]


def _folder(entry: os.DirEntry[str]) -> Path | None:
    """Where a folder, or a link to one, really is; None for files."""
    try:
        if not entry.is_dir():
            return None
        return Path(entry.path).resolve() if entry.is_symlink() else Path(entry.path)
    except OSError:  # a link to itself
        return None


def reason(error: str | None) -> str | None:
    """What a record's error says in one line: of a traceback what was raised, else its first line."""
    lines = (error or "").strip().splitlines()
    if not lines or not lines[0].startswith("Traceback "):
        return lines[0] if lines else None
    frames = [place for place, line in enumerate(lines) if line.startswith('  File "')]
    # It follows the last frame, perhaps on several lines, of which the first says what it is.
    raised = [line for line in lines[frames[-1] + 1 :] if not line.startswith(" ")] if frames else []
    return raised[0] if raised else lines[-1]


def write(folder: Path, record: Record) -> None:
    """Write `record.json` so that a reader sees the old one or the new one, never a part."""
    write_text(folder / RECORD, json.dumps(asdict(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace a file's content atomically and durably; the caller is the only one who writes it."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # a read-only disk
            temporary.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def open_folder(config: RunConfig) -> Path:
    """Make the run's folder, which must be writable and must not hold a run of another config.

    Raises:
        OutputError: if it does, or cannot be written.
    """
    folder, run_id = identity.directory(config), identity.run_id(config)
    earlier = read(folder)
    if earlier is not None and earlier.run_id != run_id:
        raise OutputError(
            f"{folder} holds the run {earlier.run_id} {_other(config, earlier)}, not {run_id}: "
            "give another output_dir, or none"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}; give another output_root") from error
    return folder


def _other(config: RunConfig, earlier: Record) -> str:
    """What tells a run from the one that is asked for."""
    ours = sources.contents(config)
    changed = [
        f"{key} (sha256 {theirs[:12]}, now {ours[key][:12]})"
        for key, theirs in earlier.contents.items()
        if ours.get(key, theirs) != theirs
    ]
    return f"of other contents of {', '.join(changed)}" if changed else f"of another config ({earlier.slug})"


def locked(folder: Path) -> AbstractContextManager[None]:
    """Hold the run's folder for this process.

    Raises:
        OutputError: if another process holds it, or the folder cannot be written.
    """
    busy = f"{folder}: another process is at this run; wait for it to end, or give another output_dir"
    return disk.locked(folder / LOCK, busy=busy)


def keep(record: Record, folder: Path, fit: Callable[[], None], *, writes: bool) -> None:
    """Call `fit`, and write the record before it and however it ends, and the log: of several processes, one `writes`.

    No context manager: a signal at the end of a block is raised in contextlib, and the record would not be written.

    Raises:
        OutputError: if the disk is full or became read-only. Other exceptions pass through.
    """

    def save() -> None:
        if writes:
            write(folder, record)

    def finish() -> None:
        with signals.held():
            record.seconds["total"] = round(time.monotonic() - clock, 3)
            record.finished = _now()
            save()

    clock = time.monotonic()
    record.started = _now()
    try:
        record.provenance = provenance()
        save()
        with _logged(folder / "run.log", "w" if record.attempts == 1 else "a", writes=writes):
            fit()
    except KeyboardInterrupt as error:
        record.status, record.error = Status.INTERRUPTED, f"stopped by {str(error) or 'Ctrl-C'}"
        raise
    except UserError as error:
        record.status, record.error = Status.FAILED, str(error)
        raise
    except BaseException as error:
        record.status, record.error = Status.FAILED, traceback.format_exc()
        problem = disk.reason(error)
        if problem is not None:
            record.error = f"cannot write to {folder}: {problem}"
            raise OutputError(record.error) from error
        problem = exhaustion.reason(error) if isinstance(error, Exception) else None
        if problem is not None:
            record.error = f"out of memory ({problem}): take a machine with more, or a smaller model"
            raise MemoryExhaustedError(record.error) from error
        raise
    finally:
        try:
            finish()
        except KeyboardInterrupt:  # a signal before they were held, or one that has waited; there is no second one
            finish()
            raise


@contextlib.contextmanager
def _logged(path: Path, mode: str, *, writes: bool) -> Generator[None]:
    """Write the log to a file, too: of several processes, one `writes`, and the others are silent about progress."""
    handler = _LogFile(path, mode, encoding="utf-8") if writes else logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger("gifine").setLevel(logging.INFO if writes else logging.WARNING)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        with contextlib.suppress(OSError):  # what a full disk did not take is flushed once more
            handler.close()


class _LogFile(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        raise  # a full disk ends the run with one message; logging would print a traceback a line


def provenance() -> dict[str, Any]:
    """What code and machine this is: package versions, git commit of a checkout, Python, platform."""
    return {
        "gifine": __version__,
        "git": git(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "host": platform.node(),
        "cpus": os.cpu_count(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def git() -> dict[str, Any] | None:
    """Commit and dirty flag of the checkout that this code runs from, or is a copy of; None for an installed wheel."""
    top = Path(__file__).parents[3]
    if (top / SNAPSHOT).exists():
        return json.loads((top / SNAPSHOT).read_text(encoding="utf-8"))
    if not (top / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(["git", "-C", str(top), *command], capture_output=True, text=True, check=True).stdout  # noqa: S603, S607 - fixed words
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit.strip(), "dirty": bool(changes.strip())}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
