"""Differences with their intervals, the margin, and what may be concluded: over all tasks first, then task by task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gifine.report import settings
from gifine.report.analysis.answers import Answer
from gifine.report.analysis.comparison import Comparison, Verdict
from gifine.report.analysis.families import Rules
from gifine.report.plots import drawing
from gifine.report.plots.drawing import Plot

_MOST_ROWS = 45  # a figure: about a page
_FEW = 20  # rows of a model: so many intervals are shown whole, of more the widest would flatten all others
_LOOKS: dict[Verdict, dict[str, Any]] = {
    Verdict.HELPS: {"color": drawing.BLUE, "marker": "^"},
    Verdict.HURTS: {"color": drawing.VERMILION, "marker": "v"},
    Verdict.SAME: {"color": drawing.GREEN, "marker": "s"},
    Verdict.UNDECIDED: {"color": "0.35", "marker": "o", "markerfacecolor": "white"},
}


@dataclass(slots=True, frozen=True)
class Row:
    """One comparison, or a change over its tasks; points of percent."""

    change: str
    label: str
    mean: float
    interval: tuple[float, float] | None  # 95 %; None where all pairs differ by the same
    verdict: Verdict
    is_primary: bool  # named as such
    prediction: tuple[float, float] | None = None  # 95 %, where the difference on another such task would be


@dataclass(slots=True)
class Part:
    """What goes into one figure: comparisons of one model and recipe, or the changes of a model over all tasks."""

    title: str
    model: str
    margin: float  # points of percent
    limits: tuple[float, float]  # of the axis: the same for all parts of a model and recipe
    is_over_tasks: bool
    place: str = ""  # among several, and what is in it
    rows: list[Row] = field(default_factory=list)


def parts(comparisons: Sequence[Comparison], answers: Sequence[Answer], rules: Rules) -> list[Part]:
    """Means over tasks, then comparisons of two pairs and more; the primary ones first, a gate's tasks together."""
    over: dict[tuple[object, ...], tuple[str, list[Row]]] = {}
    single: dict[tuple[object, ...], tuple[str, list[Row]]] = {}
    for answer in answers:
        if answer.mean is not None:
            over.setdefault((answer.model,), (answer.model, []))[1].append(_over_tasks(answer))
    for each in comparisons:
        if each.is_primary and each.effect.summary.n > 1:
            words = [each.model, *(f"{key}={settings.shown(value)}" for key, value in each.extra.items())]
            single.setdefault((each.model, *each.extra.values()), (", ".join(words), []))[1].append(_row(each))
    return [
        part
        for found in (over, single)
        for key, (title, rows) in found.items()
        for part in _parts(title, str(key[0]), rows, 100 * rules.margin, is_over_tasks=found is over)
    ]


def _parts(title: str, model: str, rows: Sequence[Row], margin: float, *, is_over_tasks: bool) -> list[Part]:
    """Of one model and recipe."""
    groups: dict[tuple[bool, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: not row.is_primary):
        groups.setdefault((row.is_primary, row.change), []).append(row)
    limits, found = _limits(rows, margin), list[Part]()
    for group in groups.values():
        for start in range(0, len(group), _MOST_ROWS):
            some = group[start : start + _MOST_ROWS]
            if not found or len(found[-1].rows) + len(some) > _MOST_ROWS:
                found.append(Part(title, model, margin, limits, is_over_tasks))
            found[-1].rows += some
    if len(found) > 1:
        for place, part in enumerate(found, start=1):
            ends = dict.fromkeys((part.rows[0].change, part.rows[-1].change))
            part.place = f", {place} of {len(found)}: {' to '.join(ends)} ({_counts(part.rows)})"
    return found


def draw(part: Part) -> Plot:
    labels = [drawing.shortened(row.label) for row in part.rows]
    figure, [[axes]] = drawing.grid(1, 1, (3.6 + 0.075 * max(map(len, labels)), 0.3 * len(part.rows) + 0.6))
    axes.axvspan(-part.margin, part.margin, color="0.88", zorder=0)
    axes.axvline(0, color="black", linewidth=1)
    for place, row in enumerate(part.rows):
        errors = [[row.mean - row.interval[0]], [row.interval[1] - row.mean]] if row.interval is not None else None
        looks = _LOOKS[row.verdict]
        if row.prediction is not None:
            axes.hlines(place, *row.prediction, color=looks["color"], linestyle=":", linewidth=1.2)
        axes.errorbar([row.mean], [place], xerr=errors, capsize=3, linestyle="none", linewidth=1.2, **looks)
    axes.set_yticks(range(len(part.rows)), labels)
    axes.set(xlabel="changed − baseline, points of percent of the measure", ylim=(len(part.rows) - 0.5, -0.5))
    axes.set_xlim(part.limits)
    if len(part.rows) > _FEW:  # the scale at its end alone would be out of sight
        axes.tick_params(labeltop=True)
    verdicts = axes.secondary_yaxis("right")
    verdicts.set_yticks(range(len(part.rows)), [str(row.verdict) for row in part.rows])
    verdicts.tick_params(length=0)
    verdicts.spines["right"].set_visible(False)
    band = f"The band is the margin, {part.margin:.6g} points either way."
    if part.is_over_tasks:
        what, words = "Means over tasks", ["forest-over-tasks", part.model]
        caption = (
            f"{part.title}: each change's mean difference over its tasks, of n pairs in all, with its 95 % interval; "
            f"dotted, where the difference on another such task would be (95 %), perhaps beyond the edge. {band} "
            "Verdicts are corrected over the changes of the model."
        )
    else:
        what, words = "Paired differences", ["forest", part.model]
        caption = (
            f"{part.title}: mean differences of n pairs that share all but the change, with 95 % intervals. {band} "
            "Verdicts are corrected over all comparisons of the model; an interval is of one difference, uncorrected, "
            "and may leave out 0 where the verdict is undecided. One that ends at the edge goes on beyond it; there is "
            "none where all pairs differ by the same."
        )
    return drawing.finished(figure, words, f"{what}, {part.title}{part.place}", caption)


def _over_tasks(answer: Answer) -> Row:
    assert answer.mean is not None
    estimate, prediction = answer.mean.estimate, answer.mean.prediction
    low, high = estimate.interval()
    extra = [f"{key}={settings.shown(value)}" for key, value in answer.extra.items()]
    change = ", ".join([settings.gate(answer.gate), *extra])
    label = f"{change}: {len(answer.combined)} tasks, n = {answer.effect.summary.n}"
    return Row(
        change,
        f"{label} (primary)" if answer.is_declared else label,
        100 * estimate.mean,
        (100 * low, 100 * high),
        answer.effect.verdict or Verdict.UNDECIDED,
        answer.is_declared,
        (100 * prediction[0], 100 * prediction[1]) if prediction is not None else None,
    )


def _row(comparison: Comparison) -> Row:
    task, effect = comparison.task, comparison.effect
    mean, interval = effect.summary.mean, effect.interval
    assert mean is not None
    change = settings.gate(comparison.gate)
    label = f"{change}: {task.title} {task.described(comparison.measure)}, n = {effect.summary.n}"
    return Row(
        change,
        f"{label} (primary)" if comparison.is_declared else label,
        100 * mean,
        (100 * interval[0], 100 * interval[1]) if interval is not None else None,
        effect.verdict or Verdict.UNDECIDED,
        comparison.is_declared,
    )


def _counts(rows: Sequence[Row]) -> str:
    found = Counter(row.verdict for row in rows)
    return ", ".join(f"{found[verdict]} {verdict}" for verdict in Verdict if found[verdict])


def _limits(rows: Sequence[Row], margin: float) -> tuple[float, float]:
    """All means, the margin and the intervals, but for the widest ones where there are many."""
    tail = 0.0 if len(rows) <= _FEW else 0.05
    lows, highs = zip(*(row.interval or (row.mean, row.mean) for row in rows), strict=True)
    means = [row.mean for row in rows]
    low = min(*means, -margin, float(np.quantile(lows, tail)))
    high = max(*means, margin, float(np.quantile(highs, 1 - tail)))
    space = 0.04 * (high - low)
    return low - space, high + space
