"""Level × layers: the mean of the primary measure in each cell, side by side of the gate."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh

from gifine.report import settings
from gifine.report.analysis import cells
from gifine.report.plots import drawing
from gifine.report.plots.drawing import Plot
from gifine.report.plots.panels import Panel
from gifine.report.settings import Value

_COLOURS = "cividis"  # the same to colour-blind eyes


def draw(panel: Panel) -> Plot | None:
    """None unless a side has two levels and two choices of layers: else `levels` shows as much."""
    sides, levels, layers = (panel.distinct(axis) for axis in range(3))
    if not any(_is_grid(panel, side) for side in sides):
        return None
    baseline = panel.score(panel.baseline).summary if panel.baseline is not None else None
    numbers = [100 * score.summary.mean for score in panel.means().values() if score.summary.mean is not None]
    if baseline is not None and baseline.mean is not None:
        numbers.append(100 * baseline.mean)
    margin = 0.0 if max(numbers) > min(numbers) else 0.5
    limits = min(numbers) - margin, max(numbers) + margin
    size = 0.7 * len(layers) + 0.3, max(0.45 * len(levels) + 0.6, 1.6)
    figure, axes = drawing.grid(1, len(sides), size)
    maps = [_map(each, panel, side, levels, layers, limits) for each, side in zip(axes[0], sides, strict=True)]
    axes[0][0].set_ylabel("level")
    bar = figure.colorbar(maps[0], ax=axes[0], label=drawing.shortened(f"mean {panel.measure}"))
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
    mesh = axes.pcolormesh(means, cmap=_COLOURS, vmin=limits[0], vmax=limits[1], edgecolors="white", linewidth=1)
    for row, level in enumerate(levels):
        for column, count in enumerate(layers):
            score = found.get((side, level, count))
            if score is not None:
                words = f"{means[row, column]:.1f}\n({score.summary.n})"
                colour = _ink((means[row, column] - limits[0]) / (limits[1] - limits[0]))
                axes.text(column + 0.5, row + 0.5, words, ha="center", va="center", color=colour, fontsize=8)
    axes.grid(visible=False)
    axes.set_xticks(np.arange(len(layers)) + 0.5, [_layers(count) for count in layers])
    axes.set_yticks(np.arange(len(levels)) + 0.5, [settings.shown(level) for level in levels])
    axes.set(title=f"side: {side}", xlabel="layers with gates")
    return mesh


def _is_grid(panel: Panel, side: Value) -> bool:
    found = [place for place in panel.means() if place[0] == side]
    return all(len({place[axis] for place in found}) > 1 for axis in (1, 2))


def _ink(share: float) -> str:
    """Black or white, whichever has more contrast with the colour at this share of the scale (WCAG's luminance)."""
    parts = np.asarray(matplotlib.colormaps[_COLOURS](share)[:3])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return drawing.ON_DARK if linear @ (0.2126, 0.7152, 0.0722) < 0.179 else drawing.ON_LIGHT


def _layers(count: Value) -> str:
    return "all" if count == cells.ALL else f"last {count}"
