"""The files that predictions are handed in as, by what a task asks: what GLUE's server takes, or SQuAD's script."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from gifine import glue_submission, squad_submission
from gifine.choices import Objective
from gifine.config import TaskConfig
from gifine.errors import DataError


class Form(Protocol):
    """What the module of a form has."""

    SUFFIX: str

    def write(self, path: Path, predicted: Any, task: TaskConfig, thresholds: Mapping[str, float]) -> dict[Path, str]:
        """What the objective's `predict` gave, of one test set, with the record's thresholds; what is in which file.

        Raises:
            OutputError: if one cannot be written.
        """
        ...


def choose(task: TaskConfig) -> Form:
    return squad_submission if task.objective is Objective.questions else glue_submission


def names(task: TaskConfig) -> dict[str, str]:
    """The file for each test split.

    Raises:
        DataError: if the task has no test set.
    """
    own = own_name(task.name, task)
    if task.files.train is not None:
        if task.files.test is None:
            raise DataError(
                f"task={task.name}: the run had files of its own, but no task.files.test; --file FILE gives one"
            )
        return {"test": own}
    unknown = [split for split in task.test_splits if split not in task.splits]
    if unknown or not task.test_splits:
        raise DataError(
            f"task={task.name} has no test set: task.test_splits={task.test_splits}, "
            f"task.splits has: {', '.join(task.splits) or 'nothing'}"
        )
    several = len(task.test_splits) > 1
    return {
        split: task.splits[split].submission or (own_name(f"{task.name}-{split}", task) if several else own)
        for split in task.test_splits
    }


def own_name(name: str, task: TaskConfig) -> str:
    """The file of what is no test set of GLUE's, by a name that may have any characters."""
    return re.sub(r"[^\w.-]+", "-", name) + choose(task).SUFFIX
