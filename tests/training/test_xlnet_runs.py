"""Runs of a tiny XLNet on the demo task: stopped and gone on, beside a baseline, and by two processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from conftest import TINY_DEMO
from gifine.runs.records import Status
from gifine.training import callbacks
from support.processes import ACCELERATE, differences, finish, start

RUN = [word.replace("model=bert", "model=xlnet") for word in TINY_DEMO]
RUN += ["gi=both", "gi.level=0.3", "train.batch_size=8", "train.save_model=true"]
NO_DROPOUT = ["model.config_overrides.dropout=0", "model.config_overrides.summary_last_dropout=0"]


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


@pytest.mark.long
@pytest.mark.parametrize("words", [[], ["train.gradient_checkpointing=true"]], ids=["plainly", "checkpointing"])
def test_a_stopped_run_ends_as_one_that_was_not(train, monkeypatch, tmp_path, words):
    whole = train(*RUN, *words, f"output_root={tmp_path / 'whole'}")
    steps = {5}

    def on_step_end(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step in steps:
            steps.clear()
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(callbacks.Bar, "on_step_end", on_step_end)
    stopped = train(*RUN, *words)
    assert stopped.record.status == Status.INTERRUPTED
    again = train(*RUN, *words)
    assert again.record.status in (Status.DONE, Status.DEGENERATE)
    assert weights(again.folder) == weights(whole.folder)
    assert again.record.metrics == whole.record.metrics


@pytest.mark.long
def test_a_baseline_starts_as_its_twin(train):
    """The same head, order and dropout: with gates that start as none, the first loss is the same number."""
    plain = train(*RUN, "gi=none", "train.max_steps=1")
    gated = train(*RUN, "gi.init=identity", "train.max_steps=1")
    losses = [(each.folder / "metrics.jsonl").read_text().splitlines()[0] for each in (plain, gated)]
    assert '"loss"' in losses[0]
    assert losses[0] == losses[1]
    ours, theirs = (load_file(each.folder / "model" / "model.safetensors") for each in (gated, plain))
    assert theirs.keys() < ours.keys()


@pytest.mark.long
@pytest.mark.usefixtures("float64")
def test_two_processes_and_accumulated_batches_are_one_process(train, tmp_path):
    """With DDP, which waits for each gradient, and with FSDP."""
    words = [*RUN, *NO_DROPOUT, "gi.threshold=sequence", "gi.mask_padding=true"]
    one = train(*words, "train.batch_size=32", "model.attention=hf")
    words += ["train.gradient_accumulation=2", "train.keep_checkpoints=true"]
    for name, more in (("ddp", []), ("fsdp", ["train.fsdp=true", "train.gradient_checkpointing=true"])):
        finish(start(ACCELERATE, *words, *more, f"output_dir={tmp_path / name}", f"data.cache_dir={tmp_path}"))
        assert max(differences(one.folder, tmp_path / name)) < 1e-10, name
    assert [*(tmp_path / "fsdp" / "checkpoints").glob("checkpoint-*/optimizer.bin")], "it was not FSDP"
