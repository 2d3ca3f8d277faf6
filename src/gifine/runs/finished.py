"""Finished runs with their weights, as their folders hold them. No torch: a wrong folder is told at once."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf.errors import OmegaConfBaseException

from gifine.choices import Attention
from gifine.config import RunConfig
from gifine.errors import ModelError, RunError, UserError, first_line
from gifine.inputs import digests, offline
from gifine.inputs.change_files import FILE
from gifine.inputs.model_files import weight_files
from gifine.inputs.offline import Folder
from gifine.inputs.run_folder import MODEL
from gifine.runs import identity, records
from gifine.runs.records import Record, Status

log = logging.getLogger(__name__)


@dataclass
class FinishedRun:
    folder: Path
    record: Record
    config: RunConfig  # the record's, except for where data lie
    prefetched: Folder | None = None  # that data are read from

    @property
    def model(self) -> Path:
        """The folder of its weights and tokenizer."""
        return self.folder / MODEL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN … and --data-dir, which `read` takes."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the folder of a finished run")
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="where the data lie now: the folder of the official files, or of one's own files, which are looked for by "
        "their names (dev.csv; dev/data.csv where two have the same name)",
    )
    add_base(parser)


def add_base(parser: argparse.ArgumentParser) -> None:
    """--base, which `read` takes."""
    parser.add_argument(
        "--base",
        metavar="FOLDER",
        help="where the weights lie now that runs with train.parameters=change or bias were trained over",
    )


def read(
    folders: Sequence[Path], data_dir: Path | None = None, base: str | None = None, *, own_data: bool = True
) -> list[FinishedRun]:
    """The runs in these folders; `data_dir` is where their data lie, if not where the runs found them, `base` the same
    of the weights that they were trained over, where they have kept trained parameters alone.

    Without `own_data` nothing of them is read, and where they lie makes no difference.

    Raises:
        RunError: with what is wrong with each folder that is unreadable, no run's, not finished or without weights.
    """
    found: list[FinishedRun] = []
    problems: list[str] = []
    for folder in folders:
        try:
            found.append(_read(folder.expanduser(), data_dir, base, own_data))
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise RunError("\n".join(problems))
    for run in found:
        if run.record.status is Status.DEGENERATE:
            log.warning("%s is degenerate: %s", run.folder, run.record.error)
    return found


def _read(folder: Path, data_dir: Path | None, base: str | None, own_data: bool) -> FinishedRun:
    record = records.read(folder)
    if record is None:
        what = f"no {records.RECORD} there, so no run's folder" if folder.is_dir() else "no such folder"
        raise RunError(f"{folder}: {what}")
    try:
        # Older records do not say how attention was computed: transformers did it.
        own = {"attention": Attention.hf.value} | record.config["model"]
        config = identity.from_dict(record.config | {"model": own})
    except (OmegaConfBaseException, LookupError, ValueError, TypeError, AssertionError) as error:
        raise RunError(
            f"{folder}: its record's config is not one that this gifine knows ({first_line(error)})"
        ) from error
    if record.status not in records.TRAINED:
        raise RunError(f"{folder}: the run is {record.status}; only those that are done or degenerate have a result")
    try:
        weight_files(folder / MODEL)
    except ModelError as error:
        raise RunError(
            f"{folder}: the run's weights were not kept ({error}); "
            "run it again with train.save_model=true overwrite=true"
        ) from error
    _check_change(folder, config, record)
    has_data = own_data and data_dir is None  # in the prefetched folder, if there is one
    prefetched = offline.open_folder(config) if has_data or base is None else None
    if base is None:
        base = offline.base_of(folder / MODEL, prefetched)
    config = replace(config, model=replace(config.model, base=base))
    if prefetched is None or not has_data:
        return FinishedRun(folder, record, _relocated(folder, config, data_dir))
    moved = replace(config, data=prefetched.redirect_data(config.data))
    return FinishedRun(folder, record, moved, prefetched)


def _check_change(folder: Path, config: RunConfig, record: Record) -> None:
    """Raise a RunError if the file of a change of one's own is not what the run was made with: it would be executed."""
    file = config.change.get(FILE)
    if file is None:
        return
    then = record.contents.get("change.file", "")
    try:
        now = digests.sha256(file)
    except OSError as error:
        raise RunError(f"{folder}: its change's file {file} cannot be read: {error.strerror}; put it back") from error
    if now != then:
        raise RunError(
            f"{folder}: its change's file {file} was edited since the run (sha256 {then[:12]}, now {now[:12]}): "
            "put back what it was"
        )


def _relocated(folder: Path, config: RunConfig, data_dir: Path | None) -> RunConfig:
    """The config with data where they are now: a run may have been moved to another machine."""
    data, files = config.data, config.task.files
    if data.cache_dir is not None and not Path(data.cache_dir).expanduser().is_dir():
        config = replace(config, data=replace(data, cache_dir=None))
    if data_dir is None:
        return config
    if not data_dir.expanduser().is_dir():
        raise RunError(f"--data-dir {data_dir}: no such folder")
    if files.train is not None:
        own = [path for path in (files.train, files.validation, files.test) if path is not None]
        moved = {path: str(data_dir / tail) for path, tail in _tails(own).items()}
        train, validation, test = (moved.get(path or "") for path in (files.train, files.validation, files.test))
        files = replace(files, train=train, validation=validation, test=test)
        return replace(config, task=replace(config.task, files=files))
    if not data.source.is_official:
        raise RunError(f"{folder}: read its data from data={data.source.value}, so --data-dir does not go with it")
    return replace(config, data=replace(config.data, dir=str(data_dir)))


def _tails(paths: Sequence[str]) -> dict[str, str]:
    """The ends of these paths, of as few parts as tell different files apart: `dev.csv`, or `dev/data.csv`."""
    parts = {path: Path(os.path.normpath(Path(path).expanduser().absolute())).parts[1:] for path in paths}
    longest = max(map(len, parts.values()))
    for count in range(1, longest + 1):
        tails = {path: str(Path(*own[-count:])) for path, own in parts.items()}
        if len(set(tails.values())) == len(set(parts.values())):
            return tails
    raise AssertionError("whole paths tell files apart")


def check_answers(run: FinishedRun) -> None:
    """
    Raises:
        RunError: for one of pre-training, which answers nothing.
    """
    name = run.config.task.name
    if run.config.task.objective.pretrains:
        raise RunError(
            f"{run.folder}: task={name} pre-trains; fine-tune what it left first: model.init_from={run.folder}"
        )
