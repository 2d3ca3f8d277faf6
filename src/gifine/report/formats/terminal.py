"""Sheets on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gifine.report.formats.words import Item, Sheet, printable

_MOST_LISTED = 20  # runs or files: more would push the tables off the screen


def show(sheets: Sequence[Sheet], summary: str, *, clear: bool = False) -> None:
    """Print them as wide as the terminal is; with `clear`, on an empty screen."""
    console = Console(highlight=False)
    if clear:
        console.clear()
    console.print(Text(printable(summary)))
    for sheet in sheets:
        console.print()
        console.print(Text(sheet.title, "bold underline"))
        for words in sheet.lead:
            console.print(Text(printable(words)))
        if sheet.rows:
            table = Table(box=None, header_style="bold", pad_edge=False)
            for column in sheet.columns:
                table.add_column(Text(printable(column)))
            shown = sheet.rows[:_MOST_LISTED] if sheet.is_list else sheet.rows
            for row in shown:
                table.add_row(*map(_item, row))
            console.print(table)
            if len(shown) < len(sheet.rows):
                console.print(Text(f"and {len(sheet.rows) - len(shown):,} more; --out lists all", "dim"))
        for note in sheet.notes:
            console.print(Padding(Text(printable(note), "dim"), (0, 0, 0, 2)))


def _item(item: Item) -> Text:
    return Text.assemble(*((printable(piece.text), "bold" if piece.is_bold else "") for piece in item))
