"""A run that is stopped and run again ends as one that was not: same weights, predictions, metrics and curve."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import TINY_DEMO
from gifine.errors import ExitCode, OutputError
from gifine.runs.records import Status
from gifine.training import callbacks, checkpointing

# Dropout, gates that couple a batch, batches by length, accumulated gradients, the best checkpoint chosen: all of it.
RUN = [*TINY_DEMO, "train.gradient_accumulation=2", "train.batch_size=4", "train.epochs=3", "train.save_model=true"]


def result(folder):
    """What an interruption must not change."""
    record = json.loads((folder / "record.json").read_text())
    return {
        "weights": (folder / "model" / "model.safetensors").read_bytes(),
        "predictions": (folder / "predictions-validation.parquet").read_bytes(),
        "metrics": record["metrics"],
        "best": record["best"],
        "last": record["last"],
        "evaluations": record["evaluations"],
        "steps": record["steps"],
        "curve": (folder / "metrics.jsonl").read_bytes(),
    }


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache):
    from gifine import cli
    from gifine import train as module
    from gifine.runs import identity

    root = tmp_path_factory.mktemp("undisturbed")
    config = cli.config_from(cli.compose([*RUN, f"output_root={root}", f"data.cache_dir={cache}"]))
    assert module.run(config) == ExitCode.DONE
    return result(identity.directory(config))


def at_steps(monkeypatch, *steps, act):
    """Do something at the end of these steps, once each: a signal then takes effect a step later."""
    left = set(steps)

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step in left:
            left.remove(state.global_step)
            act()

    monkeypatch.setattr(callbacks.Bar, "on_step_end", on_step_end)


@pytest.mark.parametrize(
    ("steps", "number"),
    [((3,), signal.SIGTERM), ((7,), signal.SIGUSR1), ((5, 11, 17), signal.SIGUSR2)],
    ids=["mid-epoch", "end of an epoch", "three times"],
)
def test_signals_leave_a_checkpoint_and_the_run_goes_on_from_it(train, monkeypatch, undisturbed, steps, number):
    at_steps(monkeypatch, *steps, act=lambda: os.kill(os.getpid(), number))
    for attempt, step in enumerate(steps, start=1):
        stopped = train(*RUN)
        assert (stopped.code, stopped.record.status) == (ExitCode.INTERRUPTED, Status.INTERRUPTED)
        assert stopped.record.attempts == attempt
        assert stopped.record.steps["done"] == step + 1
        checkpoints = stopped.folder / "checkpoints"
        assert checkpointing.last_complete(checkpoints) == checkpoints / f"checkpoint-{step + 1}"
    finished = train(*RUN)
    assert finished.code == ExitCode.DONE
    assert finished.record.attempts == len(steps) + 1
    assert finished.record.resumed_at == steps[-1] + 1
    assert result(finished.folder) == undisturbed
    assert not (finished.folder / "checkpoints").exists()


def test_a_crash_between_checkpoints_is_gone_on_from_the_last_one(train, monkeypatch, undisturbed):
    def crash():
        raise RuntimeError("lost the node")

    at_steps(monkeypatch, 15, act=crash)
    with pytest.raises(RuntimeError, match="lost the node"):
        train(*RUN, "train.save_steps=6")
    finished = train(*RUN, "train.save_steps=6")
    assert finished.record.resumed_at == 12
    assert result(finished.folder) == undisturbed


@pytest.mark.parametrize("log_steps", [100, *(pytest.param(steps, marks=pytest.mark.long) for steps in (2, 3, 7))])
def test_a_curve_goes_on_in_the_middle_of_a_logged_mean(train, monkeypatch, tmp_path, log_steps):
    """Byte for byte, whether stopped by a signal, between checkpoints, or at the end of an epoch."""

    def crash():
        raise RuntimeError("lost the node")

    words = [*RUN, f"train.log_steps={log_steps}", "train.save_steps=5"]
    whole = (train(*words, f"output_root={tmp_path / 'whole'}").folder / "metrics.jsonl").read_bytes()
    at_steps(monkeypatch, 2, 7, act=lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert train(*words).record.steps["done"] == 3
    assert train(*words).record.steps["done"] == 8
    at_steps(monkeypatch, 14, act=crash)
    with pytest.raises(RuntimeError, match="lost the node"):
        train(*words)
    resumed = train(*words)
    assert resumed.record.resumed_at == 10
    assert (resumed.folder / "metrics.jsonl").read_bytes() == whole


def test_log_steps_may_change_when_a_run_goes_on(train, monkeypatch):
    at_steps(monkeypatch, 6, act=lambda: os.kill(os.getpid(), signal.SIGTERM))
    before = train(*RUN, "train.log_steps=1")
    losses = [line["loss"] for line in lines(before.folder) if "loss" in line]
    after = train(*RUN, "train.log_steps=4")
    steps = [line["step"] for line in lines(after.folder) if "loss" in line]
    assert steps == [*range(1, 8), 8, 12, 16, 20, 24]
    assert [line["loss"] for line in lines(after.folder) if "loss" in line][:7] == losses


def test_a_damaged_checkpoint_is_passed_over(train, monkeypatch, undisturbed, caplog):
    at_steps(monkeypatch, 19, act=lambda: os.kill(os.getpid(), signal.SIGTERM))
    stopped = train(*RUN)
    weights = stopped.folder / "checkpoints" / "checkpoint-20" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    finished = train(*RUN)
    assert "checkpoint-20 is skipped: model.safetensors changed or missing" in caplog.text
    assert finished.record.resumed_at == undisturbed["best"]["step"], "of two that are kept the other is the best"
    assert result(finished.folder) == undisturbed


def test_a_damaged_best_checkpoint_is_said(train, monkeypatch, undisturbed, caplog):
    best = undisturbed["best"]["step"]
    assert best < 24, "else the best is the last one, and nothing is left to go on from"

    def damage():
        (path,) = (path for path in folders if path.name == f"checkpoint-{best}")
        (path / "model.safetensors").write_bytes(b"")

    folders = []
    original = checkpointing.publish

    def publish(partial, final):
        original(partial, final)
        folders.append(final)

    monkeypatch.setattr(checkpointing, "publish", publish)
    at_steps(monkeypatch, 24, act=damage)
    with pytest.raises(OutputError, match=rf"the best checkpoint .*checkpoint-{best} is damaged"):
        train(*RUN)
    finished = train(*RUN)
    assert "the best one before it" in caplog.text
    assert finished.record.resumed_at == 0
    assert result(finished.folder) == undisturbed


def test_a_run_under_way_is_refused_to_others_until_its_process_is_gone(train, tmp_path):
    first = train(*RUN, "train.epochs=1")
    program = "import sys, time; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire();"
    program += "print('held', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", program, str(first.folder / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="another process is at this run"):
            train(*RUN, "train.epochs=1", "overwrite=true")
        other.kill()
    assert train(*RUN, "train.epochs=1", "overwrite=true").record.attempts == 1


def test_resume_false_starts_anew(train, monkeypatch, undisturbed):
    at_steps(monkeypatch, 3, act=lambda: os.kill(os.getpid(), signal.SIGTERM))
    train(*RUN)
    finished = train(*RUN, "resume=false")
    assert (finished.record.resumed_at, finished.record.attempts) == (0, 2)
    assert result(finished.folder) == undisturbed


def test_handlers_are_given_back(train):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)]
    train(*TINY_DEMO, "train.epochs=1")
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)] == before


@pytest.mark.long
def test_sigkill_loses_nothing(tmp_path, undisturbed):
    """Killed at three arbitrary moments, in the middle of a write as likely as not, since it saves at every step."""
    command = [sys.executable, "-m", "gifine", *RUN, "train.save_steps=1", f"output_root={tmp_path}"]
    command.append(f"data.cache_dir={tmp_path / 'cache'}")
    for wait in (0.1, 0.25, 0.4):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            before = set(tmp_path.glob("demo_*/checkpoints/checkpoint-*"))
            deadline = time.monotonic() + 150
            while set(tmp_path.glob("demo_*/checkpoints/checkpoint-*")) <= before and process.poll() is None:
                assert time.monotonic() < deadline, "no new checkpoint in time"
                time.sleep(0.01)
            time.sleep(wait)
            process.kill()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.glob("demo_*")
    assert json.loads((folder / "record.json").read_text())["attempts"] >= 2
    assert result(folder) == undisturbed


def test_a_signal_that_comes_while_processes_ask_each_other_is_heard_a_step_later(monkeypatch):
    """At that step nobody stops, since the others have not heard of it; nor is it forgotten."""
    import torch.distributed
    from transformers import TrainerControl, TrainerState

    from gifine.training.ending import Interruption

    def all_reduce(votes):
        if not interruption.signalled:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    interruption = Interruption(save_steps=None)
    two_processes: Any = SimpleNamespace(world_size=2, device="cpu")
    stops = []
    with interruption.listening():
        for step in (1, 2):
            control = TrainerControl()
            interruption.on_step_end(two_processes, TrainerState(epoch=step / 10, global_step=step), control)
            stops.append(control.should_training_stop)
    assert stops == [False, True]


@pytest.mark.long
def test_two_processes_stop_together_when_one_is_signalled(tmp_path):
    """And go on, in the middle of an epoch, with the order and dropout that each would have had; one alone does not."""

    def start(name: str, processes: int = 2) -> subprocess.Popen[str]:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        words = [f"output_root={tmp_path / name}", f"data.cache_dir={tmp_path}", "data.demo_train_rows=4800"]
        words += ["train.log_steps=6"]
        command = [*launcher, "-m", "gifine", *RUN, *words, "train.gradient_accumulation=1"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def curve(name: str) -> str:
        return "".join(path.read_text() for path in (tmp_path / name).glob("*/metrics.jsonl"))

    def second_process(name: str) -> int:
        for environment in Path("/proc").glob("[0-9]*/environ"):
            try:
                words = (environment.parent / "cmdline").read_text(), environment.read_text()
            except OSError:
                continue
            if str(tmp_path / name) in words[0] and "\0LOCAL_RANK=1\0" in f"\0{words[1]}":
                return int(environment.parent.name)
        raise AssertionError("no process of rank 1")

    undisturbed = start("undisturbed")
    output, _ = undisturbed.communicate(timeout=240)
    assert undisturbed.returncode == 0, output

    signalled = start("signalled")
    deadline = time.monotonic() + 150
    while '"step": 60' not in curve("signalled"):
        assert time.monotonic() < deadline, "no 60th step in time"
        time.sleep(0.01)
    os.kill(second_process("signalled"), signal.SIGTERM)
    output, _ = signalled.communicate(timeout=240)
    assert "interrupted: stopped at step" in output

    alone = start("signalled", processes=1)
    output, _ = alone.communicate(timeout=240)
    assert alone.returncode != 0
    assert output.count("is of a run on 2 processes, this one has 1: ") == 1

    resumed = start("signalled")
    output, _ = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, output
    (one,), (other,) = (list((tmp_path / name).glob("demo_*")) for name in ("undisturbed", "signalled"))
    assert json.loads((other / "record.json").read_text())["resumed_at"] >= 60
    assert result(other) == result(one)
    assert (other / "metrics.jsonl").read_bytes() == (one / "metrics.jsonl").read_bytes()
