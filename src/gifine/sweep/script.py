"""The script that sbatch takes: what the launcher's keys say as directives, then `setup`, then the job."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from gifine.sweep.config import SlurmConfig

LOG = "%j.log"  # below the batch's folder; of an array's tasks:
ARRAY_LOG = "%A_%a.log"


def directives(config: SlurmConfig, *, folder: Path, comment: str, tasks: int, parallelism: int) -> dict[str, Any]:
    """sbatch's options, by their long names without the dashes; a flag is True."""
    hours, minutes = divmod(config.timeout_min, 60)
    options: dict[str, Any] = {
        "job-name": config.name,
        "time": f"{hours}:{minutes:02}:00",
        "partition": config.partition,
        "account": config.account,
        "qos": config.qos,
        "nodes": config.nodes if config.nodes > 1 else None,
        "ntasks-per-node": config.tasks_per_node if config.nodes * config.tasks_per_node > 1 else None,
        "cpus-per-task": config.cpus_per_task,
        "gres": config.gres,
        "gpus-per-node": config.gpus_per_node,
        "mem": None if config.mem_gb is None else f"{round(config.mem_gb * 1024)}M",
        "mem-per-gpu": config.mem_per_gpu,
        "mem-per-cpu": config.mem_per_cpu,
        "constraint": config.constraint,
        "exclude": config.exclude,
        "output": str(folder / (ARRAY_LOG if tasks > 1 else LOG)),
        "open-mode": "append",  # a job that is requeued goes on in the same log
        "signal": f"USR2@{config.signal_delay_s}",  # to the runs: see job.py
        "requeue": True if config.max_num_timeout else None,
        "comment": comment,  # by which a submission is found whose job id was not written down
        "array": f"0-{tasks - 1}%{min(tasks, parallelism)}" if tasks > 1 else None,
    }
    options |= {name.replace("_", "-"): value for name, value in config.additional_parameters.items()}
    return {name: value for name, value in options.items() if value is not None and value is not False}


def text(config: SlurmConfig, options: dict[str, Any], *, python: str, code: Path | None, folder: Path) -> str:
    """The whole script. `code` is put before what Python finds by itself; `folder` is the batch's."""
    lines = ["#!/bin/bash"]
    lines += [f"#SBATCH --{name}" + ("" if value is True else f"={_word(value)}") for name, value in options.items()]
    lines += ["set -e", *config.setup, ""]
    if code is not None:
        lines.append(f'export PYTHONPATH={shlex.quote(str(code))}"${{PYTHONPATH:+:$PYTHONPATH}}"')
    lines.append("export PYTHONUNBUFFERED=1")
    srun = ["srun", "--kill-on-bad-exit=1"]
    if config.cpus_per_task is not None:
        srun.append(f"--cpus-per-task={config.cpus_per_task}")  # srun does not take it over from sbatch
    if config.nodes * config.tasks_per_node > 1:
        lines.append('GIFINE_MASTER=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)')
        lines.append("export GIFINE_MASTER")
        srun.append("--label")  # each line with the rank that says it
    command = [*srun, *config.srun_args]
    lines.append(f"{shlex.join(command)} {python} -m gifine.sweep.job {shlex.quote(str(folder))}")
    return "\n".join(lines) + "\n"


def _word(value: Any) -> str:
    return shlex.quote(str(value))
