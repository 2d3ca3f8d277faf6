"""Submit runs again that have failed, been cancelled or died, with the launcher's keys of their last submission."""

from __future__ import annotations

import argparse
import json
from itertools import groupby

from omegaconf import OmegaConf

from gifine import identity
from gifine.errors import ArgumentError, ExitCode
from gifine.sweep import ledger, listing, states, submission
from gifine.sweep.config import LAUNCHERS, LauncherConfig
from gifine.sweep.job import CONFIGS
from gifine.sweep.states import FINISHED, State

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
        for settings, group in groupby(sorted(placed, key=_settings), key=_settings):
            configs = []
            for entry, batch in group:
                path = ledger.batch_folder(sweep, batch.name) / CONFIGS / f"{entry.run_id}.json"
                configs.append((entry, identity.from_dict(json.loads(path.read_text(encoding="utf-8")))))
            launcher, keys = json.loads(settings)
            merged = OmegaConf.merge(OmegaConf.structured(LAUNCHERS[launcher]), OmegaConf.create(keys))
            converted = OmegaConf.to_object(merged)
            assert isinstance(converted, LauncherConfig)
            submission.submit(sweep, book, configs, converted)
    print(f"{len(placed)} submitted again")
    return ExitCode.DONE


def _settings(placed: tuple[ledger.Entry, ledger.Batch]) -> str:
    return json.dumps([placed[1].launcher, placed[1].settings], sort_keys=True)
