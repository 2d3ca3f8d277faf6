"""What a check found, and the table of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Status(Enum):
    holds = "holds"
    told = "told"  # a property of the change, neither good nor bad
    fails = "fails"  # what must hold for every change does not


@dataclass(frozen=True)
class Finding:
    check: str
    family: str
    status: Status
    said: str


def near(check: str, family: str, distance: float, tolerance: float, otherwise: Status = Status.fails) -> Finding:
    """Of two ways to compute the same in float64: equal, or how far apart."""
    if distance <= tolerance:
        return Finding(check, family, Status.holds, "equal")
    return Finding(check, family, otherwise, f"differs by {distance:.1e}")


def table(findings: Sequence[Finding]) -> str:
    """A line for each check, a column for each family."""
    families = list(dict.fromkeys(each.family for each in findings))
    lines = [["", *families]]
    for check in dict.fromkeys(each.check for each in findings):
        found = {each.family: each for each in findings if each.check == check}
        lines.append([check, *(_cell(found.get(family)) for family in families)])
    return aligned(lines)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cell(finding: Finding | None) -> str:
    if finding is None:
        return "-"
    return f"FAILS: {finding.said}" if finding.status is Status.fails else finding.said
