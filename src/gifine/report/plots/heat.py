"""Level × layers: the mean of the primary measure in each cell, side by side of the gate."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh

from gifine.report import settings
from gifine.report.analysis import cells
from gifine.report.plots import drawing
from gifine.report.plots.drawing import Plot
from gifine.report.plots.panels import Panel
from gifine.report.settings import Value


def draw(panel: Panel) -> Plot | None:
    """None unless there are two levels and two choices of layers: else `levels` shows as much."""
    sides, levels, layers = (panel.distinct(axis) for axis in range(3))
    if min(len(levels), len(layers)) < 2:
        return None
    baseline = panel.score(panel.baseline).summary if panel.baseline is not None else None
    numbers = [100 * score.summary.mean for score in panel.means().values() if score.summary.mean is not None]
    if baseline is not None and baseline.mean is not None:
        numbers.append(100 * baseline.mean)
    margin = 0.0 if max(numbers) > min(numbers) else 0.5
    limits = min(numbers) - margin, max(numbers) + margin
    size = 0.7 * len(layers) + 0.3, 0.45 * len(levels) + 0.6
    figure, axes = drawing.grid(1, len(sides), size)
    maps = [_map(each, panel, side, levels, layers, limits) for each, side in zip(axes[0], sides, strict=True)]
    axes[0][0].set_ylabel("level")
    bar = figure.colorbar(maps[0], ax=axes[0], label=drawing.shortened(f"mean {panel.measure}, n in brackets"))
    bar.ax.grid(visible=False)
    assert bar.solids is not None
    bar.solids.set(rasterized=False, edgecolor="face")  # else it is a picture in the SVG, which a page may not show
    caption = f"{panel.title}: mean {panel.measure} by level and layers of the gate, n seeds in brackets."
    if baseline is not None and baseline.mean is not None:
        bar.ax.axhline(100 * baseline.mean, color="white", linewidth=3)
        bar.ax.axhline(100 * baseline.mean, color="black", linewidth=1)
        caption += f" The line in the scale is the baseline, {100 * baseline.mean:.1f} ({baseline.n})."
    return drawing.finished(figure, ["heat", panel.task.name, panel.model], panel.title, caption)


def _map(
    axes: Axes, panel: Panel, side: Value, levels: list[Value], layers: list[Value], limits: tuple[float, float]
) -> QuadMesh:
    means = np.full((len(levels), len(layers)), np.nan)
    found = panel.means()
    for row, level in enumerate(levels):
        for column, count in enumerate(layers):
            score = found.get((side, level, count))
            if score is not None and score.summary.mean is not None:
                means[row, column] = 100 * score.summary.mean
    mesh = axes.pcolormesh(means, cmap="cividis", vmin=limits[0], vmax=limits[1], edgecolors="white", linewidth=1)
    for row, level in enumerate(levels):
        for column, count in enumerate(layers):
            score = found.get((side, level, count))
            if score is not None:
                dark = means[row, column] < sum(limits) / 2  # cividis grows lighter all the way
                words = f"{means[row, column]:.1f}\n({score.summary.n})"
                colour = "white" if dark else "black"
                axes.text(column + 0.5, row + 0.5, words, ha="center", va="center", color=colour, fontsize=8)
    axes.grid(visible=False)
    axes.set_xticks(np.arange(len(layers)) + 0.5, [_layers(count) for count in layers])
    axes.set_yticks(np.arange(len(levels)) + 0.5, [settings.shown(level) for level in levels])
    axes.set(title=f"side: {side}", xlabel="layers with gates")
    return mesh


def _layers(count: Value) -> str:
    return "all" if count == cells.ALL else f"last {count}"
