"""What a launcher does with runs that are composed and checked: find out which are missing, and submit those.

Between reading the ledger and writing it nobody else can, so two who start the same sweep at once do not submit
anything twice.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from gifine.compose import grid
from gifine.compose.launchers import LauncherConfig, SlurmConfig, problems
from gifine.config import RunConfig
from gifine.errors import ConfigError
from gifine.runs import identity
from gifine.sweep import batches, ledger, resources, script, slurm, states, waiting
from gifine.sweep.batches import Request
from gifine.sweep.ledger import Entry
from gifine.sweep.states import RunState, State

log = logging.getLogger(__name__)


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
    found += resources.wrong(settings, configs, fixed)
    folder = None if sweep is None else script.wrong_folder(sweep)
    if folder is not None:
        found.append(f"output_root: {folder}")
    return found


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
        batches.recover(sweep, book)
        for run_id, cell in wanted.items():
            path = str(cell.folder.absolute())
            known = book.runs.setdefault(run_id, Entry(run_id, identity.slug(cell.config), path))
            known.overrides, known.folder, known.first = cell.overrides, path, cell.config.first.run
        present = [run for run in states.read(sweep, book) if run.entry.run_id in wanted]
        missing = [run for run in present if is_missing(run, settings, wanted[run.entry.run_id].config)]
        _summarise(sweep, present, missing)
        cwd = str(Path.cwd())
        requests = [_request(run.entry, wanted[run.entry.run_id].config, settings, fixed, cwd) for run in missing]
        at_work = {run.entry.run_id for run in present if run.state in states.ACTIVE}
        batches.submit(sweep, book, requests, at_work)
    waiting.follow(sweep, set(wanted), is_wanted=settings.wait)


def is_missing(run: RunState, settings: LauncherConfig, config: RunConfig | None = None) -> bool:
    """Whether a run is to be submitted."""
    if run.state in states.ACTIVE:
        return False
    if run.state in states.FINISHED:
        return config is not None and config.overwrite
    return run.state is not State.FAILED or settings.retry_failed


def _request(entry: Entry, config: RunConfig, settings: LauncherConfig, fixed: Collection[str], cwd: str) -> Request:
    own = resources.choose(config, settings, fixed) if isinstance(settings, SlurmConfig) else settings
    return Request(entry, config, own, cwd)


def _check_folders(cells: Iterable[grid.Cell]) -> None:
    """Raise a ConfigError if different runs have the same folder."""
    counts = Counter(cell.folder for cell in cells)
    shared = [folder for folder, count in counts.items() if count > 1]
    if shared:
        raise ConfigError(f"output_dir={shared[0]}: would be the folder of several runs; leave output_dir out")


def _summarise(sweep: Path, runs: list[RunState], missing: list[RunState]) -> None:
    ids = {run.entry.run_id for run in missing}
    counts = Counter(run.state for run in runs if run.entry.run_id not in ids)
    parts = [f"{count} {state}" for state, count in sorted(counts.items())]
    log.info("%s: %d runs: %s", sweep, len(runs), ", ".join([*parts, f"{len(missing)} to submit"]))
    if counts[State.FAILED]:
        log.info("failed runs are left alone: hydra.launcher.retry_failed=true submits them again")
