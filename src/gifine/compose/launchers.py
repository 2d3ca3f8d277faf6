"""The schema of hydra/launcher: what conf/hydra/launcher/*.yaml and `hydra.launcher.KEY=VALUE` may hold.

The comment of each field is its text in docs/configuration.md, which `python docs/configuration.py` writes anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

PACKAGE = "hydra_plugins.gifine_launcher"  # Hydra takes launchers from this namespace only


@dataclass
class LauncherConfig:
    _target_: str = ""
    wait: bool = True  # wait until the runs have ended; false: return when they are submitted
    retry_failed: bool = False  # submit the runs that raised, too, which are left alone else
    snapshot: bool = True  # jobs run a copy of the code as it is now; false: as it is when they start


@dataclass
class LocalConfig(LauncherConfig):
    """Processes on this machine."""

    _target_: str = f"{PACKAGE}.LocalLauncher"
    parallelism: int | None = None  # runs at a time, each with one GPU; null: as many as there are GPUs, or one


@dataclass
class SlurmConfig(LauncherConfig):
    """Jobs of SLURM; keys that sbatch has are named as there, units in the names."""

    _target_: str = f"{PACKAGE}.SlurmLauncher"
    name: str = "gifine"  # of the jobs, in squeue
    timeout_min: int = 60  # the time limit of a job
    partition: str | None = None  # where jobs wait; null: the cluster's default, here and of account and qos
    account: str | None = None  # the account that the time is taken from
    qos: str | None = None  # quality of service
    gres: str | None = None  # generic resources, such as gpu:4
    gpus_per_node: int | None = None  # GPUs, instead of gres
    mem_gb: float | None = None  # memory on each node; 0: all that it has
    mem_per_gpu: str | None = None  # memory for each GPU, as sbatch takes it: 32000 (MB), 32G
    mem_per_cpu: str | None = None  # memory for each CPU, likewise
    cpus_per_task: int | None = None  # CPUs of each process
    nodes: int = 1  # nodes of one run
    tasks_per_node: int = 1  # processes of one run on each node; several train with DDP
    constraint: str | None = None  # features that a node must have
    exclude: str | None = None  # nodes that are not taken
    signal_delay_s: int = 120  # SLURM sends USR2 so long before the time limit; the run saves a checkpoint
    max_num_timeout: int = 20  # how often a job that reached its time limit goes on in another allocation
    array_parallelism: int = 256  # jobs of one submission that run at a time
    max_array_size: int | None = None  # jobs of one array; null: as many as the cluster takes
    pack: int = 1  # runs in one job
    side_by_side: int = 1  # how many of `pack` at a time: they share CPUs and GPUs; one GPU each if there are so many
    resources: list[dict[str, Any]] = field(default_factory=list)  # other values for some tasks, models or sizes
    setup: list[str] = field(default_factory=list)  # shell lines before the run; one that fails ends the job
    python: str | None = None  # the command that starts Python after `setup`; null: the Python of this process
    srun_args: list[str] = field(default_factory=list)  # further words for srun
    additional_parameters: dict[str, Any] = field(default_factory=dict)  # any other option of sbatch; a flag is `true`


LAUNCHERS: dict[str, type[LauncherConfig]] = {"slurm": SlurmConfig, "local": LocalConfig}


def keys(schema: type[LauncherConfig]) -> list[str]:
    """What a user may set."""
    return [f.name for f in fields(schema) if not f.name.startswith("_")]


def problems(config: LauncherConfig) -> list[str]:
    """Values out of range, and keys that do not go together."""
    found = _slurm(config) if isinstance(config, SlurmConfig) else _local(config)
    return [f"hydra.launcher.{problem}" for problem in found]


def _local(config: LauncherConfig) -> Iterator[str]:
    assert isinstance(config, LocalConfig)
    if config.parallelism is not None and config.parallelism < 1:
        yield f"parallelism={config.parallelism}: at least 1"


def _slurm(config: SlurmConfig) -> Iterator[str]:
    at_least = {"signal_delay_s": 0, "max_num_timeout": 0, "gpus_per_node": 0, "mem_gb": 0}
    positive = ("timeout_min", "cpus_per_task", "nodes", "tasks_per_node", "array_parallelism")
    for key in (*at_least, *positive, "max_array_size", "pack", "side_by_side"):
        value, least = getattr(config, key), at_least.get(key)
        if value is not None and not (value > 0 if least is None else value >= least):  # NaN too
            yield f"{key}={value:g}: {f'at least {least}' if least is not None else 'must be above 0'}"
        elif value == math.inf:
            yield f"{key}={value}: must be a number"
    if config.signal_delay_s >= 60 * config.timeout_min:
        yield f"signal_delay_s={config.signal_delay_s}: must be shorter than timeout_min={config.timeout_min}"
    if config.side_by_side > 1 and config.nodes * config.tasks_per_node > 1:
        yield f"side_by_side={config.side_by_side}: excludes runs of several processes: nodes=1, tasks_per_node=1"
    if config.side_by_side > config.pack:
        yield f"side_by_side={config.side_by_side}: at most pack={config.pack}"
    yield from _exclusive(config)
    if not config.name.strip():
        yield "name: is empty"
    for key in ("name", "partition", "account", "qos", "gres", "constraint", "exclude", "mem_per_gpu", "mem_per_cpu"):
        if "\n" in str(getattr(config, key)):
            yield f"{key}: holds a line end"
    if any("\n" in line for line in config.setup):
        yield "setup: a list of lines, none of which holds a line end"
    yield from _additional(config)


def _exclusive(config: SlurmConfig) -> Iterator[str]:
    memory = [key for key in ("mem_gb", "mem_per_gpu", "mem_per_cpu") if getattr(config, key) is not None]
    if len(memory) > 1:
        yield f"{memory[0]}: excludes {', '.join(memory[1:])}"
    flags = {name.replace("_", "-") for name in config.additional_parameters}
    has_gpus = bool(config.gpus_per_node) or "gpu" in (config.gres or "")
    has_gpus = has_gpus or any(flag == "gpus" or flag.startswith("gpus-per-") for flag in flags)
    if config.gpus_per_node is not None and "gpu" in (config.gres or ""):
        yield f"gpus_per_node={config.gpus_per_node}: excludes gres={config.gres}; both ask for GPUs"
    if config.mem_per_gpu is not None and not has_gpus:
        yield f"mem_per_gpu={config.mem_per_gpu}: needs GPUs: gres=gpu:N or gpus_per_node=N"


# What the launcher itself writes, by the key that says it; null: it cannot be said otherwise.
_OWN: dict[str, str | None] = {
    "job-name": "name",
    "time": "timeout_min",
    "mem": "mem_gb",
    "ntasks-per-node": "tasks_per_node",
    "signal": "signal_delay_s",
    "array": "array_parallelism",
    "open-mode": None,
    "wrap": None,
    "parsable": None,
    "test-only": None,
}


def _additional(config: SlurmConfig) -> Iterator[str]:
    direct = {key.replace("_", "-"): key for key in keys(SlurmConfig)}
    for name, value in config.additional_parameters.items():
        flag = name.replace("_", "-")
        if flag in direct:
            yield f"additional_parameters.{name}: give hydra.launcher.{direct[flag]}"
        elif flag in _OWN:
            yield f"additional_parameters.{name}: {_instead(_OWN[flag])}"
        elif flag == "ntasks" and value != config.nodes * config.tasks_per_node:
            per_node = f"nodes={config.nodes} and tasks_per_node={config.tasks_per_node}"
            yield f"additional_parameters.{name}={value}: {per_node} make {config.nodes * config.tasks_per_node}"
        elif not isinstance(value, (str, int, float)):
            yield f"additional_parameters.{name}={value}: a string, a number, or true for a flag without a value"
        elif "\n" in f"{name}{value}":
            yield f"additional_parameters.{name}: holds a line end"
    given = {name.replace("_", "-") for name in config.additional_parameters}
    if "no-requeue" in given and config.max_num_timeout:
        yield f"additional_parameters.no-requeue: excludes max_num_timeout={config.max_num_timeout}"


def _instead(key: str | None) -> str:
    return f"give hydra.launcher.{key}" if key else "is the launcher's own"
