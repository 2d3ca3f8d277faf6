"""What pre-training is scored by, from the numbers that a model gives for each token. No torch.

Masked tokens, of which a model says how surprised it was (nll, in nats) and whether its best guess was right; and of
replaced token detection the logits of "replaced" at all real tokens, padding left out.
"""

from __future__ import annotations

import math

import numpy as np

from gifine.choices import Objective

_MASKED = ("mlm_loss", "perplexity", "mlm_accuracy")
METRICS = {Objective.mlm: _MASKED, Objective.rtd: (*_MASKED, "rtd_loss", "rtd_accuracy", "auc")}
LOWER_IS_BETTER = ("mlm_loss", "perplexity", "rtd_loss")


def of_masked(nll: np.ndarray, hits: np.ndarray) -> dict[str, float | None]:
    """Of masked tokens (M,): their mean nll, its exponential, and the share of right guesses; of none undefined."""
    if not len(nll):
        return dict.fromkeys(_MASKED)
    loss = float(np.mean(nll, dtype=np.float64))
    return {
        "mlm_loss": loss,
        "perplexity": math.exp(min(loss, 700.0)),  # float64 ends there
        "mlm_accuracy": float(np.mean(hits, dtype=np.float64)),
    }


def of_replaced(logits: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    """Of real tokens (R,), label 1 for the replaced ones: mean cross-entropy, share of right signs, area under ROC."""
    if not len(logits):
        return dict.fromkeys(("rtd_loss", "rtd_accuracy", "auc"))
    logits = logits.astype(np.float64)
    losses = np.logaddexp(0.0, np.where(labels == 1, -logits, logits))
    return {
        "rtd_loss": float(losses.mean()),
        "rtd_accuracy": float(np.mean((logits > 0) == (labels == 1))),
        "auc": auc(logits, labels),
    }


def auc(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """The share of pairs of a 1 and a 0 in which the 1 scores higher, ties by half; None without both.

    By ranks: (sum of the ranks of the ones − n₁(n₁+1)/2) / (n₁ n₀), Mann and Whitney's U; tied scores share their mean.
    """
    ones = int(np.sum(labels == 1))
    zeros = len(labels) - ones
    if not ones or not zeros:
        return None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[place]
    return float((ranks[labels == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros))
