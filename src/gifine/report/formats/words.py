"""What the text of all formats is made of: sheets of items, and how numbers are written."""

from __future__ import annotations

import re
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

LEFT_OUT = "Records left out"
UNPAIRED = "Runs without a partner, which no comparison has"  # titles that the answer names
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_MINUS = re.compile(r"(?<![\w.-])-(?=\d)")  # not the one of 1e-05, of a date or of a name


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
    return percent(summary.mean) + (f" ± {percent(summary.sd)}" if summary.sd is not None else "")


def percent(fraction: float) -> str:
    """`88.1` or `−2.3`."""
    return minus(f"{100 * fraction:z.1f}")


def signed(fraction: float, digits: int = 2) -> str:
    """In points of percent, `+0.12` or `−0.21`; what is 0 to these digits has no other sign than +."""
    return minus(f"{100 * fraction:+z.{digits}f}")


def ends(interval: tuple[float, float] | None) -> str:
    """In points of percent, `−0.21 … +0.45`; empty where there is none."""
    return f"{signed(interval[0])} … {signed(interval[1])}" if interval is not None else ""


def minus(text: str) -> str:
    """With the sign that people write before numbers; what programs read keeps the hyphen."""
    return _MINUS.sub("−", text)


def p_value(p: float | None) -> str:
    if p is None:
        return ""
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def printable(text: str) -> str:
    """Without what would steer a terminal, or turn the direction of the words: names and errors may have anything."""
    return _UNPRINTABLE.sub("\ufffd", text)


def plain(text: str) -> Item:
    return (Piece(text),)


def linked(item: Item, runs: Sequence[Run]) -> Item:
    """The same, with the runs that it is of."""
    return tuple(replace(piece, runs=tuple(runs)) for piece in item)


def counts(counts: dict[Status, int]) -> str:
    return ", ".join(f"{count:,} {status}" for status, count in counts.items())
