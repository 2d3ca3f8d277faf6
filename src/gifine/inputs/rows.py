"""What the readers of all sources share: the text of a file, and what counts as a row's texts and label.

docs/data.md has these rules as a table, which the tests read.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gifine.errors import DataError, did_you_mean

_LISTED = 20  # entries of a folder that an error message names at most
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_WORDS = {"false": 0, "no": 0, "off": 0, "true": 1, "yes": 1, "on": 1, "zero": 0, "one": 1, "two": 2, "three": 3}
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # its byte order marks
_GZIP = b"\x1f\x8b"  # how such a file begins

RawRow = tuple[str, dict[str, Any]]  # where it stands, for error messages; its cells by their columns


@dataclass(frozen=True, slots=True)
class Row:
    """One example, whatever its source."""

    texts: tuple[str, ...]  # one for each of the task's inputs
    idx: int  # its number in the source, from 0
    label: int | float | None = None  # a class id, or a float for regression; None in a test set


@dataclass(frozen=True)
class Columns:
    """What a task reads of a source, by the names of the columns there."""

    inputs: Sequence[str]
    label: str | None  # None: a test set, whose labels are not read
    labels: Sequence[str]  # names of the classes in the order of their ids; empty: regression

    @property
    def names(self) -> list[str]:
        return [*self.inputs, *([] if self.label is None else [self.label])]

    def check(self, present: Sequence[str], where: str) -> None:
        """Raise a DataError, beginning with `where`, for columns that are not there, or there twice."""
        for name in dict.fromkeys(present):
            if name and present.count(name) > 1:  # without a name: what follows the last column in some exports
                raise DataError(f"{where}: two columns have the name '{name}'")
        for name in self.names:
            if name not in present:
                raise missing_column(where, name, present)

    def row(self, cells: Mapping[str, object], idx: int, where: str) -> Row:
        """The row of these cells, which are known to have the columns.

        Raises DataError, beginning with `where`, for texts that are none and labels that do not fit.
        """
        texts = tuple(as_text(cells[name], name, where) for name in self.inputs)
        label = None if self.label is None else label_id(cells[self.label], self.labels, where)
        return Row(texts, idx, label)


def read_text(path: Path) -> str:
    """The UTF-8 text of a file without its byte order mark, its line ends as they are.

    Raises DataError if the file is missing, empty or not UTF-8; the message names the line.
    """
    if not path.is_file():
        raise missing_file(path)
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        if error.object.startswith(_GZIP):
            raise DataError(f"{path}: is compressed with gzip; unpack it") from None
        line = error.object.count(b"\n", 0, error.start) + 1
        reason = "it is UTF-16" if error.object.startswith(_UTF_16) else error.reason
        raise DataError(f"{path}, line {line}: not UTF-8 ({reason}); save it as UTF-8") from None
    if "\0" in text.partition("\n")[0]:
        raise DataError(f"{path}, line 1: has null characters, as UTF-16 read as UTF-8; save it as UTF-8")
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
    yaml = "; in YAML, yes, no, on and off are truth values: quote such a name" if name in ("True", "False") else ""
    return DataError(f"{where}: no column '{name}'{did_you_mean(name, present)}; columns: {', '.join(present)}{yaml}")


def as_text(value: object, column: str, where: str) -> str:
    """The value, which has to be text. Raises DataError, beginning with `where`, for anything else."""
    if not isinstance(value, str):
        raise DataError(f"{where}: column '{column}' holds {shown(value)}, not text")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can write half of a surrogate pair: an emoji cut in two
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise DataError(f"{where}: column '{column}' holds {half}, half of a character") from None
    return value


def label_id(value: object, labels: Sequence[str], where: str) -> int | float:
    """The id of a label that is written as its name or its id; the number itself for a regression task (no `labels`).

    What reads as a number is never the id of another number's name: a value that equals a name as a number is that
    name, and ids are taken only where no name holds a number (or truth value) other than its id.
    Raises DataError, beginning with `where`, for anything else, missing values, NaN and infinity included.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise DataError(f"{where}: no label ({shown(value)})")
    text = str(value).strip()
    if not labels:
        number = None if isinstance(value, bool) else as_number(text)
        if number is None or not math.isfinite(number):
            raise DataError(f"{where}: label {_quoted(value)} is not a finite number")
        return number
    if isinstance(value, bool):
        found = [i for i, name in enumerate(labels) if name.lower() == text.lower()]
        if len(found) == 1:
            return found[0]
    elif text in labels:
        return labels.index(text)
    else:
        numbers, ids = _read_as_numbers(tuple(labels))
        number = as_number(text)
        if number is not None and number in numbers:
            return numbers[number]
        if text in ids:
            return ids.index(text)
    _, ids = _read_as_numbers(tuple(labels))
    why = "" if ids else "; ids are not taken where names hold numbers or truth values that are not their ids"
    valid = ", ".join([*labels, *ids])
    raise DataError(f"{where}: label {_quoted(value)} is none of {valid}{did_you_mean(text, labels)}{why}")


@cache
def _read_as_numbers(labels: tuple[str, ...]) -> tuple[dict[float, int], list[str]]:
    """The ids of names that are numbers, by these; and what is read as an id: nothing, where that could be a name."""
    numbers: dict[float, int] = {}
    agree = True
    for i, name in enumerate(labels):
        number = as_number(name)
        if number is not None:
            numbers[number] = i
            inside = [number]
        elif name.lower() in _WORDS:
            inside = [_WORDS[name.lower()]]
        else:
            inside = [float(digits) for digits in re.findall(r"-?\d+(?:\.\d+)?", name)]
        agree = agree and inside in ([], [i])
    return numbers, [str(i) for i in range(len(labels))] if agree else []


def as_number(text: str) -> float | None:
    """The number that this text is, if it is one; as other libraries read it, so no `1_000`."""
    return float(text) if _NUMBER.fullmatch(text) else None


def shown(value: object) -> str:
    """A cell for a message, as JSON writes it where that is not as Python does."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _quoted(value: object) -> str:
    return f"'{str(value).strip()}'" if isinstance(value, str) else shown(value)
