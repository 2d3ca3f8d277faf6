"""Reader of the official GLUE directory layout: CoLA/train.tsv, MNLI/dev_matched.tsv, …

The format has no quoting and no escapes, so a row is what stands between two "\\n" and a cell what stands between two
tabs. `csv` and `str.splitlines` would both see other rows: texts hold lone quotes, "\\r" and U+2028.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from gifine.errors import DataError
from gifine.inputs.rows import Columns, Row, read_text

log = logging.getLogger(__name__)


def read(
    path: Path,
    columns: Mapping[str, str],
    *,
    inputs: Sequence[str],
    labels: Sequence[str],
    label: str | None = "label",
    header: bool = True,
    skip_short_rows: bool = False,
) -> list[Row]:
    """The rows of one file.

    `columns` maps our column names, which are `inputs` and `label`, to those in the file's header, or to 0-based
    positions if it has none. A row's label is an id in `labels`, or a float if `labels` is empty; without a `label`
    rows have none, as those of a test set.
    With `skip_short_rows`, rows with missing columns are left out and counted in the log; the other rows keep their
    numbers. Without it they are an error, as are surplus columns always: a stray tab would shift texts and labels.

    Raises DataError, naming file and line, for whatever does not fit.
    """
    for name in [*inputs, *([] if label is None else [label])]:
        if name not in columns:
            raise DataError(f"{path}: the task's split names no column for '{name}', only for {', '.join(columns)}")
    wanted = Columns([columns[name] for name in inputs], None if label is None else columns[label], labels)
    lines = read_text(path).rstrip("\r\n").split("\n")
    width = lines[0].count("\t") + 1
    names = lines.pop(0).removesuffix("\r").split("\t") if header else [str(position) for position in range(width)]
    if not lines:
        raise DataError(f"{path} has a header but no rows")
    wanted.check(names, f"{path}, line 1")
    places = {name: names.index(name) for name in wanted.names}

    rows: list[Row] = []
    for idx, line in enumerate(lines):
        cells = line.removesuffix("\r").split("\t")
        if len(cells) < width and skip_short_rows:
            continue
        where = f"{path}, line {idx + 1 + header}"
        if len(cells) != width:
            raise DataError(f"{where}: {len(cells)} columns where {width} are expected")
        rows.append(wanted.row({name: cells[place] for name, place in places.items()}, idx, where))
    if len(rows) < len(lines):
        log.warning("%s: skipped %d of %d rows, they lack columns", path, len(lines) - len(rows), len(lines))
    return rows
