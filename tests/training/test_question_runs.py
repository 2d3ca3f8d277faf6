"""Runs on questions: trained, chosen, stopped and gone on with, evaluated again, by one process or two."""

from __future__ import annotations

import json
import os
import signal
from argparse import Namespace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from safetensors.torch import load_file

from conftest import TINY_DEMO, TINY_MODEL
from gifine import cli, evaluate, predict, prefetch
from gifine.compose import checks
from gifine.errors import ConfigError, ExitCode
from gifine.inputs import needs
from gifine.inspect import looking
from gifine.report import __main__ as report
from gifine.runs import finished
from gifine.runs.records import Status
from gifine.training import callbacks
from support import asked, squad_by_hand
from support.processes import RUN, TORCHRUN, finish, start

QUESTIONS = ["data=squad_dir", "train.max_length=24", "task.max_question_tokens=8", "task.stride=8"]
WORDS = [*TINY_DEMO, *QUESTIONS, "train.save_model=true"]
TOKENIZERS = {
    "bert": "bert-base-uncased",
    "roberta": "roberta-base",
    "deberta": "deberta-base",
    "debertav3": "deberta-v3-base",
    "xlnet": "xlnet-base-cased",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("squad")
    for unanswerable in (False, True):
        asked.write(folder, unanswerable=unanswerable)
    return [f"data.dir={folder}"]


def test_a_run_is_chosen_by_f1_and_evaluates_to_the_same(train, data, capsys):
    result = train(*WORDS, *data, "task=squad_v2")
    record = result.record
    task = cli.config_from(cli.compose(["task=squad_v2"])).task
    assert record.metrics.keys() == {f"squad_v2/validation/{name}" for name in task.metrics}
    assert record.best["f1"] == record.metrics["squad_v2/validation/f1"]
    assert record.rows == {"train": 48, "validation": 24}
    assert record.examples["train"].keys() == {"questions", "windows"}
    assert record.examples["train"]["windows"] > 48, "some contexts take two windows"
    assert record.thresholds == {"validation": 0.0}
    table = pyarrow.parquet.read_table(result.folder / "predictions-validation.parquet").to_pydict()
    assert table["idx"] == list(range(24))
    assert np.mean(table["f1"]) == pytest.approx(record.metrics["squad_v2/validation/f1"])
    file = Path(data[0].partition("=")[2], "dev-v2.0.json")
    by_hand = squad_by_hand.score_run(result.folder, file, no_answers=True)
    assert record.metrics == pytest.approx({f"squad_v2/validation/{name}": by_hand[name] for name in by_hand})
    capsys.readouterr()
    assert evaluate.main([str(result.folder)]) == ExitCode.DONE
    assert capsys.readouterr().out.count("same as the record") == len(task.metrics)
    assert evaluate.main([str(result.folder), "--invariance"]) == ExitCode.BAD_INPUT
    assert "--invariance is for classification" in capsys.readouterr().err


def test_inspect_looks_at_windows_and_scores_questions(train, data, tmp_path):
    result = train(*WORDS, *data, "task=squad_v2", "train.epochs=1")
    (run,) = finished.read([result.folder])
    asked_for = Namespace(text=[], split="validation", rows=128, seconds=1e9, base=None)
    found = looking.look(result.folder, run, asked_for, tmp_path)
    record = result.record
    windows = record.examples["validation"]["windows"]
    assert found.subtitle == f"the first 24 rows of squad_v2, validation, in {windows} windows"
    assert len(found.examples) == windows > 24
    assert found.examples[0].name == "row 0, window 1"
    assert {example.label for example in found.examples} > {"no answer", "the cat"}
    assert found.ablations is not None
    base, lines = found.ablations.base, (result.folder / "metrics.jsonl").read_text().splitlines()
    assert base.value == record.metrics["squad_v2/validation/f1"]
    evaluated = [each for each in map(json.loads, lines) if "squad_v2/validation/loss" in each]
    assert base.loss == pytest.approx(evaluated[-1]["squad_v2/validation/loss"], rel=1e-5)
    assert len(found.ablations.found) == 1 + 2 + 4
    assert found.ablations.found[0].logit > 0, "it does something"
    asked_for = Namespace(text=[["who runs", "the cat runs " * 8]], split="validation", rows=1, seconds=0, base=None)
    found = looking.look(result.folder, run, asked_for, tmp_path)
    assert [example.name for example in found.examples[:2]] == ["text 1, window 1", "text 1, window 2"]
    assert {example.label for example in found.examples} == {None}
    predicted = found.examples[0].predicted
    assert predicted == "no answer" or predicted in "the cat runs " * 8


def test_a_run_that_is_stopped_ends_as_one_that_is_not(train, data, monkeypatch, tmp_path):
    words = [*WORDS, *data, "task=squad", "train.gradient_accumulation=2", "train.batch_size=4"]
    undisturbed = train(*words, f"output_dir={tmp_path / 'undisturbed'}")
    assert undisturbed.code == ExitCode.DONE
    left = {3}

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step in left:
            left.remove(state.global_step)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(callbacks.Bar, "on_step_end", on_step_end)
    stopped = train(*words, f"output_dir={tmp_path / 'stopped'}")
    assert stopped.record.status == Status.INTERRUPTED
    ended = train(*words, f"output_dir={tmp_path / 'stopped'}")
    assert (ended.record.attempts, ended.record.metrics) == (2, undisturbed.record.metrics)
    for name in ("model/model.safetensors", "predictions-validation.parquet", "metrics.jsonl"):
        assert (ended.folder / name).read_bytes() == (undisturbed.folder / name).read_bytes(), name


@pytest.mark.long
@pytest.mark.shared
@pytest.mark.parametrize("model", TOKENIZERS)
@pytest.mark.parametrize(("version", "change"), [("1.1", "gi=none"), ("2.0", "gi=both")])
def test_every_family_trains_on_both_versions(train, shared, tmp_path, capsys, version, change, model):
    """And its checkpoint is evaluated, predicts, and is reported."""
    folder = shared / "squad"
    task = "squad" if version == "1.1" else "squad_v2"
    result = train(
        f"task={task}",
        f"model={model}",
        *TINY_MODEL,
        change,
        f"model.tokenizer={shared / 'tokenizers' / TOKENIZERS[model]}",
        f"task.files.train={folder / f'train-v{version}.cut.json'}",
        f"task.files.validation={folder / f'dev-v{version}.cut.json'}",
        "data.max_train_rows=24",
        "data.max_eval_rows=24",
        "train.epochs=1",
        "train.max_length=96",
        "task.max_question_tokens=32",
        "task.stride=48",
        "train.save_model=true",
    )
    assert result.record.status in (Status.DONE, Status.DEGENERATE)
    assert result.record.examples["validation"]["questions"] == 24
    assert result.record.examples["validation"]["windows"] > 24, "some contexts take several windows"
    by_hand = squad_by_hand.score_run(result.folder, folder / f"dev-v{version}.cut.json", no_answers=version == "2.0")
    assert result.record.metrics == pytest.approx({f"{task}/validation/{name}": by_hand[name] for name in by_hand})
    assert evaluate.main([str(result.folder)]) == ExitCode.DONE
    (tmp_path / "other.json").write_text(json.dumps(asked.document(5, unanswerable=False)))
    words = [str(result.folder), "--file", str(tmp_path / "other.json"), "--out", str(tmp_path / "out")]
    assert predict.main(words) == ExitCode.DONE
    answers = json.loads((tmp_path / "out" / f"{task}-other.json").read_text())
    assert [*answers] == [f"q{number}" for number in range(5)]
    capsys.readouterr()
    assert report.main([str(result.folder), "--format", "json"]) == ExitCode.DONE
    assert f"{task}/validation/f1" in capsys.readouterr().out


@pytest.mark.long
def test_two_processes_and_accumulated_batches_give_what_one_gives(train, data, tmp_path, float64):
    words = [
        *(word for word in RUN if word not in TINY_DEMO[:2]),
        *QUESTIONS,
        *data,
        "task=squad",
        "gi.threshold=token",
    ]
    own = ["train.batch_size=4", "train.gradient_accumulation=2", f"output_dir={tmp_path / 'two'}"]
    finish(start(TORCHRUN, *words, *own, f"data.cache_dir={tmp_path}"))
    one = train(*words, "train.batch_size=16")
    record = json.loads((tmp_path / "two" / "record.json").read_text())
    assert record["metrics"] == one.record.metrics
    weights = [load_file(folder / "model" / "model.safetensors") for folder in (tmp_path / "two", one.folder)]
    assert max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0]) < 1e-4


@pytest.mark.long
def test_it_starts_from_another_tasks_weights_without_their_head(train, data):
    first = train(*TINY_DEMO, "train.save_model=true", "train.epochs=1")
    own = ["model.random_init=false", "model.tokenizer=null", "model.config_overrides={}"]
    second = train(*WORDS, *own, *data, "task=squad", f"model.init_from={first.folder}")
    assert second.record.provenance["head"].startswith("new; classifier.bias, classifier.weight left behind")


@pytest.mark.long
def test_a_prefetched_folder_has_all_that_a_run_reads(train, data, tmp_path):
    words, folder = [*WORDS, "task=squad", "train.epochs=1"], tmp_path / "prefetched"
    plain = train(*words, *data, f"output_dir={tmp_path / 'plain'}")
    prefetch.fill(folder, needs.collect([cli.config_from(cli.compose([*words, *data]))]), runs=1)
    fetched = train(*words, f"prefetch={folder}", f"output_dir={tmp_path / 'fetched'}")
    assert fetched.record.run_id == plain.record.run_id
    assert fetched.record.metrics == plain.record.metrics
    assert fetched.record.provenance["data"] == plain.record.provenance["data"]
    assert predict.main([str(fetched.folder), "--out", str(tmp_path / "out")]) == ExitCode.DONE


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train.max_length=64"], "has room for 0 tokens of a context, and windows start task.stride=128 apart"),
        (["task.metrics=[exact]", "task.select_by=exact"], "metric exact: no such metric.*exact_match, f1"),
        (["task.labels=[a,b]"], "answers are parts of contexts; they have no labels"),
        (["train.label_smoothing=0.1"], "is for classes; task=squad is of questions"),
        (["evaluate.invariance=true"], "evaluate.invariance=true: is for classification"),
        (["task.stride=0"], "task.stride=0: at least 1"),
        (["data=glue_dir", "data.dir=."], "data=glue_dir: task=squad has no such files; data=squad_dir has its"),
        (["task=cola", "data=squad_dir", "data.dir=."], "data=squad_dir: task=cola has no such files; data=glue_dir"),
        (["task.inputs=[context,context]"], "'context' is there twice"),
        (["data=demo", "task.name=demo"], "data=demo: holds no questions; task=demo has task.objective=questions"),
        (["task=squad", "data=squad_dir", "task.objective=classification"], "data=squad_dir: holds questions alone"),
        (["data=squad_dir"], "data=squad_dir: needs data.dir=FOLDER, the one that holds train-v1.1.json"),
    ],
)
def test_what_does_not_go_together_is_refused(words, said):
    with pytest.raises(ConfigError, match=said):
        checks.check(cli.config_from(cli.compose(["task=squad", "model=bert", "train.max_length=384", *words])))
