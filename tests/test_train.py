"""Whole runs of tiny models on the demo data: what ends up in the record, and that it can be trusted."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil

import numpy as np
import pyarrow.parquet
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import gifine.models  # noqa: F401 - registers the gated models
from conftest import TINY_DEMO
from gifine import evaluate
from gifine.errors import ConfigError, DataError, ExitCode, OutputError
from gifine.inputs import demo
from gifine.objectives import metrics
from gifine.runs import curves
from gifine.runs.records import Status
from gifine.training import callbacks, numerics


def predictions(folder, split="validation"):
    return pyarrow.parquet.read_table(folder / f"predictions-{split}.parquet").to_pydict()


def curve(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache):
    """One gated run, finished, with its weights kept; read only."""
    from gifine import cli
    from gifine import train as module
    from gifine.runs import identity, records

    root = tmp_path_factory.mktemp("finished")
    overrides = [*TINY_DEMO, f"output_root={root}", f"data.cache_dir={cache}", "train.save_model=true"]
    config = cli.config_from(cli.compose(overrides))
    assert module.run(config) == ExitCode.DONE
    folder = identity.directory(config)
    return folder, records.read(folder)


def test_record_says_what_was_run_and_what_came_out(finished):
    folder, record = finished
    assert record.status in (Status.DONE, Status.DEGENERATE)
    assert folder.name == f"demo_bert-large-random_both-0.3_s42-{record.run_id}"
    assert record.steps == {"done": 8, "planned": 8}
    assert record.rows == {"train": 64, "validation": 48}
    assert list(record.metrics) == [f"demo/validation/{name}" for name in record.config["task"]["metrics"]]
    assert record.parameters["gates"] == 2 * 2 * 2 * (16 * 16 + 16)  # sides × layers × (2 Linear(16, 16))
    assert record.parameters["trainable"] == record.parameters["total"]
    assert record.provenance["packages"]["torch"]
    assert record.provenance["data"].keys() == {"train", "validation"}
    assert record.started <= record.finished
    assert set(record.seconds) == {"train", "evaluate", "total"}
    assert set(record.cost) == {"seconds_a_step", "steps_timed", "steps_watched", "flops_an_example"}  # memory: of GPUs


def test_predictions_are_the_ones_that_the_metrics_come_from(finished):
    """In the order of the data although training batches are grouped by length."""
    folder, record = finished
    table = predictions(folder)
    rows = demo.generate("validation", 48, seed=0)
    assert table["idx"] == [row["idx"] for row in rows]
    assert table["label"] == [row["label"] for row in rows]
    classes = np.array(table["logits"]).argmax(axis=1)
    assert record.metrics["demo/validation/matthews"] == metrics.matthews(classes, np.array(table["label"]))


def test_predictions_belong_to_their_sentences(finished):
    """Each row's logits are those of that row's sentence, computed anew from the saved weights one batch a time."""
    folder, _ = finished
    model = AutoModelForSequenceClassification.from_pretrained(folder / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    assert tokenizer is not None
    rows = demo.generate("validation", 48, seed=0)
    longest_first = sorted(rows, key=lambda row: -len(tokenizer(row["sentence"])["input_ids"]))  # as in the run
    logits = {}
    with torch.no_grad():
        for start in range(0, 48, 16):
            batch = longest_first[start : start + 16]
            inputs = tokenizer([row["sentence"] for row in batch], padding=True, return_tensors="pt")
            logits |= {row["idx"]: out for row, out in zip(batch, model(**inputs).logits, strict=True)}
    ours = torch.stack([logits[idx] for idx in range(48)])
    torch.testing.assert_close(ours, torch.tensor(predictions(folder)["logits"]), rtol=0, atol=1e-6)


def test_best_checkpoint_is_the_one_evaluated(finished):
    folder, record = finished
    evaluations = [line for line in curve(folder) if "demo/validation/matthews" in line]
    best = max(line["demo/validation/matthews"] for line in evaluations)
    assert record.metrics["demo/validation/matthews"] == best == record.best["matthews"]
    assert record.last == {"step": 8, "matthews": evaluations[-1]["demo/validation/matthews"]}
    assert record.evaluations == len(evaluations) == 2


def test_curve_has_every_step_once(finished):
    folder, _ = finished
    lines = curve(folder)
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 9))
    assert [line["step"] for line in lines if "demo/validation/loss" in line] == [4, 8]


def test_a_run_keeps_statistics_of_its_change_without_being_tracked(finished):
    folder, _ = finished
    found = curves.change(folder)
    assert {key.split("/")[0] for key in found} == {"gates"}
    assert {tuple(points) for points in found.values()} == {tuple(range(1, 9))}, "each step, of so few"
    assert all(value >= 0.83 for key in found if key.endswith("/mean") for value in found[key].values())


def test_folder_keeps_what_was_asked_for(finished):
    folder, _ = finished
    names = sorted(path.name for path in folder.iterdir())
    predictions = "predictions-validation.parquet"
    assert names == [".lock", "change.jsonl", "metrics.jsonl", "model", predictions, "record.json", "run.log"]
    assert "step 8/8" in (folder / "run.log").read_text()


def test_last_line_printed_names_the_record_and_a_finished_run_is_skipped(train, capsys, caplog):
    first = train(*TINY_DEMO)
    assert capsys.readouterr().out.splitlines()[-1] == f"record: {first.folder / 'record.json'}"
    caplog.set_level("INFO")
    again = train(*TINY_DEMO)
    assert again.record == first.record
    assert again.code == first.code
    assert "already (overwrite=true runs it again)" in caplog.text
    assert "its weights were not kept" not in caplog.text
    assert capsys.readouterr().out.splitlines()[-1] == f"record: {first.folder / 'record.json'}"
    train(*TINY_DEMO, "train.save_model=true")
    assert "its weights were not kept: train.save_model=true needs overwrite=true now" in caplog.text


def test_overwrite_runs_again_and_gives_the_same_bit_for_bit(train):
    overrides = [*TINY_DEMO, "model=debertav3", "model.tokenizer=demo", "train.save_model=true"]
    first = train(*overrides)
    logits, weights = predictions(first.folder), (first.folder / "model" / "model.safetensors").read_bytes()
    again = train(*overrides, "overwrite=true")
    assert again.record.started >= first.record.started
    assert predictions(again.folder) == logits
    assert (again.folder / "model" / "model.safetensors").read_bytes() == weights
    assert again.record.metrics == first.record.metrics


def test_baseline_is_a_plain_checkpoint(train):
    result = train(*TINY_DEMO, "gi=none", "train.save_model=true")
    assert json.loads((result.folder / "model" / "config.json").read_text())["model_type"] == "bert"
    assert result.record.parameters["gates"] == 0


def test_a_change_of_ones_own_trains_and_the_record_says_what_it_was(train, tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(
        "from gifine.changes import Parameter\nSITES = ('value',)\n"
        "def find_parameters(settings, place):\n    return {'scale': Parameter((place.given,))}\n"
        "def apply(settings, parameters, value, at):\n    return value * (1 + parameters['scale'])\n"
    )
    words = ["++change.name=mine", f"++change.file={file}", "change.layers=1", "train.max_steps=2"]
    result = train(*TINY_DEMO, *words, "train.save_model=true")
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    where = {"name": "mine", "sites": ["value"], "layers": [1], "positions": None}
    said = {**where, "parameters": 16, "sha256": sha256, "defaults": {"layers": None}}
    assert result.record.provenance["change"] == said
    assert result.record.contents == {"change.file": sha256}
    assert result.record.provenance["files"] == {str(file): sha256}
    assert evaluate.main([str(result.folder)]) == ExitCode.DONE
    file.write_text(file.read_text() + "# edited\n")
    assert evaluate.main([str(result.folder)]) == ExitCode.BAD_INPUT
    assert f"its change's file {file} was edited since the run" in capsys.readouterr().err
    with pytest.raises(OutputError, match=r"of other contents of change\.file \(sha256 "):
        train(*TINY_DEMO, *words, f"output_dir={result.folder}")


def test_a_nan_loss_is_recorded_as_diverged(train):
    result = train(*TINY_DEMO, "train.learning_rate=1e30", "train.warmup=0")
    assert (result.code, result.record.status) == (ExitCode.DIVERGED, Status.DIVERGED)
    assert "at step" in result.record.error
    assert result.record.metrics == {}
    assert result.record.steps["done"] < result.record.steps["planned"]
    json.loads((result.folder / "record.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def test_one_predicted_class_is_recorded_as_degenerate(train):
    result = train(*TINY_DEMO, "train.learning_rate=1e-9", "train.epochs=1")
    assert (result.code, result.record.status) == (ExitCode.DONE, Status.DEGENERATE)
    assert result.record.error == "validation: one class predicted for all 48 examples"
    assert result.record.metrics["demo/validation/matthews"] == 0


def test_training_that_returns_early_is_interrupted_not_done(train, monkeypatch):
    def stop(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == 3

    monkeypatch.setattr(callbacks.Bar, "on_step_end", stop)
    result = train(*TINY_DEMO)
    assert (result.code, result.record.status) == (ExitCode.INTERRUPTED, Status.INTERRUPTED)
    assert result.record.error == "stopped at step 3 of 8"
    monkeypatch.undo()
    assert train(*TINY_DEMO).record.status in (Status.DONE, Status.DEGENERATE), "an interrupted run is run again"


def test_ctrl_c_is_recorded(train, monkeypatch, tmp_path):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(callbacks.Bar, "on_step_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(*TINY_DEMO)
    (path,) = tmp_path.glob("*/record.json")
    assert json.loads(path.read_text())["status"] == "interrupted"


def test_a_crash_is_recorded_with_its_traceback(train, monkeypatch, tmp_path):
    def crash(*args, **kwargs):
        raise RuntimeError("the device is on fire")

    monkeypatch.setattr(callbacks.Bar, "on_step_end", crash)
    with pytest.raises(RuntimeError, match="on fire"):
        train(*TINY_DEMO)
    (path,) = tmp_path.glob("*/record.json")
    record = json.loads(path.read_text())
    assert record["status"] == "failed"
    assert "Traceback" in record["error"]
    assert "the device is on fire" in record["error"]


def test_folder_of_another_run_is_refused_and_left_alone(train, tmp_path):
    first = train(*TINY_DEMO, f"output_dir={tmp_path / 'mine'}", "train.epochs=1")
    with pytest.raises(OutputError, match="of another config"):
        train(*TINY_DEMO, f"output_dir={tmp_path / 'mine'}", "train.epochs=1", "seed=7")
    assert json.loads((first.folder / "record.json").read_text())["run_id"] == first.record.run_id


def write_rows(path, header, rows):
    path.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
    return path


def test_regression_on_own_csv_files(train, tmp_path):
    rows = [[f"a red fox {'runs ' * n}".strip(), f"a fox {'runs ' * (n % 3)}".strip(), str(n / 2)] for n in range(12)]
    path = write_rows(tmp_path / "rows.csv", ["left", "right", "score"], rows)
    result = train(
        *TINY_DEMO,
        "task=stsb",
        "task.name=foxes",
        "task.inputs=[left,right]",
        "task.label=score",
        f"task.files.train={path}",
        f"task.files.validation={path}",
        "data=hub",
    )
    assert result.record.metrics.keys() == {"foxes/validation/pearson", "foxes/validation/spearman"}
    assert predictions(result.folder)["label"] == [n / 2 for n in range(12)]
    assert np.shape(predictions(result.folder)["logits"]) == (12, 1)


def test_a_best_checkpoint_that_reloads_with_another_score_fails_the_run(train, monkeypatch, tmp_path):
    """As where a custom module's weights are not found and stay random."""

    def reload_wrongly(self):
        for parameter in self.model.parameters():
            torch.nn.init.normal_(parameter)

    rows = [[f"a fox {'runs ' * (n % 5)}".strip(), str(n / 2)] for n in range(12)]
    path = write_rows(tmp_path / "rows.csv", ["text", "label"], rows)
    files = [f"task.files.train={path}", f"task.files.validation={path}", "data=hub"]
    monkeypatch.setattr("gifine.training.trainer.Trainer._load_best_model", reload_wrongly)
    with pytest.raises(RuntimeError, match=r"the best checkpoint had stsb/validation/pearson .*, reloaded it has"):
        train(*TINY_DEMO, "task=stsb", "task.inputs=[text]", *files, "model.config_overrides.initializer_range=0.5")
    (record,) = tmp_path.glob("*/record.json")
    assert json.loads(record.read_text())["status"] == "failed"


def test_undefined_correlation_is_null_and_degenerate(train, tmp_path):
    path = write_rows(tmp_path / "rows.csv", ["text", "label"], [["the same words", str(n)] for n in range(8)])
    result = train(
        *TINY_DEMO,
        "task=stsb",
        "task.inputs=[text]",
        f"task.files.train={path}",
        f"task.files.validation={path}",
        "data=hub",
    )
    assert result.record.status == Status.DEGENERATE
    assert result.record.metrics == {"stsb/validation/pearson": None, "stsb/validation/spearman": None}


def test_bad_data_fails_with_file_and_line_before_training(train, tmp_path):
    path = write_rows(tmp_path / "rows.csv", ["sentence", "label"], [["a fox", "1"], ["a dog", "7"]])
    files = [f"task.files.train={path}", f"task.files.validation={path}"]
    with pytest.raises(DataError, match=r"rows\.csv, line 3: label '7'"):
        train(*TINY_DEMO, "task=cola", "data=hub", *files)
    (record,) = tmp_path.glob("*/record.json")
    assert json.loads(record.read_text())["status"] == "failed"


@pytest.mark.parametrize(
    ("overrides", "planned"),
    [
        (["train.gradient_accumulation=2"], 4),
        (["train.max_steps=3"], 3),
        (["train.gradient_checkpointing=true"], 8),
        (["train.precision=bf16"], 8),
        (["train.schedule=cosine", "train.warmup=2"], 8),
        (["train.evaluate=steps", "train.evaluate_steps=2"], 8),
        (["train.evaluate=end", "train.select_best=false"], 8),
        (["train.padding=max_length", "train.group_by_length=false"], 8),
        (["gi.threshold=token", "gi.mask_padding=true", "gi.init=identity"], 8),
        (["gi.threshold=sequence", "gi.layers=1", "gi.side=query"], 8),
        (["train.keep_checkpoints=true"], 8),
    ],
)
def test_options_run_to_the_end(train, overrides, planned, monkeypatch):
    monkeypatch.setattr(numerics, "cpu_flags", lambda: {"avx512_bf16"})
    result = train(*TINY_DEMO, *overrides)
    assert result.code == ExitCode.DONE
    assert result.record.steps == {"done": planned, "planned": planned}
    assert (result.folder / "checkpoints").exists() == ("train.keep_checkpoints=true" in overrides)


@pytest.mark.parametrize(
    ("flags", "valid"), [({"avx2", "avx512f"}, False), ({"avx2", "amx_bf16"}, True), (set(), True)]
)
def test_bf16_is_refused_on_a_cpu_without_it(train, flags, valid, monkeypatch):
    monkeypatch.setattr(numerics, "cpu_flags", lambda: flags)
    words = [*TINY_DEMO, "train.precision=bf16", "train.max_steps=1"]
    if valid:
        assert train(*words).code == ExitCode.DONE
    else:
        with pytest.raises(ConfigError, match="valid here: auto, fp32"):
            train(*words)


@pytest.mark.parametrize(
    ("words", "valid"),
    [
        (["model=deberta", "model.attention=hf"], False),
        (["model=deberta", "model.attention=hf", "gi=both"], True),
        (["model=deberta"], True),
        (["model=debertav3", "model.attention=hf"], True),
    ],
)
def test_debertas_attention_of_transformers_is_refused_in_bf16_where_it_would_raise(train, words, valid, monkeypatch):
    monkeypatch.setattr(numerics, "cpu_flags", lambda: {"avx512_bf16"})
    words = [*TINY_DEMO, "gi=none", "model.tokenizer=demo", "train.precision=bf16", "train.max_steps=1", *words]
    if valid:
        assert train(*words).code == ExitCode.DONE
    else:
        with pytest.raises(ConfigError, match=r"model\.attention=fast can, or give train\.precision=fp32"):
            train(*words)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("side", ["none", "both"])
def test_accumulated_batches_are_one_large_batch(train, side):
    """Where examples do not depend on each other: without dropout, and with a threshold of their own."""
    words = [f"gi={side}", "gi.threshold=sequence", "gi.mask_padding=true", "train.group_by_length=false"]
    words += ["model.config_overrides.hidden_dropout_prob=0", "model.config_overrides.attention_probs_dropout_prob=0"]
    one = train(*TINY_DEMO, *words, "train.batch_size=8", "train.epochs=1")
    two = train(*TINY_DEMO, *words, "train.batch_size=4", "train.gradient_accumulation=2", "train.epochs=1")
    for key in ("loss", "grad_norm"):
        ours, theirs = ([line[key] for line in curve(run.folder) if key in line] for run in (one, two))
        assert ours == pytest.approx(theirs, rel=1e-10)


def test_seed_recipe_is_the_original_script(train):
    result = train(
        *TINY_DEMO, "train=original", "train.epochs=1", "train.batch_size=16", "train.max_length=32", "train.device=cpu"
    )
    config = result.record.config["train"]
    assert (config["learning_rate"], config["warmup"], config["weight_decay"]) == (1e-3, 0, 0)
    assert config["padding"] == "max_length"
    assert [line["step"] for line in curve(result.folder) if "demo/validation/matthews" in line] == []
    assert result.record.best == {}
    assert (result.record.last, result.record.evaluations) == ({}, 0), "it is evaluated at its end only"


def test_a_saved_model_is_a_checkpoint_whatever_preset_it_is_given_to(train, finished):
    folder, record = finished
    words = [
        "model=debertav3",
        "model.random_init=false",
        "model.tokenizer=null",
        f"model.checkpoint={folder / 'model'}",
    ]
    result = train(*TINY_DEMO, *words, "train.learning_rate=1e-12")
    assert result.record.parameters == record.parameters
    assert result.record.metrics == record.metrics, "the weights are those of the run that saved them"


def test_full_disk_is_found_before_training(train, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 10**4, 10**4))
    with pytest.raises(OutputError, match=r"three checkpoints need .* GB, 0\.0 GB are free"):
        train(*TINY_DEMO)


def test_disk_that_fills_up_is_one_message(train, monkeypatch, tmp_path):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(callbacks.Bar, "on_step_end", full)
    with pytest.raises(OutputError, match="No space left on device"):
        train(*TINY_DEMO)
    (path,) = tmp_path.glob("*/record.json")
    assert json.loads(path.read_text())["status"] == "failed"
