"""All nine tasks, from the official files, end to end with tiny random models of every family and real tokenizers."""

from __future__ import annotations

import pyarrow.parquet
import pytest

from conftest import TINY_MODEL
from gifine import cli
from gifine.runs.records import Status

# Splits: the official number of validation examples, of which the runs take the first 24.
SPLITS = {
    "cola": {"validation": 1043},
    "sst2": {"validation": 872},
    "mrpc": {"validation": 408},
    "stsb": {"validation": 1500},
    "qqp": {"validation": 40430},
    "mnli": {"validation_matched": 9815, "validation_mismatched": 9832},
    "qnli": {"validation": 5463},
    "rte": {"validation": 277},
    "wnli": {"validation": 71},
}
TOKENIZERS = {
    "bert": "bert-base-uncased",
    "roberta": "roberta-base",
    "deberta": "deberta-base",
    "debertav3": "deberta-v3-base",
    "xlnet": "xlnet-base-cased",
}


@pytest.mark.shared
@pytest.mark.parametrize("model", TOKENIZERS)
@pytest.mark.parametrize("task", SPLITS)
def test_task_runs_end_to_end(train, shared, task, model):
    result = train(
        f"task={task}",
        f"model={model}",
        *TINY_MODEL,
        f"model.tokenizer={shared / 'tokenizers' / TOKENIZERS[model]}",
        "data=glue_dir",
        f"data.dir={shared / 'glue'}",
        "data.allow_partial=true",
        "data.max_train_rows=32",
        "data.max_eval_rows=24",
        "train.epochs=1",
        "train.max_length=64",
    )
    assert result.record.status in (Status.DONE, Status.DEGENERATE)
    names = cli.config_from(cli.compose([f"task={task}"])).task.metrics
    assert set(result.record.metrics) == {f"{task}/{split}/{name}" for split in SPLITS[task] for name in names}
    for split in SPLITS[task]:
        table = pyarrow.parquet.read_table(result.folder / f"predictions-{split}.parquet")
        assert table["idx"].to_pylist() == list(range(24))


@pytest.mark.shared
@pytest.mark.parametrize("task", SPLITS)
def test_evaluation_sees_the_official_number_of_examples(shared, tmp_path, task):
    from gifine.inputs import dataset, demo
    from gifine.objectives import classification

    config = cli.config_from(
        cli.compose(
            [
                f"task={task}",
                "data=glue_dir",
                f"data.dir={shared / 'glue'}",
                f"data.cache_dir={tmp_path}",
                "data.allow_partial=true",
                "data.max_train_rows=1",
                "train.max_length=64",
            ]
        )
    )
    splits = dataset.Reader(config).load(demo.tokenizer(), classification)
    assert {name: len(splits[name].examples) for name in SPLITS[task]} == SPLITS[task]
