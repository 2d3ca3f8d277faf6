"""Memory that runs out: one message with what to lower, whoever could not have it, and a record that says so."""

from __future__ import annotations

import json
import resource
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import TINY_DEMO
from gifine import cli, evaluate, predict
from gifine.errors import ExitCode, MemoryExhaustedError, OutputError
from gifine.machine import out_of_memory
from gifine.runs import identity, records
from gifine.runs.records import Status

# A feed-forward layer whose activations take gigabytes for a batch of hundreds, and little for a small one.
WIDE = [*TINY_DEMO, "gi=none", "train.epochs=1", "train.padding=max_length", "train.max_length=64", "train.max_steps=1"]
WIDE += ["model.config_overrides.intermediate_size=16384", "data.demo_train_rows=512", "data.demo_eval_rows=512"]


@contextmanager
def limited(room: int):
    """This process may take so many bytes of addresses more than it has now."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def execute(tmp_path, cache, *words):
    """As the command line runs it: exit code, record and folder."""
    from gifine import execution

    config = cli.config_from(cli.compose([*words, f"output_root={tmp_path}", f"data.cache_dir={cache}"]))
    with limited(1 << 30):
        code = execution.execute(config)
    record = records.read(identity.directory(config))
    assert record is not None
    return code, record, identity.directory(config)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["train.batch_size=512", "train.eval_batch_size=1"],
            "out of memory while training: lower train.batch_size=512 (and raise train.gradient_accumulation=1 by as "
            "much: the same step) or train.max_length=64, or set train.gradient_checkpointing=true; else a smaller ",
        ),
        (
            ["train.batch_size=2", "train.eval_batch_size=512"],
            "out of memory while evaluating: lower train.eval_batch_size=512 or train.max_length (CPU: ",
        ),
        (
            ["train.batch_size=2", "train.eval_batch_size=512", "train.evaluate=end", "train.select_best=false"],
            "out of memory while evaluating: lower train.eval_batch_size=512 or train.max_length (CPU: ",
        ),
    ],
    ids=["training", "evaluating in training", "evaluating at the end"],
)
def test_a_batch_that_is_too_large_is_told_with_what_to_lower(tmp_path, cache, capsys, words, said):
    from gifine import train  # noqa: F401 - what is imported and loaded by now does not count

    code, record, _ = execute(tmp_path, cache, *WIDE, *words)
    assert code == ExitCode.BAD_INPUT
    error = capsys.readouterr().err
    assert f"error: {said}" in error
    assert "Traceback" not in error
    assert record.status is Status.FAILED
    assert (record.error or "").startswith(said)
    assert "DefaultCPUAllocator" in (record.error or "")


def failing(*errors):
    """What raises each of them in turn."""
    left = list(errors)

    def fail(*args, **kwargs):
        raise left.pop(0)

    return fail


CUDA = torch.cuda.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 1 GiB"
)
WORDS = [
    (CUDA, "GPU: CUDA out of memory. Tried to allocate 2.00 GiB."),
    (RuntimeError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"), "GPU: CUDA error: out of memory"),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), "GPU: CUDA error: CUBLAS"),
    (MemoryError(), "CPU: MemoryError"),
    (np.exceptions.AxisError("std::bad_alloc"), "CPU: std::bad_alloc"),
    (OSError(12, "Cannot allocate memory"), "CPU: [Errno 12] Cannot allocate memory"),
    (
        RuntimeError("unable to mmap 99 bytes from file <x>: Cannot allocate memory (12)"),
        "CPU: unable to mmap 99 bytes",
    ),
]


@pytest.mark.parametrize(("error", "said"), WORDS)
def test_it_is_told_from_what_any_library_raises(error, said):
    outer = ValueError("cannot go on")
    outer.__cause__ = error
    assert (out_of_memory.reason(outer) or "").startswith(said)
    with (
        pytest.raises(MemoryExhaustedError, match=r"^out of memory while reading: buy more \("),
        out_of_memory.explain("reading", "buy more"),
    ):
        raise error


def test_nothing_else_is_taken_for_it():
    assert out_of_memory.reason(RuntimeError("size mismatch for classifier.weight")) is None
    for error in (KeyError("a"), OutputError("no room"), KeyboardInterrupt()):
        with pytest.raises(type(error)), out_of_memory.explain("training", "less"):
            raise error


def test_loading_a_model_that_is_too_large_is_told(tmp_path, cache, monkeypatch, capsys):
    from gifine import models

    monkeypatch.setattr(models, "build", failing(CUDA))
    code, record, _ = execute(tmp_path, cache, *TINY_DEMO)
    assert code == ExitCode.BAD_INPUT
    assert (record.error or "").startswith("out of memory (GPU: CUDA out of memory.")
    assert "take a machine with more, or a smaller model" in capsys.readouterr().err


def test_finished_runs_are_taken_in_their_own_batches(train, tmp_path, monkeypatch, capsys):
    import transformers

    for split in ("train", "validation", "test"):
        rows = [json.dumps({"sentence": "the cat sleeps", "label": label}) for label in (0, 1) * 4]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(rows))
    files = [f"task.files.{split}={tmp_path / split}.jsonl" for split in ("train", "validation", "test")]
    result = train(*TINY_DEMO, *files, "train.epochs=1", "train.save_model=true")
    monkeypatch.setattr(transformers.Trainer, "predict", failing(CUDA, MemoryError()))
    for command, doing in ((evaluate.main, "evaluating"), (predict.main, "predicting with")):
        assert command([str(result.folder)]) == ExitCode.BAD_INPUT
        error = capsys.readouterr().err
        assert f"error: out of memory while {doing} {result.folder}: the batches are the run's own (train.eval" in error
        assert "Traceback" not in error
    assert records.read(result.folder) == result.record


def test_advice_leaves_out_what_is_done_already():
    config = cli.config_from(
        cli.compose([*TINY_DEMO, "train.batch_size=1", "train.gradient_checkpointing=true", "train.max_length=16"])
    )
    assert out_of_memory.training(config.train).startswith("lower train.max_length=16; else a smaller model")
    assert out_of_memory.evaluation(1) == "lower train.max_length"
