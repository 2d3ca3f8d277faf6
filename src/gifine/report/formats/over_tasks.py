"""The answers over tasks as a table, and as rows for programs."""

from __future__ import annotations

from typing import Any

from gifine.report import settings
from gifine.report.analysis import pairing
from gifine.report.analysis.answers import Answer
from gifine.report.analysis.comparison import Verdict
from gifine.report.contents import Contents
from gifine.report.formats import verdicts
from gifine.report.formats.answer import answer as said
from gifine.report.formats.answer import sentence
from gifine.report.formats.words import Item, Sheet, ends, linked, p_value, plain, signed


def sheet(contents: Contents) -> Sheet:
    extra = list(contents.answers[0].extra) if contents.answers else []
    heads = [
        "model",
        *extra,
        "change",
        "tasks",
        "n",
        "difference",
        "95 % interval",
        "verdict",
        "p",
        "p Holm",
        "p margin",
    ]
    heads += ["next task", "helps on", "hurts on", "P(better)", "last epoch"]
    rows = [_row(each, contents) for each in contents.answers]
    notes = []
    if rows:
        notes.append(
            "Over tasks: the random-effects mean of the tasks' differences (Paule and Mandel's τ²; the larger of "
            "Hartung-Knapp-Sidik-Jonkman's and the jackknife's error; t with the effective number of tasks less 1; "
            "where tasks start from the same runs, their covariance is added to the squared error, and the interval is "
            "no narrower than that of t over runs). p Holm and p margin are corrected over the changes of a model. "
            "Next task: where another such task's true difference would be (95 %). Helps on, hurts on: tasks with that "
            "verdict, so at least as many with 95 % confidence. P(better): pairs in which the changed run scores "
            "higher. Last epoch: the same mean of the differences at the last evaluation."
        )
    is_told = rows or contents.problems or any(each.comparison is not None for each in contents.tunings)
    lead = [" ".join([each.quote, *each.details]) for each in said(contents)] if is_told else []
    return Sheet("answer", "Over all tasks", heads, rows, notes, lead=lead)


def _row(answer: Answer, contents: Contents) -> list[Item]:
    effect, mean, runs = (
        answer.effect,
        answer.mean,
        pairing.members(pair for each in answer.comparisons for pair in each.pairs),
    )
    better = answer.better
    start = [answer.model, *map(settings.shown, answer.extra.values()), settings.gate(answer.gate)]
    numbers = [
        _tasks(answer),
        str(effect.summary.n),
        signed(effect.summary.mean) if effect.summary.mean is not None else "–",
        ends(effect.interval),
    ]
    rest = [
        p_value(effect.p),
        p_value(effect.p_holm),
        p_value(effect.p_equivalent_holm),
        ends(mean.prediction if mean is not None else None),
        str(len(answer.tasks(Verdict.HELPS))),
        str(len(answer.tasks(Verdict.HURTS))),
        f"{better.share:.2f} ({better.low:.2f} – {better.high:.2f})" if better is not None else "",
        signed(answer.last.mean) if answer.last is not None else "",
    ]
    verdict = plain(verdicts.conclusion(effect, contents.rules))
    return [*map(plain, start), *(linked(plain(each), runs) for each in numbers), verdict, *map(plain, rest)]


def _tasks(answer: Answer) -> str:
    """How many; one by its name: a pre-training has a row of its own beside that of the tasks."""
    those = answer.combined or answer.comparisons
    return f"1 ({those[0].task.title})" if len(those) == 1 else str(len(those))


def entries(answer: Answer, contents: Contents) -> dict[str, Any]:
    """A row of plain values, but for the effect."""
    mean, better, last = answer.mean, answer.better, answer.last
    prediction = mean.prediction if mean is not None else None
    return {
        "model": answer.model,
        **answer.extra,
        **answer.gate.values(),
        "sentence": sentence(answer, contents),
        "tasks": [each.task.name for each in answer.comparisons],
        "left_out": [each.task.name for each in answer.left_out],
        "declared": answer.is_declared,
        "family": answer.family,
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
            "baseline": [pair.baseline.run_id for each in answer.comparisons for pair in each.pairs],
            "gated": [pair.gated.run_id for each in answer.comparisons for pair in each.pairs],
        },
    }
