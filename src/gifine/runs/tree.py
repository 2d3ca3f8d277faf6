"""Folders of runs, wherever they lie below another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from gifine.inputs.run_folder import MODEL, RECORD

# Below a run's folder, beside its model.
CHECKPOINTS = "checkpoints"  # what a resume needs
INSPECTION = "inspection"
SUBMISSION = "submission"
TRACKED = "wandb"
_NO_RUNS = frozenset({CHECKPOINTS, INSPECTION, MODEL, SUBMISSION, TRACKED})


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
