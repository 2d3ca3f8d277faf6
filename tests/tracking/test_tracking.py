"""Tracking: what wandb is told, read back by wandb itself, and runs that are as good whatever happens to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import TINY_DEMO, WANDB
from gifine import cli
from gifine.runs import identity
from gifine.runs.records import Record, Status
from gifine.tracking import wandb_run
from gifine.training import callbacks

wandb = pytest.importorskip("wandb", reason="needs the extra `wandb`")

OFFLINE = [*TINY_DEMO, "tracking=wandb", "tracking.mode=offline", "tracking.group=trial", "tracking.tags=[mine]"]
OFFLINE += ["tracking.gate_steps=3"]
pytestmark = WANDB
KEY = "0123456789abcdef0123456789abcdef01234567"


def inspect(folder: Path) -> list[dict]:
    """What wandb's own reader finds in the files that a run left."""
    entries = []
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        entries += [json.loads(line) for line in done.stdout.splitlines()]
    return entries


def history(entries: list[dict]) -> list[dict]:
    return [entry["history"] for entry in entries if entry["type"] == "history"]


def test_wandb_has_config_curve_and_summary(train):
    result = train(*OFFLINE)
    entries = inspect(result.folder)
    (run,) = (entry["run"] for entry in entries if entry["type"] == "run")
    assert (run["run_id"], run["display_name"]) == (result.record.run_id, "giBERT-30-both demo s42")
    assert (run["project"], run["run_group"], run["job_type"]) == ("gifine", "trial", "train")
    assert run["tags"] == ["demo", "bert", "gi-both", "seed-42", "mine"]
    config = run["config"]["update"]
    assert config.keys() - {"_wandb"} == {
        *("model", "gi", "change", "task", "data", "train", "recipe", "search", "evaluate", "first"),
        *("seed", "seeds", "threads", "deterministic", "arm"),
    }
    assert config["arm"] == "both-0.3"
    assert config["train"] == result.record.config["train"], "ours, under its own names"
    lines = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    told = json.dumps(history(entries))
    assert len(history(entries)) == len(lines) + 2, "and the gates of steps 3 and 6"
    for layer in (0, 1):
        for side in ("key", "query"):
            for name in ("mean", "below_one", "saturated", "threshold"):
                assert told.count(f"gates/{layer}/{side}/{name}") == 2
    assert told.count('"demo/validation/matthews') == 2
    summary = json.dumps([entry for entry in entries if entry["type"] == "summary"])
    for word in (result.record.run_id, str(result.record.status), "attempt", "demo/validation/matthews"):
        assert word in summary


def test_a_run_that_goes_on_is_the_same_one_there(train, monkeypatch):
    def stop(self, args, state, control, **kwargs):
        if state.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(callbacks.Bar, "on_step_end", stop)
    stopped = train(*OFFLINE)
    assert stopped.record.status == Status.INTERRUPTED
    monkeypatch.undo()
    finished = train(*OFFLINE)
    runs = [entry["run"] for entry in inspect(finished.folder) if entry["type"] == "run"]
    assert len(runs) == 2
    assert {run["run_id"] for run in runs} == {finished.record.run_id}


def result_of(run):
    predictions = (run.folder / "predictions-validation.parquet").read_bytes()
    return run.record.metrics, predictions, (run.folder / "metrics.jsonl").read_text()


def services() -> list[psutil.Process]:
    """wandb's processes; those that a test has killed stay as zombies, since wandb does not wait for them."""
    alive = [child for child in psutil.Process().children(True) if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in alive if "wandb-core" in "".join(child.cmdline())]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
def test_a_run_is_the_same_when_wandbs_process_is_killed_or_hangs(train, monkeypatch, caplog, number):
    undisturbed = result_of(train(*TINY_DEMO))
    monkeypatch.setattr(wandb_run, "_FINISH_SECONDS", 2)
    monkeypatch.setattr(wandb_run, "_PATIENCE_SECONDS", 1)

    def strike(self, args, state, control, **kwargs):
        if state.global_step != 3:
            return
        deadline = time.monotonic() + 30
        while not (running := services()):
            assert time.monotonic() < deadline, "wandb's process did not start"
            time.sleep(0.05)
        for process in running:
            process.send_signal(number)

    monkeypatch.setattr(callbacks.Bar, "on_step_end", strike)
    clock = time.monotonic()
    struck = train(*OFFLINE, "overwrite=true")
    assert time.monotonic() - clock < 30
    assert result_of(struck) == undisturbed
    assert struck.record.status in (Status.DONE, Status.DEGENERATE)
    assert "tracking: wandb" in caplog.text


def test_a_server_out_of_reach_costs_seconds_and_leaves_files_to_sync(train, monkeypatch, caplog):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        clock = time.monotonic()
        result = train(*OFFLINE, "tracking.mode=online")
    assert time.monotonic() - clock < 60, "20 to start and 20 to finish"
    assert "offline, for `python -m gifine.sync`" in caplog.text
    assert history(inspect(result.folder))
    for path in result.folder.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), f"{path} has the key"


def test_a_server_that_never_answers_does_not_hold_a_run_up(train, monkeypatch, caplog):
    monkeypatch.setattr(wandb_run, "_START_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        result = train(*OFFLINE, "tracking.mode=online")
    assert result.record.status in (Status.DONE, Status.DEGENERATE)
    assert "tracking: not taken by" in caplog.text
    assert history(inspect(result.folder))


@pytest.mark.parametrize("variable", ["WANDB_MODE=disabled", "WANDB_DISABLED=true"])
def test_disabled_sends_and_writes_nothing_and_says_so(monkeypatch, tmp_path, caplog, variable):
    monkeypatch.setenv(*variable.split("="))
    config = cli.config_from(cli.compose([*TINY_DEMO, "tracking=wandb"]))
    with caplog.at_level("INFO"), wandb_run.tracked(config, tmp_path, Record("a" * 12, "run", {}), writes=True) as log:
        log({"step": 1})
    assert caplog.text.count("tracking: disabled (tracking.mode, WANDB_MODE or WANDB_DISABLED)") == 1
    assert list(tmp_path.iterdir()) == []
    assert services() == []


def test_what_is_derived_fits(monkeypatch, tmp_path):
    """wandb's library takes names that its server refuses."""
    words = [*TINY_DEMO, "tracking=wandb", "tracking.mode=offline", f"output_root={tmp_path / ('r' * 200)}"]
    config = cli.config_from(cli.compose([*words, f"model.name={'m' * 100}", f"model.title={'n' * 200}"]))
    given: dict[str, Any] = {}

    class _StartedError(Exception):
        pass

    def init(**values: object) -> None:
        given.update(values)
        raise _StartedError

    monkeypatch.setattr(wandb, "init", init)
    with pytest.raises(_StartedError):
        wandb_run.conclude(config, tmp_path, Record("a" * 12, "run", {}))
    assert (len(given["name"]), len(given["group"]), len(given["tags"][1])) == (128, 128, 64)


def test_a_failed_run_says_so_there(train, monkeypatch, tmp_path):
    def crash(self, args, state, control, **kwargs):
        raise RuntimeError("on fire")

    monkeypatch.setattr(callbacks.Bar, "on_step_end", crash)
    with pytest.raises(RuntimeError, match="on fire"):
        train(*OFFLINE)
    (folder,) = (path.parent for path in tmp_path.glob("*/record.json"))
    assert '"outcome": "failed"' in json.dumps([entry for entry in inspect(folder) if entry["type"] == "summary"])


def test_tracking_decides_nothing():
    plain, tracked = (identity.run_id(cli.config_from(cli.compose(words))) for words in ([], ["tracking=wandb"]))
    assert plain == tracked


@pytest.mark.parametrize(
    ("words", "title"),
    [
        (["gi.layers=6"], "giDeBERTaV3-30-both-last6 cola s42"),
        (["gi=none", "model=roberta-large", "seed=1"], "RoBERTa cola s1"),
        (["model=bert", "model.size=base", "gi=key", "gi.level=0"], "giBERT-base-0-key cola s42"),
        (["model=bert", "gi=none", "train.parameters=change"], "BERT head only cola s42"),
        (["model=bert", "change=lora", "train.parameters=bias"], "BERT lora with biases cola s42"),
    ],
)
def test_titles(words, title):
    assert identity.title(cli.config_from(cli.compose(words))) == title
