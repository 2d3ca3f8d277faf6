"""What sbatch takes: the launcher's keys as its options, and a script with `setup` and the job."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from gifine.compose.launchers import SlurmConfig
from gifine.sweep.job import MASTER
from gifine.sweep.slurm import SCRIPT

LOG = "%j.log"  # below the batch's folder; of an array's tasks:
ARRAY_LOG = "%A_%a.log"


def options(config: SlurmConfig, *, folder: Path, chdir: Path, tasks: int, parallelism: int) -> dict[str, Any]:
    """sbatch's options, by their long names without the dashes; a flag is True.

    `folder` is the batch's; the job starts in `chdir`.
    """
    hours, minutes = divmod(config.timeout_min, 60)
    found: dict[str, Any] = {
        "job-name": config.name,
        "time": f"{hours}:{minutes:02}:00",
        "partition": config.partition,
        "account": config.account,
        "qos": config.qos,
        "nodes": config.nodes,
        "ntasks": config.nodes * config.tasks_per_node,
        "ntasks-per-node": config.tasks_per_node,
        "cpus-per-task": config.cpus_per_task,
        "gres": config.gres,
        "gpus-per-node": config.gpus_per_node,
        "mem": None if config.mem_gb is None else _mem(config.mem_gb),
        "mem-per-gpu": config.mem_per_gpu,
        "mem-per-cpu": config.mem_per_cpu,
        "constraint": config.constraint,
        "exclude": config.exclude,
        "chdir": str(chdir),
        "output": f"{literal(folder)}/{ARRAY_LOG if tasks > 1 else LOG}",
        "open-mode": "append",  # a job that is requeued goes on in the same log
        "signal": f"USR2@{config.signal_delay_s}",  # to the runs: see job.py
        "requeue": True if config.max_num_timeout else None,
        "comment": folder.name,
        "array": f"0-{tasks - 1}%{min(tasks, parallelism)}" if tasks > 1 else None,
    }
    found |= {name.replace("_", "-"): value for name, value in config.additional_parameters.items()}
    return {name: value for name, value in found.items() if value is not None and value is not False}


def words(options: dict[str, Any]) -> list[str]:
    """The options as sbatch's command line has them."""
    return [f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items()]


def literal(folder: Path) -> str:
    """The folder in a file name pattern of SLURM's, in which `%j` is the job's id."""
    return str(folder).replace("%", "%%")


def log(options: dict[str, Any], folder: Path) -> str:
    """The pattern of the log's name, as the ledger has it: in the batch's folder, or an absolute one of the user's."""
    pattern = Path(literal(Path(options["chdir"]))) / str(options["output"])
    return pattern.name if str(pattern.parent) == literal(folder) else str(pattern)


def wrong_folder(folder: Path) -> str | None:
    """Why SLURM cannot write a log below this folder; null if it can."""
    bad = next((letter for letter in str(folder) if letter == "\\" or not letter.isprintable()), None)
    if bad is None:
        return None
    what = "a backslash" if bad == "\\" else f"the character {bad!r}"
    return f"{str(folder)!r} has {what}, which SLURM cannot have in the name of a log; give another one"


def text(config: SlurmConfig, options: dict[str, Any], *, python: str, code: Path | None, folder: Path) -> str:
    """The whole script. `code` is put before what Python finds by itself; `folder` is the batch's."""
    submitted = shlex.join(["sbatch", *words(options)]).replace("\n", " ")
    lines = ["#!/bin/bash", f"# {submitted} {SCRIPT}", "set -e"]
    lines += ["unset SLURM_CLUSTERS SBATCH_CLUSTERS  # in a job SLURM's commands ask its own cluster"]
    lines += [*config.setup, ""]
    if code is not None:
        lines.append(f'export PYTHONPATH={shlex.quote(str(code))}"${{PYTHONPATH:+:$PYTHONPATH}}"')
    lines.append("export PYTHONUNBUFFERED=1")
    # The job's environment as it is, also after `--export=NONE`, which srun would take over.
    srun = ["srun", "--kill-on-bad-exit=1", "--export=ALL", f"--ntasks={config.nodes * config.tasks_per_node}"]
    if config.cpus_per_task is not None:
        srun.append(f"--cpus-per-task={config.cpus_per_task}")  # srun does not take it over from sbatch
    if config.nodes * config.tasks_per_node > 1:
        lines.append(f'{MASTER}=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)')
        lines.append(f"export {MASTER}")
        srun.append("--label")  # each line with the rank that says it
    command = [*srun, *config.srun_args]
    lines.append(f"{shlex.join(command)} {python} -m gifine.sweep.job {shlex.quote(str(folder))}")
    return "\n".join(lines) + "\n"


def _mem(gb: float) -> str:
    """0 is all memory of the node, and nothing else is."""
    return "0" if gb == 0 else f"{max(1, round(gb * 1024))}M"
