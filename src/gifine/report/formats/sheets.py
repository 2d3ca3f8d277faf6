"""The contents as sheets of words, which `markdown`, `latex` and `terminal` set. Scores are in percent here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gifine.commands import counted
from gifine.report import settings
from gifine.report.analysis.cells import Cell
from gifine.report.contents import Contents
from gifine.report.formats import cost, losses, over_tasks, plan, tuned, twins, variance, verdicts
from gifine.report.formats.words import (
    LEFT_OUT,
    UNPAIRED,
    Item,
    Piece,
    Sheet,
    counts,
    linked,
    number,
    percent,
    plain,
    signed,
)
from gifine.report.reading import Run
from gifine.report.settings import Task, Value
from gifine.runs.records import Status

NAMES = (
    "answer",
    "table",
    "comparison",
    "cost",
    "attrition",
    "tuning",
    "plan",
    "variance",
    "twins",
    "unpaired",
    "published",
    "failures",
    "changed",
    "problems",
)
CSV = "table"  # what `--format csv` is of where nobody says


def make(contents: Contents, names: Sequence[str] = NAMES) -> list[Sheet]:
    """The named sheets that have something to say."""
    made = (_MAKERS[name](contents) for name in names)
    return [sheet for sheet in made if sheet.rows or sheet.notes or sheet.lead]


def summary(contents: Contents) -> str:
    """One line on what was read."""
    by_status, problems, changed = contents.counts, len(contents.problems), len(contents.changed)
    return (
        counted(sum(by_status.values()), "run")
        + (f": {counts(by_status)}" if by_status else "")
        + (f"; {changed:,} of data or weights that are not those on disk any more" if changed else "")
        + (f"; {counted(problems, 'record')} left out" if problems else "")
        + plan.summary(contents)
    )


def _table(contents: Contents) -> Sheet:
    table = contents.table
    tasks = _tasks(contents)
    heads = [*table.rows_by, *table.extra, *(_named(column, table.columns_by, tasks) for column in table.columns)]
    rows = []
    for row in table.rows:
        keys = zip([*table.rows_by, *table.extra], [*row.key, *row.extra], strict=True)
        items = [plain(_value(key, value, tasks)) for key, value in keys]
        items += [_cell(row.cells.get(column)) for column in table.columns]
        if table.has_average:
            average = plain(f"{number(row.glue)} ({row.glue.n})" if row.glue is not None else "")
            items.append(linked(average, [run for cell in row.cells.values() for run in cell.runs]))
        rows.append(items)
    if not rows:
        return Sheet("table", "Results", heads, rows)
    notes = [
        "Percent; mean ± sample standard deviation over seeds (n), of all runs that ended with a score. "
        "Bold: significantly better than every other row of the column, given this dev set (two-sided p < 0.05 after "
        "Holm over the whole table; paired t-test where runs differ in change and seed alone, else Welch's). What may "
        "be concluded is told by the verdicts."
    ]
    if table.has_average:
        heads.append("GLUE average")
        notes.append("GLUE average: of the nine tasks, by seed; not tested.")
    return Sheet("table", "Results", heads, rows, notes + table.notes)


def _cell(cell: Cell | None) -> Item:
    if cell is None:
        return plain("")
    sizes = {score.summary.n for score in cell.scores}
    pieces: list[Piece] = []
    for score in cell.scores:
        own = f" ({score.summary.n})" if len(sizes) > 1 else ""
        pieces += [Piece(" / "), Piece(number(score.summary) + own, score.is_best)]
    words = f" ({max(sizes)})" if len(sizes) == 1 else ""
    if cell.failures:
        words += f"; {counts(cell.failures)}"
    if Status.DEGENERATE in cell.failures:
        regular = " / ".join(number(score.regular) for score in cell.scores)
        words += f"; {regular} ({min(score.regular.n for score in cell.scores)}) without"
    return linked((*pieces[1:], Piece(words)) if words else tuple(pieces[1:]), cell.runs)


def _unpaired(contents: Contents) -> Sheet:
    rows = [
        [
            plain(settings.model(each.runs[0].setup)),
            plain(settings.gate(each.runs[0].gate)),
            plain(each.runs[0].task.title),
            linked(plain(", ".join(str(each) for each in sorted(run.replicate for run in each.runs))), each.runs),
            plain(each.reason),
        ]
        for each in contents.unpaired
    ]
    heads = ["model", "change", "task", "seeds", "why"]
    return Sheet("unpaired", UNPAIRED, heads, rows)


def _published(contents: Contents) -> Sheet:
    rows = []
    for each in contents.published:
        extra = "".join(f", {key} {settings.shown(value)}" for key, value in each.extra.items())
        theirs = percent(each.theirs) + (f" ± {percent(each.their_spread)}" if each.their_spread is not None else "")
        words = [
            each.column,
            f"{settings.gate(each.gate)}{extra}",
            f"{each.task.title} ({each.task.described(each.measure)})",
            f"{number(each.ours)} ({each.ours.n})",
            theirs,
            signed(each.difference, 1),
            "; ".join(each.differing),
        ]
        places = {3, 5}  # ours, difference
        rows.append([linked(plain(word), each.runs if i in places else ()) for i, word in enumerate(words)])
    notes = (
        ["A ledger, not a claim: published numbers of the same checkpoint, and what is known to differ."]
        if rows
        else []
    )
    notes += dict.fromkeys(f"{each.column}: {'; '.join(each.caveats)}." for each in contents.published)
    heads = ["published", "our change", "task", "ours", "theirs", "difference", "what differs in the setting"]
    return Sheet("published", "Beside the published numbers", heads, rows, notes)


def _failures(contents: Contents) -> Sheet:
    found = contents.failures
    rows = [
        [linked(plain(str(run.folder)), [run]), plain(str(run.status)), plain(run.error or _silence(run))]
        for run in found
    ]
    notes = []
    if any(run.status is Status.RUNNING for run in found):
        notes.append(
            "A run that was killed from outside, as for want of memory or time, could not say so: its record says "
            "running. `python -m gifine.sweep status` knows what became of a sweep's runs."
        )
    return Sheet("failures", "Runs without a result", ["run", "status", "why"], rows, notes, is_list=True)


def _silence(run: Run) -> str:
    if run.status is Status.RUNNING:
        return f"started {run.started or 'at no known time'}: under way, or killed"
    return "its record gives no reason"


def _changed(contents: Contents) -> Sheet:
    rows = [[linked(plain(str(run.folder)), [run]), plain(", ".join(files))] for run, files in contents.changed]
    notes = ["These runs count: their results are those of what the files were then."] if rows else []
    title = "Runs of data or weights that are not those on disk any more"
    return Sheet("changed", title, ["run", "files"], rows, notes, is_list=True)


def _problems(contents: Contents) -> Sheet:
    rows = [[plain(str(each.path)), plain(each.reason)] for each in contents.problems]
    return Sheet("problems", LEFT_OUT, ["record", "why"], rows, is_list=True)


_MAKERS = {
    "answer": over_tasks.sheet,
    "attrition": losses.sheet,
    "table": _table,
    "comparison": verdicts.sheet,
    "cost": cost.sheet,
    "plan": plan.sheet,
    "variance": variance.sheet,
    "twins": twins.sheet,
    "tuning": tuned.sheet,
    "unpaired": _unpaired,
    "published": _published,
    "failures": _failures,
    "changed": _changed,
    "problems": _problems,
}


def _tasks(contents: Contents) -> dict[str, str]:
    """By name how a task is called, with its measures; without what runs start from, where some start from others."""
    found: dict[str, list[Task]] = {}
    for task in {id(run.task): run.task for run in contents.runs}.values():
        found.setdefault(task.name, []).append(task)
    called = {}
    for name, tasks in found.items():
        is_one = len({task.title for task in tasks}) == 1
        called[name] = f"{tasks[-1].title if is_one else tasks[-1].bare_title} ({tasks[-1].heading})"
    return called


def _value(key: str, value: Value, tasks: dict[str, str]) -> str:
    if key == "task":
        return tasks[str(value)]
    return "" if value is None else settings.shown(value)


def _named(column: Iterable[Value], keys: Sequence[str], tasks: dict[str, str]) -> str:
    words = [(key, _value(key, value, tasks)) for key, value in zip(keys, column, strict=True)]
    return ", ".join(text if key in ("task", "model", "gi", "change") else f"{key}={text}" for key, text in words)
