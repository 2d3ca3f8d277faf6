"""What the text of all formats is made of: sheets of items, and how numbers are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from gifine.report.analysis.cells import Summary
from gifine.report.reading import Run
from gifine.runs.records import Status


@dataclass(slots=True, frozen=True)
class Piece:
    text: str
    is_bold: bool = False
    runs: tuple[Run, ...] = ()  # that it is a number of, for formats that link them


Item = tuple[Piece, ...]  # what is in one place of a sheet


@dataclass(slots=True)
class Sheet:
    name: str  # of NAMES
    title: str
    columns: list[str]
    rows: list[list[Item]]
    notes: list[str] = field(default_factory=list)
    lead: list[str] = field(default_factory=list)  # stands before the rows
    is_list: bool = False  # of single runs or files: a terminal shows the first ones


def number(summary: Summary) -> str:
    """`88.1 ± 0.4`, mean and sample standard deviation in percent."""
    if summary.mean is None:
        return "–"
    return f"{100 * summary.mean:.1f}" + (f" ± {100 * summary.sd:.1f}" if summary.sd is not None else "")


def p_value(p: float | None) -> str:
    if p is None:
        return ""
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def plain(text: str) -> Item:
    return (Piece(text),)


def linked(item: Item, runs: Sequence[Run]) -> Item:
    """The same, with the runs that it is of."""
    return tuple(replace(piece, runs=tuple(runs)) for piece in item)


def counts(counts: dict[Status, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def points(fraction: float) -> str:
    """`0.5 points`, of percent."""
    number = f"{100 * fraction:.6g}"
    return f"{number} point{'s' * (number != '1')}"
