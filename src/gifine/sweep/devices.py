"""GPUs and CPUs of this machine, or of a job, divided among runs side by side. No torch."""

from __future__ import annotations

import os
import subprocess

from gifine.machine import limits


def gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES may hold: what it holds, or the GPUs that the driver lists."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name.strip() not in ("", "-1")]
    try:
        command = ["nvidia-smi", "--list-gpus"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - fixed words
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(number) for number, _ in enumerate(done.stdout.splitlines())] if done.returncode == 0 else []


def share(place: int, places: int, devices: list[str]) -> dict[str, str]:
    """Environment variables of the run at one of so many places: a GPU, and its part of the CPUs.

    What the user has said of threads stays.
    """
    own = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, limits.cores() // places))}
    if devices:
        own["CUDA_VISIBLE_DEVICES"] = devices[place % len(devices)]
    return own
