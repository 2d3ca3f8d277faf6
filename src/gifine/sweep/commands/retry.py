"""Submit runs again that have failed, been cancelled or died, with the launcher's keys of their last submission."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
from collections import Counter
from collections.abc import Container, Sequence
from pathlib import Path

from omegaconf.errors import OmegaConfBaseException

from gifine.compose.launchers import LAUNCHERS
from gifine.errors import ArgumentError, ExitCode, RunError, first_line
from gifine.runs import identity
from gifine.schema import from_entries
from gifine.sweep import batches, ledger, listing, states
from gifine.sweep.batches import Request
from gifine.sweep.job import config_file
from gifine.sweep.ledger import Batch, Entry
from gifine.sweep.states import FINISHED, RunState, State

log = logging.getLogger(__name__)

_NOT_OURS = FINISHED | states.ACTIVE | {State.NOT_SUBMITTED, State.UNKNOWN}
_CHOICES = [state.value.replace(" ", "-") for state in State if state not in _NOT_OURS]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    listing.add_folder(parser)
    parser.add_argument(
        "runs", nargs="*", default=[], metavar="RUN", help="run_ids or run folders; none: all in the given states"
    )
    parser.add_argument(
        "--state", action="append", choices=_CHOICES, metavar="STATE", help=f"{', '.join(_CHOICES)}; default: failed"
    )


def run(args: argparse.Namespace) -> ExitCode:
    """Submit them, and return."""
    sweep = listing.folder(args.sweep)
    ledger.read_existing(sweep)
    wanted = {word.replace("-", " ") for word in args.state or ([] if args.runs else [State.FAILED])}
    with ledger.locked(sweep):
        book = ledger.read(sweep)
        batches.recover(sweep, book)
        present = states.read(sweep, book)
        runs = listing.chosen(present, args.runs)
        busy = [each for each in runs if args.runs and each.state in _NOT_OURS]
        if busy:
            what = f"{busy[0].entry.slug} is {busy[0].state}"
            if busy[0].state is State.NOT_SUBMITTED:
                raise ArgumentError(f"{what}: the sweep's command submits it")
            raise ArgumentError(f"{what}: there is nothing to retry")
        runs = [each for each in runs if each.state not in _NOT_OURS]
        runs = [each for each in runs if not wanted or each.state in wanted]
        latest = [(each.entry, book.latest(each.entry)) for each in runs]
        requests = [_request(sweep, entry, place[0]) for entry, place in latest if place is not None]
        same = [each for each in requests if _run_id(each) == each.entry.run_id]
        others = [each.entry.slug for each in requests if each not in same]
        said = f"{', '.join(others)}: another run now, by its files or this version; the sweep's command submits it"
        if others and not same:
            raise ArgumentError(said)
        if others:
            log.warning("%s", said)
        batches.submit(sweep, book, same, {each.entry.run_id for each in present if each.state in states.ACTIVE})
    print(f"{len(same)} submitted again{_others(present, {each.entry.run_id for each in same}, args.runs)}")
    return ExitCode.DONE


def _others(present: Sequence[RunState], submitted: Container[str], named: Sequence[str]) -> str:
    """What could be submitted again as well, where no runs were named: by state, as words for --state."""
    left = Counter(each.state for each in present if each.state not in _NOT_OURS and each.entry.run_id not in submitted)
    if named or not left:
        return ""
    counts = ", ".join(f"{count} {state}" for state, count in left.items())
    words = " ".join(f"--state {state.value.replace(' ', '-')}" for state in left)
    return f"; left alone: {counts} ({words})"


def _request(sweep: Path, entry: Entry, batch: Batch) -> Request:
    """What was submitted, again.

    Raises:
        RunError: if that cannot be read any more.
    """
    try:
        return _read(sweep, entry, batch)
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        AssertionError,
        OmegaConfBaseException,
    ) as error:
        said = f"{_config(sweep, entry, batch)}: cannot be read, or is of another version ({first_line(error)})"
        raise RunError(f"{said}; the sweep's command submits the run, with hydra.launcher.retry_failed=true") from error


def _run_id(request: Request) -> str:
    """Of the run that its config asks for now: its relative paths are from the folder of the first submission."""
    with contextlib.chdir(request.cwd):
        return identity.run_id(request.config)


def _read(sweep: Path, entry: Entry, batch: Batch) -> Request:
    settings = from_entries(LAUNCHERS[batch.launcher], batch.settings)
    config = identity.from_dict(json.loads(_config(sweep, entry, batch).read_text(encoding="utf-8")))
    return Request(entry, config, settings, batches.cwd_of(sweep, batch))


def _config(sweep: Path, entry: Entry, batch: Batch) -> Path:
    return config_file(ledger.batch_folder(sweep, batch.name), entry.run_id)
