"""`evaluate.invariance`: how much predictions depend on the batch that an example is evaluated in."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet
import pytest

from conftest import TINY_DEMO

# Weights that matter: with those of a short training from a small start the gates move nothing.
MOVED = [*TINY_DEMO, "evaluate.invariance=true", "gi.level=0.9", "model.config_overrides.initializer_range=1.0"]
MOVED += ["train.learning_rate=1e-2", "train.epochs=4", "data.demo_eval_rows=200"]


def entries(result):
    return json.loads((result.folder / "record.json").read_text())["invariance"]


@pytest.mark.usefixtures("float64")
def test_a_threshold_over_the_batch_couples_examples_and_the_record_says_how_much(train):
    result = train(*MOVED)
    found = entries(result)
    changes = [{key: entry[key] for key in ("batch_size", "order", "padding") if key in entry} for entry in found]
    assert changes == [
        {"batch_size": 1},
        {"batch_size": 8},
        {"batch_size": 32},
        {"batch_size": 128},
        {"order": "file"},
        {"order": "random"},
        {"padding": "max_length"},
    ]
    assert all((entry["split"], entry["examples"]) == ("validation", 200) for entry in found)
    assert max(entry["largest_logit_change"] for entry in found) > 1e-3
    assert max(entry["changed"] for entry in found) > 0


def test_what_is_recorded_is_what_another_evaluation_gives(train):
    """The entry for batches of 8 against a run of the same weights that evaluates in batches of 8."""
    ours = train(*MOVED, "train.save_model=true")
    own = ["model.random_init=false", "model.tokenizer=null", f"model.checkpoint={ours.folder / 'model'}"]
    words = [word for word in MOVED if not word.startswith("model.")]
    other = train(*words, *own, "model=bert", "train.learning_rate=1e-30", "train.eval_batch_size=8")
    logits = [
        np.array(pyarrow.parquet.read_table(run.folder / "predictions-validation.parquet")["logits"].to_pylist())
        for run in (ours, other)
    ]
    (entry,) = (entry for entry in entries(ours) if entry.get("batch_size") == 8)
    assert entry["largest_logit_change"] == pytest.approx(np.abs(logits[0] - logits[1]).max(), rel=1e-6)
    assert entry["changed"] == np.sum(logits[0].argmax(1) != logits[1].argmax(1))
    key = "demo/validation/matthews"
    assert entry["metrics"]["matthews"] == pytest.approx(other.record.metrics[key] - ours.record.metrics[key])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "words", [["gi=none"], ["gi.threshold=token"], ["gi.threshold=sequence", "gi.mask_padding=true"]]
)
def test_other_thresholds_do_not(train, words):
    found = entries(train(*MOVED, *words))
    assert [entry["changed"] for entry in found] == [0] * 7
    assert max(entry["largest_logit_change"] for entry in found) < 1e-9


def test_the_run_itself_is_the_same_with_and_without(train):
    plain, looked_at = train(*TINY_DEMO), train(*TINY_DEMO, "evaluate.invariance=true", "overwrite=true")
    assert plain.record.run_id == looked_at.record.run_id
    assert plain.record.metrics == looked_at.record.metrics
    assert entries(plain) == entries(looked_at), "the same folder: overwritten"


def test_regression_counts_predictions_that_move(train, tmp_path):
    rows = [{"text": f"a fox {'runs ' * n}", "score": n / 2} for n in range(12)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    files = [f"task.files.{split}={path}" for split in ("train", "validation")]
    words = ["task=stsb", "task.inputs=[text]", "task.label=score", *files, "data=hub", "train.group_by_length=false"]
    found = entries(train(*MOVED, *words))
    assert {entry.get("order") for entry in found} == {None, "length", "random"}
    assert all(entry["changed"] <= 12 for entry in found)
    assert all(("pearson" in entry["metrics"]) for entry in found)
