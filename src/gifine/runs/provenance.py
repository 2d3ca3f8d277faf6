"""What code and machine a run is made with, as far as it can be told without torch.

`training/circumstances.py` adds what torch knows of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import gifine
from gifine import __version__

SNAPSHOT = "snapshot.json"  # beside the src of a copy of a checkout: what `git` says of the original
SOURCES = Path(gifine.__file__).parents[1]  # of a checkout: src
_PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "numpy", "safetensors")
_UNTRACKED = ("src", "conf")  # below them a file that git does not know is a change, too


def collect() -> dict[str, Any]:
    """What code and machine this is: package versions, code, git commit of a checkout, Python, platform, processor."""
    return {
        "gifine": __version__,
        "code": code(),
        "git": git(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "host": platform.node(),
        "cpus": os.cpu_count(),
        "cpu": cpu(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def sources() -> list[Path]:
    """The Python files of this code, in one order."""
    return sorted(path for name in ("gifine", "hydra_plugins") for path in (SOURCES / name).rglob("*.py"))


def code() -> str:
    """The sha256 of all Python files and their names: the same for the same code, wherever it lies."""
    seen = hashlib.sha256()
    for path in sources():
        seen.update(str(path.relative_to(SOURCES)).encode() + b"\0" + path.read_bytes() + b"\0")
    return seen.hexdigest()


def git() -> dict[str, Any] | None:
    """What git says of the checkout that this code runs from, or is a copy of; None for an installed wheel.

    `commit`; `dirty`, whether files differ from it; `diff`, the sha256 of how they do (None: they do not). Files that
    git does not know count below src/ and conf/, unless it ignores them. Only the hash is kept: a diff may hold what
    nobody wants to hand on with a record.
    """
    top = SOURCES.parent
    if (top / SNAPSHOT).exists():
        return json.loads((top / SNAPSHOT).read_text(encoding="utf-8"))
    if not (top / ".git").exists():
        return None
    try:
        commit = _git(top, "rev-parse", "HEAD").decode().strip()
        changes = _git(top, "diff", "--binary", "--no-ext-diff", "--no-textconv", "HEAD")
        names = _git(top, "ls-files", "--others", "--exclude-standard", "-z", "--", *_UNTRACKED)
    except (OSError, subprocess.CalledProcessError):
        return None
    diff = hashlib.sha256(changes)
    for name in sorted(filter(None, names.split(b"\0"))):
        diff.update(b"\0" + name + b"\0")
        with contextlib.suppress(OSError):  # a link to nowhere, or gone by now
            diff.update((top / os.fsdecode(name)).read_bytes())
    dirty = bool(changes or names)
    return {"commit": commit, "dirty": dirty, "diff": diff.hexdigest() if dirty else None}


def _git(top: Path, *words: str) -> bytes:
    # No locks: another git may be at work there.
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    command = ["git", "-C", str(top), *words]
    return subprocess.run(command, capture_output=True, check=True, env=environment).stdout  # noqa: S603 - fixed words


def cpu(root: Path = Path("/")) -> str | None:
    """The processor as Linux calls it, else as Python does; None where neither knows."""
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.lower().startswith("model name"))
    return next(named, None) or platform.processor() or platform.machine() or None
