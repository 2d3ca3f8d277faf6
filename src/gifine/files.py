"""Reader of one's own data files: csv and tsv (with quoting and a header), json (a list of objects) and jsonl."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gifine.errors import DataError
from gifine.rows import Row, label_id, missing_column, read_text

_Record = tuple[str, dict[str, Any]]  # where it stands, for error messages; its cells


def read(
    path: Path, inputs: Sequence[str], *, labels: Sequence[str], label: str = "label", labelled: bool = True
) -> list[Row]:
    """The rows of one file, in the format that its suffix names; columns other than `inputs` and `label` are left out.

    Each row gets the key "label" from the column that `label` names: an id in `labels`, or a float if `labels` is
    empty. With `labelled=False`, as for a test set, that column need not be there and is left out if it is.

    Raises DataError, naming file and line (in json: the object), for whatever does not fit.
    """
    if path.suffix.lower() not in _READERS:
        raise DataError(f"{path}: suffix '{path.suffix}' is none of {', '.join(_READERS)}")
    records = list(_READERS[path.suffix.lower()](path))
    if not records:
        raise DataError(f"{path} has no rows")
    rows: list[Row] = []
    for idx, (where, record) in enumerate(records):
        for name in [*inputs, label] if labelled else inputs:
            if name not in record:
                raise missing_column(where, name, list(record))
        for name in inputs:
            if not isinstance(record[name], str):
                raise DataError(f"{where}: column '{name}' holds {record[name]!r}, not text")
            try:
                record[name].encode()
            except UnicodeEncodeError as error:  # JSON can write half of a surrogate pair: an emoji cut in two
                half = f"\\u{ord(error.object[error.start]):04x}"
                raise DataError(f"{where}: column '{name}' holds {half}, half of a character") from None
        row: Row = {name: record[name] for name in inputs}
        if labelled:
            row["label"] = label_id(record[label], labels, where)
        row["idx"] = idx
        rows.append(row)
    return rows


def _delimited(path: Path, delimiter: str) -> Iterator[_Record]:
    # strict: a quote that is never closed is an error; without it the rest of the file becomes one cell
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    line = 1  # where a row starts; `reader.line_num` is where it ends, and quoted cells may hold line ends
    try:
        for cells in reader:
            where = f"{path}, line {line}"
            line = reader.line_num + 1
            if not header:
                header = cells
            elif cells:  # csv gives an empty line as no cells
                if len(cells) != len(header):
                    raise DataError(f"{where}: {len(cells)} columns where {len(header)} are expected")
                yield where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}, line {line}: {error}; a quote inside a quoted cell is written twice") from None


def _json(path: Path) -> Iterator[_Record]:
    objects = _parse(read_text(path), path, line=1)
    if not isinstance(objects, list):
        raise DataError(f"{path}: holds one {type(objects).__name__}, not a list of objects")
    for number, cells in enumerate(objects, start=1):
        yield _object(cells, f"{path}, object {number}")


def _jsonl(path: Path) -> Iterator[_Record]:
    for number, text in enumerate(read_text(path).split("\n"), start=1):
        if text.strip():
            yield _object(_parse(text, path, line=number), f"{path}, line {number}")


def _parse(text: str, path: Path, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {line + error.lineno - 1}: not JSON ({error.msg})") from None


def _object(cells: Any, where: str) -> _Record:
    if not isinstance(cells, dict):
        raise DataError(f"{where}: {cells!r} is not an object")
    return where, cells


_READERS = {
    ".csv": partial(_delimited, delimiter=","),
    ".tsv": partial(_delimited, delimiter="\t"),
    ".json": _json,
    ".jsonl": _jsonl,
}
