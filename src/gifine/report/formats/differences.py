"""Differences as plain values, for programs: of comparisons, and of answers over tasks. Fractions, not percent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gifine.report.analysis.answers import Answer
from gifine.report.analysis.comparison import Choice, Comparison, Effect, Verdict
from gifine.report.contents import Contents
from gifine.report.formats import losses
from gifine.report.formats.answer import sentence
from gifine.report.reading import Run


def answered(answer: Answer, contents: Contents) -> dict[str, Any]:
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
            "baseline": ids([pair.baseline for each in answer.comparisons for pair in each.pairs]),
            "gated": ids([pair.gated for each in answer.comparisons for pair in each.pairs]),
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


def compared(comparison: Comparison) -> dict[str, Any]:
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
            "baseline": ids([each.baseline for each in comparison.pairs]),
            "gated": ids([each.gated for each in comparison.pairs]),
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


def ids(runs: Sequence[Run]) -> list[str]:
    return [run.run_id for run in runs]
