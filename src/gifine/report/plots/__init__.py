"""Figures of what runs say, from records and, for learning curves, `metrics.jsonl`. Only those with something to show.

Each module draws one kind: `heat`, `levels`, `seeds` and `curves` one of a `Panel` (runs that differ in gate and seed
alone), `forest` of comparisons, `tuning` of searches. Scores are in percent here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from gifine.report.analysis import tuning as analysed
from gifine.report.contents import Contents
from gifine.report.plots import curves, drawing, forest, heat, levels, panels, seeds, tuning
from gifine.report.plots.drawing import FORMATS, Plot, written
from gifine.report.reading import progress

__all__ = ["FORMATS", "Plot", "make", "written"]


def make(contents: Contents) -> Iterator[Plot]:
    """One figure after the other, so that they need not all be in memory; no two of the same name."""
    names: Counter[str] = Counter()
    for draw in progress(_work(contents), "drawing", "figures"):
        with drawing.style():
            plot = draw()
        if plot is not None:
            names[plot.name] += 1
            yield replace(plot, name=f"{plot.name}-{names[plot.name]}") if names[plot.name] > 1 else plot


def _work(contents: Contents) -> Sequence[Callable[[], Plot | None]]:
    work: list[Callable[[], Plot | None]] = []
    work += [partial(forest.draw, part) for part in forest.parts(contents.comparisons)]
    work += [partial(tuning.draw, each) for each in contents.tunings]
    for panel in panels.split(analysed.without_drawn(contents.runs, contents.tunings)):
        work += [partial(draw, panel) for draw in (heat.draw, levels.draw, seeds.draw)]
        work += [partial(curves.draw, panel, side) for side in panel.sides or [None]]
    return work
