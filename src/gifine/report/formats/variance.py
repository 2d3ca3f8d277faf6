"""Where the deviation over seeds comes from, in words: a row each source."""

from __future__ import annotations

from typing import Any

from gifine.report import settings
from gifine.report.analysis.variance import ALL, Component, Level
from gifine.report.contents import Contents
from gifine.report.formats.words import Sheet, linked, plain

_NAMES = {
    ALL: "all (seed)",
    "head": "first weights (seeds.head)",
    "order": "order of examples (seeds.order)",
    "dropout": "dropout (seeds.dropout)",
    "change": "first weights of the change (seeds.change)",
}
_LEVELS = {
    None: "",
    Level.BOTH: ", in both runs",
    Level.OWN: ", after one and the same run",
    Level.BEFORE: ", of the run before alone",
}


def sheet(contents: Contents) -> Sheet:
    extra = list(contents.variance[0].extra) if contents.variance else []
    rows = []
    for each in contents.variance:
        run, (low, high) = each.runs[0], each.interval
        n = f"{len(each.runs)}{f' in {each.groups} groups' if each.groups > 1 else ''}"
        start = [each.model, *map(settings.shown, each.extra.values()), settings.gate(run.gate)]
        start += [f"{run.task.title} ({run.task.described(each.measure)})", _NAMES[each.source] + _LEVELS[each.level]]
        numbers = [n, f"{100 * each.sd:.2f}", f"{100 * low:.2f} – {100 * high:.2f}"]
        rows.append([*map(plain, start), *(linked(plain(word), each.runs) for word in numbers)])
    notes = []
    if rows:
        notes.append(
            "Standard deviations of scores, in points of percent, of n runs that differ in one source of random "
            "numbers alone; 95 % interval by χ², for normal scores. Of few runs it is wide, and two sources whose "
            "intervals overlap may be equal. Sources may act together, so their variances need not add up."
        )
    heads = ["model", *extra, "change", "task", "source", "n", "sd", "95 % interval"]
    return Sheet("variance", "Where the deviation over seeds comes from", heads, rows, notes)


def entries(component: Component) -> dict[str, Any]:
    """A row for programs."""
    low, high = component.interval
    return {
        "model": component.model,
        **component.extra,
        "gate": settings.gate(component.runs[0].gate),
        "task": component.runs[0].task.name,
        "measure": component.measure,
        "source": component.source,
        "level": component.level,
        "sd": component.sd,
        "sd_low": low,
        "sd_high": high,
        "n": len(component.runs),
        "groups": component.groups,
        "runs": [run.run_id for run in component.runs],
    }
