"""The plan that was written before the runs, in words: what it says, and what deviates from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from gifine.commands import counted
from gifine.report.analysis.planned import Deviation, Held, Kind
from gifine.report.contents import Contents
from gifine.report.formats import phrases
from gifine.report.formats.words import Item, Sheet, linked, plain
from gifine.report.reading import Run

_NAMED = 8  # runs of one kind; --format json has all
_SHORT = 12  # hex digits of a sha256


def sheet(contents: Contents) -> Sheet:
    if contents.plan is None:
        return Sheet("plan", "The plan", [], [], unheld(contents.runs))
    held = contents.plan
    rows = [[plain(f"{len(each.names):,}"), plain(str(each.kind)), _names(each)] for each in held.deviations]
    return Sheet("plan", "What deviates from the plan", ["runs", "how", "which"], rows, _said(held))


def summary(contents: Contents) -> str:
    """What the line on what was read says of a plan; empty without one."""
    if contents.plan is None:
        return ""
    left_out = len(contents.plan.left_out)
    words = f"; by the plan {contents.plan.plan} of {contents.plan.plan.written:%Y-%m-%d %H:%M} UTC"
    return words + (f", without {left_out:,} of other seeds" if left_out else "")


def unheld(runs: Sequence[Run]) -> list[str]:
    """Of plans that runs name, where none was given."""
    named = Counter(run.plan for run in runs if run.plan is not None)
    return [
        f"{count:,} of the {counted(len(runs), 'run')} name{'s' * (count == 1)} the plan {path} "
        f"(sha256 {sha256[:_SHORT]}), which was not given: --plan holds them against it."
        for (path, sha256), count in named.most_common()
    ]


def _said(held: Held) -> list[str]:
    plan = held.plan
    primary = " and ".join(",".join(f"{key}={value}" for key, value in each.items()) for each in plan.primary)
    notes = [
        f"{plan.path}, sha256 {plan.sha256}, written {plan.written:%Y-%m-%d %H:%M} UTC by gifine {plan.gifine}: "
        f"{counted(len(plan.hypotheses), 'comparison')} on {counted(len(plan.runs), 'run')}, seeds "
        f"{', '.join(map(str, plan.seeds))}, margin {phrases.plain_points(plan.margin / 100)}"
        + (f"; primary: {primary}." if primary else "; none is primary, all are one family."),
        _kept(held),
    ]
    if not held.deviations:
        notes.append("Nothing deviates from the plan.")
    return notes


def _kept(held: Held) -> str:
    """Whether runs were started after the plan was written, and have its hash."""
    present, planned = len(held.present), len(held.plan.runs)
    text = f"Of {planned:,} planned runs {present:,} are there"
    early, foreign = held.count(Kind.EARLY, Kind.LATE), held.count(Kind.OTHER, Kind.UNNAMED)
    undated = len(held.undated)
    if not early and not foreign and not undated:
        return f"{text}; all of these were started after it was written, and have its sha256 in their records."
    after = f"{present - early - undated:,} of these were started after it was written"
    unknown = f" (of {undated:,} the start is not recorded)" if undated else ""
    return f"{text}; {after}{unknown}, {present - foreign:,} have its sha256 in their records."


def _names(deviation: Deviation) -> Item:
    names = deviation.names
    words = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else "")
    return plain(words) if deviation.kind is Kind.SEED else linked(plain(words), deviation.runs)
