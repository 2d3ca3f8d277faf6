"""What status says of a run under way, and when it has looked often enough."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gifine.errors import ArgumentError
from gifine.runs import curves
from gifine.runs.records import Record
from gifine.sweep import __main__ as sweep
from gifine.sweep import ledger, listing, states
from gifine.sweep.commands import status
from gifine.sweep.ledger import Entry
from gifine.sweep.states import RunState, State


@pytest.fixture
def running(tmp_path) -> RunState:
    """A run that was resumed at step 100, has made 50 of 300 steps in 100 s, and logged the last one 10 s ago."""
    began = datetime.now(UTC) - timedelta(seconds=110)
    record = Record("a" * 12, "run", {}, started=began.isoformat(), resumed_at=100, steps={"planned": 300})
    curve = tmp_path / "metrics.jsonl"
    curve.write_text('{"step": 100, "loss": 1}\n{"step": 150, "loss": 1}\n{"step": 1')
    at = began.timestamp() + 100
    os.utime(curve, (at, at))
    return RunState(Entry(record.run_id, "run", str(tmp_path)), State.RUNNING, record, job="7")


def test_what_is_left_is_told_by_the_pace_of_this_attempt(running):
    row = status.row(running)
    assert (row["step"], row["state"], row["job"]) == ("150/300", "running", "7")
    left = datetime.strptime(row["left"], "%H:%M:%S") - datetime.strptime("0", "%S")
    assert left.total_seconds() == pytest.approx(150 * 100 / 50 - 10, abs=5)


def test_without_a_step_of_this_attempt_nothing_is_left_to_tell(running):
    (Path(running.entry.folder) / "metrics.jsonl").write_text('{"step": 100}\n')
    assert status.row(running)["left"] is None
    running.record = None
    assert (status.row(running)["step"], status.row(running)["left"]) == (None, None)


@pytest.mark.parametrize("kind", ["folder", "loop"])
def test_a_curve_that_cannot_be_read_hides_no_run(running, kind):
    path = Path(running.entry.folder) / curves.CURVE
    path.unlink()
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path)
    running.record.steps["done"] = 120
    row = status.row(running)
    assert (row["step"], row["left"]) == ("120/300", None)


def test_watching_ends_with_the_last_run(tmp_path, monkeypatch, capsys):
    (tmp_path / ledger.FOLDER).mkdir()
    entry = Entry("a" * 12, "run", str(tmp_path / "run"))
    ledger.write(tmp_path, ledger.Ledger({entry.run_id: entry}))
    looks = iter([State.QUEUED, State.RUNNING, State.DONE])
    monkeypatch.setattr(listing, "read", lambda folder: [RunState(entry, next(looks), None)])
    assert sweep.main(["status", str(tmp_path), "--watch", "0.01", "--json"]) == 0
    seen = [json.loads(line)[0]["state"] for line in capsys.readouterr().out.splitlines()]
    assert seen == ["queued", "running", "done"]


def test_retry_says_what_it_leaves_alone(tmp_path, monkeypatch, capsys):
    """By default it takes what has failed: nobody should have to guess why a killed run stays as it is."""
    (tmp_path / ledger.FOLDER).mkdir()
    states_of = [State.KILLED, State.TIMED_OUT, State.KILLED, State.DONE, State.RUNNING]
    there = [RunState(Entry(str(n) * 12, f"run{n}", str(tmp_path)), state, None) for n, state in enumerate(states_of)]
    ledger.write(tmp_path, ledger.Ledger({each.entry.run_id: each.entry for each in there}))
    monkeypatch.setattr(states, "read", lambda sweep, book: there)
    assert sweep.main(["retry", str(tmp_path)]) == 0
    said = "0 submitted again; left alone: 2 killed, 1 timed out (--state killed --state timed-out)\n"
    assert capsys.readouterr().out == said


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "1e10", "soon"])
def test_watching_needs_a_time_between_two_looks(tmp_path, capsys, seconds):
    assert sweep.main(["status", str(tmp_path), f"--watch={seconds}"]) == ArgumentError.code
    assert f"--watch: {seconds} is no number of seconds above 0" in capsys.readouterr().err
