"""Where the deviation over seeds comes from: of runs that differ in one stream of random numbers and in nothing else.

The streams are those of `seeds`: head, order of the examples, dropout, first weights of the change. ALL is what runs
vary in whose streams all start from one seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gifine.report import settings
from gifine.report.analysis import cells
from gifine.report.reading import Run
from gifine.report.settings import Value
from gifine.runs.replicate import STREAMS

ALL = "all"
_LEVEL = 0.95


@dataclass(slots=True)
class Component:
    """The standard deviation of one measure by one source, as a fraction, not percent.

    Pooled over groups of runs that share all other streams: s² = Σ (n_j − 1) s_j² / Σ (n_j − 1). The interval holds for
    normal scores: s·√(ν/χ²), at the 2.5 % and 97.5 % quantiles of χ² with ν = Σ (n_j − 1) degrees of freedom.
    """

    model: str
    extra: dict[str, Value]  # further keys that tell settings apart
    source: str  # of STREAMS, or ALL
    measure: str  # task/split/metric, the primary one
    sd: float
    interval: tuple[float, float]  # 95 %
    freedom: int
    groups: int
    runs: list[Run]


def find(runs: Sequence[Run]) -> list[Component]:
    """Of each setting in which some stream varies alone, by model, gates, task and source; empty where none does."""
    groups = cells.group(runs, ["model", "gi", "task"])
    found = []
    for (names, extra), members in sorted(groups.runs.items(), key=lambda item: _place(*item)):
        scored = [run for run in members if run.score(run.task.primary) is not None]
        made = [
            _component(str(names[0]), dict(zip(groups.extra, extra, strict=True)), source, together)
            for source in STREAMS
            if (together := _varying(scored, source))
        ]
        plain = [run for run in scored if not run.replicate.apart]
        if made and len(plain) > 1:
            made.insert(0, _component(str(names[0]), made[0].extra, ALL, [plain]))
        found += made
    return found


def _place(key: tuple[cells.Key, cells.Key], runs: Sequence[Run]) -> tuple[object, ...]:
    (model, _, task), extra = key
    return settings.order([model, *extra, *settings.gate_place(runs[0].gate), task])


def _varying(runs: Sequence[Run], source: str) -> list[list[Run]]:
    """Groups of at least two runs that share all streams but this one."""
    others = [name for name in STREAMS if name != source]
    groups: dict[tuple[int, ...], dict[int, Run]] = {}
    for run in sorted(runs, key=lambda run: run.replicate):
        shared = tuple(getattr(run.replicate, name) for name in others)
        # The same streams by another `seed` are the same run.
        groups.setdefault(shared, {}).setdefault(getattr(run.replicate, source), run)
    return [list(group.values()) for group in groups.values() if len(group) > 1]


def _component(model: str, extra: dict[str, Value], source: str, groups: list[list[Run]]) -> Component:
    measure = groups[0][0].task.primary
    summaries = [cells.summarise(list(_scores(group, measure))) for group in groups]
    freedom = sum(each.n - 1 for each in summaries)
    variance = math.fsum((each.n - 1) * (each.sd or 0.0) ** 2 for each in summaries) / freedom
    return Component(
        model=model,
        extra=extra,
        source=source,
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
