"""Which runs of which project are shown, and what the tasks' configs say of them. No wandb."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hydra.errors import HydraException
from omegaconf import OmegaConf

from gifine.compose import change_keys
from gifine.compose.composition import compose, typed, unwrap
from gifine.compose.conf_dir import folders
from gifine.config import DEMO, GI, TaskConfig
from gifine.errors import ArgumentError, ConfigError, did_you_mean

_LONGEST_TITLE = 128  # characters that wandb takes


@dataclass(frozen=True)
class Selection:
    """The runs to show; of groups, models and changes, none given means all."""

    entity: str  # empty: the one of the login
    project: str
    tasks: tuple[TaskConfig, ...]
    groups: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()  # beside plain models
    narrowed: bool = False  # not the tasks that are shown by default
    split_dev: bool = False  # runs with evaluate.split_dev, whose metrics are of one half of the first split

    @property
    def title(self) -> str:
        """What workspace and report are called: saved again under the same title, they are replaced."""
        parts = [f"group {', '.join(self.groups)}"] if self.groups else []
        parts += [f"model {', '.join(self.models)}"] if self.models else []
        parts += [f"change {', '.join(self.changes)}"] if self.changes else []
        parts += [f"task {', '.join(task.name for task in self.tasks)}"] if self.narrowed else []
        parts += ["half of dev"] if self.split_dev else []
        title = "gifine" + (f": {'; '.join(parts)}" if parts else "")
        # wandb refuses emoji, which for it includes + and =, and puts the title into an address.
        return re.sub(r"[^\w .,:;()-]", "-", title)[:_LONGEST_TITLE]

    @property
    def has_gi(self) -> bool:
        return not self.changes or GI in self.changes

    @property
    def has_others(self) -> bool:
        """Whether there may be other changes than GI."""
        return self.changes != (GI,)

    def splits(self, task: TaskConfig) -> list[str]:
        """The evaluation splits, as metrics name them; the first one's are the task's headline."""
        first, *others = task.evaluation_splits
        return [f"{first}_report" if self.split_dev else first, *others]

    def metrics(self, task: TaskConfig) -> list[str]:
        """`task/split/metric` of all official metrics, the headline first."""
        names = sorted(task.metrics, key=lambda name: name != task.select_by)
        return [f"{task.name}/{split}/{name}" for split in self.splits(task) for name in names]

    def headline(self, task: TaskConfig) -> str:
        return self.metrics(task)[0]


def tasks(names: Sequence[str] | None, config_dir: str | None) -> tuple[TaskConfig, ...]:
    """The tasks of these names; null: all but the demo.

    Raises:
        ArgumentError: for a name that is none, with those that are.
        ConfigError: for a task of one's own with something wrong.
    """
    valid = sorted({path.stem for folder in folders(config_dir) for path in (folder / "task").glob("*.yaml")})
    _check("--tasks", names or (), valid)
    chosen = dict.fromkeys(names or (name for name in valid if name != DEMO))
    try:
        return tuple(typed(compose([f"task={name}"], config_dir)).task for name in chosen)
    except HydraException as error:
        raise ConfigError(unwrap(error)) from error


def models(names: Sequence[str], config_dir: str | None) -> tuple[str, ...]:
    """The names, as runs' configs have them in `model.name`.

    Raises:
        ArgumentError: for a name that is none, with those that are.
    """
    configs = [OmegaConf.load(path) for folder in folders(config_dir) for path in (folder / "model").glob("*.yaml")]
    valid = sorted({str(name) for config in configs if (name := OmegaConf.select(config, "name"))})  # none: an alias
    _check("--models", names, valid)
    return tuple(dict.fromkeys(names))


def changes(names: Sequence[str], config_dir: str | None) -> tuple[str, ...]:
    """The names of changes; the baseline is there without being named.

    Raises:
        ArgumentError: for a name that is none, with those that are.
    """
    _check("--changes", names, [name for name in change_keys.names(config_dir) if name != change_keys.NONE])
    return tuple(dict.fromkeys(names))


def _check(option: str, names: Sequence[str], valid: Sequence[str]) -> None:
    for name in names:
        if name not in valid:
            near = did_you_mean(name, valid)
            raise ArgumentError(f"{option} {name}: no such name{near}; valid: {', '.join(valid)}")
