"""What a machine does to a run: full and read-only disks, data that go away, signals at any time, a second process.

Each ends with one message or a resumable record, and the same command then ends as if nothing had happened.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import TINY_DEMO, needs
from gifine.inputs import demo
from gifine.training import checkpointing
from support import outcomes
from support.attempts import Attempt, Blow, Ended, Place, run

pytestmark = pytest.mark.xdist_group("processes")

# 24 steps, a checkpoint each third; the first writes events 2 to 13 of Place.CHECKPOINT.
RUN = [*TINY_DEMO, "train.epochs=3", "train.batch_size=8", "train.save_model=true", "train.save_steps=3"]
IN_THE_SECOND_CHECKPOINT = 16
IN_THE_FINAL_EVALUATION = 10


class Runner:
    """Attempts at one run in the folder `root / "run"`."""

    def __init__(self, root: Path, cache: Path, *overrides: str) -> None:
        self.root, self.folder = root, root / "run"
        self.words = [*RUN, *overrides, f"output_dir={self.folder}", f"data.cache_dir={cache}"]
        self.logs = iter(root.parent / f"{root.name}-{number}" for number in range(100))

    def start(self, blow: Blow | None = None) -> Attempt:
        return Attempt(self.words, next(self.logs), blow)

    def run(self, blow: Blow | None = None) -> Ended:
        return run(self.words, next(self.logs), blow)

    def paused(self, place: Place, nth: int) -> Attempt:
        attempt = self.start(Blow(place, nth, signal.SIGSTOP))
        attempt.until_paused()
        return attempt

    def record(self) -> dict:
        record = outcomes.record_of(self.folder)
        assert record is not None
        return record

    def finishes_as(self, undisturbed: dict) -> None:
        ended = self.run()
        assert ended.code == 0, ended.output
        assert outcomes.differing(outcomes.result(self.folder), undisturbed) == []
        assert not (self.folder / "checkpoints").exists()


def go_on(attempt: Attempt) -> Ended:
    attempt.send(signal.SIGCONT)
    return attempt.wait()


def the_message(ended: Ended) -> str:
    """The one message of an attempt that ended with what a user can mend."""
    assert ended.code == 2, ended.output
    assert "Traceback" not in ended.output
    assert "Logging error" not in ended.output
    before, mark, message = f"\n{ended.output}".rpartition("\nerror:")
    assert mark
    assert "\nerror:" not in before
    assert all(line.startswith("  ") for line in message.splitlines()[1:]), "something else was said after it"
    return message.strip()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache) -> dict:
    runner = Runner(tmp_path_factory.mktemp("undisturbed"), cache)
    ended = runner.run()
    assert ended.code == 0, ended.output
    return outcomes.result(runner.folder)


@pytest.fixture
def runner(tmp_path, cache) -> Runner:
    return Runner(tmp_path, cache)


def mount(*words: str | Path) -> None:
    done = subprocess.run([needs("mount"), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A file system of its own, of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", folder)
    yield folder
    subprocess.run(["umount", "-R", folder], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Fill a disk up to `leave` bytes."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        file.write(bytes(shutil.disk_usage(disk).free - leave))
    assert shutil.disk_usage(disk).free <= max(leave, 4096)
    return filler


# With so much left, a checkpoint of weights (90 kB), optimizer (180 kB) and small files ends in safetensors' writer, in
# torch's, or at the very end; and model/ in either.
@pytest.mark.parametrize(
    ("place", "nth", "leave"),
    [
        (Place.CHECKPOINT, IN_THE_SECOND_CHECKPOINT, 40_000),
        (Place.CHECKPOINT, IN_THE_SECOND_CHECKPOINT, 150_000),
        (Place.MODEL, 1, 40_000),
    ],
)
def test_a_disk_that_fills_up_costs_nothing_but_the_time_until_there_is_room(
    disk, cache, undisturbed, place, nth, leave
):
    runner = Runner(disk, cache)
    attempt = runner.paused(place, nth)
    filler = fill(disk, leave)
    message = the_message(go_on(attempt))
    assert message.endswith(": No space left on device")
    assert runner.record()["status"] == "failed"
    assert runner.record()["error"] in message
    assert "/checkpoints/checkpoint-6: " in message if place is Place.CHECKPOINT else "/run/model: " in message
    found = outcomes.checkpoints(runner.folder)
    assert found["whole"] == found["named"] != []
    assert found["partial"] == []
    filler.unlink()
    runner.finishes_as(undisturbed)


def test_a_disk_without_room_for_the_record_is_one_message_too(disk, cache, undisturbed):
    runner = Runner(disk, cache)
    attempt = runner.paused(Place.CHECKPOINT, IN_THE_SECOND_CHECKPOINT - 1)
    filler = fill(disk, 0)
    message = the_message(go_on(attempt))
    assert message == f"cannot write {runner.folder / 'record.json'}: No space left on device"
    assert runner.record()["status"] == "running"
    filler.unlink()
    runner.finishes_as(undisturbed)


def test_a_log_that_cannot_be_written_ends_the_run_with_one_message(disk, cache, undisturbed):
    """The curve's line still fits into its last block, the log's does not."""
    runner = Runner(disk, cache)
    attempt = runner.paused(Place.STEP, 5)
    log = runner.folder / "run.log"
    with log.open("a") as file:
        file.write("x" * (-log.stat().st_size % 4096))
    filler = fill(disk, 0)
    the_message(go_on(attempt))
    filler.unlink()
    runner.finishes_as(undisturbed)


@pytest.mark.parametrize("exists", [False, True], ids=["new", "of an earlier attempt"])
def test_a_read_only_folder_is_said_before_training(disk, cache, undisturbed, exists):
    runner = Runner(disk, cache)
    if exists:
        assert runner.run(Blow(Place.STEP, 5, signal.SIGTERM)).code == 75
    mount("-o", "remount,ro", disk)
    ended = runner.run()
    assert "Read-only file system" in the_message(ended)
    assert Place.STEP not in ended.trail
    mount("-o", "remount,rw", disk)
    runner.finishes_as(undisturbed)


@pytest.mark.parametrize(
    ("place", "nth"), [(Place.STEP, 5), (Place.CHECKPOINT, IN_THE_SECOND_CHECKPOINT), (Place.MODEL, 1)]
)
def test_a_folder_that_becomes_read_only_is_one_message_and_nothing_is_done(disk, cache, undisturbed, place, nth):
    runner = Runner(disk, cache)
    attempt = runner.paused(place, nth)
    mount("--bind", runner.folder, runner.folder)  # a disk with an open file cannot be mounted anew, but over
    mount("-o", "remount,ro,bind", runner.folder)
    assert "Read-only file system" in the_message(go_on(attempt))
    assert runner.record()["status"] == "running"
    subprocess.run(["umount", runner.folder], check=True)
    runner.finishes_as(undisturbed)


def test_a_second_process_is_refused_and_the_first_unharmed(runner, undisturbed):
    attempt = runner.paused(Place.STEP, 7)
    before = {path: path.read_bytes() for path in runner.folder.rglob("*") if path.is_file()}
    assert "another process is at this run" in the_message(runner.run())
    assert {path: path.read_bytes() for path in runner.folder.rglob("*") if path.is_file()} == before
    assert go_on(attempt).code == 0
    assert outcomes.differing(outcomes.result(runner.folder), undisturbed) == []


def test_the_lock_of_a_killed_process_is_taken_over(runner, undisturbed):
    assert runner.run(Blow(Place.STEP, 7, signal.SIGKILL)).code == -signal.SIGKILL
    assert (runner.folder / ".lock").exists()
    runner.finishes_as(undisturbed)
    assert (runner.record()["attempts"], runner.record()["resumed_at"]) == (2, 6)


@pytest.mark.parametrize(
    ("place", "nth"),
    [
        (Place.RECORD, 1),  # the first one, not yet written
        pytest.param(Place.RECORD, 3, marks=pytest.mark.long),  # before data are loaded
        (Place.DATA, 4),
        # The model is built; what an earlier attempt left half written is deleted.
        pytest.param(Place.DELETION, 1, marks=pytest.mark.long),
        (Place.EVALUATION, IN_THE_FINAL_EVALUATION),
        pytest.param(Place.PREDICTIONS, 1, marks=pytest.mark.long),
        (Place.MODEL, 4),
    ],
)
def test_a_signal_outside_of_training_interrupts_the_run(tmp_path, undisturbed, place, nth):
    runner = Runner(tmp_path, tmp_path / "cache")
    ended = runner.run(Blow(place, nth, signal.SIGTERM))
    assert ended.code == 75, ended.output
    assert ended.output.splitlines()[-1] == "interrupted by SIGTERM; the same command goes on"
    assert (runner.record()["status"], runner.record()["error"]) == ("interrupted", "stopped by SIGTERM")
    runner.finishes_as(undisturbed)


def test_a_signal_at_the_very_end_is_too_late(runner, undisturbed):
    assert runner.run(Blow(Place.RECORD, 6, signal.SIGTERM)).code == 75
    assert outcomes.result(runner.folder)["status"] == runner.record()["status"] != "interrupted"
    runner.finishes_as(undisturbed)


@pytest.mark.parametrize(
    ("place", "nth"),
    [
        (Place.STEP, 4),
        pytest.param(Place.EVALUATION, 2, marks=pytest.mark.long),
        (Place.CHECKPOINT, 5),
        pytest.param(Place.EVALUATION, IN_THE_FINAL_EVALUATION, marks=pytest.mark.long),
    ],
)
def test_signals_in_a_row_are_as_one(runner, undisturbed, place, nth):
    attempt = runner.paused(place, nth)
    attempt.send(signal.SIGTERM)
    attempt.send(signal.SIGUSR1)
    attempt.send(signal.SIGUSR2)
    ended = go_on(attempt)
    assert ended.code == 75, ended.output
    assert runner.record()["status"] == "interrupted"
    checkpoints = runner.folder / "checkpoints"
    assert checkpointing.last_complete(checkpoints) == checkpoints / f"checkpoint-{runner.record()['steps']['done']}"
    runner.finishes_as(undisturbed)


def test_a_signal_during_the_last_step_is_heard_before_the_final_evaluation(runner, undisturbed):
    ended = runner.run(Blow(Place.STEP, 24, signal.SIGTERM))
    assert ended.code == 75, ended.output
    assert runner.record()["error"] == "stopped at step 24 of 24"
    assert Place.PREDICTIONS not in ended.trail
    runner.finishes_as(undisturbed)


def test_a_signal_ends_a_sweep(tmp_path, cache):
    words = ["--multirun", *RUN, f"output_root={tmp_path / 'runs'}", f"data.cache_dir={cache}", "seed=1,2"]
    ended = run(words, tmp_path / "log", Blow(Place.STEP, 3, signal.SIGTERM))
    assert ended.code == 75, ended.output
    (folder,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    assert folder.name.startswith("demo_bert-large-random_both-0.3_s1-")


def write_data(source: str, root: Path) -> list[str]:
    """The demo task's rows as files of one's own or in the layout of GLUE's; the words that name them."""
    folder = root / "data" / "CoLA"
    folder.mkdir(parents=True)
    for name, split, rows in (("train", "train", 64), ("dev", "validation", 48)):
        lines = [f"{row['label']}\t{row['sentence']}" for row in demo.generate(split, rows, 0)]
        if source == "glue_dir":
            text = "".join(f"x\t{label}\t\t{rest}\n" for label, rest in (line.split("\t") for line in lines))
        else:
            text = "label\tsentence\n" + "".join(f"{line}\n" for line in lines)
        (folder / f"{name}.tsv").write_text(text)
    if source == "glue_dir":
        return ["task=cola", "data=glue_dir", f"data.dir={root / 'data'}"]
    files = [f"task.files.train={folder / 'train.tsv'}", f"task.files.validation={folder / 'dev.tsv'}"]
    return ["task=cola", "data=hub", *files]


@pytest.mark.parametrize("source", ["own files", pytest.param("glue_dir", marks=pytest.mark.long)])
def test_data_that_go_away_stop_no_run_under_way_and_cost_no_checkpoint(tmp_path, source):
    words = write_data(source, tmp_path)
    data, cache, away = tmp_path / "data" / "CoLA", tmp_path / "cache", tmp_path / "away"
    shutil.copytree(data, away)

    def runner(name: str) -> Runner:
        (tmp_path / name).mkdir()
        return Runner(tmp_path / name, cache, *words)

    undisturbed = runner("undisturbed")
    assert undisturbed.run().code == 0
    expected = outcomes.result(undisturbed.folder)

    under_way = runner("under way")
    attempt = under_way.paused(Place.STEP, 10)
    shutil.rmtree(data)
    shutil.rmtree(cache)
    ended = go_on(attempt)
    assert ended.code == 0, ended.output
    assert outcomes.differing(outcomes.result(under_way.folder), expected) == []

    shutil.copytree(away, data)
    stopped = runner("stopped")
    assert stopped.run(Blow(Place.STEP, 10, signal.SIGTERM)).code == 75
    checkpoints = outcomes.checkpoints(stopped.folder)
    shutil.rmtree(data)
    shutil.rmtree(cache)
    assert str(data) in the_message(stopped.run())
    assert outcomes.checkpoints(stopped.folder) == checkpoints
    assert stopped.record()["status"] in ("interrupted", "failed")

    shutil.copytree(away, data)
    stopped.finishes_as(expected)
    assert stopped.record()["resumed_at"] == 10


def test_a_checkpoint_of_other_processes_is_refused(runner, undisturbed):
    """Two processes write a random state each: that is how many there were. test_resume.py has real ones."""
    assert runner.run(Blow(Place.STEP, 10, signal.SIGTERM)).code == 75
    checkpoint = runner.folder / "checkpoints" / "checkpoint-10"
    for rank in range(2):
        os.link(checkpoint / "rng_state.pth", checkpoint / f"rng_state_{rank}.pth")
    message = the_message(runner.run())
    assert "is of a run on 2 processes, this one has 1" in message
    assert "resume=false" in message
    assert outcomes.checkpoints(runner.folder)["whole"][-1] == checkpoint or checkpoint.exists()
    runner.words.append("resume=false")
    runner.finishes_as(undisturbed)
