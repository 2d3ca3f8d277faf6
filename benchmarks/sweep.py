"""What planning and submitting a sweep takes, and whether a thousand jobs are kept count of: `benchmarks/sweep.py`.

Planning: seconds for each run of a grid, ours against Hydra's composing it by itself, in turn, process time. Submission
(--runs, where there is a SLURM cluster): that many runs as arrays of --array, in which training is only a record
(stand_in/): from the command to the last record, and the same command once more, which has nothing to do.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gifine.compose import grid
from gifine.compose.composition import compose, config_from
from gifine.sweep import ledger

GRIDS = {
    "2,048 cells": ["task=rte,cola,mrpc,stsb", "gi.side=none,key,query,both", "seed=range(128)"],
    "experiment=paper_grid": ["experiment=paper_grid"],
}
TINY = ["task=demo", "data=demo", "model=bert", "model.tokenizer=demo", "model.random_init=true"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--runs", type=int, default=1000, help="submitted to SLURM; 0: none")
    parser.add_argument("--array", type=int, default=100, help="tasks of an array, at most")
    args = parser.parse_args()
    for name, words in GRIDS.items():
        _plan(name, words, args.repeats)
    if not args.runs:
        return 0
    if shutil.which("sbatch") is None:
        print("no sbatch here: nothing submitted")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return _submit(Path(folder) / "sweep", args.runs, args.array)


def _plan(name: str, words: list[str], repeats: int) -> None:
    ratios, totals, cells = [], [], 0
    for _ in range(repeats):
        clock = time.process_time()
        runs = grid.expand(words)
        total = time.process_time() - clock
        cells = len(runs)
        sample = random.Random(0).sample(runs, 20)
        clock = time.process_time()
        for run in sample:
            config_from(compose(run.overrides))
        alone = (time.process_time() - clock) / len(sample)
        ratios.append(alone * cells / total)
        totals.append(total)
    print(f"{name}: {cells:,} cells composed and checked in {_spread(totals)} s")
    print(f"  composing each of them by Hydra / ours: {_spread(ratios)}")


def _submit(sweep: Path, runs: int, array: int) -> int:
    stand_in = Path(__file__).resolve().parent / "stand_in"
    command = [sys.executable, "-m", "gifine", "--multirun", *TINY, f"seed=range({runs})", f"output_root={sweep}"]
    command += ["hydra/launcher=slurm", f"hydra.launcher.max_array_size={array}", "hydra.launcher.timeout_min=5"]
    command += [f"hydra.launcher.setup=['export PYTHONPATH={stand_in}']"]
    seconds = [_seconds([*command, "hydra.launcher.wait=false"]), _seconds(command)]
    book = ledger.read(sweep)
    records = [json.loads(path.read_bytes()) for path in sweep.glob("*/record.json")]
    again = _seconds(command)
    status = _seconds([sys.executable, "-m", "gifine.sweep", "status", str(sweep)])
    print(f"{runs:,} runs in {len(book.batches)} arrays of at most {array}:")
    print(f"  submitted in {seconds[0]:.1f} s, all ended {seconds[1]:.1f} s later")
    print(f"  the same command again: {again:.1f} s; status: {status:.1f} s")
    done = sum(record["status"] == "done" and record["attempts"] == 1 for record in records)
    places = sum(len(entry.places) for entry in book.runs.values())
    print(
        f"  {done:,} records say done, in one attempt; the ledger has {len(book.runs):,} runs, {places:,} submissions"
    )
    return 0 if done == runs == len(book.runs) == places else 1


def _seconds(command: list[str]) -> float:
    clock = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - clock


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} … {max(values):.2f})"


if __name__ == "__main__":
    sys.exit(main())
