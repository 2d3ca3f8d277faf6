"""Each seed's score, a row a cell: what a mean and a deviation hide."""

from __future__ import annotations

import numpy as np

from gifine.report import settings
from gifine.report.plots import drawing
from gifine.report.plots.drawing import Plot
from gifine.report.plots.panels import Panel
from gifine.runs.records import Status


def draw(panel: Panel) -> Plot | None:
    """None if no cell has two seeds with a number."""
    cells = [*([panel.baseline] if panel.baseline is not None else []), *panel.gated.values()]
    cells = [cell for cell in cells if panel.score(cell).summary.n]
    if max((panel.score(cell).summary.n for cell in cells), default=0) < 2:
        return None
    names = [settings.gate(cell.runs[0].gate) for cell in cells]
    names = ["baseline" if name == "none" else name for name in names]
    labels = [
        drawing.shortened(f"{name} (n = {panel.score(cell).summary.n})")
        for name, cell in zip(names, cells, strict=True)
    ]
    figure, [[axes]] = drawing.grid(1, 1, (3.6 + 0.075 * max(map(len, labels)), 0.32 * len(cells) + 0.6))
    for row, cell in enumerate(cells):
        values = panel.score(cell).values
        spread = np.linspace(-0.25, 0.25, len(values)) if len(values) > 1 else np.zeros(1)
        degenerate = {run.replicate for run in cell.runs if run.status is Status.DEGENERATE}
        for marker, colour, seeds in (
            ("o", drawing.BLUE, values.keys() - degenerate),
            ("x", drawing.VERMILION, values.keys() & degenerate),
        ):
            chosen = [place for place, seed in enumerate(values) if seed in seeds]
            x = [100 * list(values.values())[place] for place in chosen]
            if chosen:
                axes.scatter(x, row + spread[chosen], s=18, marker=marker, color=colour, alpha=0.8)
        mean = panel.score(cell).summary.mean
        assert mean is not None, "cells without a number are left out"
        axes.vlines(100 * mean, row - 0.38, row + 0.38, color="black", linewidth=1.5)
    axes.set_yticks(range(len(cells)), labels)
    axes.set(xlabel=drawing.shortened(panel.measure), ylim=(len(cells) - 0.5, -0.5))
    caption = (
        f"{panel.title}: {panel.measure} of each seed (from top to bottom by seed), and the mean of n as a line. "
        "Crosses are degenerate runs."
    )
    return drawing.finished(figure, ["seeds", panel.task.name, panel.model], panel.title, caption)
