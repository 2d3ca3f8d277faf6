"""The folders that runs write to: a small file is written there, brought to the disk and removed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gifine.doctor.finding import Finding, ok, problem, warning
from gifine.machine.footprint import Footprint

_GB = 1e9
_LARGE = Footprint(435_063_810)  # DeBERTaV3-large with a head for two labels


def check(output: Path, cache: Path | None) -> Iterator[Finding]:
    """`cache`: None with a prefetched folder, when runs tokenise nothing."""
    yield folder("output_root", output, needed=_LARGE.checkpoints, purpose="three checkpoints of a large model")
    if cache is not None:
        yield folder("data.cache_dir", cache, needed=2 * _GB, purpose="GLUE's tokens")


def folder(key: str, place: Path, *, needed: float, purpose: str) -> Finding:
    existing = next(path for path in (place, *place.absolute().parents) if path.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".gifine-doctor-") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return problem(key, f"{place}: cannot be written: {error.strerror}", f"give another {key}=FOLDER")
    found = f"{place}: can be written, {free / _GB:.1f} GB free"
    if free < needed:
        return warning(key, found, f"{purpose} take {needed / _GB:.0f} GB: clear some, or give another {key}=FOLDER")
    return ok(key, found)
