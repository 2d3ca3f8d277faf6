"""Sheets as Markdown, with the pipe tables of GitHub."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gifine.report.formats.words import Item, Sheet, printable

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&$])")


def text(sheets: Sequence[Sheet], summary: str) -> str:
    return "\n\n".join([escaped(summary), *map(_sheet, sheets)]) + "\n"


def escaped(words: str) -> str:
    """So that no name is taken for markup; on one line, since a table's row is."""
    return _SPECIAL.sub(r"\\\1", " ".join(printable(words).split()))


def _sheet(sheet: Sheet) -> str:
    parts = [f"## {escaped(sheet.title)}", *map(escaped, sheet.lead)]
    if sheet.rows:
        lines = [map(escaped, sheet.columns), ["---"] * len(sheet.columns), *(map(_item, row) for row in sheet.rows)]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join([*parts, *map(escaped, sheet.notes)])


def _item(item: Item) -> str:
    return "".join(f"**{escaped(piece.text)}**" if piece.is_bold else _spaced(piece.text) for piece in item)


def _spaced(words: str) -> str:
    """Escaped, with the blanks at its ends, which part it from its neighbours."""
    before, after = (" " if words[place : place + 1 or None] == " " else "" for place in (0, -1))
    inner = escaped(words)
    return f"{before}{inner}{after}" if inner else before
