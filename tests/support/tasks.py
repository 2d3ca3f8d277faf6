"""The tasks of conf/task, each by itself."""

from __future__ import annotations

from omegaconf import OmegaConf

from conftest import ROOT
from gifine.config import TaskConfig

TASKS = {path.stem: path for path in (ROOT / "conf" / "task").glob("*.yaml")}


def load_task(name: str) -> TaskConfig:
    task = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TaskConfig), OmegaConf.load(TASKS[name])))
    assert isinstance(task, TaskConfig)
    return task
