"""Learning curves: the training loss and the primary measure against steps, mean and deviation over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from gifine.report import settings
from gifine.report.analysis import cells
from gifine.report.analysis.cells import Cell
from gifine.report.plots import drawing
from gifine.report.plots.drawing import Plot
from gifine.report.plots.panels import Panel
from gifine.report.settings import Value
from gifine.runs import curves
from gifine.runs.curves import LOSS

_MOST_POINTS = 200  # of a line: more cannot be told apart, and a run may have logged a million


@dataclass(slots=True, frozen=True)
class Curve:
    """Of n runs, at the steps that all of them have logged."""

    steps: np.ndarray
    mean: np.ndarray
    sd: np.ndarray | None  # of the sample; None of one run
    n: int


def draw(panel: Panel, side: Value) -> Plot | None:
    """Gates on one side, and the baseline; with side null the baseline alone. None if no run has kept a curve."""
    measure = panel.task.logged
    baseline = _curves(panel, panel.baseline, measure) if panel.baseline is not None else {}
    gated = {place: _curves(panel, cell, measure) for place, cell in panel.gated.items() if place[0] == side}
    gated = {place: found for place, found in gated.items() if found}
    if not gated and (side is not None or not baseline):
        return None
    layers = sorted({place[2] for place in gated}, key=lambda value: settings.order([value])) or [None]
    all_curves = [baseline, *gated.values()]
    rows = [key for key in (LOSS, measure) if any(key in found for found in all_curves)]
    figure, axes = drawing.grid(len(rows), len(layers), (3.6, 2.3))
    for column, count in enumerate(layers):
        lines = {
            str(side) if level is None else f"level {settings.shown(level)}": found
            for (_, level, its), found in gated.items()
            if its == count
        }
        for row, key in enumerate(rows):
            _lines(axes[row][column], key, baseline, lines)
        axes[-1][column].set_xlabel("step")
        axes[-1][column].legend(loc="upper center", bbox_to_anchor=(0.5, -0.28), ncols=2)
        if count is not None:
            axes[0][column].set_title(f"{side}, all layers" if count == cells.ALL else f"{side}, last {count} layers")
    names = {LOSS: "training loss", measure: panel.measure}
    for row, key in enumerate(rows):
        axes[row][0].set_ylabel(drawing.shortened(names[key]))
    caption = (
        f"{panel.title}: training loss and {panel.measure} on the split that chose the checkpoint, mean and sample "
        "standard deviation over n seeds."
    )
    words = ["curves", panel.task.name, panel.model, *([str(side)] if side is not None else [])]
    return drawing.finished(figure, words, panel.title, caption)


def averaged(runs: Sequence[dict[int, float]]) -> Curve | None:
    """The mean curve of runs' values by step; None if they have no step in common."""
    steps = sorted(set.intersection(*map(set, runs))) if runs else []
    if not steps:
        return None
    kept = curves.thinned(steps, _MOST_POINTS)
    values = np.asarray([[points[step] for step in kept] for points in runs])
    sd = np.std(values, axis=0, ddof=1) if len(runs) > 1 else None
    return Curve(np.asarray(kept), values.mean(axis=0), sd, len(runs))


def _curves(panel: Panel, cell: Cell, measure: str) -> dict[str, Curve]:
    """Of the runs that ended with a score: one that broke off would end everybody's curve."""
    scored = panel.score(cell).values
    read_ones = [curves.read(run.folder, (LOSS, measure)) for run in cell.runs if run.replicate in scored]
    found = {}
    for key, scale in ((LOSS, 1.0), (measure, 100.0)):
        kept = [{step: scale * value for step, value in each[key].items()} for each in read_ones if len(each[key]) > 1]
        curve = averaged(kept)
        if curve is not None and len(curve.steps) > 1:
            found[key] = curve
    return found


def _lines(axes: Axes, key: str, baseline: dict[str, Curve], gated: dict[str, dict[str, Curve]]) -> None:
    black: dict[str, Any] = {"color": "black", "linestyle": "-", "linewidth": 1.6}
    looks = [("baseline", baseline, black)]
    looks += [(name, found, drawing.look(place)) for place, (name, found) in enumerate(gated.items())]
    for name, found, look in looks:
        if key in found:
            curve = found[key]
            every = max(1, len(curve.steps) // 8)
            label = drawing.shortened(f"{name} (n = {curve.n})")
            axes.plot(curve.steps, curve.mean, label=label, markevery=every, **look)
            if curve.sd is not None:
                low, high = curve.mean - curve.sd, curve.mean + curve.sd
                axes.fill_between(curve.steps, low, high, color=look["color"], alpha=0.15, linewidth=0)
