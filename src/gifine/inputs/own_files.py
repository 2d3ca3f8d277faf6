"""Reader of one's own data files: csv and tsv (delimited.py), json (a list of objects) and jsonl."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gifine.choices import Quoting
from gifine.errors import DataError
from gifine.inputs import delimited
from gifine.inputs.rows import Columns, RawRow, Row, read_text, shown

_LINES = "an object a line is JSON Lines: name the file .jsonl"


def read(
    path: Path,
    inputs: Sequence[str],
    *,
    labels: Sequence[str],
    label: str = "label",
    labelled: bool = True,
    quoting: Quoting = Quoting.auto,
) -> list[Row]:
    """The rows of one file, in the format that its suffix names; columns other than `inputs` and `label` are left out.

    The label of each row comes from the column that `label` names: an id in `labels`, or a float if `labels` is empty.
    With `labelled=False`, as for a test set, that column need not be there and is left out if it is. `quoting` is
    that of csv and tsv.

    Raises DataError, naming file and line (in json: the object), for whatever does not fit.
    """
    columns = Columns(inputs, label if labelled else None, labels)
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise DataError(f"{path}: suffix '{path.suffix}' is none of {', '.join(_READERS)}")
    found = _READERS[suffix](path, read_text(path), columns, quoting)
    rows = [columns.row(cells, idx, where) for idx, (where, cells) in enumerate(found)]
    if not rows:
        raise DataError(f"{path} has no rows")
    return rows


def _delimited(path: Path, text: str, columns: Columns, quoting: Quoting, *, delimiter: str) -> Iterable[RawRow]:
    return delimited.parse(path, text, delimiter, columns, quoting)


def _json(path: Path, text: str, columns: Columns, _: Quoting) -> Iterator[RawRow]:
    objects = parse_json(text, path)
    if not isinstance(objects, list):
        is_row = isinstance(objects, dict) and objects.keys() >= set(columns.names)
        advice = f"; {_LINES}" if is_row else ""
        raise DataError(f"{path}: holds one {type(objects).__name__}, not a list of objects{advice}")
    for number, cells in enumerate(objects, start=1):
        yield _object(cells, f"{path}, object {number}", columns)


def _jsonl(path: Path, text: str, columns: Columns, _: Quoting) -> Iterator[RawRow]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _object(parse_json(line, path, line=number), f"{path}, line {number}", columns)


def parse_json(text: str, path: Path, line: int = 1, wanted: str | None = None) -> Any:
    """What JSON says that begins at this line of its file. DataError, with the words `wanted`, if it is none."""
    try:
        return json.loads(text, object_pairs_hook=_pairs)
    except json.JSONDecodeError as error:
        advice = _other_suffix(text, path, error) if wanted is None else f"; {wanted}"
        raise DataError(f"{path}, line {line + error.lineno - 1}: not JSON ({error.msg}){advice}") from None
    except _TwiceError as error:
        raise DataError(f"{path}, line {line}: an object has the name '{error}' twice") from None
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits; brackets in brackets
        raise DataError(f"{path}, line {line}: JSON that cannot be read ({error})") from None


class _TwiceError(Exception):
    """The name that an object has twice."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for name in names if names.count(name) > 1))
    return found


def _other_suffix(text: str, path: Path, error: json.JSONDecodeError) -> str:
    """What the file may be, if its suffix is that of the other kind of JSON."""
    if path.suffix.lower() == ".json" and error.msg == "Extra data" and text.lstrip().startswith("{"):
        return f"; {_LINES}"
    if path.suffix.lower() == ".jsonl" and text.lstrip().startswith("["):
        return "; a list of objects over several lines is JSON: name the file .json"
    return ""


def _object(cells: Any, where: str, columns: Columns) -> RawRow:
    if not isinstance(cells, dict):
        advice = "; a list of objects is JSON: name the file .json" if isinstance(cells, list) else ""
        raise DataError(f"{where}: {shown(cells)} is not an object{advice}")
    columns.check(list(cells), where)
    return where, cells


_READERS: dict[str, Callable[[Path, str, Columns, Quoting], Iterable[RawRow]]] = {
    ".csv": partial(_delimited, delimiter=","),
    ".tsv": partial(_delimited, delimiter="\t"),
    ".json": _json,
    ".jsonl": _jsonl,
}
