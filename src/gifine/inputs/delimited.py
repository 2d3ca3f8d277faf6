"""One's own csv and tsv files: which quotes are quoting, where a row ends, and on which line it stands.

CSV is quoted by definition. TSV is written both ways: libraries quote cells as in CSV, GLUE's files and many corpora
have texts as they are. A file that one way alone reads is read so; one that both read, as other rows, is refused.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from gifine.choices import Quoting
from gifine.errors import DataError
from gifine.inputs.rows import Columns, RawRow, label_id

_KEY = "task.files.quoting"
_STANDARD = f"{_KEY}=standard reads it as quoting"
_NONE = f"{_KEY}=none takes quotes for text"


def parse(path: Path, text: str, delimiter: str, columns: Columns, quoting: Quoting) -> list[RawRow]:
    """The rows of a file's text, after its header.

    Raises DataError, naming file and line, for rows of another width than the header, columns that are not there,
    quotes that are never closed, and with Quoting.auto for what could be read in two ways.
    """
    file = _File(path, text, delimiter, columns)
    if quoting is Quoting.none:
        return list(file.unquoted(strictly=False))
    if quoting is Quoting.standard:
        return list(file.quoted(strictly=False))
    if delimiter == ",":
        return list(file.quoted(strictly=True))
    return _sniffed(file)


def _sniffed(file: _File) -> list[RawRow]:
    line = file.first_quoted()
    if line is None:
        return list(file.quoted(strictly=True))
    standard, none = _attempt(file.quoted(strictly=False)), _attempt(file.unquoted(strictly=True))
    if isinstance(none, DataError):
        if isinstance(standard, DataError):
            raise DataError(f"{standard}; nor does {_KEY}=none read it: {none}")
        return list(file.quoted(strictly=True))
    if isinstance(standard, DataError):
        if file.has_quoted_quotes():
            raise standard
        return none
    list(file.quoted(strictly=True))  # may name a worse line
    raise DataError(f"{file.path}, line {line}: a cell begins with a quote: {_STANDARD}, {_NONE}")


def _attempt(rows: Iterator[RawRow]) -> list[RawRow] | DataError:
    try:
        return list(rows)
    except DataError as error:
        return error


class _File:
    def __init__(self, path: Path, text: str, delimiter: str, columns: Columns) -> None:
        self.path, self.text, self.delimiter, self.columns = path, text, delimiter, columns
        self.position: int | None = None  # of the label, once the header is read
        # "\r" alone ends rows where the first one ends so; elsewhere it may be of a text.
        first = re.search(r"\r\n|\n|\r", text.lstrip("\r\n"))
        self.old_mac = first is not None and first[0] == "\r"

    def unquoted(self, *, strictly: bool) -> Iterator[RawRow]:
        """As lines that are split at the delimiter: a text is what stands there."""
        yield from self._rows(self._unquoted_cells(strictly=strictly))

    def quoted(self, *, strictly: bool) -> Iterator[RawRow]:
        """As RFC 4180 and Python's `csv` have it; `strictly` refuses what could be another file, read wrongly."""
        yield from self._rows(self._quoted_cells(strictly=strictly))

    def first_quoted(self) -> int | None:
        """The first line on which a cell begins with a quote."""
        found = re.search(rf'(?:^|[\r\n{self.delimiter}])"', self.text)
        return None if found is None else len(re.findall(r"\r\n|\n|\r", self.text[: found.end()])) + 1

    def has_quoted_quotes(self) -> bool:
        """Is there a cell `"a ""b"" c"`, which nobody writes without meaning to quote?"""
        lines = self.text.split("\r" if self.old_mac else "\n")
        inner = (
            cell[1:-1]
            for line in lines
            for cell in line.rstrip("\r").split(self.delimiter)
            if len(cell) > 1 and cell[0] == cell[-1] == '"'
        )
        return any('""' in cell and '"' not in cell.replace('""', "") for cell in inner)

    def _rows(self, rows: Iterator[tuple[int, list[str]]]) -> Iterator[RawRow]:
        """With the names of the header, which is the first row that is not an empty line."""
        header: list[str] = []
        places: dict[str, int] = {}
        empty = None  # the last empty line, where that could be a row
        for line, cells in rows:
            where = f"{self.path}, line {line}"
            if not cells:
                empty = where if len(header) == 1 else None
            elif not header:
                header = cells
                self.columns.check(header, where)
                places = {name: header.index(name) for name in self.columns.names}
                self.position = None if self.columns.label is None else places[self.columns.label]
            elif empty is not None:
                raise DataError(f'{empty}: an empty line between rows of one column; an empty text is written ""')
            elif len(cells) != len(header):
                raise DataError(f"{where}: {len(cells)} columns where {len(header)} are expected")
            else:
                yield where, {name: cells[place] for name, place in places.items()}

    def _unquoted_cells(self, *, strictly: bool) -> Iterator[tuple[int, list[str]]]:
        for number, whole in enumerate(self.text.split("\r" if self.old_mac else "\n"), 1):
            line = whole.removesuffix("\r")
            if strictly and ("\r" in line or "\n" in line):
                raise self._stray_return(number)
            yield number, line.split(self.delimiter) if line else []

    def _quoted_cells(self, *, strictly: bool) -> Iterator[tuple[int, list[str]]]:
        csv.field_size_limit(2**31 - 1)  # its default, 131,072, is less than a long document has
        lines = list(StringIO(self.text, newline=""))
        # strict: a quote that is never closed is an error; without it the rest of the file becomes one cell
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        start = 0  # of the row, which may span several lines
        width = 0
        try:
            for cells in reader:
                line, spanned, start = start + 1, lines[start : reader.line_num], reader.line_num
                width = width or len(cells)
                if strictly and spanned[-1].endswith("\r") and not self.old_mac:
                    raise self._stray_return(line)
                if strictly:
                    self._check_span(spanned, width, line)
                yield line, cells
        except csv.Error as error:
            raise DataError(
                f"{self.path}, line {start + 1}: {error}; a quote inside a quoted cell is written twice, and {_NONE}"
            ) from None

    def _stray_return(self, line: int) -> DataError:
        return DataError(
            f"{self.path}, line {line}: a carriage return that ends no line: "
            f"{_KEY}=standard begins a row there, none takes it for text"
        )

    def _check_span(self, lines: list[str], width: int, line: int) -> None:
        """Refuse a row whose quoted cells go over what reads as rows: as where a text begins with an inch sign."""
        lines = [each for each in lines if each.strip()]
        if len(lines) < 2:
            return
        are_rows = [self._reads_as_row(each, width) for each in lines]
        if all(are_rows) or (self.columns.label is not None and any(are_rows[1:-1])):
            raise DataError(
                f"{self.path}, line {line}: a quoted cell goes on over what reads as rows: {_STANDARD}, {_NONE}"
            )

    def _reads_as_row(self, line: str, width: int) -> bool:
        cells = line.rstrip("\r\n").split(self.delimiter)
        if len(cells) != width or self.position is None:
            return len(cells) == width
        try:
            label_id(cells[self.position].strip('"'), self.columns.labels, "")
        except DataError:
            return False
        return True
