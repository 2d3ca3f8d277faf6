"""Where the deviation over seeds comes from: of runs that differ in one stream of random numbers and in nothing else.

The streams are those of `seeds`: head, order of the examples, dropout, first weights of the change. ALL is what runs
vary in whose streams all start from one seed. A run that starts from another one has these streams twice: its own, and
those of the run before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gifine.report import settings
from gifine.report.analysis import cells
from gifine.report.reading import Run
from gifine.report.settings import Value
from gifine.runs.replicate import STREAMS

ALL = "all"
_LEVEL = 0.95


class Level(StrEnum):
    """Of runs that start from other runs: whose stream it is that varies."""

    OWN = "own"  # after one and the same run
    BEFORE = "before"  # of the run that they start from
    BOTH = "both"  # the same seeds in both


@dataclass(slots=True)
class Component:
    """The standard deviation of one measure by one source, as a fraction, not percent.

    Pooled over groups of runs that share all other streams: s² = Σ (n_j − 1) s_j² / Σ (n_j − 1). The interval holds for
    normal scores: s·√(ν/χ²), at the 2.5 % and 97.5 % quantiles of χ² with ν = Σ (n_j − 1) degrees of freedom.
    """

    model: str
    extra: dict[str, Value]  # further keys that tell settings apart
    source: str  # of STREAMS, or ALL
    level: Level | None  # None of runs that start from no other one, or from one that is not known
    measure: str  # task/split/metric, the primary one
    sd: float
    interval: tuple[float, float]  # 95 %
    freedom: int
    groups: int
    runs: list[Run]


def find(runs: Sequence[Run]) -> list[Component]:
    """Of each setting in which sources can be told apart, by model, gates, task and source; empty where none can.

    That is where some stream varies alone, or seeds vary at more than one level.
    """
    groups = cells.group(runs, ["model", "gi", "task"])
    found = []
    for (names, extra), members in sorted(groups.runs.items(), key=lambda item: _place(*item)):
        scored = [run for run in members if run.score(run.task.primary) is not None]
        named = dict(zip(groups.extra, extra, strict=True))
        made = [
            _component(str(names[0]), named, source, level, together)
            for level, at_level in _levels(scored)
            for source in (ALL, *STREAMS)
            if (together := _varying(at_level, source, level))
        ]
        if len(made) > 1 or any(each.source != ALL for each in made):
            found += made
    return found


def _place(key: tuple[cells.Key, cells.Key], runs: Sequence[Run]) -> tuple[object, ...]:
    (model, _, task), extra = key
    return settings.order([model, *extra, *settings.gate_place(runs[0].gate), task])


def _levels(runs: Sequence[Run]) -> Iterator[tuple[Level | None, list[Run]]]:
    """The levels at which runs of one setting may vary, each with the runs that it can be seen of."""
    if any(run.first is None for run in runs):
        yield None, list(runs)
        return
    yield Level.BOTH, [run for run in runs if not run.replicate.first]
    yield Level.OWN, list(runs)
    yield Level.BEFORE, list(runs)


def _varying(runs: Sequence[Run], source: str, level: Level | None) -> list[list[Run]]:
    """Groups of at least two runs that share all but this source."""
    groups: dict[object, dict[int, Run]] = {}
    for run in sorted(runs, key=lambda run: run.replicate):
        varied = run.first if level is Level.BEFORE else run.replicate
        assert varied is not None, "there is no level of runs before where one is not known"
        if source == ALL and varied.streams_apart:
            continue
        shared: list[object] = [] if source == ALL else [getattr(varied, name) for name in STREAMS if name != source]
        if level is Level.BEFORE:
            shared += [run.replicate.streams, varied.first]
        elif level is Level.OWN:
            shared += [run.first]
        value = varied.seed if source == ALL else getattr(varied, source)
        # The same streams by another `seed` are the same run.
        groups.setdefault(tuple(shared), {}).setdefault(value, run)
    return [list(group.values()) for group in groups.values() if len(group) > 1]


def _component(
    model: str, extra: dict[str, Value], source: str, level: Level | None, groups: list[list[Run]]
) -> Component:
    measure = groups[0][0].task.primary
    summaries = [cells.summarise(list(_scores(group, measure))) for group in groups]
    freedom = sum(each.n - 1 for each in summaries)
    variance = math.fsum((each.n - 1) * (each.sd or 0.0) ** 2 for each in summaries) / freedom
    return Component(
        model=model,
        extra=extra,
        source=source,
        level=level,
        measure=measure,
        sd=math.sqrt(variance),
        interval=_interval(variance, freedom),
        freedom=freedom,
        groups=len(groups),
        runs=[run for group in groups for run in group],
    )


def _scores(runs: Sequence[Run], measure: str) -> Iterator[float]:
    for run in runs:
        score = run.score(measure)
        assert score is not None, "runs without one were left out"
        yield score


def _interval(variance: float, freedom: int) -> tuple[float, float]:
    from scipy import stats  # half a second, which only reports of such runs take

    upper, lower = stats.chi2.ppf([(1 + _LEVEL) / 2, (1 - _LEVEL) / 2], freedom)
    return math.sqrt(freedom * variance / upper), math.sqrt(freedom * variance / lower)
