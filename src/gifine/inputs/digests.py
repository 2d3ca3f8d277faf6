"""The sha256 of files, computed once for as long as a file does not change: many runs read the same weights.

What is known of large files is kept in the user's cache folder, one small file for each, written whole by a rename: any
number of processes may be at it. It is believed while size, times and inode are those of then. A file that was changed
in the last moments before it was read is not kept: another change in the same tick of the clock would go unseen (git's
index has the same rule).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import time
from pathlib import Path
from typing import NamedTuple

from gifine.machine import disk

_FOLDER = "digests"  # below the user's cache folder
_KEPT_BYTES = 2**20  # from this size on: smaller files are hashed in less time than it takes to find what was kept
_SETTLED_NS = 2_000_000_000


class _Stamp(NamedTuple):
    """Equal for two looks at a file that has not changed. Copying its time, as `cp -p` does, moves the second one."""

    size: int
    modified_ns: int
    changed_ns: int
    inode: int


_known: dict[tuple[str, bytes], tuple[_Stamp, str]] = {}


def sha256(path: str | Path, suffix: bytes = b"") -> str:
    """Of a file's bytes, with `suffix` behind them.

    Raises:
        OSError: if it cannot be read.
    """
    name = os.path.realpath(path)
    stamp, now_ns = _stamp(name), time.time_ns()
    known = _known.get((name, suffix)) or _kept(name, suffix, stamp.size)
    if known is not None and known[0] == stamp:
        _known[name, suffix] = known
        return known[1]
    with Path(name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(suffix)
    found = digest.hexdigest()
    if max(stamp.modified_ns, stamp.changed_ns) + _SETTLED_NS < now_ns and _stamp(name) == stamp:
        _known[name, suffix] = stamp, found
        _keep(name, suffix, stamp, found)
    return found


def _stamp(name: str) -> _Stamp:
    state = Path(name).stat()
    if not stat.S_ISREG(state.st_mode):  # a device or pipe may never end
        raise OSError(errno.EINVAL, "not a regular file", name)
    return _Stamp(state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)


def _place(name: str, suffix: bytes) -> Path:
    key = hashlib.sha256(os.fsencode(name) + b"\0" + suffix).hexdigest()
    return disk.user_cache() / _FOLDER / f"{key[:32]}.json"


def _kept(name: str, suffix: bytes, size: int) -> tuple[_Stamp, str] | None:
    """What another process has found out; None as well for what is damaged or cannot be read."""
    if size < _KEPT_BYTES:
        return None
    try:
        entry = json.loads(_place(name, suffix).read_text(encoding="utf-8"))
        if entry["path"] != name or len(bytes.fromhex(entry["sha256"])) != hashlib.sha256().digest_size:
            return None
        return _Stamp(*entry["stamp"]), entry["sha256"]
    except (OSError, ValueError, TypeError, KeyError, RuntimeError):  # the last for a user without a home
        return None


def _keep(name: str, suffix: bytes, stamp: _Stamp, found: str) -> None:
    if stamp.size < _KEPT_BYTES:
        return
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # it is hashed again, then
        place = _place(name, suffix)
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(f".{place.stem}.{os.getpid()}.{time.monotonic_ns()}")
        partial.write_text(json.dumps({"path": name, "stamp": stamp, "sha256": found}), encoding="utf-8")
        partial.replace(place)
