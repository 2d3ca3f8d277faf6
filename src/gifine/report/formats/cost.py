"""What each change takes, in words: `analysis/cost.py`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gifine.report import settings
from gifine.report.analysis.cost import Spent
from gifine.report.contents import Contents
from gifine.report.formats.words import Item, Sheet, linked, plain

NOT_RECORDED = "not recorded"
_KINDS = (("seconds", 1e-3, ".4g"), ("memory", 1e9, ".3f"), ("operations", 1e9, ".4g"))  # with their units


def sheet(contents: Contents) -> Sheet:
    """Of each arm and task."""
    extra = list(contents.costs[0].extra) if contents.costs else []
    heads = ["model", *extra, "change", "task", "parameters", "trained", "of the change"]
    heads += ["ms a step", "× time", "GB", "× memory", "GFLOPs an example", "× FLOPs"]
    notes = [
        "Medians over runs. ms a step: of training, without loading data, evaluating and saving. GB: the most that "
        "tensors took on the GPU in a step; of a CPU it is not recorded. GFLOPs an example: products of matrices "
        "in the first step, forward and backward, divided by its examples. ×: how many times the baseline's, the "
        "geometric mean over pairs, of time and memory those that were computed on the same kind of machine. Time "
        "on a machine that others use as well is uncertain."
    ]
    rows = [_row(each) for each in contents.costs]
    return Sheet("cost", "What it costs", heads, rows, notes if rows else [])


def _row(spent: Spent) -> list[Item]:
    took = spent.took
    words = [spent.model, *map(settings.shown, spent.extra.values()), settings.gate(spent.gate), spent.task.title]
    counts = (took.parameters, took.trained, took.changed)
    words += [f"{each:,.0f}" if each is not None else NOT_RECORDED for each in counts]
    for kind, unit, style in _KINDS:
        value, ratio = getattr(took, kind), spent.ratios.get(kind)
        words += [format(value / unit, style) if value is not None else NOT_RECORDED]
        words += [f"{ratio:.2f}" if ratio is not None else ""]
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
        **{f"{kind}_ratio": spent.ratios.get(kind) for kind in ("seconds", "memory", "operations", "trained")},
        "runs": [run.run_id for run in spent.runs],
    }
