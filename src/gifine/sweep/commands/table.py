"""The metrics of a sweep's finished runs, so far."""

from __future__ import annotations

import argparse

from gifine.errors import ExitCode
from gifine.sweep import listing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    listing.add_folder(parser)
    parser.add_argument("--json", action="store_true", help="a list of runs, for programs")


def run(args: argparse.Namespace) -> ExitCode:
    """Print a row a run that has metrics."""
    runs = listing.read(listing.folder(args.sweep))
    rows = [
        {"run_id": each.entry.run_id, "run": each.entry.slug, "state": each.state, **each.record.metrics}
        for each in runs
        if each.record is not None and each.record.metrics
    ]
    listing.show(rows, as_json=args.json)
    if not args.json:
        print(f"{len(rows)} of {len(runs)} runs have metrics")
    return ExitCode.DONE
