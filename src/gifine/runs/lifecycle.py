"""A run's folder while the run is under way: one process has it, and the record in it is written however it ends."""

from __future__ import annotations

import contextlib
import logging
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

from gifine.config import RunConfig
from gifine.errors import MemoryExhaustedError, OutputError, UserError
from gifine.inputs import sources
from gifine.machine import disk, out_of_memory, signals
from gifine.runs import identity, provenance, records
from gifine.runs.records import Record, Status

LOCK = ".lock"


def open_folder(config: RunConfig) -> Path:
    """Make the run's folder, which must be writable and must not hold a run of another config.

    Raises:
        OutputError: if it does, or cannot be written.
    """
    folder, run_id = identity.directory(config), identity.run_id(config)
    earlier = records.read(folder)
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
            records.write(folder, record)

    def finish() -> None:
        with signals.held():
            record.seconds["total"] = round(time.monotonic() - clock, 3)
            record.finished = _now()
            save()

    clock = time.monotonic()
    record.started = _now()
    try:
        record.provenance |= provenance.collect()
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
        problem = out_of_memory.reason(error) if isinstance(error, Exception) else None
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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
