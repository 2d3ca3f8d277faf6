"""The configs that come with gifine, for what reads them without Hydra."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from gifine.schema import from_entries
from gifine.task_config import TaskConfig


def conf_dir() -> Path:
    """The configs: inside an installed wheel, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def tasks() -> list[str]:
    """Names of the tasks that are there."""
    return sorted(path.stem for path in (conf_dir() / "task").glob("*.yaml"))


@cache
def task(name: str) -> TaskConfig:
    """One of `tasks`, with nothing of a command line: the same object each time, which stays as it is."""
    entries = OmegaConf.to_container(OmegaConf.load(conf_dir() / "task" / f"{name}.yaml"))
    assert isinstance(entries, dict)
    return from_entries(TaskConfig, entries)
