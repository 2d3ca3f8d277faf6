"""hydra/launcher=local: a batch's tasks as processes of this machine, several at a time, each with one GPU.

    python -m gifine.sweep.pool BATCH_FOLDER

goes on when the process that has submitted it ends. Who holds a file's lock is at work: the system lets go of it
however a process dies.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gifine.sweep import devices
from gifine.sweep.job import JOB, LOCAL, STARTED

LOCK = "pool.lock"
CANCELLED = "cancelled"  # below the batch's folder: a file for each task that shall not start


def start(folder: Path, environment: dict[str, str]) -> None:
    """Start the pool of a batch, so that it is known to be at work from now on."""
    with (folder / LOCK).open("w") as lock, (folder / "pool.log").open("a") as output:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", "gifine.sweep.pool", str(folder)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[lock.fileno()],
            start_new_session=True,  # Ctrl-C is for the submitting process alone
            check=True,
        )


def log_file(folder: Path, task: int) -> Path:
    """Where a batch's folder has what a task prints."""
    return folder / f"{task}.log"


def states(folder: Path, tasks: int) -> dict[int, str]:
    """The state of each task, in SLURM's words."""
    is_at_work = _is_held(folder / LOCK)
    found = {task: _state(folder, task, is_at_work) for task in range(tasks)}
    return {task: state for task, state in found.items() if state is not None}


def _state(folder: Path, task: int, is_at_work: bool) -> str | None:
    started, is_cancelled = folder / STARTED / str(task), (folder / CANCELLED / str(task)).exists()
    if started.exists() and _is_held(started):
        return "RUNNING"
    if is_cancelled:
        return "CANCELLED"
    if started.exists():
        return "FAILED"
    return "PENDING" if is_at_work else None


def cancel(folder: Path, task: int) -> None:
    """Do not start a task, and end it if it has started."""
    (folder / CANCELLED).mkdir(exist_ok=True)
    (folder / CANCELLED / str(task)).touch()
    started = folder / STARTED / str(task)
    if started.exists() and _is_held(started):
        os.kill(int(started.read_text()), signal.SIGTERM)


def main(words: Sequence[str] | None = None) -> int:
    """Run all tasks of BATCH_FOLDER in a process that nobody waits for; 0 if each ended with 0."""
    (word,) = sys.argv[1:] if words is None else words
    if os.fork():
        return 0
    folder = Path(word)
    job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    gpus = devices.gpus()
    places = job["parallelism"] or len(gpus) or 1
    (folder / STARTED).mkdir(exist_ok=True)
    free, running, codes = list(range(places)), {}, []
    waiting = list(range(len(job["tasks"])))
    while waiting or running:
        while free and (task := _next(folder, waiting, job.get("waits", []))) is not None:
            waiting.remove(task)
            if not (folder / CANCELLED / str(task)).exists():
                place = free.pop(0)
                running[_start(folder, task, devices.share(place, places, gpus))] = place
        for process in [process for process in running if process.poll() is not None]:
            codes.append(process.returncode)
            free.append(running.pop(process))
        time.sleep(0.1)
    return max(codes, default=0)


def _next(folder: Path, waiting: Sequence[int], waits: Sequence[Sequence[tuple[str, int]]]) -> int | None:
    """The first task that need not wait for another one to end, of this pool or of one that was started before."""
    ended: dict[tuple[str, int], bool] = {}
    for task in waiting:
        for name, other in waits[task] if waits else ():
            if (name, other) not in ended:
                place = folder.with_name(name)
                ended[name, other] = _state(place, other, _is_held(place / LOCK)) not in ("PENDING", "RUNNING")
        if all(ended[name, other] for name, other in (waits[task] if waits else ())):
            return task
    return None


def _start(folder: Path, task: int, share: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start one task; it and the run's own process hold the lock of a file with its process id."""
    partial = folder / STARTED / f".{task}"
    with partial.open("w") as lock, log_file(folder, task).open("a") as output:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "gifine.sweep.job", str(folder), str(task)],
            env={**os.environ, **share, LOCAL: "1", "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[lock.fileno()],
        )
        lock.write(str(process.pid))
        lock.flush()
        partial.rename(folder / STARTED / str(task))
    return process


def _is_held(path: Path) -> bool:
    try:
        with path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # none there, or no file
        return False
    return False


if __name__ == "__main__":
    sys.exit(main())
