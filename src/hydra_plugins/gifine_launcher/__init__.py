"""hydra/launcher=slurm and hydra/launcher=local. Hydra imports this at every start: what is heavier is in gifine.sweep.

Not a subclass of the submitit launcher, nor on submitit: a job there is a pickle that is written after sbatch has
returned, ignores SIGTERM, and says COMPLETED of a run that raised. Here it is a shell script and a config as JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, configure_log
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from gifine.compose.launchers import LAUNCHERS, LauncherConfig, keys
from gifine.schema import from_entries

if TYPE_CHECKING:
    from gifine.compose.grid import Cell

for name, schema in LAUNCHERS.items():
    ConfigStore.instance().store(group="hydra/launcher/schema", name=name, node=schema)


class SweepLauncher(Launcher):
    """What the two launchers share. Our sweeper calls `wrong` and `submit`."""

    schema: type[LauncherConfig]

    def __init__(self, **settings: Any) -> None:
        self.unknown = settings.keys() - {*keys(self.schema)}  # which `+hydra.launcher.KEY=…` lets through
        known = {key: value for key, value in settings.items() if key not in self.unknown}
        self.settings = from_entries(self.schema, known)
        self.config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config

    def wrong(self, cells: Iterable[Cell] = ()) -> list[str]:
        """What is wrong with the launcher's keys, for these runs."""
        from gifine.errors import did_you_mean
        from gifine.sweep import launch

        valid = keys(self.schema)
        unknown = [
            f"hydra.launcher.{key}: no such key{did_you_mean(key, valid)}; valid: {', '.join(valid)}"
            for key in sorted(self.unknown)
        ]
        configs = [cell.config for cell in cells]
        return [*unknown, *launch.wrong(self.settings, configs, self._fixed(), self._sweep())]

    def submit(self, cells: Iterable[Cell]) -> None:
        """Submit what is missing of these runs, whose configs are good."""
        from gifine.sweep import launch

        assert self.config is not None
        configure_log(self.config.hydra.job_logging, self.config.hydra.verbose)  # as a run's: plain lines on stderr
        launch.launch(cells, self.settings, sweep=self._sweep(), fixed=self._fixed())

    def _fixed(self) -> set[str]:
        """The launcher's keys that stand on the command line."""
        from gifine.compose.overrides import parsed

        assert self.config is not None
        words = OmegaConf.to_container(self.config.hydra.overrides.hydra) or []  # unresolved: they may have ${…}
        given = [parsed(str(word)).key_or_group for word in words]
        return {key.removeprefix("hydra.launcher.") for key in given if key.startswith("hydra.launcher.")}

    def _sweep(self) -> Path:
        """The sweep's folder."""
        assert self.config is not None
        return Path(str(self.config.hydra.sweep.dir)).expanduser().absolute()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from gifine.errors import ConfigError

        raise ConfigError("hydra/launcher: this one takes its runs from hydra/sweeper=gifine only")


class SlurmLauncher(SweepLauncher):
    schema = LAUNCHERS["slurm"]


class LocalLauncher(SweepLauncher):
    schema = LAUNCHERS["local"]
