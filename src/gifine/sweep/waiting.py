"""Watch a sweep until none of its runs is queued or running. It may be interrupted: jobs go on without it."""

from __future__ import annotations

import logging
import time
from collections import Counter
from pathlib import Path

from gifine.errors import ClusterError, UnfinishedError
from gifine.sweep import ledger, states
from gifine.sweep.states import RunState

log = logging.getLogger(__name__)

_SECONDS = (0.5, 30.0)  # between two looks: short runs should not be waited for long, nor SLURM asked often
_LATE_SECONDS = 5.0  # sacct may not know yet what squeue knows no more
_OUTAGE_SECONDS = 1800.0  # a controller that is restarted, or its stand-in that takes over


def follow(sweep: Path, run_ids: set[str], *, is_wanted: bool) -> None:
    """Wait for these runs, and say what changes; or say how to look at them.

    Raises:
        UnfinishedError: if some have not finished in the end.
        ClusterError: if SLURM has given no answer for half an hour.
    """
    command = f"python -m gifine.sweep status {sweep}"
    if not is_wanted:
        log.info("submitted; %s shows how they are, and the same command submits what is missing then", command)
        return
    try:
        runs = _wait(sweep, run_ids)
    except KeyboardInterrupt:
        log.info("the jobs go on; %s shows how they are", command)
        raise
    left = [run for run in runs if run.state not in states.FINISHED]
    if left:
        raise UnfinishedError(f"{len(left)} of {len(runs)} runs have not finished ({describe(left)}); {command}")


def describe(runs: list[RunState]) -> str:
    """How many runs are in which state."""
    return ", ".join(f"{count} {state}" for state, count in sorted(Counter(run.state for run in runs).items()))


def _wait(sweep: Path, run_ids: set[str]) -> list[RunState]:
    said, pause, late = "", _SECONDS[0], 0.0
    while True:
        runs = [run for run in _look(sweep) if run.entry.run_id in run_ids]
        is_unclear = any(run.state is states.State.LOST for run in runs) and late < _LATE_SECONDS
        text = describe(runs)
        if text != said and not is_unclear:
            log.info("%s", text)
            said, pause = text, _SECONDS[0]
        if not is_unclear and not any(run.state in states.ACTIVE for run in runs):
            return runs
        late = late + pause if is_unclear else 0.0
        time.sleep(pause)
        pause = min(1.3 * pause, _SECONDS[1])


def _look(sweep: Path) -> list[RunState]:
    """The sweep's runs; what SLURM does not answer now it is asked again."""
    start = time.monotonic()
    is_said = False
    while True:
        is_over = time.monotonic() - start > _OUTAGE_SECONDS
        try:
            return states.read(sweep, ledger.read(sweep), needs_sacct=not is_over)
        except ClusterError as error:
            if is_over:
                raise
            if not is_said:
                log.warning("%s; asking again, for half an hour: the jobs do not depend on it", error)
                is_said = True
        time.sleep(_SECONDS[1])
