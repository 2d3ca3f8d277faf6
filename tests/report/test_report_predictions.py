"""Predictions of runs: what is read, what cannot be used, and that no pair is dropped silently."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from gifine.objectives import metrics
from gifine.objectives import predictions as files
from gifine.report.analysis import comparison, crossed, pairing, statistics
from gifine.report.analysis.comparison import Basis, Comparison
from gifine.runs.records import RECORD
from support.synthetic import BOTH, KEY, PLAIN, add_predictions, config, given, read, record, write

EXAMPLES = 100
PREDICTIONS = "predictions-validation.parquet"


def answered(seed: int, side: str, examples: int = EXAMPLES) -> np.ndarray:
    """Classes of 0 and 1, eight of ten right."""
    rng = np.random.default_rng([seed, *side.encode()])
    labels = np.arange(examples) % 2
    return np.where(rng.random(examples) < 0.8, labels, 1 - labels)


def sweep(root: Path, *, task: str = "rte", gates=(PLAIN, BOTH), seeds=(1, 2, 3), numeric: bool = False) -> Path:
    for gate in gates:
        for seed in seeds:
            made = config(f"task={task}", "model=debertav3", seed=seed, **gate)
            labels = np.arange(EXAMPLES) / 20 if numeric else np.arange(EXAMPLES) % 2
            predicted = answered(seed, made.gi.side.value)
            if numeric:
                predicted = (labels + predicted + np.arange(EXAMPLES) % 7).astype(np.float32)
            found = metrics.compute(made.task.metrics, predicted, labels)
            folder = write(root, record(made, list(found.values())))
            add_predictions(folder, "validation", predicted[:, None] if numeric else np.eye(2)[predicted], labels)
    return root


def compared(root: Path) -> list[Comparison]:
    pairs, _ = pairing.pair(read(root))
    return comparison.compare(pairs)


def of_gated(root: Path, seed: int = 2) -> Path:
    return next(root.glob(f"*both*_s{seed}-*"))


def test_a_difference_is_of_runs_and_examples(tmp_path):
    (found,) = compared(sweep(tmp_path))
    labels = np.arange(EXAMPLES) % 2
    hits = {
        side: np.asarray([answered(seed, side) == labels for seed in (1, 2, 3)], dtype=float)
        for side in ("none", "both")
    }
    expected = given(crossed.crossed(hits["both"] - hits["none"]))
    assert (found.effect.basis, found.effect.reason) == (Basis.CROSSED, None)
    assert found.effect.estimate == expected
    assert found.effect.p == expected.p()
    assert found.effect.interval == expected.interval()
    assert found.effect.summary.mean == pytest.approx(expected.mean)


@pytest.mark.parametrize(("task", "numeric"), [("cola", False), ("mrpc", False), ("stsb", True)])
def test_other_metrics_are_as_well(tmp_path, task, numeric):
    for found in compared(sweep(tmp_path, task=task, numeric=numeric)):
        assert found.effect.basis is Basis.CROSSED, found.effect.reason
        assert given(found.effect.estimate).mean == pytest.approx(given(found.effect.summary.mean), abs=1e-6)


def test_predictions_are_read_once(tmp_path, monkeypatch):
    sweep(tmp_path, task="mrpc", gates=(PLAIN, BOTH, KEY, BOTH | {"level": 0.1}))
    parsed, parse = [], files.parse
    monkeypatch.setattr(files, "parse", lambda content: parsed.append(content) or parse(content))
    assert len(compared(tmp_path)) == 3 * 2
    assert len(parsed) == 4 * 3


def parquet(folder: Path, **columns) -> None:
    good = {
        "idx": np.arange(EXAMPLES),
        "label": np.arange(EXAMPLES) % 2,
        "logits": list(np.eye(2)[answered(2, "both")]),
    }
    table = {name: column for name, column in (good | columns).items() if column is not None}
    pyarrow.parquet.write_table(pa.table(table), folder / PREDICTIONS)


DAMAGE = {
    "no predictions were kept": lambda folder: (folder / PREDICTIONS).unlink(),
    "cannot be read: it is damaged": lambda folder: (folder / PREDICTIONS).write_bytes(
        (folder / PREDICTIONS).read_bytes()[:200]
    ),
    "cannot be read: there are examples without a label": lambda folder: parquet(
        folder, label=pa.array([None, *[0] * (EXAMPLES - 1)], "int64")
    ),
    "cannot be read: label is no column of numbers": lambda folder: parquet(folder, label=["entailment"] * EXAMPLES),
    "cannot be read: idx is no column of whole numbers": lambda folder: parquet(folder, idx=np.arange(EXAMPLES) / 2),
    "cannot be read: logits is no column of lists of numbers": lambda folder: parquet(
        folder, logits=[["much"]] * EXAMPLES
    ),
    "cannot be read: logits are not as many for each example": lambda folder: parquet(
        folder, logits=[[1.0], [1.0, 2.0, 3.0], *[[1.0, 0.0]] * (EXAMPLES - 2)]
    ),
    "cannot be read: there are no examples": lambda folder: parquet(
        folder, idx=pa.array([], "int64"), label=pa.array([], "int64"), logits=pa.array([], pa.list_(pa.float32()))
    ),
    "cannot be read: there is no column label, logits": lambda folder: parquet(folder, label=None, logits=None),
    "have an example twice": lambda folder: parquet(folder, idx=np.arange(EXAMPLES) // 2),
    "have NaN or infinite logits": lambda folder: parquet(folder, logits=[[np.nan, 1.0]] * EXAMPLES),
    "do not give the record's score": lambda folder: parquet(folder, logits=[[1.0, 0.0]] * EXAMPLES),
    "are of other examples": lambda folder: parquet(folder, idx=np.arange(EXAMPLES) + 1),
    "their sha256 differs": lambda folder: add_sha256(folder, "0" * 64),
}


def add_sha256(folder: Path, sha256: str) -> None:
    entries = json.loads((folder / RECORD).read_text())
    entries["provenance"]["predictions"] = {"validation": sha256}
    (folder / RECORD).write_text(json.dumps(entries))


@pytest.mark.parametrize("said", DAMAGE)
def test_with_one_run_that_cannot_be_used_all_pairs_are_compared_without(tmp_path, said):
    DAMAGE[said](of_gated(sweep(tmp_path)))
    (found,) = compared(tmp_path)
    assert found.effect.basis is Basis.RUNS
    assert said in given(found.effect.reason)
    assert (of_gated(tmp_path).name in given(found.effect.reason)) == (said != "no predictions were kept")
    baseline, gated = (np.asarray(side) for side in found.scores)
    assert found.effect.summary.n == 3
    assert found.effect.estimate == statistics.paired_t(gated - baseline)


@pytest.mark.parametrize("change", ["length", "label"])
def test_runs_of_other_examples_are_not_compared_by_them(tmp_path, change):
    """Both runs of a pair agree with their records and with each other, but not with the other pairs."""
    sweep(tmp_path)
    size = 90 if change == "length" else EXAMPLES
    labels = (np.arange(size) + (change == "label")) % 2
    for gate in (PLAIN, BOTH):
        made = config("task=rte", "model=debertav3", seed=4, **gate)
        predicted = answered(4, made.gi.side.value, size)
        folder = write(tmp_path, record(made, [metrics.accuracy(predicted, labels)]))
        add_predictions(folder, "validation", np.eye(2)[predicted], labels)
    (found,) = compared(tmp_path)
    assert (found.effect.basis, found.effect.summary.n) == (Basis.RUNS, 4)
    assert "are of other examples" in given(found.effect.reason)


def test_the_records_sha256_is_looked_at(tmp_path):
    folder = of_gated(sweep(tmp_path))
    add_sha256(folder, hashlib.sha256((folder / PREDICTIONS).read_bytes()).hexdigest())
    (found,) = compared(tmp_path)
    assert found.effect.basis is Basis.CROSSED


def test_examples_in_another_order_are_put_in_order(tmp_path):
    sweep(tmp_path)
    expected = compared(tmp_path)[0].effect
    order = np.random.default_rng(0).permutation(EXAMPLES)
    rows = {"idx": order, "label": order % 2, "logits": list(np.eye(2)[answered(2, "both")][order])}
    parquet(of_gated(tmp_path), **rows)
    assert compared(tmp_path)[0].effect == expected


def test_what_evaluation_writes_is_read(tmp_path):
    sweep(tmp_path)
    expected = compared(tmp_path)[0].effect
    for seed in (1, 2, 3):
        order = np.random.default_rng(seed).permutation(EXAMPLES)
        logits = np.eye(2)[answered(seed, "both")].astype(np.float32)
        files.write(of_gated(tmp_path, seed) / PREDICTIONS, order, order % 2, logits[order])
    assert compared(tmp_path)[0].effect == expected


def test_runs_that_answer_alike_differ_in_nothing_that_could_be_tested(tmp_path):
    sweep(tmp_path)
    for seed in (1, 2, 3):
        plain = next(tmp_path.glob(f"*plain*_s{seed}-*"))
        (of_gated(tmp_path, seed) / PREDICTIONS).write_bytes((plain / PREDICTIONS).read_bytes())
        entries = json.loads((of_gated(tmp_path, seed) / RECORD).read_text())
        entries["metrics"] = json.loads((plain / RECORD).read_text())["metrics"]
        (of_gated(tmp_path, seed) / RECORD).write_text(json.dumps(entries))
    (found,) = compared(tmp_path)
    assert (found.effect.estimate, found.effect.interval, found.effect.p) == (None, None, 1)
    assert found.effect.reason == "nothing varies"


def test_one_pair_is_not_tested(tmp_path):
    (found,) = compared(sweep(tmp_path, seeds=(1,)))
    assert (found.effect.summary.n, found.effect.p, found.effect.estimate) == (1, None, None)
