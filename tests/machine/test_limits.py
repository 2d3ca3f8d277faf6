"""CPUs and memory that a process is granted, and that PyTorch takes no more threads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gifine.machine import limits


def test_limits_of_control_group_and_job_are_seen(tmp_path):
    group = tmp_path / "sys/fs/cgroup/slurm/job_1"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/slurm/job_1/step_0\n")
    (group / "cpu.max").write_text("150000 100000\n")
    (group / "memory.max").write_text("max\n")
    (group.parent / "memory.max").write_text("4000000000\n")
    job = {"SLURM_CPUS_PER_TASK": "4", "SLURM_MEM_PER_NODE": "8000"}
    cpus, memory = limits.cpus(job, tmp_path), limits.memory(job, tmp_path)
    assert (cpus["cgroup"], cpus["SLURM"], min(cpus.values()) <= 1.5) == (1.5, 4, True)
    assert (memory["cgroup"], memory["SLURM"]) == (4e9, 8000 * 2**20)
    assert set(limits.cpus({}, tmp_path / "nothing")) == {"machine", "affinity"}


@pytest.mark.parametrize("before", ["", "import torch; "])  # as the file of a change does
def test_pytorch_takes_as_many_threads_as_there_are_cpus_unless_told(before):
    program = f"{before}from gifine.machine import limits; limits.limit_threads(); "
    program += "import os, torch; assert os.environ['OMP_NUM_THREADS'] == str(torch.get_num_threads()); "
    program += "print(torch.get_num_threads())"

    def threads(**environment: str) -> int:
        given = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"} | environment
        command = [sys.executable, "-c", program]
        return int(subprocess.run(command, env=given, capture_output=True, text=True, check=True).stdout)

    assert threads(SLURM_CPUS_PER_TASK="1") == 1
    assert threads(SLURM_CPUS_PER_TASK="1", OMP_NUM_THREADS="2") == 2
