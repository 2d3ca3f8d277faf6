"""The steps, in one process: what `python -m benchmarks.gpu` starts, again where a step has ended it."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from benchmarks.gpu.steps import Setting, Skipped, Step, Wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+")
    parser.add_argument("--device", required=True)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--skip", nargs="*", default=[])
    args = parser.parse_args()
    end = time.monotonic() + args.seconds
    steps: list[Step] = []
    for part in dict.fromkeys(part.partition(".")[0] for part in args.parts):
        steps += importlib.import_module(f"benchmarks.gpu.{part}").STEPS
    chosen = [step for step in steps if step.name in args.parts or step.name.partition(".")[0] in args.parts]
    names = {step.name for step in steps}
    unknown = set(args.parts) - names - {name.partition(".")[0] for name in names}
    if unknown:
        parser.error(f"no step {', '.join(sorted(unknown))}; valid: {', '.join(sorted(names))}")
    for step in chosen:
        if step.name not in args.skip:
            limit = min(step.limit * (4 if args.device == "cpu" else 1), end - time.monotonic())
            _run(step, Setting(args.device, args.pack, args.scratch, time.monotonic() + limit), limit, args.out)
    return 0


def _run(step: Step, setting: Setting, limit: float, out: Path) -> None:
    clock = time.monotonic()
    # The limit is the parent's, which ends what hangs; a step that can be cut short looks at `deadline` itself.
    _write(out, {"step": step.name, "status": "began", "limit": limit + 5})
    entry: dict[str, Any] = {"step": step.name, "status": "passed"}
    try:
        entry["rows"] = step.run(setting)
    except Skipped as reason:
        entry |= {"status": "skipped", "note": str(reason)}
    except Wrong as error:
        entry |= {"status": "failed", "error": str(error), "rows": error.rows}
    except Exception as error:
        entry |= {"status": "failed", "error": f"{traceback.format_exc(limit=-6)}"}
        if "CUDA error" in str(error):  # the context is gone, and every later step would fail with it
            _write(out, entry | {"seconds": round(time.monotonic() - clock, 1)})
            sys.exit(1)
    _write(out, entry | {"seconds": round(time.monotonic() - clock, 1)})


def _write(out: Path, entry: dict[str, Any]) -> None:
    with out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry | {"clock": time.monotonic()}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
