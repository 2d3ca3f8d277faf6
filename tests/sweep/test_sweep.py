"""A sweep on this machine, hydra/launcher=local: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TINY_DEMO
from gifine import cli
from gifine.errors import ArgumentError, RunError
from gifine.machine import limits
from gifine.runs import identity
from gifine.sweep import __main__ as sweep
from gifine.sweep import devices, ledger, snapshot
from gifine.sweep.job import CONFIGS
from gifine.sweep.ledger import Batch, Entry, Ledger, Place
from support.sweeps import attempts, command, pause, status, submit, wait_for

pytestmark = pytest.mark.integration

LONG = [
    "data.demo_train_rows=1600",
    "train.epochs=4",
    "train.batch_size=8",
    "train.evaluate=end",
    "train.select_best=false",
]


def test_coinciding_cells_are_one_run_and_finished_runs_are_skipped(tmp_path):
    folder = tmp_path / "sweep"
    words = ["gi.side=none,both", "gi.level=0.1,0.3", "hydra.launcher.parallelism=2"]
    said = submit(folder, *words)
    assert "3 runs (4 cells, 1 of which ask for what another one does)" in said
    assert f"{folder}: 3 runs: 3 to submit" in said
    assert attempts(folder) == [1, 1, 1]
    assert "3 degenerate, 0 to submit" in submit(folder, *words)
    assert "4 runs: 2 degenerate, 2 to submit" in submit(folder, "gi.level=0.1", "gi.side=none,both", "seed=42,43")
    assert attempts(folder) == [1] * 5


@pytest.mark.long
def test_two_who_start_the_same_sweep_at_once_do_nothing_twice(tmp_path):
    folder = tmp_path / "sweep"
    words = command(folder, "seed=1,2,3", "hydra.launcher.parallelism=2")
    both = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=200)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted("3 to submit" in text for text in said) == [False, True]
    assert len(ledger.read(folder).batches) == 1
    assert attempts(folder) == [1, 1, 1]


@pytest.mark.long
def test_a_failed_run_hurts_nobody_and_is_retried_on_request_only(tmp_path, capsys):
    folder, words, obstacle = tmp_path / "sweep", ["seed=1,2"], tmp_path / "cache"
    obstacle.write_text("where data.cache_dir is to be")
    error = submit(folder, *words, code=1)
    assert "2 of 2 runs have not finished (2 failed)" in error
    assert set(status(folder, capsys).values()) == {"failed"}
    assert "2 failed, 0 to submit\nfailed runs are left alone" in submit(folder, *words, code=1)
    obstacle.unlink()
    run_id = next(iter(ledger.read(folder).runs))
    assert sweep.main(["retry", str(folder), run_id]) == 0
    ended = {"done", "degenerate"}
    wait_for(lambda: sum(state in ended for state in status(folder, capsys).values()) == 1, "the retried run")
    assert "failed" in status(folder, capsys).values()
    submit(folder, *words, "hydra.launcher.retry_failed=true")
    assert attempts(folder) == [2, 2]


def test_a_run_whose_files_have_changed_is_another_one_to_retry(tmp_path, capsys):
    rows = tmp_path / "rows.csv"
    rows.write_text("sentence,label\nbroken,nothing\n")
    own = [f"task.files.{split}={rows}" for split in ("train", "validation")]
    config = cli.config_from(cli.compose(["task=cola", *own, f"output_root={tmp_path}"]))
    entry = Entry(identity.run_id(config), identity.slug(config), str(identity.directory(config)))
    entry.places = [Place("batch", 0)]
    batch = Batch("batch", "local", {}, 1, ledger.now(), host=platform.node())
    configs = ledger.batch_folder(tmp_path, "batch") / CONFIGS
    configs.mkdir(parents=True)
    (configs / f"{entry.run_id}.json").write_text(json.dumps(identity.to_dict(config)))
    ledger.write(tmp_path, Ledger({entry.run_id: entry}, {"batch": batch}))
    rows.write_text("sentence,label\nmended,1\n")
    assert sweep.main(["retry", str(tmp_path), entry.run_id]) == ArgumentError.code
    said = f"error: {entry.slug}: another run now, by its files or this version; the sweep's command submits it\n"
    assert capsys.readouterr().err == said


@pytest.mark.long
def test_runs_that_are_killed_or_cancelled_go_on_and_ctrl_c_leaves_them(tmp_path, capsys):
    folder = tmp_path / "sweep"
    words = [*LONG, "seed=1,2,3", "hydra.launcher.parallelism=2"]
    submitting = subprocess.Popen(command(folder, *words), stderr=subprocess.PIPE, text=True)
    wait_for((folder / ledger.FOLDER / ledger.LEDGER).exists, "the ledger")
    book = ledger.read(folder)
    first, second, third = book.runs.values()
    paused = pause(folder, {first.run_id: 3, second.run_id: 3}, book)
    submitting.send_signal(signal.SIGINT)
    _, said = submitting.communicate(timeout=60)
    assert submitting.returncode == 75
    assert f"the jobs go on; python -m gifine.sweep status {folder} shows how they are" in said
    assert sorted(status(folder, capsys).values()) == ["queued", "running", "running"]
    assert "1 queued, 2 running, 0 to submit" in submit(folder, *words, "hydra.launcher.wait=false")

    os.kill(paused[second.run_id], signal.SIGCONT)
    assert sweep.main(["cancel", str(folder), second.run_id, third.run_id]) == 0
    os.kill(paused[first.run_id], signal.SIGKILL)
    slugs = [entry.slug for entry in (first, second, third)]
    expected = dict(zip(slugs, ["killed", "cancelled", "cancelled"]))
    wait_for(lambda: status(folder, capsys) == expected, str(expected))
    assert json.loads((Path(second.folder) / "record.json").read_text())["status"] == "interrupted"

    submit(folder, *words)
    assert set(status(folder, capsys).values()) <= {"done", "degenerate"}
    assert attempts(folder) == [2, 2, 1]
    assert sweep.main(["logs", str(folder), first.run_id]) == 0
    assert f"record: {first.folder}/record.json" in capsys.readouterr().out
    assert sweep.main(["table", str(folder)]) == 0
    assert "3 of 3 runs have metrics" in capsys.readouterr().out


def test_jobs_run_the_code_and_config_that_were_submitted(tmp_path):
    """As JSON: nothing is composed in a job; and from the copy, which says what checkout it is of."""
    folder = tmp_path / "sweep"
    submit(folder, "seed=7")
    (path,) = folder.glob(".sweep/jobs/*/runs/*.json")
    config = identity.from_dict(json.loads(path.read_text()))
    assert (identity.run_id(config), config.seed) == (path.stem, 7)
    (copied,) = folder.glob(".sweep/code/*")
    assert copied.name == snapshot.digest()
    (record,) = folder.glob("*/record.json")
    assert json.loads(record.read_text())["provenance"]["git"] == json.loads((copied / "snapshot.json").read_text())


def test_threads_are_divided_and_each_run_has_one_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(limits, "cores", lambda: 12)
    places = [devices.share(place, 3, devices.gpus()) for place in range(3)]
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places] == ["2", "5", "2"]
    assert {place["OMP_NUM_THREADS"] for place in places} == {"4"}


def test_submitting_is_light(tmp_path):
    """Without torch and the like, from composing to the jobs' being started."""
    program = (
        "import sys\n"
        "from gifine.cli import main\n"
        "code = main()\n"
        "heavy = {'torch', 'transformers', 'datasets', 'evaluate', 'wandb'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else code)\n"
    )
    words = command(tmp_path / "sweep", "seed=1", "hydra.launcher.wait=false")[3:]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sweep.main(["cancel", str(tmp_path / "sweep")]) == 0


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["status", "nowhere"], RunError, "nowhere: no such folder"),
        (["status", "."], RunError, "nothing was submitted into it"),
        (["stop", "."], ArgumentError, "stop: no such command"),
    ],
)
def test_wrong_arguments_of_commands_are_told(tmp_path, monkeypatch, capsys, words, error, said):
    monkeypatch.chdir(tmp_path)
    assert sweep.main(words) == error.code
    assert said in capsys.readouterr().err


def test_one_folder_for_several_runs_is_refused(tmp_path, monkeypatch, capsys):
    words = ["gifine", "--multirun", *TINY_DEMO, "seed=1,2", "hydra/launcher=local"]
    monkeypatch.setattr(sys, "argv", [*words, f"output_root={tmp_path}", f"output_dir={tmp_path}/run"])
    assert cli.main() == 2
    assert "would be the folder of several runs; leave output_dir out" in capsys.readouterr().err
