"""What the benchmarks share: clocks, measuring in turn, rows of the table, and what the machine is.

A row is a dict of JSON types: `name` (what was measured), `peer` and `ours` (medians, in `unit`, seconds if absent),
`ratio` of them (peer / ours, or what `meaning` says) with its range `low` … `high` over repetitions, `note`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

Row = dict[str, Any]
Clock = Callable[[], float]


def clock(device: str = "cpu", *, wall: bool = False) -> Clock:
    """Seconds: of this process's CPU, or with `wall` those on the clock; on a GPU those until it has done all work."""
    if device == "cpu":
        return time.perf_counter if wall else time.process_time

    def synchronised() -> float:
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()

    return synchronised


def in_turn(
    contestants: Mapping[str, Callable[[], object]], repetitions: int, now: Clock, warm_up: int = 1
) -> dict[str, list[float]]:
    """Seconds of each call, one of each contestant after the other, so that a noisy minute meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(warm_up + repetitions):
        for name, call in contestants.items():
            before = now()
            call()
            if turn >= warm_up:
                seconds[name].append(now() - before)
    return seconds


def row(
    name: str, peer: Sequence[float], ours: Sequence[float], note: str = "", *, is_cost: bool = False, **more: Any
) -> Row:
    """Of measurements made in turn: the ratio's range is over the pairs; of unequal counts, over all combinations.

    Where ours does more than the peer, the ratio `is_cost`: ours / peer.
    """
    pairs = list(zip(peer, ours, strict=True)) if len(peer) == len(ours) else [(p, o) for p in peer for o in ours]
    ratios = [o / p if is_cost else p / o for p, o in pairs]
    if is_cost:
        more["meaning"] = "ours / peer, lower is better"
    found = {
        "name": name,
        "peer": statistics.median(peer),
        "ours": statistics.median(ours),
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "note": note,
    }
    return found | more


def figure(name: str, value: float | None, unit: str = "s", note: str = "") -> Row:
    """A number that is compared with nothing; None where it could not be measured."""
    nothing = dict.fromkeys(("peer", "ratio", "low", "high"))
    return {"name": name, **nothing, "ours": value, "unit": unit, "note": note}


def child(command: Sequence[str], **environment: str) -> float:
    """CPU seconds of a process and all of its own; what it prints on stderr is shown if it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def saved(forward: Callable[[], object], there: Iterable[Tensor]) -> int:
    """Bytes that a forward pass keeps for the backward pass: whole storages, once each, without those of `there`."""
    from torch.autograd.graph import saved_tensors_hooks

    given = {tensor.untyped_storage().data_ptr() for tensor in there}
    kept: dict[int, Tensor] = {}  # the tensors themselves, so that none gets the place of one that is gone

    def pack(tensor: Tensor) -> Tensor:
        if (place := tensor.untyped_storage().data_ptr()) not in given:
            kept[place] = tensor
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def training_step(model: nn.Module, loss: Callable[[Any], Tensor]) -> Callable[[Any], None]:
    """A step on a batch, as transformers' Trainer makes it: gradients clipped to norm 1, fused AdamW."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0, fused=True)

    def call(batch: Any) -> None:
        loss(batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return call


def gemm_peak(threads: int = 1, device: str = "cpu", sizes: Sequence[int] = (1024, 2048, 4096)) -> dict[int, float]:
    """GFLOP/s of the fastest of three products of float32 matrices, by their size; of one thread, by its CPU time."""
    import torch

    before, peak = torch.get_num_threads(), {}
    torch.set_num_threads(threads)
    try:
        for size in sizes:
            left, right = (torch.randn(size, size, device=device) for _ in range(2))
            seconds = in_turn({"": lambda a=left, b=right: a @ b}, 3, clock(device, wall=threads > 1))[""]
            peak[size] = 2 * size**3 / min(seconds) / 1e9
    finally:
        torch.set_num_threads(before)
    return peak


def machine(device: str = "cpu") -> dict[str, Any]:
    """What a reader needs to judge the numbers; the load is that of now."""
    found: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "transformers")},
    }
    if device != "cpu":
        import torch

        found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    vectors = [
        word for word in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if word in named.get("flags", "").split()
    ]
    return f"{named.get('model name', platform.machine())} ({', '.join(vectors) or 'no AVX2'})"


def table(rows: Sequence[Row]) -> str:
    """Markdown. A row with an `error` says so."""
    lines = ["| what | peer | ours | ratio (range) | note |", "|---|---|---|---|---|"]
    for entry in rows:
        if "error" in entry:
            lines.append(f"| {entry['name']} | – | – | failed | {_in_a_cell(entry['error'])} |")
            continue
        unit = entry.get("unit", "s")
        times = [_number(entry.get(key), unit) for key in ("peer", "ours")]
        ratio = "–"
        if entry.get("ratio") is not None:
            ratio = f"{entry['ratio']:.3g} ({entry['low']:.3g} … {entry['high']:.3g})"
        notes = [entry[key] for key in ("meaning", "note") if entry.get(key)]
        lines.append(f"| {entry['name']} | {times[0]} | {times[1]} | {ratio} | {_in_a_cell('; '.join(notes))} |")
    return "\n".join(lines)


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "s" and value < 0.1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}"


def _in_a_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def parser(doc: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    return made


def report(measure: Callable[..., list[Row]], args: argparse.Namespace) -> None:
    """Call `measure` with the arguments of the command line, and print its table and the machine."""
    before = os.getloadavg()[0]
    rows = measure(**vars(args))
    print(table(rows))
    print(json.dumps(machine(args.device) | {"load": [round(before, 2), round(os.getloadavg()[0], 2)]}))
