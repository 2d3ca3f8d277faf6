"""What each arm took, and how many times as much as its baseline in pairs that were computed alike."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gifine.report import settings
from gifine.report.analysis import cells
from gifine.report.analysis.answers import Answer
from gifine.report.analysis.comparison import Comparison
from gifine.report.analysis.pairing import Pair
from gifine.report.measured import Measured
from gifine.report.reading import Run
from gifine.report.settings import Settings, Task, Value

KINDS = ("seconds", "memory", "operations", "trained")  # fields of Measured that are held against the baseline's
_OF_MACHINE = ("seconds", "memory")  # they say nothing where the other run was computed on something else
_MACHINE = ("device", "GPUs", "CPU", "threads", "processes", "precision")


@dataclass(slots=True)
class Spent:
    """Of runs that differ by nothing but the seed."""

    model: str
    extra: dict[str, Value]
    gate: Settings
    task: Task
    runs: list[Run]
    took: Measured  # medians over runs
    ratios: dict[str, float]  # by kind, as `ratio`


def find(runs: Sequence[Run], pairs: Iterable[Pair]) -> list[Spent]:
    """Of each arm and task; nothing at all where no run has anything recorded."""
    if all(run.measured == Measured() for run in runs):
        return []
    groups = cells.group(runs, ["model", "gi", "task"])
    by_run: dict[int, list[Pair]] = {}
    for pair in pairs:
        by_run.setdefault(id(pair.gated), []).append(pair)
    found = []
    for (names, extra), members in groups.runs.items():
        own = [pair for run in members for pair in by_run.get(id(run), [])]
        made = Spent(
            str(names[0]),
            dict(zip(groups.extra, extra, strict=True)),
            members[0].gate,
            members[0].task,
            members,
            _median(members),
            {kind: value for kind in KINDS if (value := ratio(own, kind)) is not None},
        )
        found.append(made)
    return sorted(found, key=_place)


def ratio(pairs: Iterable[Pair], kind: str) -> float | None:
    """Changed by baseline: the geometric mean over pairs of which both sides are known; None where there are none.

    Of seconds and memory, pairs on one kind of machine alone.
    """
    logs = []
    for pair in pairs:
        ours, theirs = (getattr(run.measured, kind) for run in (pair.gated, pair.baseline))
        if ours and theirs and (kind not in _OF_MACHINE or not pair.differing.keys() & {*_MACHINE}):
            logs.append(math.log(ours / theirs))
    return math.exp(math.fsum(logs) / len(logs)) if logs else None


def ratio_over_tasks(answer: Answer, kind: str) -> float | None:
    """The geometric mean of the tasks that an answer is the mean of; None where one of them has none."""
    found = [ratio(each.pairs, kind) for each in answer.combined]
    known = [each for each in found if each is not None]
    return math.exp(math.fsum(map(math.log, known)) / len(known)) if known and len(known) == len(found) else None


def ratio_of(comparison: Comparison, kind: str) -> float | None:
    return ratio(comparison.pairs, kind)


def _place(spent: Spent) -> tuple[Any, ...]:
    return settings.order([spent.model, *spent.extra.values(), spent.task.name, *settings.gate_place(spent.gate)])


def _median(runs: Sequence[Run]) -> Measured:
    medians = []
    for name in Measured.__dataclass_fields__:
        known = [value for run in runs if (value := getattr(run.measured, name)) is not None]
        medians.append(statistics.median(known) if known else None)
    return Measured(*medians)
