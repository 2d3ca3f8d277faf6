"""Hydra's sweeper for `--multirun`, with each result made once, and with thousands of runs checked in seconds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from hydra_plugins.gifine_launcher import SweepLauncher


class DistinctSweeper(BasicSweeper):
    def sweep(self, arguments: list[str]) -> list[Sequence[Any]]:
        """Launch the runs; of those that ask for the same result, the first.

        Raises:
            ConfigError: with every problem of any run, before the first one is launched.
            DataError: if runs are finished, but of other data than those there now.
        """
        # Hydra imports every plugin at its start, and gifine.compose.composition starts Hydra.
        from gifine.compose import grid
        from gifine.compose.composition import check_chdir
        from gifine.compose.overrides import parsed
        from gifine.errors import ConfigError
        from gifine.sweep.commands import plan

        assert self.config is not None
        assert self.launcher is not None
        sources = self.config.hydra.runtime.config_sources
        config_dir = next((source.path for source in sources if source.provider == "command-line"), None)
        own = OmegaConf.to_container(self.config.hydra.overrides.hydra)
        assert isinstance(own, list)
        check_chdir(self.config.hydra.job.chdir)
        launcher = self.launcher if isinstance(self.launcher, SweepLauncher) else None
        try:
            runs = grid.expand([*map(str, own), *arguments], config_dir)
        except ConfigError as error:
            raise ConfigError(*(launcher.wrong() if launcher else ()), *error.problems) from error
        problems = launcher.wrong(runs) if launcher else []
        if problems:
            raise ConfigError(*problems)
        planned = plan.make(runs)
        print(plan.describe(planned), file=sys.stderr)  # nothing is set up for logging yet
        plan.check(planned)
        chosen = {run_id: cell for run_id, cell in grid.distinct(runs).items() if run_id not in planned.needless}
        if launcher:
            launcher.submit(chosen.values())
            return []
        # Hydra adds the words that are its own to each run's again.
        words = [[word for word in run.overrides if not parsed(word).is_hydra_override()] for run in chosen.values()]
        returns: list[Sequence[Any]] = []
        launched = 0
        for batch in self.split_overrides_to_chunks(words, self.max_batch_size):
            results = self.launcher.launch(batch, initial_job_idx=launched)
            for result in results:
                _ = result.return_value  # raises what the run did
            launched += len(batch)
            returns.append(results)
        return returns


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="gifine",
    node=BasicSweeperConf(_target_=f"{__name__}.{DistinctSweeper.__name__}"),
    provider="gifine",
)
