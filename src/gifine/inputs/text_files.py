"""Which files data.files names: text of one's own, to pre-train on. No file is read."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from gifine.errors import DataError
from gifine.inputs.rows import missing_file

SUFFIXES = (".txt", ".jsonl")


def expand(patterns: Sequence[str]) -> list[Path]:
    """The files that names and patterns (`texts/*.txt`) mean, each pattern's sorted by name.

    What a pattern finds of files that are there already is taken once.

    Raises:
        DataError: for a pattern without a file, a folder, a file of another suffix, and one that is named twice.
    """
    found: dict[Path, Path] = {}  # by where it really is
    named: set[Path] = set()
    for pattern in patterns:
        if not pattern.strip():
            raise DataError(f"data.files: '{pattern}' names no file")
        path = Path(pattern).expanduser()
        if path.is_dir():
            raise DataError(f"data.files: {pattern} is a folder; give its files, as in {path / '*.txt'}")
        matches = [path] if path.is_file() else sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207 - Path.glob takes no absolute pattern
        files = [each for each in matches if each.is_file()]
        if not files and glob.has_magic(str(path)):
            raise DataError(f"data.files: no file is like {pattern}")
        if not files:
            raise missing_file(path)
        for each in files:
            if each.suffix.lower() not in SUFFIXES:
                raise DataError(f"data.files: {each}: suffix '{each.suffix}' is none of {', '.join(SUFFIXES)}")
            place = each.resolve()
            if path.is_file() and place in named:
                raise DataError(f"data.files: {pattern} is named twice; its text would count twice")
            named |= {place} if path.is_file() else set()
            found.setdefault(place, each)
    return list(found.values())
