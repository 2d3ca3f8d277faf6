"""Submit runs again that have failed, been cancelled or died, with the launcher's keys of their last submission."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from omegaconf import OmegaConf

from gifine import identity
from gifine.errors import ArgumentError, ExitCode
from gifine.sweep import ledger, listing, states, submission
from gifine.sweep.config import LAUNCHERS, LauncherConfig
from gifine.sweep.job import CONFIGS
from gifine.sweep.ledger import Batch, Entry
from gifine.sweep.states import FINISHED, State
from gifine.sweep.submission import Request

log = logging.getLogger(__name__)

_CHOICES = [state.value.replace(" ", "-") for state in State if state not in FINISHED | states.ACTIVE]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    listing.add_folder(parser)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run_ids or run folders; none: all in the given states")
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
        submission.recover(sweep, book)
        runs = listing.chosen(states.of(sweep, book), args.runs)
        busy = [each for each in runs if args.runs and each.state in FINISHED | states.ACTIVE]
        if busy:
            raise ArgumentError(f"{busy[0].entry.slug} is {busy[0].state}: there is nothing to retry")
        runs = [each for each in runs if each.state not in FINISHED | states.ACTIVE]
        runs = [each for each in runs if not wanted or each.state in wanted]
        placed = [(each.entry, place[0]) for each in runs for place in [book.latest(each.entry)] if place is not None]
        requests = [_request(sweep, entry, batch) for entry, batch in placed]
        same = [each for each in requests if identity.run_id(each.config) == each.entry.run_id]
        others = [each.entry.slug for each in requests if each not in same]
        said = f"{', '.join(others)}: another run now, by what its files hold; the sweep's command submits it"
        if others and not same:
            raise ArgumentError(said)
        if others:
            log.warning("%s", said)
        submission.submit(sweep, book, same)
    print(f"{len(same)} submitted again")
    return ExitCode.DONE


def _request(sweep: Path, entry: Entry, batch: Batch) -> Request:
    path = ledger.batch_folder(sweep, batch.name) / CONFIGS / f"{entry.run_id}.json"
    merged = OmegaConf.merge(OmegaConf.structured(LAUNCHERS[batch.launcher]), OmegaConf.create(batch.settings))
    settings = OmegaConf.to_object(merged)
    assert isinstance(settings, LauncherConfig)
    config = identity.from_dict(json.loads(path.read_text(encoding="utf-8")))
    return Request(entry, config, settings, submission.cwd_of(sweep, batch))
