"""Runs put into cells that differ by nothing but the seed, and what a cell's numbers are.

Seeds are all that is ever averaged over. If runs that the chosen keys put into one cell differ in other keys as well,
these keys split the rows, in every cell.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from gifine.config import GiConfig
from gifine.errors import ArgumentError, did_you_mean
from gifine.report import settings
from gifine.report.reading import Run
from gifine.report.settings import Value
from gifine.runs import selections
from gifine.runs.records import Status
from gifine.runs.replicate import STREAMS, Replicate

ALL = selections.ALL  # gi.layers=null
NAMED = ("model", "gi", "change", "task", "seed")  # what may be asked for beside the keys of the config

Key = tuple[Value, ...]


@dataclass(slots=True, frozen=True)
class Summary:
    """Of numbers by seed: sd is the sample standard deviation (n − 1), None below two of them."""

    n: int
    mean: float | None
    sd: float | None


@dataclass(slots=True)
class Score:
    """One measure of a cell."""

    measure: str  # task/split/metric
    values: dict[Replicate, float]  # by seeds, of all runs that ended with a number
    summary: Summary
    regular: Summary  # without degenerate runs
    is_best: bool = False  # significantly better than every other cell of its column, corrected over the table


@dataclass(slots=True)
class Cell:
    runs: list[Run]
    counts: dict[Status, int]  # of those that a mean is of: `independent`
    scores: list[Score]  # of task.measures

    @property
    def failures(self) -> dict[Status, int]:
        """How many runs are other than done, by status."""
        return {status: count for status, count in self.counts.items() if status is not Status.DONE}


@dataclass(slots=True)
class Groups:
    """Cells by the values of `keys`, which the user has chosen, and then of `extra`, which differ besides."""

    keys: tuple[str, ...]
    extra: tuple[str, ...]
    runs: dict[tuple[Key, Key], list[Run]] = field(default_factory=dict)


def value(run: Run, key: str) -> Value:
    """What a run has for a config key, or for one of `NAMED`."""
    if key == "model":
        return settings.model(run.setup)
    if key == "gi":
        return settings.gate(run.gate)
    if key == "change":  # beside others, `both 0.3` alone would not say that it is GI's
        words = settings.gate(run.gate)
        return f"gi {words}" if settings.has_gates(run.gate) else words
    if key == "task":
        return run.task.name
    if key == "seed":
        return run.replicate.seed
    if key.startswith("seeds."):
        return getattr(run.replicate, key.removeprefix("seeds."))
    if key == "gi.layers" and settings.has_gates(run.gate):
        return run.gate.get(key) or ALL  # where there are no gates there is nothing
    return (run.gate if key.startswith(settings.OF_ARMS) else run.setup).get(key)


def check_keys(runs: Sequence[Run], keys: Sequence[str]) -> None:
    """Are all of them keys that runs can differ in, each there once?

    Raises:
        ArgumentError: if not.
    """
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise ArgumentError(f"{', '.join(twice)}: more than once in --rows and --columns")
    known = {*NAMED, *(f"seeds.{name}" for name in STREAMS)}
    known |= {f"gi.{each.name}" for each in fields(GiConfig)}  # those, though there may be baselines only
    for each in {id(part): part for run in runs for part in (run.setup, run.gate)}.values():
        known.update(each.keys())
    for key in keys:
        if key not in known:
            raise ArgumentError(
                f"{key}: no run has such a config key, or it decides no result"
                f"{did_you_mean(key, known)}; besides config keys there are {', '.join(NAMED)}"
            )


def group(runs: Sequence[Run], keys: Sequence[str]) -> Groups:
    """The runs by the values of these keys, and by further ones until nothing but the seed differs in a cell."""
    keys, extra = tuple(keys), list[str]()
    while True:
        groups = Groups(keys, tuple(extra))
        for run in runs:
            key = tuple(value(run, each) for each in keys), tuple(value(run, each) for each in extra)
            groups.runs.setdefault(key, []).append(run)
        found = _differing(groups)
        if not found:
            return groups
        extra += found


def _differing(groups: Groups) -> list[str]:
    """Keys to split cells by: a name for what has one, then the keys themselves."""
    found: dict[str, None] = {}
    for runs in groups.runs.values():
        first = runs[0]
        for run in {(id(each.setup), id(each.gate)): each for each in runs}.values():
            found |= dict.fromkeys(first.setup.differing(run.setup) + first.gate.differing(run.gate))
    known = {*groups.keys, *groups.extra}
    names = dict.fromkeys(key.partition(".")[0] for key in found)
    named = [name for name in names if name in NAMED and name not in known and name not in ("gi", "change")]
    return named or [key for key in found if key not in known]


def independent(runs: Sequence[Run]) -> list[Run]:
    """Of runs that differ by nothing but their seeds those that a mean is of.

    Where several have one seed for all, runs with seeds of single streams (`seeds`), or after a run of another seed,
    are no further replicates: they share what they draw with the others. `variance` is of those.
    """
    plain = [run for run in runs if not run.replicate.is_apart]
    return plain if len(plain) > 1 else list(runs)


def fill(runs: Sequence[Run]) -> Cell:
    """The cell of runs that differ by nothing but the seed."""
    task, counted = runs[0].task, sorted(independent(runs), key=lambda run: run.replicate)
    counts = Counter(run.status for run in counted)
    scores = []
    for place, measure in enumerate(task.measures):
        scored = [(run, run.scores[place]) for run in counted]
        values = {run.replicate: score for run, score in scored if score is not None}
        regular = [score for run, score in scored if score is not None and run.status is not Status.DEGENERATE]
        scores.append(Score(measure, values, summarise(list(values.values())), summarise(regular)))
    return Cell(list(runs), {status: counts[status] for status in Status if counts[status]}, scores)


def summarise(numbers: Sequence[float]) -> Summary:
    n = len(numbers)
    mean = math.fsum(numbers) / n if n else None
    spread = math.sqrt(math.fsum((x - mean) ** 2 for x in numbers) / (n - 1)) if mean is not None and n > 1 else None
    return Summary(n, mean, spread)


def cautions(runs: Sequence[Run]) -> list[str]:
    """What differs between runs of one cell beside their configs."""
    found = []
    for what, seen in (
        ("data of another fingerprint", {str(run.data) for run in runs}),
        ("another number of processes", {str(run.processes) for run in runs}),
        ("other devices", {str(run.circumstances.get("device")) for run in runs}),
        ("other GPUs", {str(run.circumstances.get("GPUs")) for run in runs}),
    ):
        several = sorted(seen - {"None"})
        if len(several) > 1:
            found.append(f"{what}: {', '.join(several)}")
    return found
