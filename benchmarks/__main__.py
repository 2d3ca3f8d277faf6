"""All benchmarks, one after the other, in one table: `make bench`, or `python -m benchmarks [CLAIM …]`.

Each claim is measured by `measure` of the module of its name, in a process of its own with one thread unless it says
otherwise. One that fails is a row that says so; the others go on, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks import harness

HERE = Path(__file__).parent
ORDER = (
    "attention",
    "xlnet",
    "gates",
    "families",
    "step",
    "questions",
    "masked",
    "frozen",
    "epoch",
    "evaluation",
    "memory",
    "corpora",
    "startup",
    "scale",
)
CLAIMS = ("peak", *(claim for claim in ORDER if (HERE / f"{claim}.py").is_file()))
SMALL = {"shapes": ((12, 2),), "layers": (1,), "repetitions": 1}  # shapes: tokens, examples
RESULTS = HERE / "results.json"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help=f"of {', '.join(CLAIMS)}; all if none is named")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, once: whether they work, and no numbers")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="PATH", help="where the rows go (%(default)s)")
    parser.add_argument("--claim-to", type=Path, help=argparse.SUPPRESS)  # of the process of one claim
    args = parser.parse_args(words)
    chosen = [claim for word in args.claims for claim in word.split(",")] or [*CLAIMS]
    unknown = sorted(set(chosen) - set(CLAIMS))
    if unknown:
        parser.error(f"no claim {', '.join(unknown)}; valid are {', '.join(CLAIMS)}")
    if args.claim_to:
        args.claim_to.write_text(json.dumps(_measure(chosen[0], args.device, quick=args.quick)), encoding="utf-8")
        return 0
    return _all(chosen, args.device, args.json, quick=args.quick)


def _all(claims: list[str], device: str, path: Path, *, quick: bool) -> int:
    machine, rows = harness.machine(device), []
    for place, claim in enumerate(claims):
        print(f"[{place + 1}/{len(claims)}] {claim} …", end="", file=sys.stderr, flush=True)
        clock = time.monotonic()
        found = _in_a_process(claim, device, quick=quick)
        print(f" {time.monotonic() - clock:.0f} s", file=sys.stderr, flush=True)
        rows += [{"claim": claim, **row} for row in found]
        machine["load_at_end"] = round(os.getloadavg()[0], 2)
        # After each claim: what is measured stays although a later one is interrupted.
        path.write_text(json.dumps({"machine": machine, "quick": quick, "rows": rows}, indent=1), encoding="utf-8")
    print(harness.table(rows))
    print(f"\n{json.dumps(machine)}")
    failed = [row["claim"] for row in rows if "error" in row]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _in_a_process(claim: str, device: str, *, quick: bool) -> list[harness.Row]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.json")
        command = [sys.executable, "-m", "benchmarks", claim, "--device", device, "--claim-to", str(path)]
        command += ["--quick"] if quick else []
        environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, cwd=HERE.parent, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or [f"ended with {done.returncode}"]
            print(done.stderr, file=sys.stderr)
            return [{"name": claim, "error": last[0]}]
        return json.loads(path.read_text(encoding="utf-8"))


def _measure(claim: str, device: str, *, quick: bool) -> list[harness.Row]:
    if claim == "peak":
        return _peak(device, (64, 128) if quick else (1024, 2048, 4096))
    module = importlib.import_module(f"benchmarks.{claim}")
    return module.measure(**(_quick(module) if quick else {}), device=device)


def _quick(module: ModuleType) -> dict[str, Any]:
    """The module's own arguments for a smoke run, else the smallest of those that it takes."""
    known = inspect.signature(module.measure).parameters
    return getattr(module, "QUICK", {name: value for name, value in SMALL.items() if name in known})


def _peak(device: str, sizes: tuple[int, ...]) -> list[harness.Row]:
    rows = []
    for threads in (1, 2) if device == "cpu" else (1,):
        found = harness.gemm_peak(threads, device, sizes)
        each = ", ".join(f"{size}: {flops:.0f}" for size, flops in found.items())
        name = f"GEMM peak, float32, {threads} thread{'s' * (threads > 1)}"
        rows.append(harness.figure(name, max(found.values()), "GFLOP/s", f"by size: {each}"))
    return rows


if __name__ == "__main__":
    sys.exit(main())
