"""hydra/launcher=slurm and hydra/launcher=local. Hydra imports this at every start: what is heavier is in gifine.sweep.

Not a subclass of the submitit launcher, nor on submitit: a job there is a pickle that is written after sbatch has
returned, ignores SIGTERM, and says COMPLETED of a run that raised. Here it is a shell script and a config as JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, configure_log
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from gifine.sweep.config import LAUNCHERS, LauncherConfig

for name, schema in LAUNCHERS.items():
    ConfigStore.instance().store(group="hydra/launcher", name=f"{name}_schema", node=schema)


class _SweepLauncher(Launcher):
    schema: type[LauncherConfig]

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from gifine.sweep import submission

        assert self.config is not None
        configure_log(self.config.hydra.job_logging, self.config.hydra.verbose)  # as a run's: plain lines on stderr
        own = [source.path for source in self.config.hydra.runtime.config_sources if source.provider == "command-line"]
        merged = OmegaConf.merge(OmegaConf.structured(self.schema), OmegaConf.create(self.settings))
        settings = OmegaConf.to_object(merged)
        assert isinstance(settings, LauncherConfig)
        submission.launch(
            [list(overrides) for overrides in job_overrides],
            settings,
            sweep=str(self.config.hydra.sweep.dir),
            config_dir=own[0] if own else None,
        )
        return []  # the results are the records


class SlurmLauncher(_SweepLauncher):
    schema = LAUNCHERS["slurm"]


class LocalLauncher(_SweepLauncher):
    schema = LAUNCHERS["local"]
