"""What state each run of a sweep is in, from its record, the ledger and SLURM."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from gifine.errors import ExitCode
from gifine.sweep import listing, waiting
from gifine.sweep.states import Run, State


def add_arguments(parser: argparse.ArgumentParser) -> None:
    listing.add_folder(parser)
    parser.add_argument("--json", action="store_true", help="a list of runs, for programs")


def run(args: argparse.Namespace) -> ExitCode:
    """Print the table, and under it how many runs are in which state."""
    runs = listing.read(listing.folder(args.sweep))
    listing.show([row(each) for each in runs], as_json=args.json)
    if not args.json:
        print(f"{len(runs)} runs: {waiting.described(runs)}")
    return ExitCode.DONE


def row(run: Run) -> dict[str, Any]:
    """What is shown of one run."""
    done, planned = _steps(run)
    record = run.record
    return {
        "run_id": run.entry.run_id,
        "run": run.entry.slug,
        "state": run.state,
        "step": f"{done or 0}/{planned}" if planned else done,
        "attempts": record.attempts if record is not None else 0,
        "job": run.job,
        "reason": None if run.state is State.DONE else run.reason,
    }


def _steps(run: Run) -> tuple[int | None, int | None]:
    """Steps done and planned; of a run under way, as far as it has logged."""
    steps = run.record.steps if run.record is not None else {}
    logged = _last_step(Path(run.entry.folder) / "metrics.jsonl") if run.state is State.RUNNING else None
    return steps.get("done", logged), steps.get("planned")


def _last_step(path: Path) -> int | None:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except ValueError:  # it is being written
            continue
    return None
