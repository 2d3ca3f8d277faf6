"""Several processes: what one process with the same batch gives, and where it cannot be."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
from safetensors.torch import load_file

from conftest import TINY_MODEL, tiny_bert
from support.processes import ACCELERATE, RUN, TORCHRUN, differences, finish, start

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("float64")]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """One run a threshold, all by the same two processes; the folders by threshold."""
    root = tmp_path_factory.mktemp("two")
    words = ["--multirun", *RUN, "gi.threshold=sequence,token,batch", f"output_root={root}", f"data.cache_dir={root}"]
    output = finish(start(TORCHRUN, *words))
    assert output.count("record: ") == 3, "the first process alone writes records"
    folders = {}
    for path in root.glob("*/record.json"):
        record = json.loads(path.read_text())
        assert record["provenance"]["processes"] == 2
        folders[record["config"]["gi"]["threshold"]] = path.parent
    return folders


def last_checkpoint(folder):
    """The names of its files: FSDP's optimizer is in `optimizer.bin`, that of DDP in `optimizer.pt`."""
    (last,) = (folder / "checkpoints").glob("checkpoint-8")
    return {path.name for path in last.iterdir()}


@pytest.mark.parametrize("threshold", ["sequence", "token"])
def test_two_processes_give_what_one_with_twice_the_batch_gives(two_processes, train, threshold):
    one = train(*RUN, f"gi.threshold={threshold}", "train.batch_size=16")
    assert max(differences(two_processes[threshold], one.folder)) < 1e-10
    record = json.loads((two_processes[threshold] / "record.json").read_text())
    assert record["metrics"] == one.record.metrics
    assert record["steps"] == one.record.steps


def test_a_step_of_two_processes_has_the_weighted_loss_of_all_its_examples(train, tmp_path):
    """Of accumulated batches, too: each with labels of its own, whose weights do not add up to the same."""
    words = [*RUN, "gi.threshold=token", "train.class_weights=[1,5]", "train.label_smoothing=0.1", "train.patience=1"]
    words += ["train.epochs=4"]
    own = ["train.batch_size=4", "train.gradient_accumulation=2", f"output_dir={tmp_path / 'two'}"]
    finish(start(TORCHRUN, *words, *own, f"data.cache_dir={tmp_path}"))
    one = train(*words, "train.batch_size=16")
    assert max(differences(tmp_path / "two", one.folder)) < 1e-4
    record = json.loads((tmp_path / "two" / "record.json").read_text())
    assert record["stopped_early"] == one.record.stopped_early
    assert record["class_weights"] == one.record.class_weights == {"unacceptable": 1.0, "acceptable": 5.0}


def test_a_threshold_over_the_batch_spans_the_batch_of_one_process(two_processes, train):
    """So two processes of 8 are not one of 16, as docs/devices.md says."""
    one = train(*RUN, "gi.threshold=batch", "train.batch_size=16")
    losses, _, _ = differences(two_processes["batch"], one.folder)
    assert losses > 1e-3


def test_two_processes_without_a_gpu_are_one_run_whether_or_not_they_are_told_of_the_cpu(two_processes, tmp_path):
    words = [word for word in RUN if word != "train.device=cpu"]
    words += ["gi.threshold=token", f"output_dir={tmp_path / 'run'}", f"data.cache_dir={tmp_path}"]
    assert finish(start(TORCHRUN, *words)).count("record: ") == 1
    assert json.loads((tmp_path / "run" / "record.json").read_text())["provenance"]["processes"] == 2
    assert max(differences(two_processes["token"], tmp_path / "run")) == 0


def test_accelerate_starts_the_run_that_torchrun_starts(two_processes, tmp_path):
    words = [*RUN, "gi.threshold=token", f"output_dir={tmp_path / 'run'}", f"data.cache_dir={tmp_path}"]
    assert finish(start(ACCELERATE, *words)).count("record: ") == 1
    for name in ("model/model.safetensors", "predictions-validation.parquet", "metrics.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (two_processes["token"] / name).read_bytes(), name


def test_a_pair_of_two_processes_takes_the_steps_of_one_with_twice_the_batch(train, tmp_path):
    """Generator and discriminator one after the other, each in two batches, and the masks by row.

    All rows are padded alike: padding takes part in a gate's maximum.
    """
    words = ["task=rtd", "model=debertav3", "data=demo", *TINY_MODEL, "model.tokenizer=demo", "gi.threshold=sequence"]
    words += ["model.config_overrides.hidden_dropout_prob=0", "model.config_overrides.attention_probs_dropout_prob=0"]
    words += [
        "train.padding=max_length",
        "data.demo_text_rows=160",
        "data.held_out=0.1",
        "train.evaluate=end",
        "train.select_best=false",
    ]
    words += ["train.max_length=32", "train.max_tokens=500", "train.learning_rate=1e-2", "train.save_model=true"]
    two = ["train.batch_size=2", "train.gradient_accumulation=2", f"output_dir={tmp_path / 'two'}"]
    finish(start(TORCHRUN, *words, *two, f"data.cache_dir={tmp_path}"))
    one = train(*words, "train.batch_size=8")
    record = json.loads((tmp_path / "two" / "record.json").read_text())
    assert record["steps"] == one.record.steps
    assert record["seen"]["tokens"] == one.record.seen["tokens"]
    assert record["metrics"] == pytest.approx(one.record.metrics, rel=1e-9)
    for name in ("model.safetensors", "generator/model.safetensors", "delta.safetensors"):
        theirs, ours = (load_file(folder / "model" / name) for folder in (tmp_path / "two", one.folder))
        assert max(float((theirs[each] - ours[each]).abs().max()) for each in ours) < 1e-10, name


def stopped_and_gone_on(folder, launcher, *words):
    """A run that is stopped after its second step or later, and started again."""
    words = (*words, "train.save_steps=1", f"output_dir={folder}", f"data.cache_dir={folder.parent}")
    stopped = start(launcher, *words)
    curve, deadline = folder / "metrics.jsonl", time.monotonic() + 150
    while not (curve.exists() and '"step": 2' in curve.read_text()):
        assert stopped.poll() is None, stopped.communicate()[0]
        assert time.monotonic() < deadline, "no second step in time"
        time.sleep(0.005)
    os.kill(stopped.pid, signal.SIGTERM)
    output, _ = stopped.communicate(timeout=240)
    assert "interrupted: stopped at step" in output, output

    finish(start(launcher, *words))
    record = json.loads((folder / "record.json").read_text())
    assert record["attempts"] == 2
    assert record["resumed_at"] >= 2


def test_fsdp_by_accelerate_is_stopped_goes_on_and_ends_as_ddp_does(two_processes, tmp_path):
    words = [*RUN, "gi.threshold=sequence", "train.fsdp=true", "train.keep_checkpoints=true"]
    stopped_and_gone_on(tmp_path / "run", ACCELERATE, *words)
    assert max(differences(two_processes["sequence"], tmp_path / "run")) < 1e-10
    assert {"model.safetensors", "pytorch_model_fsdp.bin", "optimizer.bin"} <= last_checkpoint(tmp_path / "run")


def test_fsdp_of_one_process_is_the_run_without_it(train, tmp_path):
    """So it can be tried on a machine with one GPU. What is computed again has the same dropout, which it can have."""
    run = [word for word in RUN if "dropout" not in word]
    words = ["train.fsdp=true", "train.gradient_checkpointing=true", "train.keep_checkpoints=true"]
    words += [f"output_dir={tmp_path / 'run'}", f"data.cache_dir={tmp_path}"]
    finish(start([*TORCHRUN[:-1], "--nproc-per-node=1"], *run, *words))
    assert max(differences(train(*run).folder, tmp_path / "run")) < 1e-10
    assert "optimizer.bin" in last_checkpoint(tmp_path / "run")


def test_so_does_fsdp_of_a_change_alone_whose_checkpoints_have_no_more_than_it(tmp_path):
    """With dropout inside the change, whose count of passes checkpoints hold."""
    tiny_bert(tmp_path / "base", seed=0)
    own = ["model.random_init=false", "model.tokenizer=null", f"model.checkpoint={tmp_path / 'base'}"]
    words = [word for word in RUN if not word.startswith("gi.")]
    words += [*own, "change=lora", "change.dropout=0.3", "train.parameters=change", "train.learning_rate=1e-2"]
    words.append("train.keep_checkpoints=true")
    finish(start(TORCHRUN, *words, f"output_dir={tmp_path / 'ddp'}", f"data.cache_dir={tmp_path}"))
    stopped_and_gone_on(tmp_path / "fsdp", TORCHRUN, *words, "train.fsdp=true")
    assert max(differences(tmp_path / "ddp", tmp_path / "fsdp")) < 1e-10
    for run, optimizer in (("ddp", "optimizer.pt"), ("fsdp", "optimizer.bin")):
        files = last_checkpoint(tmp_path / run)
        assert {"trained.safetensors", optimizer} <= files
        assert not files & {"model.safetensors", "pytorch_model_fsdp.bin"}


PRETRAINING = [["task=mlm"], *(["task=rtd", f"task.generator.sharing={each}"] for each in ("gdes", "none", "shared"))]


@pytest.mark.parametrize("task", PRETRAINING)
def test_fsdp_of_pre_training_is_stopped_goes_on_and_ends_as_one_process_does(train, tmp_path, task):
    """A head reads the word embeddings, which FSDP shards apart; a decoder runs a layer twice; of a pair both step."""
    words = [*task, "model=debertav3", "data=demo", *TINY_MODEL, "model.tokenizer=demo", "gi.threshold=sequence"]
    words += ["model.config_overrides.hidden_dropout_prob=0", "model.config_overrides.attention_probs_dropout_prob=0"]
    words += ["data.demo_text_rows=160", "data.held_out=0.1", "train.padding=max_length", "train.max_length=32"]
    words += ["train.max_steps=8", "train.learning_rate=1e-2", "train.log_steps=1", "train.save_model=true"]
    words += ["train.select_best=false", "train.device=cpu"]
    own = ["train.batch_size=2", "train.gradient_accumulation=2", "train.fsdp=true", "train.keep_checkpoints=true"]
    stopped_and_gone_on(tmp_path / "two", TORCHRUN, *words, *own)
    one = train(*words, "train.batch_size=8")
    record = json.loads((tmp_path / "two" / "record.json").read_text())
    assert record["metrics"] == pytest.approx(one.record.metrics, rel=1e-9)
    theirs, ours = (load_file(folder / "model" / "model.safetensors") for folder in (tmp_path / "two", one.folder))
    assert theirs.keys() == ours.keys()
    assert max(float((theirs[name] - ours[name]).abs().max()) for name in ours) < 1e-10
    assert "optimizer.bin" in last_checkpoint(tmp_path / "two")
