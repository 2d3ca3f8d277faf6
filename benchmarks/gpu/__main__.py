"""Is gifine right on this GPU (`check`), and how fast is it there (`measure`)? One command, one file of results:

    python -m benchmarks.gpu                       both, on the first GPU
    python -m benchmarks.gpu check --device cpu    on tiny shapes: whether the script works

Each step has a limit of its own, and one that fails, hangs or breaks the GPU's context ends alone: the next ones go on
in a fresh process. Results are written as they come, a JSON object a line, so that what an interrupted call has found
is there. Packages and data of `make gpu-pack` are used where that folder is: then the machine needs PyTorch and no
network. Nothing but Python's standard library is imported here.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACK = ROOT / ".gpu"
SECONDS = {"check": 240, "measure": 300}
_START_SECONDS = 90  # of a worker, until its first step begins: importing torch and transformers


def main(words: Sequence[str] | None = None) -> int:
    """0 if no step has failed, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="check, measure, or a step such as check.golden; both")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--pack", type=Path, default=PACK, help="what make gpu-pack has made (%(default)s)")
    parser.add_argument("--out", type=Path, help="where results go (benchmarks/gpu/results/DATE.jsonl)")
    parser.add_argument("--seconds", type=float, help="for all together (check 240, measure 300)")
    args = parser.parse_args(words)
    parts = args.parts or [*SECONDS]
    unknown = [part for part in parts if part.partition(".")[0] not in SECONDS]
    if unknown:
        parser.error(f"no part {unknown[0]}; valid: check, measure, or a step of one of them")
    seconds = args.seconds or sum(SECONDS[part] for part in {part.partition(".")[0] for part in parts})
    now = datetime.datetime.now(datetime.UTC)
    out = args.out or ROOT / "benchmarks" / "gpu" / "results" / f"{now:%Y-%m-%d-%H%M%S}-{args.device}.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.touch()
    with tempfile.TemporaryDirectory(prefix="gifine-gpu-") as scratch:
        environment = _environment(args.pack, Path(scratch))
        _work(parts, args.device, args.pack, out, Path(scratch), environment, time.monotonic() + seconds)
    return _summary(out)


def _environment(pack: Path, scratch: Path) -> dict[str, str]:
    """Of the workers: the pack's wheels in a folder of their own, before what the machine has."""
    paths = [str(ROOT), str(ROOT / "src")]
    wheels = sorted((pack / "wheels").glob("*.whl"))
    if wheels:
        site = scratch / "site"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
        subprocess.run([*command, "--target", str(site), *map(str, wheels)], check=True)
        paths.insert(0, str(site))
    known = os.environ.get("PYTHONPATH")
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([*paths, *([known] if known else [])]),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _work(
    parts: Sequence[str],
    device: str,
    pack: Path,
    out: Path,
    scratch: Path,
    environment: dict[str, str],
    deadline: float,
) -> None:
    """Workers one after the other, each with the steps that are left, until all have ended or time is up."""
    before = len(_lines(out))
    fruitless = 0
    while fruitless < 2 and time.monotonic() < deadline:
        command = [sys.executable, "-m", "benchmarks.gpu.worker", *parts, "--device", device, "--pack", str(pack)]
        command += ["--out", str(out), "--scratch", str(scratch), "--seconds", f"{deadline - time.monotonic():.0f}"]
        command += ["--skip", *(line["step"] for line in _lines(out)[before:] if line["status"] == "began")]
        count = len(_lines(out))
        worker = subprocess.Popen(command, env=environment, cwd=ROOT)
        problem = _watch(worker, out, count, deadline)
        if worker.returncode == 0:
            return
        step = _open_step(out)
        if step is not None:
            _append(out, {"step": step, "status": "failed", "error": problem or f"ended with {worker.returncode}"})
        fruitless = fruitless + 1 if len(_lines(out)) == count else 0
    if fruitless:
        _append(
            out, {"step": "worker", "status": "failed", "error": "no process came to its first step: see its words"}
        )


def _watch(worker: subprocess.Popen[bytes], out: Path, count: int, deadline: float) -> str | None:
    """Wait for the worker, and end it where a step, or everything, takes too long; why it was ended."""
    began = time.monotonic()
    while worker.poll() is None:
        time.sleep(0.2)
        lines = _lines(out)
        now, limit, since = time.monotonic(), _START_SECONDS, began
        if len(lines) > count:
            latest = lines[-1]
            limit = latest.get("limit", _START_SECONDS)
            since = latest["clock"]
        late = now - since > limit
        if late or now > deadline:
            worker.kill()
            worker.wait()
            return f"not in time: {limit:.0f} s" if late else "no time was left"
    return None


def _lines(out: Path) -> list[dict[str, Any]]:
    text = out.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]  # the last one may be half written


def _open_step(out: Path) -> str | None:
    """The step that has begun and not ended."""
    lines = _lines(out)
    return lines[-1]["step"] if lines and lines[-1]["status"] == "began" else None


def _append(out: Path, entry: dict[str, Any]) -> None:
    with out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry | {"clock": time.monotonic()}, allow_nan=True) + "\n")


def _summary(out: Path) -> int:
    ended = [line for line in _lines(out) if line["status"] != "began"]
    for line in ended:
        words = line.get("error") or line.get("note") or f"{len(line.get('rows', []))} rows"
        print(f"{line['status']:<8} {line['step']:<28} {line.get('seconds', 0):6.1f} s  {words.splitlines()[-1][:150]}")
    failed = [line["step"] for line in ended if line["status"] == "failed"]
    print(
        f"{len(ended) - len(failed)} steps well, {len(failed)} failed{': ' if failed else ''}{', '.join(failed)}; {out}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
