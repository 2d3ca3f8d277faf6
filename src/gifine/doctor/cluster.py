"""SLURM: is it here, and does it answer?"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

from gifine.doctor.finding import Finding, ok, problem

_TIMEOUT_SECONDS = 5.0


def check() -> Iterator[Finding]:
    job = os.environ.get("SLURM_JOB_ID")
    if job:
        yield ok("SLURM job", f"inside job {job} on {os.environ.get('SLURMD_NODENAME', 'a node without a name')}")
    sinfo, sbatch = shutil.which("sinfo"), shutil.which("sbatch")
    if sinfo is None and sbatch is None:
        yield ok("SLURM", "not here: runs start one after another")
        return
    if sinfo is None or sbatch is None:
        missing = "sinfo" if sinfo is None else "sbatch"
        yield problem("SLURM", f"{missing} is not on the PATH", "load the cluster's module, or log in to a submit host")
        return
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            [sinfo, "--noheader", "--format=%P"], capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        yield problem("SLURM", f"sinfo gives no answer within {_TIMEOUT_SECONDS:g} s", "ask the cluster's owners")
        return
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
        yield problem("SLURM", f"sinfo: {reason}", "log in to a submit host, or ask the cluster's owners")
        return
    yield ok("SLURM", f"partitions {', '.join(dict.fromkeys(done.stdout.split()))}")
