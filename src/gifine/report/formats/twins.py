"""Pairs that were not computed alike, in words: a row for each thing that differs in a comparison."""

from __future__ import annotations

from typing import Any

from gifine.commands import counted
from gifine.report import settings
from gifine.report.analysis import pairing
from gifine.report.analysis.twins import Difference, unrecorded
from gifine.report.contents import Contents
from gifine.report.formats.words import Sheet, linked, plain


def sheet(contents: Contents) -> Sheet:
    rows = []
    for each in contents.twins:
        runs = pairing.members(each.pairs)
        of = each.comparison
        seeds = ", ".join(str(pair.gated.replicate) for pair in each.pairs)
        words = [of.model, settings.gate(of.gate), of.task.title, seeds, each.what, each.baseline, each.gated]
        rows.append([linked(plain(word), runs if place == 3 else ()) for place, word in enumerate(words)])
    older, notes = unrecorded(contents.comparisons), []
    if rows:
        notes.append(
            "What is here may move results as well as the change does. These pairs count; `--strict` leaves them out."
        )
    if older:
        notes.append(
            f"Not recorded: {counted(older, 'pair')} {'has' if older == 1 else 'have'} a run of an older gifine, which "
            "did not write down all of what it was computed with. What is not known differs from nothing here."
        )
    heads = ["model", "change", "task", "seeds", "what", "baseline", "changed"]
    return Sheet("twins", "Pairs that were not computed alike", heads, rows, notes)


def entries(difference: Difference) -> dict[str, Any]:
    """A row for programs."""
    of = difference.comparison
    return {
        "model": of.model,
        **of.extra,
        "gate": settings.gate(of.gate),
        "task": of.task.name,
        "seeds": [pair.gated.replicate.name for pair in difference.pairs],
        "what": difference.what,
        "baseline": difference.baseline,
        "gated": difference.gated,
        "runs": [run.run_id for run in pairing.members(difference.pairs)],
    }
