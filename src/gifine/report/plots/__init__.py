"""Figures of what runs say, from records and, for learning curves, `metrics.jsonl`. Only those with something to show.

Each module draws one kind: `heat`, `levels`, `seeds` and `curves` one of a `Panel` (runs that differ in gate and seed
alone), `forest` of comparisons, `cost` of both, `profiles` of answers over
tasks, `tuning` of searches. Scores are in percent here.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from gifine.machine import limits
from gifine.report.analysis import tuning as analysed
from gifine.report.contents import Contents
from gifine.report.plots import cost, curves, drawing, forest, heat, levels, panels, profiles, seeds, tuning
from gifine.report.plots.drawing import FORMATS, Plot, written
from gifine.report.reading import progress

__all__ = ["FORMATS", "Files", "Plot", "files", "make", "written"]

_FIGURES_A_PROCESS = 8  # at least: one takes about 0.7 s in all formats, and a process a second to start

_Work = Callable[[], Plot | None]


@dataclass(slots=True, frozen=True)
class Files:
    """A figure as files."""

    name: str  # of the files, without their ending
    title: str
    caption: str
    by_format: dict[str, bytes]


_Named = TypeVar("_Named", Plot, Files)


def make(contents: Contents) -> Iterator[Plot]:
    """One figure after the other, so that they need not all be in memory; no two of the same name."""
    yield from _named(map(_draw, _work(contents)))


def files(contents: Contents) -> Iterator[Files]:
    """The same figures as files, with a bar; by several processes where there are cores and figures enough.

    Processes are spawned, not forked: this one may have threads, whose locks a fork would copy as they are.
    """
    work = _work(contents)
    processes = min(limits.cores(), len(work) // _FIGURES_A_PROCESS)
    made = _by_processes(work, processes) if processes > 1 else map(_write, work)
    yield from _named(progress(made, "drawing", "figures", len(work)))


def _by_processes(work: Sequence[_Work], processes: int) -> Iterator[Files | None]:
    """In the order of the work. If a process dies, as for want of memory, the rest is drawn here."""
    done = 0
    context = multiprocessing.get_context("spawn")
    # A break from the keyboard reaches all processes, and this one tells of it.
    pool = ProcessPoolExecutor(processes, context, signal.signal, (signal.SIGINT, signal.SIG_IGN))
    with pool:
        try:
            for done, made in enumerate(pool.map(_write, work), start=1):  # noqa: B007 - used below
                yield made
        except BrokenProcessPool:
            yield from map(_write, work[done:])


def _write(work: _Work) -> Files | None:
    plot = _draw(work)
    if plot is None:
        return None
    return Files(plot.name, plot.title, plot.caption, {form: written(plot, form) for form in FORMATS})


def _draw(work: _Work) -> Plot | None:
    with drawing.style():
        return work()


def _named(made: Iterable[_Named | None]) -> Iterator[_Named]:
    names: Counter[str] = Counter()
    for each in made:
        if each is not None:
            names[each.name] += 1
            yield replace(each, name=f"{each.name}-{names[each.name]}") if names[each.name] > 1 else each


def _work(contents: Contents) -> Sequence[_Work]:
    work: list[_Work] = []
    forests = forest.parts(contents.comparisons, contents.answers, contents.rules)
    work += [partial(forest.draw, part) for part in forests]
    work += [partial(cost.draw, part) for part in cost.parts(contents.comparisons, contents.answers)]
    work += [partial(profiles.draw, part) for part in profiles.parts(contents.answers)]
    work += [partial(tuning.draw, each) for each in contents.tunings]
    for panel in panels.split(analysed.without_drawn(contents.runs, contents.tunings)):
        work += [partial(draw, panel) for draw in (heat.draw, levels.draw, seeds.draw)]
        work += [partial(curves.draw, panel, side) for side in panel.sides or [None]]
    return work
