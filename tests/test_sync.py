"""gifine.sync: what offline runs left, uploaded by wandb itself to a server on this machine, once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TINY_DEMO, WANDB
from gifine import sync
from gifine.errors import ExitCode
from gifine.runs import lifecycle
from gifine.runs.records import Status
from gifine.tracking import wandb_run
from gifine.training import callbacks
from support import fake_wandb_server

wandb = pytest.importorskip("wandb", reason="needs the extra `wandb`")

OFFLINE = [*TINY_DEMO, "tracking=wandb", "tracking.mode=offline", "tracking.group=trial"]
KEY = "0123456789abcdef0123456789abcdef01234567"
pytestmark = WANDB


@pytest.fixture
def server():
    with fake_wandb_server.serve() as server, pytest.MonkeyPatch.context() as environment:
        environment.setenv("WANDB_BASE_URL", server.url)
        environment.setenv("WANDB_API_KEY", KEY)
        yield server
        wandb.teardown()


def stop_at(step, monkeypatch):
    def stop(self, args, state, control, **kwargs):
        if state.global_step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(callbacks.Bar, "on_step_end", stop)


def curve(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_what_is_left_is_uploaded_once(train, server, capfd):
    run = train(*OFFLINE)
    root = str(run.folder.parent)
    assert sync.main([root, "--dry-run"]) == ExitCode.DONE
    assert str(run.folder) in capfd.readouterr().out
    assert not server.runs
    for _ in range(2):
        assert sync.main([root]) == ExitCode.DONE
        (name, there), *others = server.runs.items()
        assert (name, others) == (run.record.run_id, [])
        assert (there.about["displayName"], there.about["groupName"]) == ("giBERT-30-both demo s42", "trial")
        steps = [row["step"] for row in there.history if "loss" in row or "demo/validation/matthews" in row]
        assert steps == curve(run.folder)
        assert there.summary["outcome"] == str(run.record.status)
        assert there.summary["demo/validation/matthews"] == run.record.metrics["demo/validation/matthews"]
        assert there.exits == [0], "and nothing the second time"


def test_attempts_become_one_run(train, server, monkeypatch):
    stop_at(2, monkeypatch)
    assert train(*OFFLINE).record.status is Status.INTERRUPTED
    monkeypatch.undo()
    run = train(*OFFLINE)
    assert sync.main([str(run.folder)]) == ExitCode.DONE
    (there,) = server.runs.values()
    assert {row["step"] for row in there.history} >= set(curve(run.folder))
    assert (there.summary["attempt"], there.summary["outcome"]) == (2, str(run.record.status))
    assert there.exits == [1, 0], "in their order"


def test_attempts_of_one_second_are_in_their_order():
    names = ["offline-run-20261126_031512-0a", "run-20261126_031512-0a-1", "offline-run-20261126_031513-0a"]
    first, second, third = (sync._started(Path(name, "run-0a.wandb")) for name in names)
    assert first < second < third


def as_if_online(path: Path) -> Path:
    """Name what an offline attempt has left as an online one would: a real one depends on wandb's time limits."""
    folder = path.parent.rename(path.parent.with_name(path.parent.name.removeprefix("offline-")))
    return folder / path.name


def test_an_early_offline_attempt_does_not_replace_the_summary_of_a_later_one(train, server, monkeypatch):
    stop_at(2, monkeypatch)
    train(*OFFLINE)
    monkeypatch.undo()
    run = train(*OFFLINE)
    _, later = sorted(run.folder.glob("wandb/offline-run-*/run-*.wandb"))
    as_if_online(later)
    assert sync.main([str(run.folder)]) == ExitCode.DONE
    (there,) = server.runs.values()
    assert there.exits == [1, 0], "the early attempt's upload, and what its summary was set to"
    assert (there.summary["attempt"], there.summary["outcome"]) == (2, str(run.record.status))


def test_files_that_a_killed_process_has_left(train, server):
    """One of which nothing was written, and one that ends within an entry: neither keeps others from being uploaded."""
    run = train(*OFFLINE)
    (whole,) = run.folder.glob("wandb/offline-run-*/run-*.wandb")
    empty = run.folder / "wandb" / f"offline-run-20000101_000000-{run.record.run_id}" / whole.name
    empty.parent.mkdir()
    empty.touch()
    with whole.open("r+b") as file:
        file.truncate(whole.stat().st_size - 20)
    assert sync.main([str(run.folder)]) == ExitCode.DONE
    (there,) = server.runs.values()
    assert [row["step"] for row in there.history if "loss" in row][-1] == curve(run.folder)[-2]
    before = list(there.history)
    assert sync.main([str(run.folder)]) == ExitCode.DONE
    assert there.history == before


@pytest.mark.parametrize("missing", [1, 8, 100, 40_000])
def test_records_are_cut_off_whole(tmp_path, missing):
    """Held against wandb's own reader, over files of several blocks."""
    with wandb.init(dir=str(tmp_path), mode="offline", settings=wandb.Settings(console="off", silent=True)) as run:
        for step in range(300):
            run.log({"step": step, "text": "x" * (step * 7 % 500)})
    wandb.teardown()  # its process writes on for a moment
    (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    whole = path.read_bytes()
    sync.cut(path)
    assert path.read_bytes() == whole
    path.write_bytes(whole[:-missing])
    before = inspected(path)
    sync.cut(path)
    assert len(whole) - missing - sync.BLOCK < path.stat().st_size <= len(whole) - missing
    assert inspected(path) == before
    content = path.read_bytes()
    sync.cut(path)
    assert path.read_bytes() == content


def inspected(path: Path) -> list[str]:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return [line for line in lines if '"error"' not in line]


def test_a_run_that_goes_on_is_left_alone(train, server, caplog):
    run = train(*OFFLINE)
    with lifecycle.locked(run.folder):
        assert sync.main([str(run.folder)]) == ExitCode.DONE
    assert not server.runs
    assert "another process is at this run" in caplog.text


def test_what_an_online_run_could_not_finish_is_uploaded(train, server, monkeypatch):
    monkeypatch.setattr(wandb_run, "_finish", lambda run, record: run.finish(exit_code=1) or 1 / 0)
    run = train(*OFFLINE)
    assert (run.folder / wandb_run.UNSENT).exists()
    (path,) = run.folder.glob("wandb/offline-run-*/run-*.wandb")
    as_if_online(path)
    monkeypatch.undo()
    assert sync.main([str(run.folder)]) == ExitCode.DONE
    assert not (run.folder / wandb_run.UNSENT).exists()
    (there,) = server.runs.values()
    assert [row["step"] for row in there.history if "loss" in row][-1] == curve(run.folder)[-1]
    assert there.summary["outcome"] == str(run.record.status)


def test_a_summary_that_could_not_be_set_is_set_by_the_next_call(train, server, monkeypatch, caplog):
    run = train(*OFFLINE)
    (run.folder / wandb_run.UNSENT).touch()

    def refuse(*args):
        raise ConnectionError("gone")

    monkeypatch.setattr(wandb_run, "conclude", refuse)
    assert sync.main([str(run.folder)]) == ExitCode.FAILED
    assert "ConnectionError: gone" in caplog.text
    monkeypatch.undo()
    assert sync.main([str(run.folder)]) == ExitCode.DONE
    assert not (run.folder / wandb_run.UNSENT).exists()
    (there,) = server.runs.values()
    assert there.summary["outcome"] == str(run.record.status)


def test_without_a_key_or_a_server(train, server, monkeypatch, tmp_path, capsys):
    run = train(*OFFLINE)
    wandb.teardown()  # it remembers the key
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert sync.main([str(run.folder)]) == ExitCode.BAD_INPUT
    assert "run `wandb login`, or set WANDB_API_KEY" in capsys.readouterr().err
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    wandb.teardown()
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert sync.main([str(run.folder)]) == ExitCode.BAD_INPUT
    assert capsys.readouterr().err == "error: 127.0.0.1:9: Connection refused; do this on a machine with internet\n"
    assert sync.main([str(tmp_path / "nowhere")]) == ExitCode.BAD_INPUT
    assert not server.runs
