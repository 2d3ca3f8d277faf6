"""A copy of the code in the sweep's folder: what jobs run does not change while they are queued."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path

from gifine.runs import provenance

CODE = "code"  # below the sweep's own folder
_TOP = provenance.SOURCES


def checkout() -> Path | None:
    """The src folder of the checkout that this code runs from; null for an installed wheel, which nobody edits."""
    return _TOP if (_TOP.parent / "pyproject.toml").is_file() or (_TOP.parent / provenance.SNAPSHOT).is_file() else None


def digest() -> str:
    """Of all Python files, short enough for a folder's name."""
    return provenance.code()[:12]


def take(sweep_folder: Path) -> Path | None:
    """Copy the checkout's code, once for each state that it is in; the folder for PYTHONPATH, or null for a wheel."""
    if checkout() is None:
        return None
    final = sweep_folder / CODE / digest()
    if not final.exists():
        partial = final.with_name(f".{final.name}.{os.getpid()}")
        for path in provenance.sources():
            target = partial / "src" / path.relative_to(_TOP)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        (partial / provenance.SNAPSHOT).write_text(json.dumps(provenance.git()), encoding="utf-8")
        with contextlib.suppress(FileExistsError):
            partial.rename(final)
        shutil.rmtree(partial, ignore_errors=True)
    return final / "src"
