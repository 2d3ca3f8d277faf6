"""Differences as plain values, for programs. Fractions, not percent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gifine.report.analysis.comparison import Comparison, Effect
from gifine.report.formats import losses, verdicts
from gifine.report.reading import Run


def compared(comparison: Comparison) -> dict[str, Any]:
    baseline, gated = comparison.scores
    return {
        "model": comparison.model,
        **comparison.extra,
        **comparison.gate.values(),
        "task": comparison.task.name,
        "measure": comparison.measure,
        "primary": comparison.is_primary,
        "declared": comparison.is_declared,
        "family": comparison.family,
        "seeds": [each.gated.replicate.name for each in comparison.pairs],
        "baseline": baseline,
        "gated": gated,
        **effect(comparison.effect),
        **verdicts.last_epoch(comparison.choice),
        **losses.worst(comparison),
        "without_degenerate": effect(comparison.regular) if comparison.regular is not None else None,
        "failures": comparison.failures,
        "cautions": comparison.cautions,
        "runs": {
            "baseline": ids([each.baseline for each in comparison.pairs]),
            "gated": ids([each.gated for each in comparison.pairs]),
        },
    }


def effect(effect: Effect) -> dict[str, Any]:
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
