"""The primary measure against the level, a line a side, with the baseline as a band."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from gifine.report.analysis import cells, statistics
from gifine.report.analysis.cells import Score
from gifine.report.plots import drawing
from gifine.report.plots.drawing import Plot
from gifine.report.plots.panels import Panel
from gifine.report.settings import Value

_SIDES = ("key", "query", "both")  # each with the same colour in all figures


def draw(panel: Panel) -> Plot | None:
    """None unless some gates differ in the level alone."""
    levels, layers = panel.distinct(1), panel.distinct(2)
    if len(panel.means()) == len({(side, count) for side, _, count in panel.means()}):
        return None
    figure, axes = drawing.grid(1, len(layers), (3.2, 3.0))
    gaps = np.diff([float(level) for level in levels if isinstance(level, (int, float))])
    for each, count in zip(axes[0], layers, strict=True):
        if panel.baseline is not None:
            _band(each, panel.score(panel.baseline))
        for place, side in enumerate(_SIDES):
            # Beside each other: else intervals at the same level hide one another.
            _line(each, panel, side, count, shift=(place - 1) * 0.08 * float(gaps.min()))
        title = "gates on all layers" if count == cells.ALL else f"gates on the last {count} layers"
        each.set(title=title, xlabel="level")
        each.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    axes[0][0].set_ylabel(drawing.shortened(panel.measure))
    caption = (
        f"{panel.title}: mean {panel.measure} of n seeds against the gate's level, with its 95 % interval (Student's "
        "t). The band is the baseline's. Intervals may overlap where the paired difference is clear."
    )
    return drawing.finished(figure, ["levels", panel.task.name, panel.model], panel.title, caption)


def interval(score: Score) -> tuple[float, float] | None:
    """95 % of the mean, in percent; None below two seeds."""
    found = statistics.mean_interval(np.asarray(list(score.values.values())))
    return (100 * found[0], 100 * found[1]) if found is not None else None


def _band(axes: Axes, score: Score) -> None:
    if score.summary.mean is None:
        return
    label = f"baseline ({drawing.sizes([score.summary.n])})"
    axes.axhline(100 * score.summary.mean, color="black", linewidth=1, linestyle=":", label=label)
    found = interval(score)
    if found is not None:
        axes.axhspan(*found, color="0.85", zorder=0)


def _line(axes: Axes, panel: Panel, side: str, layers: Value, shift: float) -> None:
    points = [
        (float(level), score)
        for (its_side, level, its_layers), score in panel.means().items()
        if (its_side, its_layers) == (side, layers) and isinstance(level, (int, float))
    ]
    if not points:
        return
    points.sort(key=lambda point: point[0])
    x = [level + shift for level, _ in points]
    y = [100 * score.summary.mean for _, score in points if score.summary.mean is not None]
    ends = [interval(score) or (mean, mean) for (_, score), mean in zip(points, y, strict=True)]
    errors = [[mean - low for (low, _), mean in zip(ends, y, strict=True)]]
    errors.append([high - mean for (_, high), mean in zip(ends, y, strict=True)])
    label = f"{side} ({drawing.sizes([score.summary.n for _, score in points])})"
    axes.errorbar(x, y, yerr=errors, capsize=3, linewidth=1.2, label=label, **drawing.look(_SIDES.index(side)))
