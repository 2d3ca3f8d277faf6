"""The same config gives the same bits: in one process and in another, and the record but for times and machine."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from conftest import TINY_DEMO
from gifine.training import callbacks

RUN = [*TINY_DEMO, "model=debertav3", "model.tokenizer=demo", "train.gradient_accumulation=2", "train.save_model=true"]
FILES = ["model/model.safetensors", "model/tokenizer.json", "predictions-validation.parquet", "metrics.jsonl"]


def entries(folder):
    """The record without what two runs of one config may differ in."""
    record = json.loads((folder / "record.json").read_text())
    for key in ("seconds", "started", "finished"):
        del record[key]
    del record["cost"]["seconds_a_step"]
    for key in ("output_root", "output_dir"):
        del record["config"][key]
    return record


@pytest.mark.integration
def test_two_processes_make_the_same_run_bit_for_bit(train, tmp_path, cache):
    first = train(*RUN)
    words = [*RUN, f"output_root={tmp_path / 'other'}", f"data.cache_dir={cache}"]
    command = [sys.executable, "-m", "gifine", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=None)
    assert done.returncode == 0, done.stderr
    (other,) = (tmp_path / "other").glob("demo_*")
    for name in FILES:
        assert (first.folder / name).read_bytes() == (other / name).read_bytes(), name
    assert entries(first.folder) == entries(other)


@pytest.mark.parametrize(("words", "expected"), [([], True), (["deterministic=false"], False)])
def test_algorithms_are_deterministic_on_a_cpu_unless_told_not_to_be(train, monkeypatch, words, expected):
    seen = []

    def look(self, args, state, control, **kwargs):
        seen.append(torch.are_deterministic_algorithms_enabled())

    monkeypatch.setattr(callbacks.Bar, "on_step_end", look)
    train(*TINY_DEMO, "train.max_steps=1", *words)
    assert seen == [expected]
