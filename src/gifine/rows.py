"""What the readers of data files share: a file's text, and the id of a label."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from pathlib import Path

from gifine.errors import DataError, did_you_mean

# A row has the task's input columns (text), `idx` (its number in the file, from 0) and, where the file has labels,
# `label` (a class id, or a float for regression).
Row = dict[str, str | int | float]

_LISTED = 20  # entries of a folder that an error message names at most


def read_text(path: Path) -> str:
    """The UTF-8 text of a file without its byte order mark, its line ends as they are.

    Raises DataError if the file is missing, empty or not UTF-8; the message names the line.
    """
    if not path.is_file():
        raise missing_file(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: not UTF-8 ({error.reason})") from None
    if not text.strip():
        raise DataError(f"{path} is empty")
    return text


def missing_file(path: Path) -> DataError:
    """The error for a file that is not there: says what its nearest existing folder holds, most similar names first."""
    folder = next(parent for parent in path.parents if parent.is_dir())
    wanted = path.relative_to(folder).parts[0]
    near = difflib.get_close_matches(wanted, sorted(entry.name for entry in folder.iterdir()), n=_LISTED, cutoff=0)
    return DataError(f"no file {path}; {folder} holds: {', '.join(near) or 'nothing'}")


def missing_column(where: str, name: str, present: Sequence[str]) -> DataError:
    return DataError(f"{where}: no column '{name}'{did_you_mean(name, present)}; columns: {', '.join(present)}")


def label_id(value: object, labels: Sequence[str], where: str) -> int | float:
    """The id of a label that is written as its name or its id; the number itself for a regression task (no `labels`).

    Names that look like numbers ("1" to "5") are names only: the id 1 and the name "1" would mean different classes.
    Raises DataError, beginning with `where`, for anything else, NaN and infinity included.
    """
    text = str(value).strip()
    if not labels:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise DataError(f"{where}: label '{text}' is not a finite number")
        return number
    if text in labels:
        return labels.index(text)
    ids = [] if any(name.lstrip("-").isdecimal() for name in labels) else [str(i) for i in range(len(labels))]
    if text in ids:
        return ids.index(text)
    raise DataError(f"{where}: label '{text}' is none of {', '.join([*labels, *ids])}{did_you_mean(text, labels)}")
