"""What state each run of a sweep is in, from its record, the ledger and SLURM."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from gifine import commands
from gifine.errors import ClusterError, ExitCode
from gifine.runs import curves, staleness
from gifine.sweep import listing, slurm, states, waiting
from gifine.sweep.states import RunState, State

_WATCH_SECONDS = 10.0
_CLEAR = "\x1b[H\x1b[2J\x1b[3J"  # the terminal, and what has scrolled off it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    listing.add_folder(parser)
    parser.add_argument("--json", action="store_true", help="a list of runs, for programs; with --watch a line a look")
    parser.add_argument(
        "--watch",
        nargs="?",
        type=commands.seconds,
        const=_WATCH_SECONDS,
        metavar="SECONDS",
        help=f"look again every so often (default {_WATCH_SECONDS:g}), until no run is queued or running",
    )


def run(args: argparse.Namespace) -> ExitCode:
    """Print the table, and under it how many runs are in which state."""
    sweep = listing.folder(args.sweep)
    while True:
        runs = listing.read(sweep)
        _add_reasons(runs)
        _add_waits(runs)
        if args.watch is not None and not args.json and sys.stdout.isatty():
            print(_CLEAR, end="")
        _show(runs, args)
        watched = {*states.ACTIVE, State.UNKNOWN} if slurm.is_here() else states.ACTIVE
        if args.watch is None or not any(each.state in watched for each in runs):
            return ExitCode.DONE
        sys.stdout.flush()
        time.sleep(args.watch)


def _add_reasons(runs: list[RunState]) -> None:
    """Why queued runs wait, where SLURM says so."""
    queued = [run for run in runs if run.state is State.QUEUED and run.job is not None]
    for cluster in {run.cluster for run in queued}:
        there = [run for run in queued if run.cluster == cluster]
        with contextlib.suppress(ClusterError):
            reasons = slurm.reasons({str(run.job) for run in there}, cluster)
            for run in there:
                run.reason = reasons.get(str(run.job), run.reason)


def _add_waits(runs: list[RunState]) -> None:
    """Of runs that start from another one: that they wait for it, or that it had not finished when their job began."""
    known = {run.entry.run_id: run for run in runs}
    for run in runs:
        first = known.get(run.entry.first or "")
        if first is not None and run.state is State.QUEUED and first.state in states.ACTIVE:
            run.reason = f"waits for {first.entry.slug}"
        elif first is not None and run.state is State.INTERRUPTED and run.record is None:
            run.reason = f"{first.entry.slug}, which it starts from, had not finished"


def _show(runs: list[RunState], args: argparse.Namespace) -> None:
    rows, changed = [row(each) for each in runs], _changed(runs)
    if args.json:
        rows = [each | {"changed": changed.get(run.entry.run_id, [])} for each, run in zip(rows, runs, strict=True)]
    if args.json and args.watch is not None:
        print(json.dumps(rows, ensure_ascii=False))
        return
    if not args.json and not any(row["first"] for row in rows):
        rows = [{key: value for key, value in each.items() if key != "first"} for each in rows]
    listing.show(rows, as_json=args.json)
    if not args.json:
        print(f"{commands.counted(len(runs), 'run')}: {waiting.describe(runs)}")
        names = {each.entry.run_id: f"{each.entry.slug}-{each.entry.run_id}" for each in runs}
        if changed:
            print(staleness.describe({names[run_id]: files for run_id, files in changed.items()}))


def row(run: RunState) -> dict[str, Any]:
    """What is shown of one run.

    `left` is how long it has to train yet at the pace of this attempt, about; `first` is the run that it starts from.
    """
    progress = _progress(run)
    return {
        "run_id": run.entry.run_id,
        "run": run.entry.slug,
        "state": run.state,
        "step": f"{progress.done or 0}/{progress.planned}" if progress.planned else progress.done,
        "left": _duration(progress.seconds_left),
        "first": run.entry.first,
        "attempts": run.record.attempts if run.record is not None else 0,
        "job": run.job,
        "reason": None if run.state is State.DONE else run.reason,
    }


def _changed(runs: list[RunState]) -> dict[str, list[str]]:
    """By run_id the files that a run was made of, and that are others now."""
    return staleness.files({each.entry.run_id: each.record.provenance.get("files", {}) for each in runs if each.record})


@dataclass
class _Progress:
    done: int | None = None  # steps
    planned: int | None = None
    seconds_left: float | None = None


def _progress(run: RunState) -> _Progress:
    """Of a run under way, as far as it has logged."""
    record = run.record
    if record is None:
        return _Progress()
    progress = _Progress(record.steps.get("done"), record.steps.get("planned"))
    folder = Path(run.entry.folder)
    logged = curves.last_step(folder) if run.state is State.RUNNING else None
    if logged is None:
        return progress
    progress.done = logged
    began = datetime.fromisoformat(record.started).timestamp()
    try:
        seconds = (folder / curves.CURVE).stat().st_mtime - began
    except FileNotFoundError:  # cleared away just now
        return progress
    made = logged - record.resumed_at
    if progress.planned and made > 0 and seconds > 0:
        due = (progress.planned - logged) * seconds / made
        progress.seconds_left = max(0.0, due - (time.time() - began - seconds))
    return progress


def _duration(seconds: float | None) -> str | None:
    return None if seconds is None else str(timedelta(seconds=round(seconds)))
