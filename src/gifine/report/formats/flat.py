"""The contents as rows of plain values, for programs: as JSON, or as a CSV file a table. Fractions, not percent."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gifine.report import settings
from gifine.report.analysis.answers import Answer
from gifine.report.analysis.cells import Cell, Summary
from gifine.report.analysis.comparison import Choice, Comparison, Effect, Verdict
from gifine.report.analysis.tuning import Tuning
from gifine.report.contents import Contents
from gifine.report.formats import losses, twins, variance
from gifine.report.formats.answer import sentence
from gifine.report.reading import Run
from gifine.runs.records import Status

Rows = list[dict[str, Any]]  # with lists and objects as values where there are several of something


def tables(contents: Contents) -> dict[str, Rows]:
    """Each sheet's rows by its name, with all measures."""
    return {
        "answer": [_answer(each, contents) for each in contents.answers],
        "table": _table(contents),
        "comparison": [_comparison(each) for each in contents.comparisons],
        "attrition": [losses.entries(each) for each in contents.losses],
        "plan": _plan(contents),
        "variance": [variance.entries(each) for each in contents.variance],
        "twins": [twins.entries(each) for each in contents.twins],
        "tuning": [_tuning(each) for each in contents.tunings],
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
    shared = {**{str(status): cell.counts.get(status, 0) for status in Status}, "runs": _ids(cell.runs)}
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


def _answer(answer: Answer, contents: Contents) -> dict[str, Any]:
    mean, better, last = answer.mean, answer.better, answer.last
    prediction = mean.prediction if mean is not None else None
    return {
        "model": answer.model,
        **answer.extra,
        **{key: answer.gate.get(key) for key in answer.gate.keys()},  # noqa: SIM118 - no dict
        "sentence": sentence(answer, contents),
        "tasks": [each.task.name for each in answer.comparisons],
        "left_out": [each.task.name for each in answer.left_out],
        "declared": answer.is_declared,
        "family": answer.family,
        **_effect(answer.effect),
        "spread": mean.spread if mean is not None else None,
        "prediction_low": prediction[0] if prediction is not None else None,
        "prediction_high": prediction[1] if prediction is not None else None,
        "helps_on": [each.task.name for each in answer.tasks(Verdict.HELPS)],
        "hurts_on": [each.task.name for each in answer.tasks(Verdict.HURTS)],
        "better": better.share if better is not None else None,
        "better_low": better.low if better is not None else None,
        "better_high": better.high if better is not None else None,
        "last_epoch": last.mean if last is not None else None,
        "last_epoch_error": last.error if last is not None else None,
        "runs": {
            "baseline": _ids([pair.baseline for each in answer.comparisons for pair in each.pairs]),
            "gated": _ids([pair.gated for each in answer.comparisons for pair in each.pairs]),
        },
    }


def _last(choice: Choice | None) -> dict[str, Any]:
    """Nulls where no run chose its best evaluation."""
    if choice is None:
        return dict.fromkeys(("last_epoch", "last_epoch_pairs", "evaluations"))
    baseline, gated = choice.evaluations
    return {
        "last_epoch": choice.last_mean,
        "last_epoch_pairs": choice.pairs,
        "evaluations": {"baseline": baseline, "gated": gated},
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    baseline, gated = comparison.scores
    return {
        "model": comparison.model,
        **comparison.extra,
        **{key: comparison.gate.get(key) for key in comparison.gate.keys()},  # noqa: SIM118 - no dict
        "task": comparison.task.name,
        "measure": comparison.measure,
        "primary": comparison.is_primary,
        "declared": comparison.is_declared,
        "family": comparison.family,
        "seeds": [each.gated.replicate.name for each in comparison.pairs],
        "baseline": baseline,
        "gated": gated,
        **_effect(comparison.effect),
        **_last(comparison.choice),
        **losses.worst(comparison),
        "without_degenerate": _effect(comparison.regular) if comparison.regular is not None else None,
        "failures": comparison.failures,
        "cautions": comparison.cautions,
        "runs": {
            "baseline": _ids([each.baseline for each in comparison.pairs]),
            "gated": _ids([each.gated for each in comparison.pairs]),
        },
    }


def _effect(effect: Effect) -> dict[str, Any]:
    estimate, interval, detectable = effect.estimate, effect.interval, effect.detectable_interval
    return {
        "n": effect.summary.n,
        "difference": effect.summary.mean,
        "sd": effect.summary.sd,
        "error": estimate.error if estimate is not None else None,
        "freedom": estimate.freedom if estimate is not None else None,
        "share_of_examples": estimate.share if estimate is not None else None,
        "low": interval[0] if interval is not None else None,
        "high": interval[1] if interval is not None else None,
        "random": str(effect.basis),
        "reason": effect.reason,
        "p": effect.p,
        "p_holm": effect.p_holm,
        "p_equivalent": effect.p_equivalent,
        "p_equivalent_holm": effect.p_equivalent_holm,
        "p_sign_flip": effect.p_sign_flip,
        "verdict": effect.verdict,
        "why": effect.why,
        "detectable": effect.detectable,
        "detectable_low": detectable[0] if detectable is not None else None,
        "detectable_high": detectable[1] if detectable is not None else None,
    }


def _plan(contents: Contents) -> Rows:
    """What deviates; `json_text` has the plan itself beside it."""
    if contents.plan is None:
        return []
    return [
        {"deviation": str(each.kind), "runs": each.run_ids, "names": each.names} for each in contents.plan.deviations
    ]


def _tuning(tuning: Tuning) -> dict[str, Any]:
    arms = {
        side: {
            "expected_best": curve.means,
            "intervals": curve.intervals,
            "trials": [_ids([*arm.values()]) for arm in tried],
        }
        for side, curve, tried in (
            ("baseline", tuning.baseline, [trial.baseline for trial in tuning.trials]),
            ("gated", tuning.gated, [trial.gated for trial in tuning.trials]),
        )
    }
    return {
        "model": tuning.model,
        **tuning.extra,
        **{key: tuning.gate.get(key) for key in tuning.gate.keys()},  # noqa: SIM118 - no dict
        "task": tuning.task.name,
        "measure": tuning.task.primary,
        "drawn": tuning.is_drawn,
        "halves": str(tuning.halves),
        "seeds": tuning.seeds,
        "trials": [
            {key: trial.setup.get(key) for key in tuning.keys}
            | dict(zip(("search.seed", "search.trial"), trial.number or (None, None), strict=True))
            for trial in tuning.trials
        ],
        "left_out": tuning.alone,
        **arms,
        "difference": {"means": tuning.difference.means, "intervals": tuning.difference.intervals},
        "chosen": {
            side: tuning.trials.index(trial) for side, trial in zip(("baseline", "gated"), tuning.chosen, strict=True)
        },
        "comparison": _comparison(tuning.comparison) if tuning.comparison is not None else None,
    }


def _unpaired(contents: Contents) -> Rows:
    return [
        {
            "model": settings.model(each.runs[0].setup),
            "gate": settings.gate(each.runs[0].gate),
            "task": each.runs[0].task.name,
            "seeds": [each.name for each in sorted(run.replicate for run in each.runs)],
            "reason": each.reason,
            "runs": _ids(each.runs),
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
            "runs": _ids(each.runs),
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


def _ids(runs: Sequence[Run]) -> list[str]:
    return [run.run_id for run in runs]
