"""Planning a sweep and reading its records, at the size of a paper's grid: `python -m benchmarks.scale`.

In short what sweep.py and report.py tell at length. Planning: composing and checking every cell of a grid against Hydra
doing it one by one, CPU time, in turn. Reading: the whole report of so many records against a bare `json.loads` of the
same files, which is what any report would have to do, each in a process of its own.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import harness, report, sweep
from gifine.compose import grid
from gifine.compose.composition import compose, config_from

QUICK: dict[str, Any] = {"records": 20, "cells": ["task=rte", "gi.side=none,key", "seed=range(4)"], "repetitions": 1}
BARE = "import json; [json.loads(path.read_bytes()) for path in pathlib.Path(sys.argv[1]).glob('*/record.json')]"


def measure(
    records: int = 2000, repetitions: int = 3, cells: list[str] | None = None, device: str = "cpu"
) -> list[harness.Row]:
    words = cells or sweep.GRIDS["2,048 cells"]
    runs = grid.expand(words)
    some = random.Random(0).sample(runs, min(20, len(runs)))
    peer, ours = [], []
    for _ in range(repetitions):
        ours.append(_seconds(lambda: grid.expand(words)))
        alone = _seconds(lambda: [config_from(compose(run.overrides)) for run in some])
        peer.append(alone / len(some) * len(runs))
    rows = [harness.row(f"planning {len(runs):,} cells", peer, ours, f"the peer, Hydra, composed {len(some)} of them")]
    with tempfile.TemporaryDirectory() as folder:
        report.write(Path(folder), records, predictions=False)
        programs = {"peer": BARE, "reading": report.READ, "report": report.REPORT}
        found: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(repetitions):
            for name, program in programs.items():
                command = [sys.executable, "-c", f"import sys, pathlib; {program}", folder]
                found[name].append(harness.child(command))
    for name, what in (("reading", "reading them"), ("report", "the whole report")):
        title = f"{records:,} records: {what}"
        rows.append(harness.row(title, found["peer"], found[name], "peer: json.loads of the files"))
    return rows


def _seconds(call: Any) -> float:
    before = time.process_time()
    call()
    return time.process_time() - before


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--repetitions", type=int, default=3)
    harness.report(measure, parser.parse_args())


if __name__ == "__main__":
    main()
