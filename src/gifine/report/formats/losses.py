"""Runs that are lost or degenerate, by arm, in words: `analysis/attrition.py`."""

from __future__ import annotations

from typing import Any

from gifine.report import settings
from gifine.report.analysis import pairing
from gifine.report.analysis.attrition import Attrition, around
from gifine.report.analysis.comparison import Comparison
from gifine.report.contents import Contents
from gifine.report.formats.words import Item, Sheet, counts, ends, linked, p_value, plain


def sheet(contents: Contents) -> Sheet:
    """Of each change that has any such run, and of its tasks."""
    rows: list[list[Item]] = []
    for change in contents.losses:
        if not any(change.counts.values()):
            continue
        name = [change.model, settings.gate(change.gate)]
        sides = [counts(change.counts[side]) for side in ("gated", "baseline")]
        only = [_by(change.only[side], change.causes[side]) for side in (1, 0)] + [p_value(change.p)]
        rows.append([*map(plain, [*name, "all", str(change.pairs), *sides, *only, ""])])
        for each in change.comparisons:
            if any(each.failures.values()):
                runs = pairing.members(each.tried)
                sides = [counts(each.failures[side]) for side in ("gated", "baseline")]
                worst = ends(around(each.worst) if each.worst is not None else None)
                linked_ones = [linked(plain(word), runs) for word in (str(len(each.tried)), *sides)]
                rows.append([*map(plain, [*name, each.task.title]), *linked_ones, *map(plain, ["", "", "", worst])])
    heads = [
        "model",
        "change",
        "task",
        "pairs",
        "changed",
        "baseline",
        "changed alone",
        "baseline alone",
        "p",
        "worst case",
    ]
    notes = [
        "Runs without a score (failed, diverged, interrupted, or not at their end yet) and degenerate ones. p: the "
        "exact paired test of whether chance divides the pairs in which one run alone is such a run; a run that takes "
        "with it those that would have started from it counts once (by). Worst case: the 95 % interval of the "
        "difference if lost changed runs had the lowest score that was seen on the task, or that of guessing, and lost "
        "baselines the highest; and the other way round. There is no verdict where p < 0.05 and the comparison has "
        "such runs, nor where pairs are lost and the worst case has 0 in it and leaves the margin."
    ]
    return Sheet("attrition", "Runs that are lost or degenerate, by arm", heads, rows, notes if rows else [])


def _by(pairs: int, causes: int) -> str:
    return f"{pairs} (by {causes})" if causes != pairs else str(pairs)


def entries(losses: Attrition) -> dict[str, Any]:
    """A row of plain values."""
    return {
        "model": losses.model,
        "gate": settings.gate(losses.gate),
        "pairs": losses.pairs,
        **losses.counts,
        "baseline_alone": losses.only[0],
        "gated_alone": losses.only[1],
        "baseline_alone_causes": losses.causes[0],
        "gated_alone_causes": losses.causes[1],
        "p": losses.p,
    }


def worst(comparison: Comparison) -> dict[str, float | None]:
    """The ends of the worst case's interval, as fractions; nulls where no pair is lost."""
    low, high = around(comparison.worst) if comparison.worst is not None else (None, None)
    return {"worst_low": low, "worst_high": high}
