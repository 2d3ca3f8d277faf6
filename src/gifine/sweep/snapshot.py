"""A copy of the code in the sweep's folder: what jobs run does not change while they are queued."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path

import gifine
from gifine.runs import provenance

CODE = "code"  # below the sweep's own folder
_TOP = Path(gifine.__file__).parents[1]  # of a checkout: src


def checkout() -> Path | None:
    """The src folder of the checkout that this code runs from; null for an installed wheel, which nobody edits."""
    return _TOP if (_TOP.parent / "pyproject.toml").is_file() or (_TOP.parent / provenance.SNAPSHOT).is_file() else None


def digest() -> str:
    """Of all Python files: the same for the same code, wherever it lies."""
    seen = hashlib.sha256()
    for path in _sources():
        seen.update(str(path.relative_to(_TOP)).encode() + b"\0" + path.read_bytes() + b"\0")
    return seen.hexdigest()[:12]


def take(sweep_folder: Path) -> Path | None:
    """Copy the checkout's code, once for each state that it is in; the folder for PYTHONPATH, or null for a wheel."""
    if checkout() is None:
        return None
    final = sweep_folder / CODE / digest()
    if not final.exists():
        partial = final.with_name(f".{final.name}.{os.getpid()}")
        for path in _sources():
            target = partial / "src" / path.relative_to(_TOP)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        (partial / provenance.SNAPSHOT).write_text(json.dumps(provenance.git()), encoding="utf-8")
        with contextlib.suppress(FileExistsError):
            partial.rename(final)
        shutil.rmtree(partial, ignore_errors=True)
    return final / "src"


def _sources() -> list[Path]:
    return sorted(path for name in ("gifine", "hydra_plugins") for path in (_TOP / name).rglob("*.py"))
