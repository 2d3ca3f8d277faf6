"""`evaluate.split_dev`: the best checkpoint is chosen on one half of the dev set, and the other is reported."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet
import pytest

from conftest import TINY_DEMO
from gifine import cli
from gifine.errors import DataError
from gifine.inputs import dataset, demo
from gifine.objectives import classification
from gifine.objectives.classification import examples

SPLIT = [*TINY_DEMO, "evaluate.split_dev=true", "data.demo_eval_rows=47"]


def predictions(folder, half):
    return pyarrow.parquet.read_table(folder / f"predictions-validation_{half}.parquet").to_pydict()


def test_best_checkpoint_is_chosen_on_one_half_and_both_are_recorded(train):
    result = train(*SPLIT)
    metrics = result.record.metrics
    assert metrics.keys() == {"demo/validation_select/matthews", "demo/validation_report/matthews"}
    lines = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    scores = {
        line["step"]: line["demo/validation_select/matthews"]
        for line in lines
        if "demo/validation_select/matthews" in line
    }
    assert result.record.best["matthews"] == max(scores.values()) == metrics["demo/validation_select/matthews"]
    assert scores[result.record.best["step"]] == result.record.best["matthews"]
    reported = [line["demo/validation_report/matthews"] for line in lines if "demo/validation_report/matthews" in line]
    assert result.record.last["matthews"] == reported[-1]
    assert result.record.evaluations == len(reported) == len(scores)


def test_the_halves_share_nothing_and_leave_nothing_out(train):
    result = train(*SPLIT)
    select, report = (predictions(result.folder, half) for half in ("select", "report"))
    assert (len(select["idx"]), len(report["idx"])) == (24, 23)
    assert sorted(select["idx"] + report["idx"]) == list(range(47))
    assert abs(sum(select["label"]) - sum(report["label"])) <= 1, "both have the same share of each label"


def test_the_halves_are_the_same_for_every_seed_and_order(tmp_path):
    config = cli.config_from(cli.compose([*SPLIT, f"data.cache_dir={tmp_path}"]))
    splits = dataset.Reader(config).load(demo.tokenizer(), classification)
    first = classification.arrange(splits, config)
    config.seed, config.train.group_by_length = 7, False
    other = classification.arrange(splits, config)
    assert list(first) == ["validation_select", "validation_report"]
    for name, chosen in first.items():
        assert sorted(chosen["idx"][:]) == other[name]["idx"][:]
        assert chosen["length"][:] == sorted(chosen["length"][:], reverse=True)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0], "validation has one row of unacceptable"),
        ([0, 1], "validation has one row of unacceptable, acceptable"),
        ([0, 0, 0, 1], "validation has one row of acceptable; each half needs one of every label that there is"),
    ],
)
def test_a_label_that_cannot_be_in_both_halves_is_refused(train, tmp_path, labels, said):
    for name, entries in (("train", [0, 1] * 8), ("validation", labels)):
        rows = [json.dumps({"sentence": "the cat sleeps", "label": label}) for label in entries]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    files = [f"task.files.{name}={tmp_path / name}.jsonl" for name in ("train", "validation")]
    with pytest.raises(DataError, match=f"evaluate.split_dev=true: {said}"):
        train(*TINY_DEMO, "evaluate.split_dev=true", *files)
    train(*TINY_DEMO, "train.epochs=1", *files)


def test_halves_of_one_number_are_refused():
    import datasets

    config = cli.config_from(cli.compose(["task=stsb", "evaluate.split_dev=true"]))
    split = dataset.Split(datasets.Dataset.from_dict({"labels": [2.5], "idx": [0], "length": [3]}), "")
    with pytest.raises(DataError, match="validation has one row, and two halves need two"):
        classification.arrange({"validation": split}, config)


def test_halves_of_a_regression_have_the_same_distribution(tmp_path):
    import datasets

    scores = np.random.default_rng(1).normal(size=200)
    halves = examples.halves(datasets.Dataset.from_dict({"labels": scores, "idx": range(200)}))
    quantiles = [np.quantile(np.asarray(half["labels"]), [0.1, 0.5, 0.9]) for half in halves]
    np.testing.assert_allclose(quantiles[0], quantiles[1], atol=0.1)
