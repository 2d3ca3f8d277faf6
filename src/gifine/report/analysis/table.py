"""The table of results: rows and columns by config keys, a cell of all seeds at each crossing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gifine.objectives import squad_scores
from gifine.report import settings
from gifine.report.analysis import cells, statistics
from gifine.report.analysis.cells import Cell, Key, Score, Summary
from gifine.report.analysis.comparison import effect_of
from gifine.report.reading import Run
from gifine.report.settings import GLUE

ROWS = ("model", "gi.side", "gi.level", "gi.layers")  # where these tell changes apart, else ("model", "change")
COLUMNS = ("task",)


@dataclass(slots=True)
class Row:
    key: Key  # values of the table's `rows`
    extra: Key  # and of its `extra`
    cells: dict[Key, Cell]  # by column, where there are runs
    glue: Summary | None = None  # of the nine tasks' average by seed; None if there is no seed with all nine


@dataclass(slots=True)
class Table:
    rows_by: tuple[str, ...]
    extra: tuple[str, ...]  # further keys in which runs of one cell would differ
    columns_by: tuple[str, ...]
    columns: list[Key]
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def has_average(self) -> bool:
        return any(row.glue is not None for row in self.rows)


def build(runs: Sequence[Run], rows_by: Sequence[str] | None = None, columns_by: Sequence[str] = COLUMNS) -> Table:
    """The table of these runs. Rows are by default `ROWS`, or each change by its name where these do not tell them.

    Raises:
        ArgumentError: for a key that runs do not differ in, or that is a row and a column.
    """
    if rows_by is None:
        is_told = all(settings.is_gi(run.gate) and run.gate.get("gi.first") is None for run in runs)
        rows_by = ROWS if is_told else ("model", "change")
    cells.check_keys(runs, [*rows_by, *columns_by])
    groups = cells.group(runs, [*rows_by, *columns_by])
    rows: dict[tuple[Key, Key], Row] = {}
    for (key, extra), members in groups.runs.items():
        named, column = key[: len(rows_by)], key[len(rows_by) :]
        row = rows.setdefault((named, extra), Row(named, extra, {}))
        row.cells[column] = cells.fill(members)
    columns = sorted({column for row in rows.values() for column in row.cells}, key=settings.order)
    ordered = sorted(rows.values(), key=lambda row: settings.order([*row.key, *row.extra]))
    table = Table(tuple(rows_by), groups.extra, tuple(columns_by), columns, ordered)
    _mark_best([[row.cells[column] for row in ordered if column in row.cells] for column in columns])
    for row in ordered:
        row.glue = _average(row) if table.columns_by == ("task",) else None
    table.notes = _notes(table)
    return table


def _mark_best(columns: Sequence[Sequence[Cell]]) -> None:
    """Of each measure of a column, the cell that is significantly better than every other one, if there is one.

    Two cells whose runs differ in gate and seed alone are compared by the paired t-test over their common seeds, others
    by Welch's t-test, both two-sided and given this dev set; all p of the best one against the others must be below
    0.05 after Holm's correction over the comparisons of the whole table: 5 % of tables of equal cells have anything
    bold. A cell that cannot be tested, of one seed, stands in the way: nobody knows.
    """
    found: list[tuple[Score, list[float | None]]] = []
    for column in columns:
        by_measure: dict[str, list[tuple[Cell, Score]]] = {}
        for cell in column:
            for score in cell.scores:
                if score.summary.n:
                    by_measure.setdefault(score.measure, []).append((cell, score))
        for scored in by_measure.values():
            best = max(scored, key=lambda each: each[1].summary.mean or 0.0)
            if len(scored) > 1:
                found.append((best[1], [_p(best, other) for other in scored if other is not best]))
    corrected = iter(statistics.holm([p for _, p_values in found for p in p_values]))
    for score, p_values in found:
        own = [next(corrected) for _ in p_values]
        score.is_best = all(p is not None and p < statistics.ALPHA for p in own)


def _p(one: tuple[Cell, Score], other: tuple[Cell, Score]) -> float | None:
    (cell, score), (other_cell, other_score) = one, other
    if cell.runs[0].setup is other_cell.runs[0].setup:
        common = sorted(score.values.keys() & other_score.values.keys())
        if len(common) >= 2:
            return effect_of(np.asarray([score.values[seed] - other_score.values[seed] for seed in common])).p
    return statistics.welch_t(*(np.asarray(list(each.values.values())) for each in (score, other_score)))


def _average(row: Row) -> Summary | None:
    """GLUE's average as its server computes it: of a task's measures first, then of the nine tasks; by seed."""
    tasks = {cell.runs[0].task.name: cell for cell in row.cells.values() if cell.runs[0].task.is_glue}
    if set(tasks) != set(GLUE):
        return None
    seeds = set.intersection(*(set(score.values) for cell in tasks.values() for score in cell.scores))
    averages = [
        float(np.mean([np.mean([score.values[seed] for score in cell.scores]) for cell in tasks.values()]))
        for seed in sorted(seeds)
    ]
    return cells.summarise(averages) if averages else None


def _notes(table: Table) -> list[str]:
    notes = []
    if table.extra:
        notes.append(f"Runs of one cell would differ in {', '.join(table.extra)}: a row for each.")
    for column in table.columns:
        members = [row.cells[column].runs[0] for row in table.rows if column in row.cells]
        keys = dict.fromkeys(key for run in members[1:] for key in members[0].setup.differing(run.setup))
        shown = {*table.rows_by, *table.columns_by, *table.extra}
        hidden = [key for key in keys if key not in shown and key.partition(".")[0] not in shown]
        if hidden:
            notes.append(f"{_words(column)}: the rows also differ in {', '.join(hidden)}.")
    tasks = [cell.runs[0].task for row in table.rows for cell in row.cells.values()]
    if oracles := sorted({task.metric(each) for task in tasks for each in task.measures} & {*squad_scores.ORACLES}):
        notes.append(
            f'{" and ".join(oracles)}: with the threshold of "no answer" that is best on the very questions that are '
            "scored, an oracle; too high for others."
        )
    apart = sum(len(cell.runs) - len(cells.independent(cell.runs)) for row in table.rows for cell in row.cells.values())
    if apart:
        notes.append(
            f"{apart} run{'s' * (apart > 1)} with seeds of single streams (seeds.order and the like), or after a run "
            "of another seed, share what they draw with others of their cell: they are in no mean, but in the part "
            "variance."
        )
    for row in table.rows:
        for column, cell in row.cells.items():
            where = _words([*row.key, *row.extra, *column])
            notes += [f"{where}: runs with {caution}." for caution in cells.cautions(cell.runs)]
    return notes


def _words(key: Sequence[settings.Value]) -> str:
    return " ".join(settings.shown(each) for each in key if each is not None)
