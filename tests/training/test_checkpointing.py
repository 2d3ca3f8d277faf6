"""Checkpoints on disk: only whole ones are gone on from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gifine.training import checkpointing


def write(folder: Path, step: int) -> Path:
    partial = folder / checkpointing.PARTIAL / f"checkpoint-{step}"
    partial.mkdir(parents=True)
    (partial / "model.safetensors").write_bytes(bytes(range(100)))
    (partial / "optimizer.pt").write_bytes(b"moments")
    final = checkpointing.at_step(folder, step)
    checkpointing.publish(partial, final)
    return final


def test_the_last_one_by_steps_is_taken(tmp_path):
    for step in (100, 20, 3):
        write(tmp_path, step)
    assert checkpointing.last_complete(tmp_path) == tmp_path / "checkpoint-100"


def test_nothing_there_is_none(tmp_path):
    assert checkpointing.last_complete(tmp_path) is None
    assert checkpointing.last_complete(tmp_path / "no such folder") is None


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: (path / "optimizer.pt").write_bytes(b"mom"), "optimizer.pt changed or missing"),
        (lambda path: (path / "optimizer.pt").write_bytes(b"momentz"), "optimizer.pt changed or missing"),
        (lambda path: (path / "model.safetensors").unlink(), "model.safetensors changed or missing"),
        (lambda path: (path / "manifest.json").unlink(), "no readable manifest"),
        (lambda path: (path / "manifest.json").write_text('{"model'), "no readable manifest"),
    ],
)
def test_damaged_ones_are_skipped_with_a_warning(tmp_path, caplog, harm, said):
    good, bad = write(tmp_path, 10), write(tmp_path, 20)
    harm(bad)
    assert checkpointing.last_complete(tmp_path) == good
    assert f"{bad} is skipped: " in caplog.text
    assert said in caplog.text


def test_what_is_half_written_has_no_name(tmp_path):
    (tmp_path / checkpointing.PARTIAL / "checkpoint-30").mkdir(parents=True)
    assert checkpointing.last_complete(tmp_path) is None


def test_clear_keeps_what_is_gone_on_from_and_before(tmp_path):
    for step in (10, 20, 30):
        write(tmp_path, step)
    (tmp_path / checkpointing.PARTIAL).mkdir(exist_ok=True)
    checkpointing.clear(tmp_path, keep=tmp_path / "checkpoint-20")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-20"]
    checkpointing.clear(tmp_path, keep=None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("best", "spare"), [(None, 20), (10, 10), (30, 20)])
def test_clear_leaves_two(tmp_path, best, spare):
    """After a process that was killed before it had deleted the oldest of three."""
    for step in (10, 20, 30):
        (write(tmp_path, step) / "trainer_state.json").write_text(json.dumps({"best_global_step": best}))
    checkpointing.clear(tmp_path, keep=tmp_path / "checkpoint-30")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"checkpoint-{spare}", "checkpoint-30"]


@pytest.mark.parametrize(
    ("names", "processes"), [(["rng_state.pth"], 1), ([f"rng_state_{rank}.pth" for rank in range(12)], 12)]
)
def test_processes_are_counted(tmp_path, names, processes):
    for name in names:
        (tmp_path / name).touch()
    assert checkpointing.processes(tmp_path) == processes
