"""The contents as rows of plain values, for programs: as JSON, or as a CSV file a table. Fractions, not percent."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gifine.report import settings
from gifine.report.analysis.cells import Cell, Summary
from gifine.report.contents import Contents
from gifine.report.formats import cost, losses, over_tasks, tuned, twins, variance
from gifine.report.formats.differences import compared, effect, ids
from gifine.report.reading import Run
from gifine.runs.records import Status

Rows = list[dict[str, Any]]  # with lists and objects as values where there are several of something


def tables(contents: Contents) -> dict[str, Rows]:
    """Each sheet's rows by its name, with all measures."""
    return {
        "answer": [over_tasks.entries(each, contents) | effect(each.effect) for each in contents.answers],
        "table": _table(contents),
        "comparison": [compared(each) for each in contents.comparisons],
        "cost": [cost.entries(each) for each in contents.costs],
        "attrition": [losses.entries(each) for each in contents.losses],
        "plan": _plan(contents),
        "variance": [variance.entries(each) for each in contents.variance],
        "twins": [twins.entries(each) for each in contents.twins],
        "tuning": [
            tuned.entries(each) | {"comparison": None if each.comparison is None else compared(each.comparison)}
            for each in contents.tunings
        ],
        "unpaired": _unpaired(contents),
        "published": _published(contents),
        "failures": [_failure(each) for each in contents.failures],
        "changed": [{"run": run.run_id, "folder": str(run.folder), "files": files} for run, files in contents.changed],
        "problems": [{"record": str(each.path), "reason": each.reason} for each in contents.problems],
    }


def json_text(contents: Contents, names: Sequence[str]) -> str:
    """One object: runs by status, and the named tables."""
    found = tables(contents)
    rules: dict[str, Any] = {
        "margin": contents.rules.margin,
        "primary": [dict(each) for each in contents.rules.primary],
    }
    if contents.against is not None:
        rules["against"] = settings.gate(contents.against)
    if (plan := contents.rules.plan) is not None:
        rules["plan"] = {"path": plan.path, "sha256": plan.sha256, "written": plan.written.isoformat()}
    entries = {
        "runs": contents.counts,
        "rules": rules,
        **{name: found[name] for name in names},
        "notes": contents.table.notes,
    }
    return json.dumps(entries, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def csv_text(rows: Rows) -> str:
    """With a header; null is an empty field, a list or object its JSON. Numbers read back as they were."""
    out = io.StringIO(newline="")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _field(value) for key, value in row.items()})
    return out.getvalue()


def _field(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict, tuple, bool)) else value


def _table(contents: Contents) -> Rows:
    table, rows = contents.table, []
    for row in table.rows:
        named = dict(zip([*table.rows_by, *table.extra], [*row.key, *row.extra], strict=True))
        for column, cell in row.cells.items():
            where = named | dict(zip(table.columns_by, column, strict=True))
            rows += [where | each for each in _scores(cell)]
        if row.glue is not None:
            rows.append(named | {"measure": "glue/average", **_summary(row.glue)})
    return rows


def _scores(cell: Cell) -> Rows:
    shared = {**{str(status): cell.counts.get(status, 0) for status in Status}, "runs": ids(cell.runs)}
    return [
        {
            "measure": score.measure,
            **_summary(score.summary),
            "best": score.is_best,
            **_summary(score.regular, "_without_degenerate"),
            "values": {str(seed): value for seed, value in score.values.items()},
            **shared,
        }
        for score in cell.scores
    ]


def _summary(summary: Summary, suffix: str = "") -> dict[str, Any]:
    return {f"{key}{suffix}": value for key, value in asdict(summary).items()}


def _plan(contents: Contents) -> Rows:
    """What deviates; `json_text` has the plan itself beside it."""
    if contents.plan is None:
        return []
    return [
        {"deviation": str(each.kind), "runs": each.run_ids, "names": each.names} for each in contents.plan.deviations
    ]


def _unpaired(contents: Contents) -> Rows:
    return [
        {
            "model": settings.model(each.runs[0].setup),
            "gate": settings.gate(each.runs[0].gate),
            "task": each.runs[0].task.name,
            "seeds": [each.name for each in sorted(run.replicate for run in each.runs)],
            "reason": each.reason,
            "runs": ids(each.runs),
        }
        for each in contents.unpaired
    ]


def _published(contents: Contents) -> Rows:
    return [
        {
            "published": each.column,
            "model": each.model,
            **each.extra,
            "gate": settings.gate(each.gate),
            "task": each.task.name,
            "measure": each.measure,
            **_summary(each.ours),
            "theirs": each.theirs,
            "their_spread": each.their_spread,
            "difference": each.difference,
            "differing": each.differing,
            "caveats": each.caveats,
            "runs": ids(each.runs),
        }
        for each in contents.published
    ]


def _failure(run: Run) -> dict[str, Any]:
    return {
        "run": run.run_id,
        "folder": str(run.folder),
        "status": str(run.status),
        "error": run.error,
        "started": run.started,
        "finished": run.finished,
    }
