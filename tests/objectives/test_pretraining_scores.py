"""What pre-training is scored by, against scikit-learn and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from gifine.objectives import pretraining_scores


@pytest.mark.parametrize("ties", [False, True])
def test_of_replaced_tokens_is_scikit_learns(ties):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, 500).astype(np.float32)
    logits = logits.round() if ties else logits
    labels = (rng.random(500) < 0.1).astype(np.int64)
    found = pretraining_scores.of_replaced(logits, labels)
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(labels, logits), abs=1e-12)
    assert found["rtd_accuracy"] == metrics.accuracy_score(labels, logits > 0)
    assert found["rtd_loss"] == pytest.approx(metrics.log_loss(labels, probabilities), abs=1e-6)


def test_without_a_replaced_token_there_is_no_area():
    assert pretraining_scores.of_replaced(np.ones(3), np.zeros(3, dtype=np.int64))["auc"] is None


def test_of_masked_tokens():
    found = pretraining_scores.of_masked(np.array([1.0, 3.0]), np.array([1.0, 0.0]))
    assert found == {"mlm_loss": 2.0, "perplexity": math.exp(2.0), "mlm_accuracy": 0.5}
    assert set(pretraining_scores.of_masked(np.array([]), np.array([])).values()) == {None}
