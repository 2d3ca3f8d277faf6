"""Sweeps as a user has them, for the tests: the command, what becomes of the runs, and blows to their processes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from conftest import TINY_DEMO
from gifine.sweep import __main__ as sweep
from gifine.sweep.ledger import Entry, Ledger
from support.outcomes import record_of

NAME = f"gifine-tests-{os.getpid()}"  # of jobs: others may have theirs on the cluster
SLURM = ["hydra.launcher.timeout_min=10", "hydra.launcher.mem_gb=2", f"hydra.launcher.name={NAME}"]


def command(folder: Path, *words: str, launcher: str = "local", base: Sequence[str] = TINY_DEMO) -> list[str]:
    start = [sys.executable, "-m", "gifine", "--multirun", *base, f"hydra/launcher={launcher}"]
    return [*start, f"output_root={folder}", f"data.cache_dir={folder.parent / 'cache'}", *words]


def submit(folder: Path, *words: str, code: int = 0, launcher: str = "local", base: Sequence[str] = TINY_DEMO) -> str:
    """Run the command to its end; what it has said."""
    line = command(folder, *words, launcher=launcher, base=base)
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stderr


def rows(folder: Path, capsys) -> dict[str, dict[str, str]]:
    """What `status` tells of each run, by its slug."""
    capsys.readouterr()
    assert sweep.main(["status", str(folder), "--json"]) == 0
    return {row["run"]: row for row in json.loads(capsys.readouterr().out)}


def status(folder: Path, capsys) -> dict[str, str]:
    """The state of each run by its slug."""
    return {slug: row["state"] for slug, row in rows(folder, capsys).items()}


def attempts(folder: Path) -> list[int]:
    """Of each record; a run that was done twice over has more than one."""
    return [json.loads(path.read_text())["attempts"] for path in sorted(folder.glob("*/record.json"))]


def wait_for(condition: Callable[[], object], what: str | Callable[[], str], seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what if isinstance(what, str) else what()}"
        time.sleep(0.05)


def circumstances(folder: Path) -> str:
    """What `status`, SLURM and the jobs' logs say of the sweep: why something has not come about."""
    commands = [[sys.executable, "-m", "gifine.sweep", "status", str(folder)]]
    if shutil.which("squeue") is not None:
        commands += [["squeue", "--array", "--format=%i %j %T %r %N"], ["sinfo", "--Node", "--long"]]
    said = [subprocess.run(words, capture_output=True, text=True, check=False).stdout for words in commands]
    return "\n".join([*said, *(f"{log.name}: {log.read_text()[-2000:]}" for log in sorted(folder.rglob("*.log")))])


def job_of(book: Ledger, run: Entry) -> str:
    """What SLURM calls the job that the run was last submitted in."""
    place = book.latest(run)
    assert place is not None
    job = place[0].job(place[1])
    assert job is not None
    return job


def process_of(folder: Path, run_id: str, rank: int | None = None) -> int | None:
    """The id of the run's own process, on whatever node of this machine; with `rank`, of one of several."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            words = path.read_text()
            if "gifine.sweep.attempt" not in words or f"{folder}/" not in words or run_id not in words:
                continue
            if rank is None or f"\0RANK={rank}\0" in f"\0{path.with_name('environ').read_text()}":
                return int(path.parent.name)
    return None


def step_of(run: Entry) -> int:
    """The last step in the run's curve; 0 if there is none yet."""
    path = Path(run.folder, "metrics.jsonl")
    lines = path.read_text().split("\n")[:-1] if path.is_file() else []
    return json.loads(lines[-1])["step"] if lines else 0


def pause(folder: Path, steps: dict[str, int], book: Ledger, seconds: float = 180.0) -> dict[str, int]:
    """Stop runs (by run_id) as soon as their curves have these steps: they are in the middle of training until SIGCONT.

    The ids of their processes, by run_id. Whatever SLURM does to end a process includes SIGCONT.
    """
    paused: dict[str, int] = {}

    def all_paused() -> bool:
        for run_id in steps.keys() - paused.keys():
            if step_of(book.runs[run_id]) < steps[run_id]:
                continue
            process = process_of(folder, run_id)
            assert process is not None, f"{run_id} has ended already"
            os.kill(process, signal.SIGSTOP)
            paused[run_id] = process
        return paused.keys() == steps.keys()

    wait_for(all_paused, lambda: f"steps {steps}\n{circumstances(folder)}", seconds)
    for run_id in steps:
        record = record_of(Path(book.runs[run_id].folder))
        assert record is not None
        assert record["status"] == "running"
    return paused
