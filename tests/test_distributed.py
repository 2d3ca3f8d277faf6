"""Several processes: what one process with the same batch gives, and where it cannot be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet
import pytest
from safetensors.torch import load_file

from conftest import ROOT, TINY_DEMO

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("float64")]

# No dropout, which each process draws for itself; the rest is what a run has. 64 rows: no batch is left incomplete.
RUN = [
    *TINY_DEMO,
    "train.batch_size=8",
    "train.save_model=true",
    "gi.mask_padding=true",
    "model.config_overrides.hidden_dropout_prob=0",
    "model.config_overrides.attention_probs_dropout_prob=0",
    "model.config_overrides.initializer_range=0.5",
]
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node=2"]
# --multi_gpu is what starts several processes; without a GPU they train on the CPU, as train.device says.
ACCELERATE = ["accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1"]
ACCELERATE += ["--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0"]


def start(launcher: list[str], *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", *launcher, "-m", "in_float64", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


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


def differences(one, other):
    """The largest between the losses, the logits and the weights of two runs."""
    curves = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (one, other)]
    losses = [np.array([line["loss"] for line in curve if "loss" in line]) for curve in curves]
    logits = [
        np.array(pyarrow.parquet.read_table(run / "predictions-validation.parquet")["logits"].to_pylist())
        for run in (one, other)
    ]
    weights = [load_file(run / "model" / "model.safetensors") for run in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    moved = max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0])
    return np.abs(losses[0] - losses[1]).max(), np.abs(logits[0] - logits[1]).max(), moved


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
    """So two processes of 8 are not one of 16, as the README says."""
    one = train(*RUN, "gi.threshold=batch", "train.batch_size=16")
    losses, _, _ = differences(two_processes["batch"], one.folder)
    assert losses > 1e-3


def test_accelerate_starts_the_run_that_torchrun_starts(two_processes, tmp_path):
    words = [*RUN, "gi.threshold=token", f"output_dir={tmp_path / 'run'}", f"data.cache_dir={tmp_path}"]
    assert finish(start(ACCELERATE, *words)).count("record: ") == 1
    for name in ("model/model.safetensors", "predictions-validation.parquet", "metrics.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (two_processes["token"] / name).read_bytes(), name


def test_fsdp_by_accelerate_is_stopped_goes_on_and_ends_as_ddp_does(two_processes, tmp_path):
    words = [*RUN, "gi.threshold=sequence", "train.fsdp=true", "train.save_steps=1", f"output_dir={tmp_path / 'run'}"]
    words.append(f"data.cache_dir={tmp_path}")
    stopped = start(ACCELERATE, *words)
    curve, deadline = tmp_path / "run" / "metrics.jsonl", time.monotonic() + 150
    while not (curve.exists() and '"step": 2' in curve.read_text()):
        assert stopped.poll() is None, stopped.communicate()[0]
        assert time.monotonic() < deadline, "no second step in time"
        time.sleep(0.005)
    os.kill(stopped.pid, signal.SIGTERM)
    output, _ = stopped.communicate(timeout=240)
    assert "interrupted: stopped at step" in output, output

    finish(start(ACCELERATE, *words))
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["attempts"] == 2
    assert record["resumed_at"] >= 2
    assert max(differences(two_processes["sequence"], tmp_path / "run")) < 1e-10
