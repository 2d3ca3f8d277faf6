"""Which files data.files names: text of one's own, to pre-train on. No file is read."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from gifine.errors import DataError
from gifine.inputs.rows import missing_file

SUFFIXES = (".txt", ".jsonl")


def expand(patterns: Sequence[str]) -> list[Path]:
    """The files that names and patterns (`texts/*.txt`) mean, each pattern's sorted by name, each file once.

    Raises:
        DataError: for a pattern without a file, and a file of another suffix.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern).expanduser()
        matches = [path] if path.is_file() else sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207
        files = [each for each in matches if each.is_file()]
        if not files and glob.has_magic(str(path)):
            raise DataError(f"data.files: no file is like {pattern}")
        if not files:
            raise missing_file(path)
        for each in files:
            if each.suffix.lower() not in SUFFIXES:
                raise DataError(f"data.files: {each}: suffix '{each.suffix}' is none of {', '.join(SUFFIXES)}")
            found[each] = None
    return list(found)
