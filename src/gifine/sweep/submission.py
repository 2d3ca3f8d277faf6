"""What a launcher does: compose and check all runs, find out which are missing, and submit those.

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
from dataclasses import asdict
from pathlib import Path

from gifine import grid, identity, records
from gifine.config import RunConfig
from gifine.errors import ClusterError, ConfigError, OutputError
from gifine.sweep import ledger, pool, script, slurm, snapshot, states, waiting
from gifine.sweep.config import LauncherConfig, LocalConfig, SlurmConfig, problems
from gifine.sweep.job import CONFIGS, JOB, STARTED
from gifine.sweep.ledger import Batch, Entry, Ledger, Place
from gifine.sweep.states import Run, State

log = logging.getLogger(__name__)


def launch(overrides: list[list[str]], settings: LauncherConfig, *, sweep: str, config_dir: str | None) -> None:
    """Submit what is missing of these runs, and wait for all of them if that is wanted.

    Raises:
        ConfigError: with everything that is wrong with runs or settings; nothing is submitted then.
        OutputError: if the sweep's folder cannot be written.
        ClusterError: if SLURM refuses a submission; what was submitted before stays so.
        UnfinishedError: if it has waited, and runs have not finished.
    """
    wrong = problems(settings)
    if wrong:
        raise ConfigError(*wrong)
    if isinstance(settings, SlurmConfig):
        slurm.check()
    configs = grid.configs(overrides, config_dir)
    folder = Path(sweep).expanduser().absolute()
    wanted = _distinct(configs, overrides)
    with ledger.locked(folder):
        book = ledger.read(folder)
        recover(folder, book)
        for run_id, (config, words) in wanted.items():
            path = str(identity.directory(config).absolute())
            known = book.runs.setdefault(run_id, Entry(run_id, identity.slug(config), path))
            known.overrides, known.folder = words, path
        runs = [run for run in states.of(folder, book) if run.entry.run_id in wanted]
        missing = [run for run in runs if is_missing(run, settings, wanted[run.entry.run_id][0])]
        _summarise(folder, runs, missing, twice=len(configs) - len(wanted))
        submit(folder, book, [(run.entry, wanted[run.entry.run_id][0]) for run in missing], settings)
    waiting.follow(folder, set(wanted), is_wanted=settings.wait)


def is_missing(run: Run, settings: LauncherConfig, config: RunConfig | None = None) -> bool:
    """Whether a run is to be submitted."""
    if run.state in states.ACTIVE:
        return False
    if run.state in states.FINISHED:
        return config is not None and config.overwrite
    return run.state is not State.FAILED or settings.retry_failed


def submit(sweep: Path, book: Ledger, runs: list[tuple[Entry, RunConfig]], settings: LauncherConfig) -> None:
    """Submit these runs in as few batches as will do; the caller holds the ledger's lock.

    Raises:
        ClusterError: if SLURM refuses.
    """
    if not runs:
        ledger.write(sweep, book)
        return
    code = snapshot.take(sweep / ledger.FOLDER) if settings.snapshot else snapshot.checkout()
    pack = settings.pack if isinstance(settings, SlurmConfig) else 1
    tasks = [runs[start : start + pack] for start in range(0, len(runs), pack)]
    size = len(tasks)
    if isinstance(settings, SlurmConfig) and size > 1:
        size = settings.max_array_size or slurm.max_array_size()
    portions = [tasks[start : start + size] for start in range(0, len(tasks), size)]
    for portion in portions:
        batch = Batch(
            name=ledger.new_name(),
            launcher="slurm" if isinstance(settings, SlurmConfig) else "local",
            settings=_plain(settings),
            tasks=len(portion),
            submitted=ledger.now(),
            host=platform.node(),
        )
        _describe(sweep, batch, portion, settings)
        earlier = {entry.run_id: [*entry.places] for task in portion for entry, _ in task}
        for number, task in enumerate(portion):
            for entry, _ in task:
                seen = ledger.mark(records.read(Path(entry.folder)))
                entry.places.append(Place(batch.name, number, seen))
        book.batches[batch.name] = batch
        ledger.write(sweep, book)  # before: whoever comes after a crash knows what to look for
        try:
            _start(sweep, batch, settings, code, arrays=len(portions))
        except ClusterError:
            batch.job_id = _found(batch)
            if batch.job_id is None:
                _forget(sweep, book, batch, earlier)
                raise
        ledger.write(sweep, book)


def recover(sweep: Path, book: Ledger) -> None:
    """Learn the job ids of submissions that were not written down, because this program was killed at the time."""
    for batch in [batch for batch in book.batches.values() if batch.launcher == "slurm" and batch.job_id is None]:
        started = sorted((ledger.batch_folder(sweep, batch.name) / STARTED).glob("*"))  # jobs, by SLURM's ids
        batch.job_id = started[0].name.partition("_")[0] if started else _found(batch)
        if batch.job_id is None:
            earlier = {run.run_id: [p for p in run.places if p.batch != batch.name] for run in book.runs.values()}
            _forget(sweep, book, batch, earlier)


def _found(batch: Batch) -> str | None:
    try:
        return slurm.find(batch.name)
    except ClusterError as error:
        said = f"{error}\nwhether {batch.name} was submitted is not known; the same command finds out"
        raise ClusterError(said) from error


def _forget(sweep: Path, book: Ledger, batch: Batch, places: dict[str, list[Place]]) -> None:
    for run_id, earlier in places.items():
        book.runs[run_id].places = earlier
    del book.batches[batch.name]
    ledger.write(sweep, book)
    shutil.rmtree(ledger.batch_folder(sweep, batch.name), ignore_errors=True)


def _distinct(configs: list[RunConfig], overrides: list[list[str]]) -> dict[str, tuple[RunConfig, list[str]]]:
    """The runs by run_id: cells that coincide, such as all levels of gi.side=none, are one.

    Raises:
        ConfigError: if different runs have the same folder.
    """
    runs: dict[str, tuple[RunConfig, list[str]]] = {}
    folders: dict[Path, str] = {}
    for config, words in zip(configs, overrides, strict=True):
        run_id, folder = identity.run_id(config), identity.directory(config)
        runs.setdefault(run_id, (config, words))
        if folders.setdefault(folder, run_id) != run_id:
            raise ConfigError(f"output_dir={folder}: would be the folder of several runs; leave output_dir out")
    return runs


def _describe(sweep: Path, batch: Batch, tasks: list[list[tuple[Entry, RunConfig]]], settings: LauncherConfig) -> None:
    """Write all that the jobs read."""
    folder = ledger.batch_folder(sweep, batch.name)
    job = {
        "tasks": [
            [{"run_id": entry.run_id, "slug": entry.slug, "folder": entry.folder} for entry, _ in task]
            for task in tasks
        ],
        "max_num_timeout": settings.max_num_timeout if isinstance(settings, SlurmConfig) else 0,
        "parallelism": settings.parallelism if isinstance(settings, LocalConfig) else None,
        "code": None if settings.snapshot or snapshot.checkout() is None else snapshot.digest(),
    }
    try:
        (folder / CONFIGS).mkdir(parents=True)
        for task in tasks:
            for entry, config in task:
                entries = json.dumps(identity.to_dict(config), ensure_ascii=False)
                (folder / CONFIGS / f"{entry.run_id}.json").write_text(entries, encoding="utf-8")
        (folder / JOB).write_text(json.dumps(job), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror}") from error


def _start(sweep: Path, batch: Batch, settings: LauncherConfig, code: Path | None, *, arrays: int) -> None:
    folder = ledger.batch_folder(sweep, batch.name)
    if not isinstance(settings, SlurmConfig):
        environment = dict(os.environ)
        if code is not None:
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(code), environment.get("PYTHONPATH")]))
        pool.start(folder, environment)
        return
    parallelism = max(1, settings.array_parallelism // arrays)
    options = script.directives(settings, folder=folder, comment=batch.name, tasks=batch.tasks, parallelism=parallelism)
    batch.log = str(Path(options["output"]).absolute())
    python = settings.python or shlex.quote(sys.executable)
    path = folder / "job.sh"
    path.write_text(script.text(settings, options, python=python, code=code, folder=folder), encoding="utf-8")
    batch.job_id = slurm.submit(path)


def _plain(settings: LauncherConfig) -> dict[str, object]:
    return {key: value for key, value in asdict(settings).items() if not key.startswith("_")}


def _summarise(sweep: Path, runs: list[Run], missing: list[Run], *, twice: int) -> None:
    counts = Counter(run.state for run in runs if run not in missing)
    parts = [f"{count} {state}" for state, count in sorted(counts.items())]
    equal = f" ({twice} more ask for the same)" if twice else ""
    log.info("%s: %d runs%s: %s", sweep, len(runs), equal, ", ".join([*parts, f"{len(missing)} to submit"]))
    if counts[State.FAILED]:
        log.info("failed runs are left alone: hydra.launcher.retry_failed=true submits them again")
