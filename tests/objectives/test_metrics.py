"""The metrics against scikit-learn and scipy, which define GLUE's, and behind evaluate's interface."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gifine.objectives import metrics

REFERENCE = {
    "accuracy": lambda p, r: sklearn.metrics.accuracy_score(r, p),
    "f1": lambda p, r: sklearn.metrics.f1_score(r, p, zero_division=0),
    "f1_macro": lambda p, r: sklearn.metrics.f1_score(r, p, average="macro", zero_division=0),
    "matthews": lambda p, r: sklearn.metrics.matthews_corrcoef(r, p),
    "pearson": lambda p, r: scipy.stats.pearsonr(p, r).statistic,
    "spearman": lambda p, r: scipy.stats.spearmanr(p, r).statistic,
}


# scikit-learn's matthews_corrcoef warns if only one class occurs; ours need not.
one_class_may_occur = pytest.mark.filterwarnings("ignore:A single label was found:UserWarning:sklearn")


def class_pairs(n_classes: int) -> st.SearchStrategy:
    ids = st.integers(0, n_classes - 1)
    return st.lists(st.tuples(ids, ids), min_size=1, max_size=30).map(lambda pairs: np.array(pairs).T)


# Any numbers, and few different ones, so that ranks are shared.
scores = st.one_of(st.floats(-1e3, 1e3), st.integers(0, 5).map(float))
score_pairs = st.lists(st.tuples(scores, scores), min_size=2, max_size=30).map(lambda pairs: np.array(pairs).T)


@one_class_may_occur
@given(class_pairs(2))
@example(np.array([[0, 0], [0, 0]]))
@example(np.array([[1, 1], [0, 0]]))
def test_two_classes_equal_sklearn(pair: np.ndarray) -> None:
    for name, result in metrics.compute(list(metrics.CLASSIFICATION_METRICS), *pair).items():
        assert result == pytest.approx(REFERENCE[name](*pair), abs=1e-12), name


@one_class_may_occur
@given(class_pairs(4))
def test_more_classes_equal_sklearn(pair: np.ndarray) -> None:
    for name, result in metrics.compute(["accuracy", "f1_macro", "matthews"], *pair).items():
        assert result == pytest.approx(REFERENCE[name](*pair), abs=1e-12), name


@given(score_pairs)
def test_correlations_equal_scipy(pair: np.ndarray) -> None:
    assume(not any(metrics.degenerate(numbers, is_regression=True) for numbers in pair))
    for name, result in metrics.compute(["pearson", "spearman"], *pair).items():
        assert result == pytest.approx(REFERENCE[name](*pair), abs=1e-9), name


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_correlations_of_extreme_numbers(scale: float) -> None:
    numbers = np.array([1.0, 2.0, 4.0])
    result = metrics.compute(["pearson", "spearman"], scale * numbers, -numbers)
    assert result == pytest.approx({"pearson": -1, "spearman": -1})


def test_matthews_of_many_examples_does_not_overflow() -> None:
    predictions = np.tile([0, 0, 1, 1, 1], 200_000)
    references = np.tile([0, 1, 1, 1, 0], 200_000)
    assert metrics.matthews(predictions, references) == pytest.approx(1 / 6)


def test_constant_predictions_are_degenerate() -> None:
    one_class, both = np.ones(8, dtype=int), np.arange(8) % 2
    assert metrics.matthews(one_class, both) == 0
    assert metrics.degenerate(one_class, is_regression=False) == "one class predicted for all 8 examples"
    assert metrics.degenerate(both, is_regression=False) is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_errors_do_not_make_a_constant_vary(dtype: type) -> None:
    scores = np.linspace(0, 5, 8)
    noise = np.array([0, 1e-6, -1e-6, 0, 2e-6, 0, 0, -2e-6])
    collapsed = (2.7 + noise).astype(dtype)
    assert metrics.degenerate(collapsed, is_regression=True) == "constant prediction: correlation undefined"
    assert metrics.degenerate((2.7 + 1e3 * noise).astype(dtype), is_regression=True) is None
    undefined = {"pearson": None, "spearman": None}
    assert metrics.compute(["pearson", "spearman"], collapsed, scores) == undefined
    assert metrics.compute(["pearson", "spearman"], scores, np.zeros(8)) == undefined


def test_f1_refuses_more_than_two_classes() -> None:
    with pytest.raises(ValueError, match="f1_macro"):
        metrics.f1(np.array([0, 2]), np.array([0, 1]))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_diverged_predictions_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="1 of 3 predictions are NaN or infinite"):
        metrics.compute(["pearson"], np.array([1, value, 3]), np.arange(3))


@pytest.mark.parametrize(("n_predictions", "n_references"), [(0, 0), (2, 3)])
def test_mismatched_examples_are_refused(n_predictions: int, n_references: int) -> None:
    with pytest.raises(ValueError, match="must both be"):
        metrics.compute(["accuracy"], np.zeros(n_predictions), np.zeros(n_references))


def test_import_is_light() -> None:
    code = (
        "import sys, gifine.objectives.metrics\n"
        "print(*{'torch', 'sklearn', 'scipy', 'evaluate', 'datasets'} & set(sys.modules))"
    )
    assert not subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_evaluate_interface_needs_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("tried to connect")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    import evaluate

    predictions, references = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])
    cache = str(tmp_path)
    combined = evaluate.combine(
        [metrics.as_evaluate(["accuracy", "f1"], cache_dir=cache), metrics.as_evaluate(["matthews"], cache_dir=cache)]
    )
    first, second = combined.evaluation_modules
    assert first.data_dir != second.data_dir  # else each waits a second for the other's lock
    for batch in (slice(0, 2), slice(2, 4)):
        combined.add_batch(predictions=predictions[batch], references=references[batch])
    assert combined.compute() == metrics.compute(["accuracy", "f1", "matthews"], predictions, references)

    correlations = metrics.as_evaluate(["pearson", "spearman"], keep_in_memory=True, cache_dir=cache)
    assert correlations.compute(predictions=[0.5, 1.5, 4.0], references=[1, 2, 3]) == metrics.compute(
        ["pearson", "spearman"], np.array([0.5, 1.5, 4.0]), np.array([1, 2, 3])
    )
    with pytest.raises(ValueError, match="pearson"):
        metrics.as_evaluate(["accuracy", "pearson"])
