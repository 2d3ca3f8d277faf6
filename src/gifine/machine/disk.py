"""Disks that are full, over a quota or read-only: found before a run, or told from what any library raises. Locks."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Generator
from pathlib import Path

from filelock import FileLock, Timeout

from gifine.errors import OutputError, chain
from gifine.machine.footprint import Footprint

_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_PROBE_BYTES = 2**20


def user_cache() -> Path:
    """Where caches lie that belong to nobody's results; it need not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gifine"


def check_space(folder: Path, parameters: int) -> None:
    """Refuse to start where the checkpoints will not fit.

    Raises:
        OutputError: with what is needed and what is free.
    """
    needed, free = Footprint(parameters).checkpoints, shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(
            f"{folder}: three checkpoints need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
            "give another output_root"
        )


def reason(error: BaseException) -> str | None:
    """What the system said of the disk, if that is why `error` was raised.

    safetensors, torch and pyarrow raise classes of their own, with the system's words in them.
    """
    for each in chain(error):
        for code in _CODES:
            if (isinstance(each, OSError) and each.errno == code) or os.strerror(code) in str(each):
                return os.strerror(code)
    return None


@contextlib.contextmanager
def writing(path: Path, partial: Path) -> Generator[None]:
    """Delete `partial`, which is to become `path`, if it cannot be written: the record needs the room.

    Raises:
        OutputError: if that is because of the disk. Other exceptions pass through.
    """
    try:
        yield
    except BaseException as error:
        # torch's writer does not say what the system said: see whether the disk still takes anything
        problem = reason(error) or (_probe(partial.parent) if isinstance(error, Exception) else None)
        shutil.rmtree(partial, ignore_errors=True)
        if problem is not None:
            raise OutputError(f"cannot write {path}: {problem}") from error
        raise


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


@contextlib.contextmanager
def locked(path: Path, *, busy: str, seconds: float = 0) -> Generator[None]:
    """Hold a lock file for this process; the system lets go of it when the process dies, however it dies.

    Raises:
        OutputError: with `busy`, if another process holds it for so long, or if its folder cannot be written.
    """
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=seconds)
    except Timeout as error:
        raise OutputError(busy) from error
    except OSError as error:
        raise OutputError(f"cannot write to {path.parent}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def _probe(folder: Path) -> str | None:
    path = folder / ".probe"
    try:
        with path.open("wb") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return reason(error)
    finally:
        with contextlib.suppress(OSError):  # read-only: then there is none
            path.unlink(missing_ok=True)
    return None
