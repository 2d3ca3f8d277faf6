"""Whatever is damaged below a sweep's folder, its commands end with an answer or one message, never a traceback."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import TINY_DEMO
from gifine.compose import grid
from gifine.compose.launchers import LocalConfig
from gifine.errors import ExitCode, UserError
from gifine.runs.records import RECORD, Record, Status, write
from gifine.sweep import __main__ as sweep
from gifine.sweep import launch, ledger, pool, snapshot
from gifine.sweep.job import CONFIGS, OUTCOMES, STARTED

SETTINGS = LocalConfig(wait=False, snapshot=False, retry_failed=True)
KNOWN = sweep.commands()  # which takes a tenth of a second
COMMANDS = [["status"], ["table"], ["logs", "RUN"], ["retry"], ["cancel"]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[grid.Cell]:
    root = tmp_path_factory.mktemp("sweep") / "runs"
    return grid.expand([*TINY_DEMO, f"output_root={root}", "seed=1,2,3"])


@pytest.fixture
def folder(runs, monkeypatch) -> Path:
    """A sweep of a run that is done, one that has failed, and one whose process is gone."""
    root = Path(runs[0].config.output_root)
    shutil.rmtree(root, ignore_errors=True)

    def start(batch: Path, environment: dict[str, str]) -> None:
        for name in (STARTED, OUTCOMES):
            (batch / name).mkdir()
        (batch / pool.LOCK).touch()

    monkeypatch.setattr(pool, "start", start)
    monkeypatch.setattr(sweep, "commands", lambda: KNOWN)
    monkeypatch.setattr(snapshot, "checkout", lambda: None)  # nor is the code read
    launch.launch(runs, SETTINGS, sweep=root)
    done, failed, gone = ledger.read(root).runs.values()
    for entry, status in ((done, Status.DONE), (failed, Status.FAILED)):
        Path(entry.folder).mkdir()
        write(Path(entry.folder), Record(entry.run_id, entry.slug, {}, status=status, metrics={"demo/x/matthews": 0.5}))
    (batch,) = (root / ledger.FOLDER / "jobs").iterdir()
    for task, entry in enumerate((done, failed, gone)):
        (batch / STARTED / str(task)).write_text("1")
        (batch / OUTCOMES / f"{entry.run_id}.json").write_text(json.dumps({"code": task, "signal": None, "job": None}))
        (batch / f"{task}.log").write_text("a line\n")
    return root


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _typed_wrongly(path: Path) -> None:
    """JSON of the same keys with other values."""
    try:
        entries = json.loads(path.read_text())
    except ValueError:
        return
    path.write_text(json.dumps(dict.fromkeys(entries, 7) if isinstance(entries, dict) else 7))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "truncated": _truncate,
    "another's": lambda path: path.write_text('{"run_id": "x", "runs": [{}], "schema_version": 1}'),
    "null": lambda path: path.write_text("null"),
    "binary": lambda path: path.write_bytes(b"\xff\x00\xfe"),
    "a folder": _make_folder,
    "other types": _typed_wrongly,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_traceback(folder, runs, tmp_path, damage, capsys):
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole)
    victim = next(iter(ledger.read(folder).runs))
    files = [path.relative_to(whole) for path in sorted(whole.rglob("*")) if path.is_file()]
    one_each = {(path.parent.name, path.suffix): path for path in files if victim in path.name or "-" not in path.name}
    files = [*one_each.values()]
    assert {CONFIGS, OUTCOMES, STARTED, ledger.FOLDER} <= {path.parent.name for path in files}
    for path in files:
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)
        DAMAGES[damage](folder / path)
        for command, *rest in COMMANDS:
            code = sweep.main([command, str(folder), *[victim if word == "RUN" else word for word in rest]])
            assert code in (ExitCode.DONE, ExitCode.BAD_INPUT), (path, command)
            assert "Traceback" not in capsys.readouterr().err, (path, command)
        with contextlib.suppress(UserError):
            launch.launch(runs, SETTINGS, sweep=folder)


@pytest.mark.parametrize("kind", ["deleted", "null", "another's"])
def test_retry_says_which_config_and_how_to_go_on(folder, kind, capsys):
    failed = list(ledger.read(folder).runs)[1]
    (path,) = folder.glob(f"{ledger.FOLDER}/jobs/*/{CONFIGS}/{failed}.json")
    DAMAGES[kind](path)
    before = (folder / ledger.FOLDER / ledger.LEDGER).read_text()
    capsys.readouterr()
    assert sweep.main(["retry", str(folder)]) == ExitCode.BAD_INPUT
    said = capsys.readouterr().err
    assert said.startswith(f"error: {path}: cannot be read, or is of another version")
    assert "the sweep's command submits the run" in said
    assert (folder / ledger.FOLDER / ledger.LEDGER).read_text() == before, "nothing is lost"


def test_retry_submits_no_config_that_is_another_run(folder, capsys):
    done, failed, _ = ledger.read(folder).runs
    (path,) = folder.glob(f"{ledger.FOLDER}/jobs/*/{CONFIGS}/{failed}.json")
    shutil.copy(path.with_name(f"{done}.json"), path)
    capsys.readouterr()
    assert sweep.main(["retry", str(folder), failed]) == ExitCode.BAD_INPUT
    slug = ledger.read(folder).runs[failed].slug
    assert f"{slug}: another run now, by its files or this version" in capsys.readouterr().err


def test_a_ledger_without_a_batch_that_runs_are_in(folder, capsys):
    path = folder / ledger.FOLDER / ledger.LEDGER
    entries = json.loads(path.read_text())
    path.write_text(json.dumps(entries | {"batches": []}))
    capsys.readouterr()
    assert sweep.main(["status", str(folder)]) == ExitCode.BAD_INPUT
    said = capsys.readouterr().err
    assert "is no readable ledger (it does not have the batches " in said
    assert "move it away: records stay" in said


def test_a_record_that_is_none_hides_no_other(folder, capsys):
    (folder / next(folder.glob(f"*/{RECORD}")).relative_to(folder)).write_text("[]")
    capsys.readouterr()
    assert sweep.main(["status", str(folder)]) == ExitCode.DONE
    assert "3 runs: " in capsys.readouterr().out
