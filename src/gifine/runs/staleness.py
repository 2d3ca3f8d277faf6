"""Whether what a run was made of is still there as it was: data, weights, tokenizer. No torch, and no network.

A record has `provenance.files`, the sha256 of each file that was read, and `provenance.data`, the fingerprint of each
split. Records of older versions have the latter alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from gifine.choices import DataSource
from gifine.config import RunConfig
from gifine.errors import DataError, PrefetchError
from gifine.inputs import digests, needs, offline, sources

T = TypeVar("T")

_NAMED = 5  # of many runs, as many are told by name


def files(known: Mapping[T, Mapping[str, str]]) -> dict[T, list[str]]:
    """Of the files that each run has read, as its record's `provenance.files` has them: those with other contents now.

    Runs without such are left out. A file that is not here says nothing: records are read on other machines, too.
    """
    now: dict[str, str | None] = {}  # many runs have read the same

    def is_changed(name: str, then: str) -> bool:
        if name not in now:
            try:
                now[name] = digests.sha256(name)
            except (OSError, ValueError):  # not there, not to be read, or no path at all
                now[name] = None
        return now[name] not in (None, then)

    found = {run: [name for name, then in read.items() if is_changed(name, then)] for run, read in known.items()}
    return {run: changed for run, changed in found.items() if changed}


def fingerprints(config: RunConfig) -> dict[str, str]:
    """By split what a run would read now, as far as it can be told at once: of official files and prefetched data.

    Contents decide whose own files a run reads: these need no comparison.
    """
    task, splits = config.task, needs.splits_read(config.task)
    if task.files.train is not None or task.objective.pretrains:  # of a corpus only reading it all could tell
        return {}
    try:
        folder = offline.open_folder(config)
        if config.data.source.is_official:
            place = needs.official_folder(config)
            data = replace(config.data, dir=None if place is None else str(place))
            return {split: sources.official(task, data, split).fingerprint for split in splits}
        if config.data.source is DataSource.hub and folder is not None:
            named = {split: where for split in splits if (where := needs.hub_split(task, split)) is not None}
            return {split: where.fingerprint(folder.fingerprint(where)) for split, where in named.items()}
    except (DataError, PrefetchError, OSError, ValueError, KeyError):  # not there: the run itself says so
        return {}
    return {}


def differing(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The names that both have, with another hash each."""
    return [name for name, known in now.items() if then.get(name, known) != known]


def compare(config: RunConfig, then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What differs, in words: each split, where it is, and both fingerprints."""
    return ", ".join(
        f"{split} ({_place(config, split)}: fingerprint {short(then[split])}, now {short(now[split])})"
        for split in differing(then, now)
    )


def short(fingerprint: str) -> str:
    """The beginning of a hash; of a Hub split, whose fingerprint has its name before, its end."""
    return fingerprint.rpartition("/")[2][:12]


def describe(changed: Mapping[str, Sequence[str]]) -> str:
    """One line on runs of which something has changed, by their names: how many, which and what; empty for none."""
    if not changed:
        return ""
    named = [f"{run} ({', '.join(what)})" for run, what in list(changed.items())[:_NAMED]]
    more = f" and {len(changed) - _NAMED:,} more" if len(changed) > _NAMED else ""
    runs = "1 run was" if len(changed) == 1 else f"{len(changed):,} runs were"
    return f"{runs} made of data or weights that are not those on disk any more: {', '.join(named)}{more}"


def _place(config: RunConfig, split: str) -> str:
    task = config.task
    if config.data.source is DataSource.hub:
        return str(needs.hub_split(task, split))
    if config.data.source.is_official and (folder := needs.official_folder(config)) is not None:
        names = needs.official_names(task, split, allow_partial=config.data.allow_partial)
        return str(next((folder / name for name in names if (folder / name).is_file()), folder))
    return config.data.source.value
