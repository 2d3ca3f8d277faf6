"""The paired differences with their intervals, and what may be concluded of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gifine.report import settings
from gifine.report.analysis.comparison import Comparison, Effect, Verdict
from gifine.report.plots import drawing
from gifine.report.plots.drawing import Plot

_MOST_ROWS = 45  # a figure: about a page
_LOOKS: dict[Verdict, dict[str, Any]] = {
    Verdict.HELPS: {"color": drawing.BLUE, "marker": "^"},
    Verdict.HURTS: {"color": drawing.VERMILION, "marker": "v"},
    Verdict.SAME: {"color": drawing.GREEN, "marker": "s"},
    Verdict.UNDECIDED: {"color": "0.35", "marker": "o", "markerfacecolor": "white"},
}


@dataclass(slots=True)
class Part:
    """Comparisons of one model and recipe that go into one figure."""

    title: str
    model: str
    rows: list[tuple[str, Effect]]


def parts(comparisons: Sequence[Comparison]) -> list[Part]:
    """Those of two pairs or more. Tasks of one gate stay together, unless they alone are too many."""
    found: list[Part] = []
    settings_tried: dict[object, list[Comparison]] = {}
    for each in comparisons:
        if each.is_primary and each.effect.p is not None:
            key = each.model, tuple(each.extra.values()), each.gate
            settings_tried.setdefault(key, []).append(each)
    for family in settings_tried.values():
        first = family[0]
        title = ", ".join([first.model, *(f"{key}={settings.shown(value)}" for key, value in first.extra.items())])
        rows = [row for each in family for row in _rows(each)]
        if not found or found[-1].title != title or len(found[-1].rows) + len(rows) > _MOST_ROWS:
            found.append(Part(title, first.model, []))
        found[-1].rows += rows
    return found


def draw(part: Part) -> Plot:
    labels = [drawing.shortened(f"{label}, n = {effect.summary.n}") for label, effect in part.rows]
    figure, [[axes]] = drawing.grid(1, 1, (3.6 + 0.075 * max(map(len, labels)), 0.3 * len(part.rows) + 0.6))
    for row, (_, effect) in enumerate(part.rows):
        mean = effect.summary.mean
        assert mean is not None
        interval = effect.interval or (mean, mean)  # where nothing varies there is none
        errors = [[100 * (mean - interval[0])], [100 * (interval[1] - mean)]]
        looks = _LOOKS[effect.verdict or Verdict.UNDECIDED]
        axes.errorbar([100 * mean], [row], xerr=errors, capsize=3, linestyle="none", linewidth=1.2, **looks)
    axes.axvline(0, color="black", linewidth=1)
    ends = (len(part.rows) - 0.5, -0.5)
    axes.set_yticks(range(len(part.rows)), labels)
    axes.set(xlabel="gated − baseline, points of percent of the measure", ylim=ends)
    verdicts = axes.secondary_yaxis("right")
    verdicts.set_yticks(range(len(part.rows)), [str(effect.verdict or "") for _, effect in part.rows])
    verdicts.tick_params(length=0)
    verdicts.spines["right"].set_visible(False)
    caption = (
        f"{part.title}: mean differences of n pairs that share all but the gate, with 95 % intervals. Verdicts "
        "are corrected over all comparisons of the model; an interval is of one difference, uncorrected, and may leave "
        "out 0 where the verdict is undecided."
    )
    return drawing.finished(figure, ["forest", part.model], f"Paired differences, {part.title}", caption)


def _rows(comparison: Comparison) -> list[tuple[str, Effect]]:
    task = comparison.task
    label = f"{settings.gate(comparison.gate)}: {task.title} {task.described(comparison.measure)}"
    rows = [(label, comparison.effect)]
    if comparison.regular is not None and comparison.regular.p is not None:
        rows.append((f"{label}, without degenerate", comparison.regular))
    return rows
