"""What code and machine a run is made with."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gifine import __version__

SNAPSHOT = "snapshot.json"  # beside the src of a copy of a checkout: what `git` says of the original
_PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "numpy", "safetensors")


def collect() -> dict[str, Any]:
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
