"""Which epoch a score is of: the best of several on the dev set that is reported is too high by chance.

The more evaluations the best one was chosen from, and the fewer examples, the more. Both arms gain, and about as much
if they have as many; a change that only makes scores noisier from epoch to epoch gains more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gifine.report.analysis import statistics
from gifine.report.analysis.comparison import Choice, Comparison
from gifine.report.reading import Run, progress
from gifine.runs import curves


def examine(comparisons: Sequence[Comparison]) -> None:
    """Fill in `choice` of primary comparisons whose runs chose, and a caution where one arm had more to choose from.

    Runs that were evaluated once had nothing to choose from.
    What older records lack is taken from the runs' curves.
    """
    known: dict[int, tuple[float | None, int | None]] = {}
    chosen = [each for each in comparisons if each.is_primary and each.tried[0].gated.setup.get("train.select_best")]
    for each in progress(chosen, "looking at last epochs", "settings"):
        sides = [[pair.baseline for pair in each.pairs], [pair.gated for pair in each.pairs]]
        for run in (run for side in sides for run in side):
            if id(run) not in known:
                known[id(run)] = last_evaluation(run)
        found = [[known[id(run)] for run in side] for side in sides]
        differences = [
            gated - baseline if baseline is not None and gated is not None else None
            for (baseline, _), (gated, _) in zip(*found, strict=True)
        ]
        both = [each for each in differences if each is not None]
        counts = [[count for _, count in side if count is not None] for side in found]
        if len(each.pairs) == len(counts[0]) == len(counts[1]) and max([*counts[0], *counts[1]], default=0) == 1:
            continue  # they had nothing to choose from
        each.choice = Choice(
            on_other_half=bool(each.tried[0].gated.setup.get("evaluate.split_dev")),
            last=statistics.paired_t(np.asarray(both)) if both else None,
            last_mean=float(np.mean(both)) if both else None,
            differences=differences,
            evaluations=(counts[0], counts[1]),
        )
        if sorted(counts[0]) != sorted(counts[1]) and all(counts):
            baseline, gated = map(shown, counts)
            each.cautions.append(f"best of other numbers of evaluations: baseline {baseline}, changed {gated}")


def last_evaluation(run: Run) -> tuple[float | None, int | None]:
    """The primary measure at the last evaluation while the run trained, and how many there were; None: nobody knows."""
    if run.evaluations:  # 0 is also what records before it have
        return run.last, run.evaluations
    points = curves.read(run.folder, (run.task.primary,))[run.task.primary]
    return (points[max(points)], len(points)) if points else (None, None)


def shown(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low}–{high}"
