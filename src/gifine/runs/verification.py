"""Before a finished run is served or a stopped one goes on: are its data, tokenizer and weights those of now?"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

from gifine.choices import DataSource
from gifine.config import RunConfig
from gifine.errors import DataError, OutputError, first_line
from gifine.inputs import dataset, hub, needs, offline, sources
from gifine.machine import disk
from gifine.runs import identity, provenance, records, staleness
from gifine.runs.records import Record

log = logging.getLogger(__name__)

BEGUN_WITH = "begun_with.json"  # below the checkpoints' folder, for all of them

Hashes = dict[str, dict[str, str]]  # by kind and name


def check_served(config: RunConfig, folder: Path, record: Record) -> None:
    """A finished run stands for what this config asks for only if its data are those of now.

    Of one's own files the run_id has the contents. Of Hub data those in the local cache are looked at, without asking
    the Hub: where there are none, nothing has replaced them.

    Raises:
        DataError: if they are not.
    """
    then = record.provenance.get("data", {})
    if config.task.files.train is not None or config.data.files or "task.hub.path" in record.contents:
        return
    try:
        read = offline.open_folder(config)
        splits, place = needs.splits_read(config.task), config
        if read is not None:
            place = replace(config, data=read.redirect_data(config.data))
            needed = needs.splits_needed(config)
            missing = [(task, split) for task, split in needed if not read.has_split(task, config.data, split)]
            if missing and config.data.source is not DataSource.demo:
                raise read.lacks(*(f"the data of task={task.name}, {split}" for task, split in missing))
        with hub.offline():
            now = dataset.Reader(place, read).fingerprints(splits)
    except Exception as error:  # of any library: what is not there, or in pieces, is no reason to withhold a result
        log.warning("the data of this run were not compared with those of now: %s", first_line(error))
        return
    if staleness.differing(then, now):
        raise DataError(
            f"{folder}: this run is {record.status}, but of other data than those there now: "
            f"{staleness.compare(config, then, now)}{_other_library(record)}; put them back, or run it again: "
            "overwrite=true in its place, another output_root beside it"
        )


def tell_others(config: RunConfig, folder: Path) -> None:
    """Say which runs there were made by the same command, when files had other contents: they are not gone on with."""
    ours = sources.contents(config)
    if not ours or config.output_dir is not None:
        return
    # With its paths: other ones are another command.
    wanted, said = identity.deciding(identity.to_dict(config), {}), list[str]()
    for path in sorted(folder.parent.glob(f"{identity.slug(config)}-*/{records.RECORD}")):
        try:
            other = records.read(path.parent)
            if other is None or identity.deciding(other.config, {}) != wanted:
                continue
        except (OutputError, LookupError, TypeError, AttributeError):  # no record of ours
            continue
        keys = [key for key in ours | other.contents if ours.get(key) != other.contents.get(key)]
        why = "of other contents of" if other.contents or "files" in other.provenance else "of no known contents of"
        said.append(f"{path.parent} ({other.status}) is {why} {', '.join(keys)}")
    if said:
        more = f", as are {len(said) - 1} more beside it" if len(said) > 1 else ""
        log.info("%s%s: this is another run", said[-1], more)


def begin(checkpoints: Path, record: Record) -> None:
    """Write down the hashes of what a run begins with: its checkpoints go with that alone.

    Raises:
        OutputError: if the disk does not take it.
    """
    _write(checkpoints, _made_of(record))


def remember(checkpoints: Path, earlier: Record) -> None:
    """Older versions did not write it down. The last attempt's record says it, before this one's takes its place."""
    if checkpoints.is_dir() and _read(checkpoints) is None:
        _write(checkpoints, _made_of(earlier))


def check_resumed(config: RunConfig, checkpoint: Path, record: Record) -> None:
    """A run goes on only with what it was begun with; `record` says what that is now.

    Raises:
        DataError: if something is of other contents.
    """
    then, now = _read(checkpoint.parent) or {}, _made_of(record)
    found = [staleness.compare(config, then.get("data", {}), now["data"])]
    for kind in ("tokenizer", "weights"):
        before, after = then.get(kind, {}), now[kind]
        found += [
            f"{kind} ({name}: sha256 {staleness.short(before[name])}, now {staleness.short(after[name])})"
            for name in staleness.differing(before, after)
        ]
    if problems := ", ".join(filter(None, found)):
        raise DataError(
            f"{checkpoint} is of a run that was begun with other data or weights than those there now: "
            f"{problems}{_other_library(record) if found[0] else ''}; put them back, or start anew: resume=false in "
            "its place, another output_root beside it"
        )


def _made_of(record: Record) -> Hashes:
    tokenizer = record.provenance.get("tokenizer")
    # The library's fingerprint of a folder has its time; the run_id has its contents.
    is_folder = "task.hub.path" in record.contents
    return {
        "data": {} if is_folder else record.provenance.get("data", {}),
        "tokenizer": {} if tokenizer is None else {"word pieces": tokenizer},
        "weights": record.provenance.get("weights", {}),
    }


def _read(checkpoints: Path) -> Hashes | None:
    try:
        found = json.loads((checkpoints / BEGUN_WITH).read_text(encoding="utf-8"))
        return {kind: dict(hashes) for kind, hashes in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _write(checkpoints: Path, made_of: Hashes) -> None:
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {checkpoints}: {error.strerror}") from error
    disk.write_text(checkpoints / BEGUN_WITH, json.dumps(made_of, indent=1) + "\n")


def _other_library(record: Record) -> str:
    """A hint for Hub data: their fingerprints are the library's."""
    then, now = (each.get("packages", {}).get("datasets") for each in (record.provenance, provenance.collect()))
    return f" (datasets was {then} then, {now} now)" if then and then != now else ""
