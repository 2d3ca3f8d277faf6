"""A sweep of an earlier version, whose modules lay elsewhere, is read as it was then.

Its files are in `data/before_rooms`. The commands are called as users call them, since modules may move.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data" / "before_rooms"
COMPARED = ["model", "gi.side", "gi.level", "task", "measure", "seeds", "baseline", "gated", "n", "difference", "sd"]
COMPARED += ["without_degenerate", "failures", "runs"]
WORDS = [
    "task=demo",
    "data=demo",
    "model=bert",
    "model.random_init=true",
    "model.tokenizer=demo",
    "model.config_overrides={hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 32, "
    "initializer_range: 0.5}",
    "data.demo_train_rows=320",
    "data.demo_eval_rows=48",
    "train.epochs=1",
    "train.batch_size=8",
    "train.learning_rate=1e-3",
    "train.max_length=32",
    "gi.level=0.3",
    "gi.side=none,both",
    "output_root=runs",
]


@pytest.fixture
def said(tmp_path):
    """What a command prints, called beside a copy of the sweep: the commands may leave a lock in it."""
    shutil.copytree(DATA / "runs", tmp_path / "runs")

    def call(*words: str) -> str:
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


def test_status_says_what_it_said_then(said):
    rows = json.loads(said("gifine.sweep", "status", "runs", "--json"))
    then = json.loads((DATA / "status.json").read_text(encoding="utf-8"))
    assert [{key: row[key] for key in known} for row, known in zip(rows, then, strict=True)] == then
    assert [row["state"] for row in rows] == ["done"] * 4 + ["failed", "interrupted"]


@pytest.mark.parametrize(("seeds", "runs", "finished"), [("1,2", 4, 4), ("3", 2, 0)])
def test_finished_runs_are_known_by_their_run_ids(said, seeds, runs, finished):
    plan = json.loads(said("gifine.sweep", "plan", "--json", *WORDS, f"seed={seeds}"))
    assert (plan["runs"], plan["finished"]) == (runs, finished)


def test_the_table_has_the_same_numbers(said):
    now = said("gifine.report", "runs", "--format", "csv", "--show", "table")
    assert now == (DATA / "table.csv").read_text(encoding="utf-8")


def test_the_comparison_is_of_the_same_runs_and_scores(said):
    """Its tests are others now: of what they conclude, nothing is compared."""
    now = said("gifine.report", "runs", "--format", "csv", "--show", "comparison")
    then = (DATA / "comparison.csv").read_text(encoding="utf-8")
    found, expected = (list(csv.DictReader(io.StringIO(text))) for text in (now, then))
    assert len(expected) == 1
    assert [{key: row[key] for key in COMPARED} for row in found] == [
        {key: row[key] for key in COMPARED} for row in expected
    ]
