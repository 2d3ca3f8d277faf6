"""Runs in batches, as few as will do, and these handed to SLURM or to a pool of processes.

Everything that a run needs goes with it: edits of YAML afterwards do not change it.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gifine.compose.launchers import LauncherConfig, LocalConfig, SlurmConfig
from gifine.config import RunConfig
from gifine.errors import ClusterError, OutputError
from gifine.runs import identity, preregistration, records
from gifine.sweep import ledger, pool, script, sharing, slurm, snapshot
from gifine.sweep.job import CONFIGS, JOB, STARTED, config_file
from gifine.sweep.ledger import Batch, Entry, Ledger, Place

PLANS = "plans"  # below the sweep's own folder: the preregistered plans that its runs name


@dataclass(frozen=True)
class Request:
    """A run that is to be submitted, with what it needs."""

    entry: Entry
    config: RunConfig
    settings: LauncherConfig
    cwd: str  # what relative paths are relative to, wherever the job starts


def submit(sweep: Path, book: Ledger, requests: Sequence[Request], at_work: Collection[str] = ()) -> None:
    """Submit these runs in as few batches as will do; the caller holds the ledger's lock.

    A run waits for the one that it starts from, if that is among these or among the run_ids of those `at_work`; however
    that one ends, since SLURM would let a job wait forever for a success that does not come. The run itself sees what
    has become of it.

    Raises:
        ClusterError: if SLURM refuses.
        OutputError: if the sweep's folder has a name that SLURM cannot have, or cannot be written.
    """
    if not requests:
        ledger.write(sweep, book)
        return
    folder = script.wrong_folder(sweep)  # it may have been moved there
    if folder and any(isinstance(request.settings, SlurmConfig) for request in requests):
        raise OutputError(folder)
    code = snapshot.take(sweep / ledger.FOLDER) if requests[0].settings.snapshot else snapshot.checkout()
    awaited = {*at_work, *(request.entry.run_id for request in requests)}
    batches = portions(sorted(requests, key=lambda request: request.entry.first is not None), awaited)
    limits = [(len(portion), _limit(portion[0][0].settings)) for portion in batches]
    names: list[str] = []
    left = len(requests)
    for portion, (parallelism, after) in zip(batches, sharing.scheduled(limits), strict=True):
        settings = portion[0][0].settings
        batch = Batch(
            name=ledger.new_name(),
            launcher="slurm" if isinstance(settings, SlurmConfig) else "local",
            settings=_plain(settings),
            tasks=len(portion),
            submitted=ledger.now(),
            host=platform.node(),
        )
        waits = _waits(book, batch, portion, awaited)
        _describe(sweep, batch, portion, waits)
        earlier = {request.entry.run_id: [*request.entry.places] for task in portion for request in task}
        for number, task in enumerate(portion):
            for request in task:
                seen = ledger.mark(records.read(Path(request.entry.folder)))
                request.entry.places.append(Place(batch.name, number, seen))
        book.batches[batch.name] = batch
        ledger.write(sweep, book)  # before: whoever comes after a crash knows what to look for
        try:
            jobs = {book.batches[name].job(task) for task in waits for name, task in task}
            jobs |= set() if after is None else {book.batches[names[after]].job_id}
            _start(sweep, batch, portion, code, parallelism=parallelism, after=sorted(filter(None, jobs)))
        except ClusterError as error:
            batch.job_id, batch.cluster = _found(batch) or (None, None)
            if batch.job_id is None:
                _forget(sweep, book, batch, earlier)
                said = f"{len(requests) - left} of {len(requests)} runs are submitted, {left} are not"
                raise ClusterError(f"{error}\n{said}; the same command goes on with those") from error
        names.append(batch.name)
        ledger.write(sweep, book)
        left -= sum(map(len, portion))


def _limit(settings: LauncherConfig) -> int:
    return settings.array_parallelism if isinstance(settings, SlurmConfig) else 1  # a pool divides by itself


def recover(sweep: Path, book: Ledger) -> None:
    """Learn the job ids of submissions that were not written down, because this program was killed at the time."""
    for batch in [batch for batch in book.batches.values() if not batch.is_local and batch.job_id is None]:
        started = sorted((ledger.batch_folder(sweep, batch.name) / STARTED).glob("*"))  # jobs, by SLURM's ids
        if started:
            batch.job_id, batch.cluster = started[0].name.partition("_")[0], _cluster(batch, started[0])
        else:
            batch.job_id, batch.cluster = _found(batch) or (None, None)
        if batch.job_id is None:
            earlier = {run.run_id: [p for p in run.places if p.batch != batch.name] for run in book.runs.values()}
            _forget(sweep, book, batch, earlier)


def _found(batch: Batch) -> tuple[str, str | None] | None:
    try:
        return slurm.find(batch.name, _clusters(batch.settings))
    except ClusterError as error:
        said = f"{error}\nwhether {batch.name} was submitted is not known; the same command finds out"
        raise ClusterError(said) from error


def _clusters(settings: Mapping[str, Any]) -> list[str | None]:
    return slurm.clusters(settings["additional_parameters"].get("clusters"))


def _cluster(batch: Batch, started: Path) -> str | None:
    """The cluster that a job has said it is on, if it might have been on another one."""
    return None if _clusters(batch.settings) == [None] else started.read_text(encoding="utf-8") or None


def _forget(sweep: Path, book: Ledger, batch: Batch, places: dict[str, list[Place]]) -> None:
    for run_id, earlier in places.items():
        book.runs[run_id].places = earlier
    del book.batches[batch.name]
    ledger.write(sweep, book)
    shutil.rmtree(ledger.batch_folder(sweep, batch.name), ignore_errors=True)


def cwd_of(sweep: Path, batch: Batch) -> str:
    """The folder that a batch's relative paths are from; this one if that is gone, as after a move of all."""
    try:
        earlier = Path(json.loads((ledger.batch_folder(sweep, batch.name) / JOB).read_text(encoding="utf-8"))["cwd"])
    except (OSError, ValueError, LookupError, TypeError):  # of an older version
        return str(Path.cwd())
    return str(earlier if earlier.is_dir() else Path.cwd())


def portions(requests: Sequence[Request], awaited: Collection[str] = ()) -> list[list[list[Request]]]:
    """Batches of tasks of runs: those with the same settings together, as many as an array takes.

    An array waits as a whole, so that in it all start from the same run, if that is one of the `awaited` run_ids.
    """
    classes: dict[str, list[Request]] = {}
    for request in requests:
        is_array = isinstance(request.settings, SlurmConfig)
        first = request.entry.first if is_array and request.entry.first in awaited else None
        key = json.dumps([_plain(request.settings), request.cwd, first], sort_keys=True)
        classes.setdefault(key, []).append(request)
    found = []
    for group in classes.values():
        settings = group[0].settings
        pack = settings.pack if isinstance(settings, SlurmConfig) else 1
        tasks = [group[start : start + pack] for start in range(0, len(group), pack)]
        size = len(tasks)
        if isinstance(settings, SlurmConfig) and size > 1:
            size = settings.max_array_size or slurm.max_array_size(_clusters(_plain(settings)))
        found += [tasks[start : start + size] for start in range(0, len(tasks), size)]
    return found


def _waits(
    book: Ledger, batch: Batch, tasks: list[list[Request]], awaited: Collection[str]
) -> list[list[tuple[str, int]]]:
    """Of each task of a batch that is not submitted yet, the tasks that it waits for: of a launcher of its own kind."""
    own = {request.entry.run_id: (batch.name, number) for number, task in enumerate(tasks) for request in task}

    def place(run_id: str) -> tuple[str, int] | None:
        if run_id in own:
            return own[run_id]
        latest = book.latest(book.runs[run_id])
        return None if latest is None or latest[0].is_local != batch.is_local else (latest[0].name, latest[1])

    firsts = [[each.entry.first for each in task if each.entry.first in awaited] for task in tasks]
    found = [dict.fromkeys(place(run_id) for run_id in task if run_id is not None) for task in firsts]
    return [[each for each in task if each is not None] for task in found]


def _describe(sweep: Path, batch: Batch, tasks: list[list[Request]], waits: list[list[tuple[str, int]]]) -> None:
    """Write all that the jobs read."""
    folder, settings = ledger.batch_folder(sweep, batch.name), tasks[0][0].settings
    job = {
        "tasks": [
            [{"run_id": each.entry.run_id, "slug": each.entry.slug, "folder": each.entry.folder} for each in task]
            for task in tasks
        ],
        "waits": waits,  # of a pool: it lets a task start when these have ended; SLURM is told by sbatch's options
        "max_num_timeout": settings.max_num_timeout if isinstance(settings, SlurmConfig) else 0,
        "side_by_side": settings.side_by_side if isinstance(settings, SlurmConfig) else 1,
        "parallelism": settings.parallelism if isinstance(settings, LocalConfig) else None,
        "processes": settings.nodes * settings.tasks_per_node if isinstance(settings, SlurmConfig) else 1,
        "cwd": tasks[0][0].cwd,
        "code": None if settings.snapshot or snapshot.checkout() is None else snapshot.digest(),
    }
    try:
        (folder / CONFIGS).mkdir(parents=True)
        for task in tasks:
            for request in task:
                entries = json.dumps(identity.to_dict(_placed(sweep, request)), ensure_ascii=False)
                config_file(folder, request.entry.run_id).write_text(entries, encoding="utf-8")
        (folder / JOB).write_text(json.dumps(job), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror}") from error


def _placed(sweep: Path, request: Request) -> RunConfig:
    """The config with the run's folder as an absolute path: the ledger's, which may have been moved; the plan kept."""
    folder, config = Path(request.entry.folder), request.config
    if config.plan is not None:
        plan = Path(request.cwd) / Path(config.plan).expanduser()
        config = replace(config, plan=str(preregistration.keep(plan, sweep / ledger.FOLDER / PLANS)))
    if config.output_dir is None and folder.name == f"{request.entry.slug}-{request.entry.run_id}":
        return replace(config, output_root=str(folder.parent))
    return replace(config, output_dir=str(folder))


def _start(
    sweep: Path, batch: Batch, tasks: list[list[Request]], code: Path | None, *, parallelism: int, after: list[str]
) -> None:
    """Hand a batch over; `after` are jobs of SLURM that it waits for, however they end."""
    folder, settings = ledger.batch_folder(sweep, batch.name), tasks[0][0].settings
    if not isinstance(settings, SlurmConfig):
        environment = dict(os.environ)
        if code is not None:
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(code), environment.get("PYTHONPATH")]))
        pool.start(folder, environment)
        return
    chdir = Path(tasks[0][0].cwd)
    options = script.options(settings, folder=folder, chdir=chdir, tasks=batch.tasks, parallelism=parallelism)
    if after:
        options["dependency"] = ",".join(filter(None, [options.get("dependency"), f"afterany:{':'.join(after)}"]))
    batch.log = script.log(options, folder)
    python = settings.python or shlex.quote(sys.executable)
    path = folder / slurm.SCRIPT
    path.write_text(script.text(settings, options, python=python, code=code, folder=folder), encoding="utf-8")
    batch.job_id, batch.cluster = slurm.submit(path, script.words(options))


def _plain(settings: LauncherConfig) -> dict[str, object]:
    return {key: value for key, value in asdict(settings).items() if not key.startswith("_")}
