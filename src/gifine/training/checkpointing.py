"""Checkpoints on disk, from which a run goes on: whole, or not there.

One is written under another name, gets a manifest with the hash of every file, and is renamed to `checkpoint-<step>`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

PARTIAL = ".partial"  # below the checkpoints' folder: what is being written
_PREFIX = "checkpoint-"
_MANIFEST = "manifest.json"


def at_step(folder: Path, step: int) -> Path:
    return folder / f"{_PREFIX}{step}"


def publish(partial: Path, final: Path) -> None:
    """Give a checkpoint that is written its manifest and its name."""
    (partial / _MANIFEST).write_text(json.dumps(_hashes(partial)))
    partial.rename(final)


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, or None if every file is the one that was written."""
    try:
        expected = json.loads((checkpoint / _MANIFEST).read_text())
    except (OSError, ValueError):
        return "it has no readable manifest"
    found = _hashes(checkpoint)
    differing = sorted(name for name in expected if found.get(name) != expected[name])
    return f"{', '.join(differing)} changed or missing" if differing else None


def last_complete(folder: Path) -> Path | None:
    """The last checkpoint that is undamaged, as is the best one before it; the log warns of others on the way."""
    checkpoints = [path for path in folder.glob(f"{_PREFIX}*") if _step(path) is not None]
    for checkpoint in sorted(checkpoints, key=lambda path: _step(path) or 0, reverse=True):
        problem = damage(checkpoint) or _damage_to_best(checkpoint)
        if problem is None:
            return checkpoint
        log.warning("checkpoint %s is skipped: %s", checkpoint, problem)
    return None


def _damage_to_best(checkpoint: Path) -> str | None:
    """A run that goes on from `checkpoint` may in the end need the best one that came before it."""
    best = _best(checkpoint)
    problem = None if best is None or best == checkpoint else damage(best)
    return problem and f"the best one before it, {best}, is not whole: {problem}"


def _best(checkpoint: Path) -> Path | None:
    state = checkpoint / "trainer_state.json"
    step = json.loads(state.read_text()).get("best_global_step") if state.exists() else None
    return None if step is None else at_step(checkpoint.parent, step)


def clear(folder: Path, keep: Path | None) -> None:
    """Delete what a run that goes on from `keep` (None: from nothing) will write again, and what is half written.

    Of what came before `keep` its best stays, or else the last: a process killed between a checkpoint's rename and the
    deletion of the oldest one left three, and the next would be a fourth.
    """
    shutil.rmtree(folder / PARTIAL, ignore_errors=True)
    kept = {keep}
    if keep is not None:
        earlier = [path for path in folder.glob(f"{_PREFIX}*") if (_step(path) or 0) < (_step(keep) or 0)]
        best = _best(keep)
        kept.add(best if best in earlier else max(earlier, key=lambda path: _step(path) or 0, default=None))
    for checkpoint in folder.glob(f"{_PREFIX}*"):
        if checkpoint not in kept:
            shutil.rmtree(checkpoint)


def processes(checkpoint: Path) -> int:
    """How many processes wrote it: each of several has a random state of its own in it."""
    return len(list(checkpoint.glob("rng_state_*.pth"))) or 1


def _step(checkpoint: Path) -> int | None:
    number = checkpoint.name.removeprefix(_PREFIX)
    return int(number) if number.isdecimal() else None


def _hashes(checkpoint: Path) -> dict[str, str]:
    hashes = {}
    for path in sorted(checkpoint.rglob("*")):
        if path.is_file() and path.name != _MANIFEST:
            with path.open("rb") as file:
                hashes[str(path.relative_to(checkpoint))] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
