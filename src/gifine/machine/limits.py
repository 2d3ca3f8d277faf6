"""How many CPUs and how much memory this process is granted, which may be less than the machine has. No torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil


def limit_threads() -> None:
    """Let PyTorch take a thread for each core granted; what the user has said stays.

    By itself it knows nothing of control groups and SLURM: a job of 4 CPUs on a node of 64 would have 64 threads.
    The file of a change of one's own may have imported it already; its run has as many threads as the baseline.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    granted = cores()
    os.environ["OMP_NUM_THREADS"] = str(granted)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(granted)


def cores() -> int:
    """How many cores are this process's, at least one. A second thread of a core does not make products faster."""
    granted = min(cpus(os.environ, Path("/")).values())
    return max(1, int(min(granted, psutil.cpu_count(logical=False) or granted)))


def cpus(environment: Mapping[str, str], root: Path) -> dict[str, float]:
    """How many CPUs each source grants; the smallest holds."""
    limits: dict[str, float] = {"machine": os.cpu_count() or 1}
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        limits["affinity"] = len(os.sched_getaffinity(0))
    for quota, period in (text.split() for text in _cgroup(root, "cpu.max")):
        if quota != "max":
            limits["cgroup"] = min(limits.get("cgroup", float("inf")), int(quota) / int(period))
    granted = environment.get("SLURM_CPUS_PER_TASK") or environment.get("SLURM_CPUS_ON_NODE")
    if granted:
        limits["SLURM"] = int(granted)
    return limits


def memory(environment: Mapping[str, str], root: Path) -> dict[str, float]:
    """How many bytes each source grants; the smallest holds."""
    limits: dict[str, float] = {"machine": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")}
    granted = [int(text) for text in _cgroup(root, "memory.max") if text != "max"]
    if granted:
        limits["cgroup"] = min(granted)
    if environment.get("SLURM_MEM_PER_NODE", "0") != "0":  # 0: all of it
        limits["SLURM"] = int(environment["SLURM_MEM_PER_NODE"]) * 2**20
    return limits


def _cgroup(root: Path, name: str) -> Iterator[str]:
    """The content of file `name` in this process's control group (v2) and in those around it."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    own = next((Path(line.removeprefix("0::/")) for line in lines if line.startswith("0::")), Path())
    for group in (own, *own.parents):
        try:
            yield (root / "sys/fs/cgroup" / group / name).read_text().strip()
        except OSError:
            continue  # the outermost has no limits
