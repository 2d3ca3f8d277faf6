"""`${published:KEY}` in a config: what conf/recipe/published says for its model, size and task.

A file there is named after the model, and holds for each task its `source` and for each size its settings. Where some
of these are not published, `ours` says which.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from gifine.config import TaskConfig
from gifine.errors import ConfigError

READS = ("model.name", "model.size", "task.name")  # the keys that decide what ${published:KEY} is
OURS = "ours"  # what of the settings nobody has published, in words
FEW = {"max_steps": None, "max_answer_tokens": TaskConfig.max_answer_tokens}  # what few have, and the others instead


def register(conf_dir: Path) -> None:
    """Let OmegaConf resolve `${published:KEY}` from the files below `conf_dir`."""

    def published(key: str, *, _root_: DictConfig) -> Any:
        found = settings(conf_dir, _root_.model.name, _root_.task.name, _root_.model.size)
        return found.get(key, FEW[key]) if key in FEW else found[key]

    OmegaConf.register_new_resolver("published", published, replace=True)


def settings(conf_dir: Path, model: str, task: str, size: str) -> dict[str, Any]:
    """The published settings, and their `source`, which names what is ours among them.

    Raises:
        ConfigError: where nothing is published; it says what is.
    """
    folder = conf_dir / "recipe" / "published"
    asked = f"recipe=auto: nothing is published for model={model} model.size={size} task={task}"
    if not (folder / f"{model}.yaml").is_file():
        raise ConfigError(f"{asked}; models: {', '.join(sorted(path.stem for path in folder.glob('*.yaml')))}")
    tasks = _read(folder / f"{model}.yaml")
    if task not in tasks:
        raise ConfigError(f"{asked}; tasks: {', '.join(tasks)}")
    if size not in tasks[task]:
        raise ConfigError(f"{asked}; sizes: {', '.join(name for name in tasks[task] if name != 'source')}")
    found = tasks[task][size]
    source = "; ours: ".join([tasks[task]["source"], *([found[OURS]] if OURS in found else [])])
    return {"source": source, **found}


@cache
def _read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))
