"""Runs on two processes, as torchrun and accelerate start them, and how far two runs are apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet
from safetensors.torch import load_file

from conftest import ROOT, TINY_DEMO

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
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests" / "support")}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


def differences(one, other):
    """The largest between the losses, the logits and the weights of two runs."""
    curves = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (one, other)]
    losses = [np.array([line["loss"] for line in curve if "loss" in line]) for curve in curves]
    logits = [
        np.array(pyarrow.parquet.read_table(run / "predictions-validation.parquet")["logits"].to_pylist())
        for run in (one, other)
    ]
    weights = [load_file(next((run / "model").glob("*.safetensors"))) for run in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    moved = max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0])
    return np.abs(losses[0] - losses[1]).max(), np.abs(logits[0] - logits[1]).max(), moved
