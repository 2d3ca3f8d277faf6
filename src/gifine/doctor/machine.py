"""CPUs, threads, memory and GPUs: what this process may use of them, not what the machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from gifine.doctor.finding import Finding, ok, one_line, problem, warning
from gifine.machine import limits

_GB = 1e9
_LITTLE = 8 * _GB  # weights, gradients and AdamW's two moments of a large model in float32 take 7 GB


def check() -> Iterator[Finding]:
    granted = limits.cpus(os.environ, Path("/"))
    cpus = min(granted.values())
    yield ok("CPUs", ", ".join(f"{source} {number:g}" for source, number in granted.items()))
    yield memory(limits.memory(os.environ, Path("/")))
    try:
        import torch
    except Exception as error:  # a library that torch is linked to may be missing, or be of another version
        yield problem("PyTorch", f"cannot be imported: {one_line(error)}", "install it anew, for this machine's driver")
        return
    yield threads(torch.get_num_threads(), cpus)
    yield from devices()


def memory(granted: Mapping[str, float]) -> Finding:
    found = ", ".join(f"{source} {size / _GB:.1f} GB" for source, size in granted.items())
    if min(granted.values()) < _LITTLE:
        return warning("memory", found, "a large model takes 8 GB: ask for more (--mem), or take a smaller model.size")
    return ok("memory", found)


def threads(number: int, cpus: float) -> Finding:
    if number > cpus:
        mend = f"export OMP_NUM_THREADS={max(1, int(cpus))}: more threads than CPUs are slower"
        return warning("threads", f"PyTorch takes {number} for {cpus:g} CPUs", mend)
    return ok("threads", f"PyTorch takes {number}")


def devices() -> Iterator[Finding]:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0 and not any(Path("/dev").glob("nvidia[0-9]*")):
        yield warning("GPU", "none here", "in a job, ask for one (--gpus=1); without, train small models only")
    elif count == 0 and torch.version.cuda is None:
        yield problem("GPU", "there is one, but this PyTorch is built without CUDA", "install PyTorch's CUDA build")
    elif count == 0:
        yield problem(
            "GPU",
            f"there is one, but PyTorch (CUDA {torch.version.cuda}) cannot use it",
            "see that the driver is new enough (nvidia-smi), and CUDA_VISIBLE_DEVICES",
        )
    for index in range(count):
        device, card = f"cuda:{index}", torch.cuda.get_device_properties(index)
        bf16 = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16, so fp32"
        yield _computes(device, f"{card.name}, {card.total_memory / _GB:.0f} GB, {bf16}")
    yield _computes("cpu", "computes")


def _computes(device: str, found: str) -> Finding:
    import torch

    try:
        ones = torch.ones(64, 64, device=device)
        right = bool(((ones @ ones) == 64).all())
    except Exception as error:  # RuntimeErrors of many kinds, with long texts
        return problem(f"device {device}", f"{found}: {one_line(error)}", "see nvidia-smi: is another job on it?")
    if not right:
        return problem(f"device {device}", f"{found}: gives wrong results", "use another machine, and tell its owners")
    return ok(f"device {device}", found)
