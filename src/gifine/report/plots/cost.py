"""The change of the score against what it costs: each arm a point, on each task and over all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from gifine.report import settings
from gifine.report.analysis import cost
from gifine.report.analysis.answers import Answer
from gifine.report.analysis.comparison import Comparison
from gifine.report.plots import drawing
from gifine.report.plots.drawing import Plot

_FAR = 5.0  # times as much
_AXES = {
    "seconds": "time of a step",
    "memory": "memory of a step",
    "operations": "FLOPs of an example",
    "trained": "parameters that train",
}


@dataclass(slots=True, frozen=True)
class Point:
    """An arm; the difference in points of percent."""

    change: str
    mean: float
    interval: tuple[float, float] | None  # 95 %
    ratios: dict[str, float]  # to the baseline, by kind of cost


@dataclass(slots=True)
class Part:
    """Arms of one model and recipe on one task, or over all of theirs."""

    model: str
    title: str
    where: str  # the task
    points: list[Point] = field(default_factory=list)


def parts(comparisons: Sequence[Comparison], answers: Sequence[Answer]) -> list[Part]:
    """Over tasks first. Of at least two arms: one alone is a line of the table."""
    found: dict[tuple[object, ...], Part] = {}
    for answer in answers:
        if answer.mean is not None:
            words = [answer.model, *_words(answer.extra)]
            ratios = {kind: cost.ratio_over_tasks(answer, kind) for kind in cost.KINDS}
            part = Part(answer.model, ", ".join(words), "mean over tasks")
            _add(found.setdefault((*words, None), part), answer, ratios)
    for each in comparisons:
        if each.is_primary:
            words = [each.model, *_words(each.extra)]
            ratios = {kind: cost.ratio_of(each, kind) for kind in cost.KINDS}
            part = Part(each.model, ", ".join(words), each.task.title)
            _add(found.setdefault((*words, each.task.name, each.task.title), part), each, ratios)
    return [part for part in found.values() if len(part.points) > 1]


def draw(part: Part) -> Plot:
    kinds = [kind for kind in cost.KINDS if any(kind in point.ratios for point in part.points)]
    figure, [row] = drawing.grid(1, len(kinds), (2.6, 2.8), is_one_x=False)
    for axes, kind in zip(row, kinds, strict=True):
        axes.axhline(0, color="black", linewidth=1)
        axes.axvline(1, color="0.6", linewidth=1)
        for place, point in enumerate(part.points):
            if kind in point.ratios:
                ends = point.interval or (point.mean, point.mean)
                errors = [[point.mean - ends[0]], [ends[1] - point.mean]]
                look = drawing.look(place, with_line=False)
                axes.errorbar([point.ratios[kind]], [point.mean], yerr=errors, label=point.change, capsize=3, **look)
        _scale(axes, [1.0, *(point.ratios[kind] for point in part.points if kind in point.ratios)])
        axes.set_xlabel(f"{_AXES[kind]}, × baseline")
    row[0].set_ylabel("changed − baseline, points")
    fullest = max(row, key=lambda axes: len(axes.get_legend_handles_labels()[1]))
    figure.legend(*fullest.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    caption = (
        f"{part.title}, {part.where}: the difference of the score to the baseline's, with its 95 % interval, against "
        "what the change costs, as a multiple of the baseline's in pairs that were computed alike. The intervals are "
        "of one difference each, uncorrected; verdicts are in the tables."
    )
    return drawing.finished(figure, ["cost", part.model, part.where], f"Score against cost, {part.where}", caption)


def _scale(axes: Axes, ratios: Sequence[float]) -> None:
    """Logarithmic where they are far apart, as of a thousandth of the parameters, in powers of ten."""
    if max(ratios) < _FAR * min(ratios):
        axes.xaxis.set_major_locator(MaxNLocator(4))
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))  # matplotlib's own is mathematics
    axes.xaxis.set_minor_formatter(NullFormatter())
    low, high = min(ratios), max(ratios)
    axes.set_xlim(10 ** math.floor(math.log10(low) - 0.1), 10 ** math.ceil(math.log10(high) + 0.1))


def _add(part: Part, each: Answer | Comparison, ratios: dict[str, float | None]) -> None:
    mean, interval = each.effect.summary.mean, each.effect.interval
    known = {kind: ratio for kind, ratio in ratios.items() if ratio is not None}
    if mean is not None and known:
        ends = (100 * interval[0], 100 * interval[1]) if interval is not None else None
        part.points.append(Point(drawing.shortened(settings.gate(each.gate), 30), 100 * mean, ends, known))


def _words(extra: dict[str, settings.Value]) -> list[str]:
    return [f"{key}={settings.shown(value)}" for key, value in extra.items()]
