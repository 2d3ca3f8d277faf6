"""Pairs whose runs were not computed alike: what differs between them beside the change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gifine.report import circumstances
from gifine.report.analysis.comparison import Comparison
from gifine.report.analysis.pairing import Pair


@dataclass(slots=True)
class Difference:
    """Pairs of one comparison in which the same differs."""

    comparison: Comparison
    what: str
    baseline: str
    gated: str
    pairs: list[Pair]


def find(comparisons: Sequence[Comparison]) -> list[Difference]:
    """By comparison and what differs, in their order; a pair is there for each thing that differs."""
    found: dict[tuple[int, str, str, str], Difference] = {}
    for each in comparisons:
        if not each.is_primary:  # the others are of the same pairs
            continue
        for pair in each.tried:
            for what, (baseline, gated) in pair.differing.items():
                key = (id(each), what, baseline, gated)
                found.setdefault(key, Difference(each, what, baseline, gated, [])).pairs.append(pair)
    return list(found.values())


def unrecorded(comparisons: Sequence[Comparison]) -> int:
    """How many pairs have a run whose record is too old to say what it was computed with."""
    pairs = [pair for each in comparisons if each.is_primary for pair in each.tried]
    return sum(
        not all(circumstances.is_recorded(run.circumstances) for run in (pair.baseline, pair.gated)) for pair in pairs
    )
