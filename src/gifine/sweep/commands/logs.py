"""What the job of a run has printed, and where that is."""

from __future__ import annotations

import argparse
import sys

from gifine.errors import ArgumentError, ExitCode, RunError
from gifine.sweep import ledger, listing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    listing.add_folder(parser)
    parser.add_argument("run", metavar="RUN", help="its run_id or folder")


def run(args: argparse.Namespace) -> ExitCode:
    """Print the log of the run's latest job; its path goes to stderr.

    Raises:
        RunError: if there is none yet.
    """
    sweep = listing.folder(args.sweep)
    book = ledger.read_existing(sweep)
    found = listing.chosen(listing.read(sweep), [args.run])
    if len(found) > 1:
        raise ArgumentError(f"{args.run}: {len(found)} runs; give a run_id: {', '.join(r.entry.run_id for r in found)}")
    entry = found[0].entry
    place = book.latest(entry)
    path = ledger.log_of(sweep, *place) if place is not None else None
    if path is None or not path.is_file():
        raise RunError(f"{entry.slug}: nothing was printed yet" + (f" into {path}" if path is not None else ""))
    print(path, file=sys.stderr)
    print(path.read_text(encoding="utf-8", errors="replace"), end="")
    return ExitCode.DONE
