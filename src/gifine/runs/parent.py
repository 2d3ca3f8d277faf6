"""The run that another one starts from (`first.task`): where it is, and whether its weights are good to start from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gifine.config import RunConfig
from gifine.errors import EarlierRunError, ModelError
from gifine.inputs import model_files, offline
from gifine.runs import identity, records
from gifine.runs.records import FINISHED, Status


def folder_of(config: RunConfig) -> Path | None:
    """The folder of the run that this one starts from, beside its own; None if there is none, or none yet."""
    if config.first.run is None:
        return None
    root = Path(config.output_root).expanduser()
    found = (path for path in sorted(root.glob(f"*-{config.first.run}")) if path.is_dir())
    return next(found, None)


def is_needed(config: RunConfig) -> bool:
    """Whether the run that this one starts from has to be there: not where this one has its result already.

    Raises:
        ModelError: if it has to, has its own result, and has no weights: nobody wants to wait for anything else then.
    """
    folder, run_id = identity.directory(config), identity.run_id(config)
    known = records.entries(folder)
    if known.get("run_id") == run_id and known.get("status") in FINISHED and not config.overwrite:
        return False
    earlier = folder_of(config)
    if earlier is not None and (reason := without_weights(earlier)) is not None:
        raise ModelError(reason)
    return True


def without_weights(folder: Path) -> str | None:
    """What to do about a run that is done, but has no weights that another could start from; None of other runs."""
    record = records.entries(folder)
    if record.get("status") != Status.DONE:
        return None
    try:
        model_files.weight_files(model_files.saved_model(str(folder)))
    except ModelError:
        return (
            f"{folder} has no weights any more, or has kept none, for the runs that start from it: the same command "
            f"with task={record['config']['task']['name']} overwrite=true makes them anew"
        )
    return None


def check_ended(config: RunConfig) -> None:
    """Raise an EarlierRunError if a run would start from one that has not come to its end: it may do so yet."""
    if config.first.run is None:
        return
    folder = folder_of(config)
    status = None if folder is None else records.entries(folder).get("status")
    if folder is None or status in (None, Status.RUNNING, Status.INTERRUPTED):
        name = f"{config.first.task} run {config.first.run} in {config.output_root}" if folder is None else folder.name
        raise EarlierRunError(
            f"not started: {name}, which it starts from, has not finished; the same command goes on with both"
        )


def placed(config: RunConfig, places: RunConfig) -> RunConfig:
    """`places`, the config with the places where this run's files lie, with the weights of the run it starts from.

    Raises:
        ModelError: if that run is no good to start from.
    """
    if config.first.run is None:
        return places
    check_ended(config)
    folder = folder_of(config)
    assert folder is not None
    record = records.entries(folder)
    if record["status"] != Status.DONE:
        said = records.reason(record.get("error"))
        raise ModelError(f"nothing to start from: {folder.name} is {record['status']}{f': {said}' if said else ''}")
    if (reason := without_weights(folder)) is not None:
        raise ModelError(reason)
    base = offline.base_of(model_files.saved_model(str(folder)), offline.open_folder(config))
    model = replace(places.model, init_from=str(folder), base=base, checkpoint=None, revision=None, random_init=False)
    return replace(places, model=model)
