"""Take runs out of the queue and end those that run; the same sweep command submits them again."""

from __future__ import annotations

import argparse

from gifine.commands import counted
from gifine.errors import ExitCode
from gifine.sweep import ledger, listing, pool, slurm, states
from gifine.sweep.states import ACTIVE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    listing.add_folder(parser)
    parser.add_argument(
        "runs", nargs="*", default=[], metavar="RUN", help="run_ids or run folders; none: all. Ends its whole job"
    )


def run(args: argparse.Namespace) -> ExitCode:
    """Cancel the jobs that these runs are in."""
    sweep = listing.folder(args.sweep)
    ledger.read_existing(sweep)
    with ledger.locked(sweep):  # nobody submits meanwhile
        book = ledger.read(sweep)
        runs = [each for each in listing.chosen(states.read(sweep, book), args.runs) if each.state in ACTIVE]
        latest = [book.latest(each.entry) for each in runs]
        places = {(place[0].name, place[1]) for place in latest if place is not None}
        jobs: dict[str | None, set[str]] = {}  # by cluster
        for name, task in places:
            job = book.batches[name].job(task)
            if job is not None:
                jobs.setdefault(book.batches[name].cluster, set()).add(job)
            else:
                pool.cancel(ledger.batch_folder(sweep, name), task)
        for cluster, ids in jobs.items():
            slurm.cancel(ids, cluster)
        for entry in book.runs.values():
            place = book.latest(entry)
            if place is not None and (place[0].name, place[1]) in places:
                entry.places[-1].cancelled = ledger.now()  # SLURM forgets those that had not started
        ledger.write(sweep, book)
    print(f"{counted(len(places), 'job')} with {counted(len(runs), 'run')} cancelled")
    return ExitCode.DONE
