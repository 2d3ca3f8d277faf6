"""GLUE's official metrics by name, computed here so that no run needs the Hub; for all of them higher is better.

`evaluate.load("glue", …)` fetches code from the Hub. `as_evaluate` gives the same metrics behind evaluate's interface.

The formulas are a few lines of numpy, and the tests prove them equal to scikit-learn's and scipy's. Importing those
costs 1 to 1.6 s and 0.6 s (numpy: 0.1 s), and nothing else in a run needs them; the config check, which looks up names
in `METRICS`, must stay quick.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import evaluate

# Numbers that differ by less than this fraction of their size count as one: what is left in float32, at another padding
# of the batch, of a model whose prediction does not depend on its input.
CONSTANT_TOLERANCE = 1e-5


def accuracy(predictions: np.ndarray, references: np.ndarray) -> float:
    return float(np.mean(predictions == references))


def f1(predictions: np.ndarray, references: np.ndarray) -> float:
    """Binary F1 of class 1; 0 where that class is neither predicted nor right."""
    if not np.isin([predictions, references], (0, 1)).all():
        raise ValueError("f1 is for the classes 0 and 1; f1_macro takes more")
    hits = np.sum((predictions == 1) & (references == 1))
    involved = np.sum(predictions == 1) + np.sum(references == 1)
    return float(2 * hits / involved) if involved else 0.0


def f1_macro(predictions: np.ndarray, references: np.ndarray) -> float:
    """Mean of the F1 of each class that is predicted or right at least once."""
    hits, predicted, actual = _counts(predictions, references)
    return float(np.mean(2 * hits / (predicted + actual)))


def matthews(predictions: np.ndarray, references: np.ndarray) -> float:
    """Matthews correlation, for two or more classes (Gorodkin 2004); 0 if only one class is predicted or right."""
    hits, predicted, actual = _counts(predictions, references)
    total = len(references)
    covariance = hits.sum() * total - predicted @ actual
    spread = (total**2 - predicted @ predicted) * (total**2 - actual @ actual)
    return float(covariance / np.sqrt(spread)) if spread else 0.0


def pearson(predictions: np.ndarray, references: np.ndarray) -> float | None:
    """Pearson's r; None, undefined, if predictions or references are constant."""
    if _is_constant(predictions) or _is_constant(references):
        return None
    x, y = _centred(predictions), _centred(references)
    return float(np.clip(x @ y, -1, 1))


def spearman(predictions: np.ndarray, references: np.ndarray) -> float | None:
    """Spearman's rho: Pearson's r of the ranks, ties sharing their mean rank; None where `pearson` is."""
    if _is_constant(predictions) or _is_constant(references):
        return None
    return pearson(_ranks(predictions), _ranks(references))


# Takes predictions and references of shape (N,): class ids, or numbers for the two correlations.
Metric = Callable[[np.ndarray, np.ndarray], float | None]

REGRESSION_METRICS: dict[str, Metric] = {"pearson": pearson, "spearman": spearman}
CLASSIFICATION_METRICS: dict[str, Metric] = {"accuracy": accuracy, "f1": f1, "f1_macro": f1_macro, "matthews": matthews}
METRICS = CLASSIFICATION_METRICS | REGRESSION_METRICS


def compute(names: Sequence[str], predictions: np.ndarray, references: np.ndarray) -> dict[str, float | None]:
    """The named metrics of predictions and references of shape (N,); None where a metric is undefined.

    Raises ValueError for no examples, other shapes, and NaN or infinite predictions: a number made of them would hide
    that the model diverged. The argmax of NaN logits is an ordinary class id, so look at logits before taking it.
    """
    predictions, references = np.asarray(predictions), np.asarray(references)
    if predictions.shape != references.shape or predictions.ndim != 1 or not predictions.size:
        raise ValueError(f"predictions {predictions.shape} and references {references.shape} must both be (N,), N > 0")
    if not np.isfinite(predictions).all():
        bad = np.count_nonzero(~np.isfinite(predictions))
        raise ValueError(f"{bad} of {predictions.size} predictions are NaN or infinite")
    return {name: METRICS[name](predictions, references) for name in names}


def degenerate(predictions: np.ndarray, is_regression: bool) -> str | None:
    """Why these predictions, of shape (N,), say nothing about the examples, or None if they do."""
    if is_regression:
        return "constant prediction: correlation undefined" if _is_constant(predictions) else None
    if np.all(predictions == predictions[0]):
        return f"one class predicted for all {len(predictions)} examples"
    return None


def as_evaluate(names: Sequence[str], **options: Any) -> evaluate.Metric:
    """The named metrics as an `evaluate.Metric`, for `add_batch`, `evaluate.combine` and distributed evaluation.

    `options` are evaluate.Metric's own (`keep_in_memory`, `num_process`, `experiment_id`, …). Metrics for classes and
    for numbers need different column types: make one of each.
    """
    import datasets
    import evaluate  # 4 to 6 s

    if set(names) <= CLASSIFICATION_METRICS.keys():
        dtype = "int64"
    elif set(names) <= REGRESSION_METRICS.keys():
        dtype = "float64"
    else:
        raise ValueError(
            f"{list(names)} are not all of {list(CLASSIFICATION_METRICS)} or of {list(REGRESSION_METRICS)}"
        )

    class GlueMetric(evaluate.Metric):
        def _info(self) -> evaluate.MetricInfo:
            column = datasets.Value(dtype)
            return evaluate.MetricInfo(
                description=f"GLUE's {', '.join(names)}",
                citation="Wang et al. 2019, GLUE: A Multi-Task Benchmark and Analysis Platform (arXiv 1804.07461)",
                features=datasets.Features({"predictions": column, "references": column}),
            )

        # No **kwargs as in the base class: options that other metrics take, such as average=, must not be ignored.
        # pyrefly: ignore[bad-override]
        def _compute(self, *, predictions: Any, references: Any) -> dict[str, float | None]:
            return compute(names, predictions, references)

    # the config name is part of the path of evaluate's scratch file: with one each, combined metrics need not wait
    # a second for each other's lock
    return GlueMetric(config_name="-".join(names), **options)


def _counts(predictions: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per class that occurs, in the order of the ids: right predictions, predictions, references.

    Floats, since Matthews multiplies four of them: 10⁵ examples to the fourth power overflow int64.
    """
    classes = np.union1d(predictions, references)[:, None]
    predicted, actual = predictions == classes, references == classes
    return (predicted & actual).sum(1, dtype=float), predicted.sum(1, dtype=float), actual.sum(1, dtype=float)


def _is_constant(numbers: np.ndarray) -> bool:
    return bool(np.ptp(numbers) <= CONSTANT_TOLERANCE * np.abs(numbers).max())


def _centred(numbers: np.ndarray) -> np.ndarray:
    """Mean 0 and length 1."""
    centred = numbers - numbers.mean(dtype=np.float64)
    centred /= np.abs(centred).max()  # its square would overflow, or vanish, for very large or small numbers
    return centred / np.linalg.norm(centred)


def _ranks(numbers: np.ndarray) -> np.ndarray:
    """1 for the smallest; equal numbers share the mean of their ranks."""
    _, inverse, count = np.unique(numbers, return_inverse=True, return_counts=True)
    last = count.cumsum()
    return (last - (count - 1) / 2)[inverse]
