"""What a launcher does with runs that are composed and checked: find out which are missing, and submit those.

Everything that a run needs goes with it: edits of YAML afterwards do not change it. Between reading the ledger and
writing it nobody else can, so two who start the same sweep at once do not submit anything twice.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gifine.compose import grid
from gifine.compose.launchers import LauncherConfig, LocalConfig, SlurmConfig, problems
from gifine.config import RunConfig
from gifine.errors import ClusterError, ConfigError, OutputError
from gifine.runs import identity, records
from gifine.sweep import ledger, pool, resources, script, sharing, slurm, snapshot, states, waiting
from gifine.sweep.job import CONFIGS, JOB, STARTED
from gifine.sweep.ledger import Batch, Entry, Ledger, Place
from gifine.sweep.states import Run, State

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """A run that is to be submitted, with what it needs."""

    entry: Entry
    config: RunConfig
    settings: LauncherConfig
    cwd: str  # what relative paths are relative to, wherever the job starts


def wrong(
    settings: LauncherConfig,
    configs: Iterable[RunConfig] = (),
    fixed: Collection[str] = (),
    sweep: Path | None = None,
) -> list[str]:
    """What is wrong with the launcher's keys for these runs, and with the sweep's folder."""
    found = problems(settings)
    if sweep is not None and settings.snapshot and os.pathsep in str(sweep):
        found.append(
            f"output_root: {str(sweep)!r} has {os.pathsep}, at which PYTHONPATH is divided: the copy of the code would "
            "not be found there; give another one, or hydra.launcher.snapshot=false"
        )
    if not isinstance(settings, SlurmConfig):
        return found
    folder = None if sweep is None else script.wrong_folder(sweep)
    return [*found, *resources.wrong(settings, configs, fixed), *([f"output_root: {folder}"] if folder else [])]


def launch(cells: Iterable[grid.Cell], settings: LauncherConfig, *, sweep: Path, fixed: Collection[str] = ()) -> None:
    """Submit what is missing of these runs, and wait for all of them if that is wanted.

    `fixed` are the launcher's keys that `resources` does not change. Where to go on is said, not returned.

    Raises:
        ConfigError: if runs would share a folder; nothing is submitted then.
        OutputError: if the sweep's folder cannot be written.
        ClusterError: if SLURM refuses a submission; what was submitted before stays so.
        UnfinishedError: if it has waited, and runs have not finished.
    """
    if isinstance(settings, SlurmConfig):
        slurm.check()
    wanted = grid.distinct(cells)
    _check_folders(wanted.values())
    with ledger.locked(sweep):
        book = ledger.read(sweep)
        recover(sweep, book)
        for run_id, cell in wanted.items():
            path = str(cell.folder.absolute())
            known = book.runs.setdefault(run_id, Entry(run_id, identity.slug(cell.config), path))
            known.overrides, known.folder = cell.overrides, path
        present = [run for run in states.of(sweep, book) if run.entry.run_id in wanted]
        missing = [run for run in present if is_missing(run, settings, wanted[run.entry.run_id].config)]
        _summarise(sweep, present, missing)
        cwd = str(Path.cwd())
        requests = [_request(run.entry, wanted[run.entry.run_id].config, settings, fixed, cwd) for run in missing]
        submit(sweep, book, requests)
    waiting.follow(sweep, set(wanted), is_wanted=settings.wait)


def is_missing(run: Run, settings: LauncherConfig, config: RunConfig | None = None) -> bool:
    """Whether a run is to be submitted."""
    if run.state in states.ACTIVE:
        return False
    if run.state in states.FINISHED:
        return config is not None and config.overwrite
    return run.state is not State.FAILED or settings.retry_failed


def submit(sweep: Path, book: Ledger, requests: Sequence[Request]) -> None:
    """Submit these runs in as few batches as will do; the caller holds the ledger's lock.

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
    batches = portions(requests)
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
        _describe(sweep, batch, portion)
        earlier = {request.entry.run_id: [*request.entry.places] for task in portion for request in task}
        for number, task in enumerate(portion):
            for request in task:
                seen = ledger.mark(records.read(Path(request.entry.folder)))
                request.entry.places.append(Place(batch.name, number, seen))
        book.batches[batch.name] = batch
        ledger.write(sweep, book)  # before: whoever comes after a crash knows what to look for
        try:
            earlier_batch = None if after is None else book.batches[names[after]]
            _start(sweep, batch, portion, code, parallelism=parallelism, after=earlier_batch)
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
    for batch in [batch for batch in book.batches.values() if batch.launcher == "slurm" and batch.job_id is None]:
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


def _request(entry: Entry, config: RunConfig, settings: LauncherConfig, fixed: Collection[str], cwd: str) -> Request:
    own = resources.of(config, settings, fixed) if isinstance(settings, SlurmConfig) else settings
    return Request(entry, config, own, cwd)


def cwd_of(sweep: Path, batch: Batch) -> str:
    """The folder that a batch's relative paths are from; this one if that is gone, as after a move of all."""
    try:
        earlier = Path(json.loads((ledger.batch_folder(sweep, batch.name) / JOB).read_text(encoding="utf-8"))["cwd"])
    except (OSError, ValueError, LookupError, TypeError):  # of an older version
        return str(Path.cwd())
    return str(earlier if earlier.is_dir() else Path.cwd())


def _check_folders(cells: Iterable[grid.Cell]) -> None:
    """Raise a ConfigError if different runs have the same folder."""
    counts = Counter(cell.folder for cell in cells)
    shared = [folder for folder, count in counts.items() if count > 1]
    if shared:
        raise ConfigError(f"output_dir={shared[0]}: would be the folder of several runs; leave output_dir out")


def portions(requests: Sequence[Request]) -> list[list[list[Request]]]:
    """Batches of tasks of runs: those with the same settings together, as many as an array takes."""
    classes: dict[str, list[Request]] = {}
    for request in requests:
        classes.setdefault(json.dumps([_plain(request.settings), request.cwd], sort_keys=True), []).append(request)
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


def _describe(sweep: Path, batch: Batch, tasks: list[list[Request]]) -> None:
    """Write all that the jobs read."""
    folder, settings = ledger.batch_folder(sweep, batch.name), tasks[0][0].settings
    job = {
        "tasks": [
            [{"run_id": each.entry.run_id, "slug": each.entry.slug, "folder": each.entry.folder} for each in task]
            for task in tasks
        ],
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
                entries = json.dumps(identity.to_dict(_placed(request)), ensure_ascii=False)
                (folder / CONFIGS / f"{request.entry.run_id}.json").write_text(entries, encoding="utf-8")
        (folder / JOB).write_text(json.dumps(job), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror}") from error


def _placed(request: Request) -> RunConfig:
    """The config with the run's folder as an absolute path: the ledger's, which may have been moved."""
    folder, config = Path(request.entry.folder), request.config
    if config.output_dir is None and folder.name == f"{request.entry.slug}-{request.entry.run_id}":
        return replace(config, output_root=str(folder.parent))
    return replace(config, output_dir=str(folder))


def _start(
    sweep: Path, batch: Batch, tasks: list[list[Request]], code: Path | None, *, parallelism: int, after: Batch | None
) -> None:
    folder, settings = ledger.batch_folder(sweep, batch.name), tasks[0][0].settings
    if not isinstance(settings, SlurmConfig):
        environment = dict(os.environ)
        if code is not None:
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(code), environment.get("PYTHONPATH")]))
        pool.start(folder, environment)
        return
    chdir = Path(tasks[0][0].cwd)
    options = script.options(settings, folder=folder, chdir=chdir, tasks=batch.tasks, parallelism=parallelism)
    if after is not None:
        options["dependency"] = ",".join(filter(None, [options.get("dependency"), f"afterany:{after.job_id}"]))
    batch.log = script.log(options, folder)
    python = settings.python or shlex.quote(sys.executable)
    path = folder / slurm.SCRIPT
    path.write_text(script.text(settings, options, python=python, code=code, folder=folder), encoding="utf-8")
    batch.job_id, batch.cluster = slurm.submit(path, script.words(options))


def _plain(settings: LauncherConfig) -> dict[str, object]:
    return {key: value for key, value in asdict(settings).items() if not key.startswith("_")}


def _summarise(sweep: Path, runs: list[Run], missing: list[Run]) -> None:
    ids = {run.entry.run_id for run in missing}
    counts = Counter(run.state for run in runs if run.entry.run_id not in ids)
    parts = [f"{count} {state}" for state, count in sorted(counts.items())]
    log.info("%s: %d runs: %s", sweep, len(runs), ", ".join([*parts, f"{len(missing)} to submit"]))
    if counts[State.FAILED]:
        log.info("failed runs are left alone: hydra.launcher.retry_failed=true submits them again")
