"""What each arm took, and how many times as much as its baseline in pairs that were computed alike.

Alike is what agrees in all that `report/circumstances.py` reads, machine and versions, but for attention's kernel:
where all else agrees the change chose it, and what that takes is part of what the change costs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gifine.report import circumstances, settings
from gifine.report.analysis import cells
from gifine.report.analysis.answers import Answer
from gifine.report.analysis.comparison import Comparison
from gifine.report.analysis.pairing import Pair
from gifine.report.measured import Measured
from gifine.report.reading import Run
from gifine.report.settings import Settings, Task, Value

KINDS = ("seconds", "memory", "operations", "trained")  # fields of Measured that are held against the baseline's
_MACHINE = ("GPUs", "CPU", "vector units", "threads", "CUDA", "cuDNN", "driver")  # what moves no operations


@dataclass(slots=True)
class Spent:
    """Of runs that differ by nothing but the seed, and were computed alike."""

    model: str
    extra: dict[str, Value]
    gate: Settings
    task: Task
    runs: list[Run]
    took: Measured  # medians over runs
    ratios: dict[str, float]  # by kind, as `ratio`
    machine: dict[str, str]  # what of their circumstances is otherwise in other runs of the report
    unlike: list[Pair]  # whose baseline was computed otherwise: they are in no ratio of seconds and memory


def find(runs: Sequence[Run], pairs: Iterable[Pair]) -> list[Spent]:
    """Of each arm and task; nothing at all where no run has anything recorded."""
    if all(run.measured == Measured() for run in runs):
        return []
    groups = cells.group(runs, ["model", "gi", "task"])
    by_run: dict[int, list[Pair]] = {}
    for pair in pairs:
        by_run.setdefault(id(pair.gated), []).append(pair)
    alike = [
        (names, dict(zip(groups.extra, extra, strict=True)), kept)
        for (names, extra), members in groups.runs.items()
        for kept in _alike(members)
    ]
    several = _several([kept[0] for _, _, kept in alike])
    found = []
    for names, extra, kept in alike:
        own = [pair for run in kept for pair in by_run.get(id(run), [])]
        made = Spent(
            str(names[0]),
            extra,
            kept[0].gate,
            kept[0].task,
            kept,
            _median(kept),
            {kind: value for kind in KINDS if (value := ratio(own, kind)) is not None},
            _machine(kept[0], several),
            [pair for pair in own if _moving(pair, "seconds")],
        )
        found.append(made)
    return sorted(found, key=_place)


def ratio(pairs: Iterable[Pair], kind: str) -> float | None:
    """Changed by baseline: the geometric mean over pairs of which both sides are known; None where there are none.

    Pairs that differ in what moves this kind beside the change are left out.
    """
    logs = []
    for pair in pairs:
        ours, theirs = (getattr(run.measured, kind) for run in (pair.gated, pair.baseline))
        if ours and theirs and not _moving(pair, kind):
            logs.append(math.log(ours / theirs))
    return math.exp(math.fsum(logs) / len(logs)) if logs else None


def ratio_over_tasks(answer: Answer, kind: str) -> float | None:
    """The geometric mean of the tasks that an answer is the mean of; None where one of them has none."""
    found = [ratio(each.pairs, kind) for each in answer.combined]
    known = [each for each in found if each is not None]
    return math.exp(math.fsum(map(math.log, known)) / len(known)) if known and len(known) == len(found) else None


def ratio_of(comparison: Comparison, kind: str) -> float | None:
    return ratio(comparison.pairs, kind)


def _moving(pair: Pair, kind: str) -> set[str]:
    """What moves this kind, is not the change and differs within a pair."""
    if kind == "trained":
        return set()
    differing = _unlike(pair.baseline, pair.gated)
    return differing.difference(_MACHINE) if kind == "operations" else differing


def _unlike(ours: Run, theirs: Run) -> set[str]:
    return {*circumstances.differing(ours.circumstances, theirs.circumstances)} - {circumstances.KERNEL}


def _alike(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs by what they were computed with; those of which less is known join where nothing speaks against it."""
    groups: list[list[Run]] = []
    for run in sorted(runs, key=lambda run: -len(run.circumstances)):
        group = next((each for each in groups if not _unlike(each[0], run)), None)
        if group is None:
            groups.append([run])
        else:
            group.append(run)
    return groups


def _several(runs: Sequence[Run]) -> set[str]:
    """The names of circumstances that differ among the runs."""
    distinct = {id(run.circumstances): run for run in runs}.values()
    return {name for one in distinct for other in distinct for name in _unlike(one, other)}


def _machine(run: Run, names: set[str]) -> dict[str, str]:
    """These circumstances of a run, as far as it has them; of the code the commit, which people know better."""
    found = {name: value for name, value in run.circumstances.items() if name in names}
    if circumstances.CODE in found:
        found[circumstances.CODE] = run.circumstances.get(circumstances.COMMIT, found[circumstances.CODE])
    return found


def _place(spent: Spent) -> tuple[Any, ...]:
    place = [spent.model, *spent.extra.values(), spent.task.name, *settings.gate_place(spent.gate)]
    return settings.order([*place, *spent.machine.values()])


def _median(runs: Sequence[Run]) -> Measured:
    medians = []
    for name in Measured.__dataclass_fields__:
        known = [value for run in runs if (value := getattr(run.measured, name)) is not None]
        medians.append(statistics.median(known) if known else None)
    return Measured(*medians)
