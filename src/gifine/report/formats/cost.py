"""What each change takes, in words: `analysis/cost.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gifine.commands import counted
from gifine.report import circumstances, settings
from gifine.report.analysis.cost import KINDS, Spent
from gifine.report.contents import Contents
from gifine.report.formats import phrases
from gifine.report.formats.words import Item, Sheet, linked, plain

NOT_RECORDED, NOT_ALIKE = "not recorded", "not alike"
_KINDS = (("seconds", 1e-3, ".4g"), ("memory", 1e9, ".3f"), ("operations", 1e9, ".4g"))  # with their units
_NOTE = (
    "Medians over runs. ms a step: of training, without loading data, evaluating and saving. GB: the most that tensors "
    "took on the GPU in a step; of a CPU it is not recorded. Steps in which a change's statistics are taken are left "
    "out of both where there are others. GFLOPs an example: products of matrices in the first step, forward and "
    "backward, divided by its examples. ×: how many times the baseline's, the geometric mean over pairs that were "
    "computed alike. Time on a machine that others use as well is uncertain."
)


def sheet(contents: Contents) -> Sheet:
    """Of each arm and task, and of each machine where there are several."""
    costs = contents.costs
    extra = list(costs[0].extra) if costs else []
    with_machines = any(each.machine for each in costs)
    heads = ["model", *extra, "change", "task", *(["computed with"] if with_machines else [])]
    heads += ["parameters", "trained", "of the change"]
    heads += ["ms a step", "× time", "GB", "× memory", "GFLOPs an example", "× FLOPs"]
    notes = [_NOTE, *_left_out(costs)]
    if with_machines:
        notes.append("Runs that were not computed alike have rows of their own: what differs is in `computed with`.")
    rows = [_row(each, with_machines) for each in costs]
    return Sheet("cost", "What it costs", heads, rows, notes if rows else [])


def _left_out(costs: Sequence[Spent]) -> list[str]:
    """How many pairs are in no ratio, and why."""
    pairs = [pair for each in costs for pair in each.unlike]
    if not pairs:
        return []
    names = dict.fromkeys(name for pair in pairs for name in pair.differing if name != circumstances.KERNEL)
    are, their = phrases.verb(len(pairs), "is", "are"), phrases.verb(len(pairs), "its", "their")
    why = f"{their} runs differ in {phrases.joined([*names])}"
    return [f"{counted(len(pairs), 'pair')} {are} in no ratio of time and memory: {why}."]


def _row(spent: Spent, with_machine: bool) -> list[Item]:
    took = spent.took
    words = [spent.model, *map(settings.shown, spent.extra.values()), settings.gate(spent.gate), spent.task.title]
    if with_machine:
        words.append(", ".join(f"{name} {value}" for name, value in spent.machine.items()))
    counts = (took.parameters, took.trained, took.changed)
    words += [f"{each:,.0f}" if each is not None else NOT_RECORDED for each in counts]
    for kind, unit, style in _KINDS:
        value, ratio = getattr(took, kind), spent.ratios.get(kind)
        words += [format(value / unit, style) if value is not None else NOT_RECORDED]
        words += [f"{ratio:.2f}" if ratio is not None else NOT_ALIKE if value is not None and spent.unlike else ""]
    start = len(words) - 2 * len(_KINDS)
    return [linked(plain(word), spent.runs if place >= start else ()) for place, word in enumerate(words)]


def entries(spent: Spent) -> dict[str, Any]:
    """A row of plain values: seconds, bytes, operations."""
    return {
        "model": spent.model,
        **spent.extra,
        "change": settings.gate(spent.gate),
        "task": spent.task.name,
        **asdict(spent.took),
        **{f"{kind}_ratio": spent.ratios.get(kind) for kind in KINDS},
        "computed_with": spent.machine,
        "pairs_left_out": len(spent.unlike),
        "runs": [run.run_id for run in spent.runs],
    }
