"""The last layer of a checkpoint: whether it may serve a run, and of a classifier in which order of labels.

A head of other labels is no start for a task: it is as good as its shape suggests and as wrong as its labels are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from gifine.choices import Objective
from gifine.models import families, layouts
from gifine.models.families import Family


@dataclass(frozen=True)
class Head:
    """What becomes of it; `order` has, for each of the run's labels, its row in the checkpoint (None: a new head)."""

    order: list[int] | None
    why: str
    is_whole: bool | None  # whether the weights are those of a model with such a head; None: config.json does not say


def choose(
    entries: Mapping[str, Any],
    family: Family,
    labels: Sequence[str],
    objective: Objective = Objective.classification,
) -> Head:
    """What to do with the head beside a config.json, for labels in the order of their ids (regression: `LABEL_0`)."""
    architectures = _architectures(entries)
    if objective.pretrains:  # of an encoder that was fine-tuned, or of another pre-training: the weights tell
        return Head([0], "of the same objective", None)
    is_whole = bool(_names(family, objective) & {*architectures}) if architectures else None
    if is_whole is False:
        return Head(None, f"the checkpoint is a {architectures[0]}", is_whole)
    if objective is Objective.questions:
        return Head(list(range(len(labels))), "of questions, too", is_whole)
    theirs = names(entries)
    if theirs is None:
        return Head(None, "its id2label does not name labels by id", is_whole)
    if theirs == list(labels):
        return Head(list(range(len(labels))), "of the same labels", is_whole)
    rows = {name.casefold(): row for row, name in enumerate(theirs)}
    ours = [name.casefold() for name in labels]
    if len(rows) == len(theirs) == len(ours) and rows.keys() == set(ours):
        return Head([rows[name] for name in ours], f"of the same labels, there {', '.join(theirs)}", is_whole)
    return Head(None, f"its labels are {', '.join(theirs)}, those of the task {', '.join(labels)}", is_whole)


def objective(entries: Mapping[str, Any], family: Family) -> Objective:
    """What the head of a saved model is for, by its config.json; classification where that does not say."""
    is_reader = _names(family, Objective.questions) & {*_architectures(entries)}
    return Objective.questions if is_reader else Objective.classification


def objective_of(model: PreTrainedModel) -> Objective:
    """What the head of a model is for."""
    family = families.find(model.config.model_type, "")
    return objective({"architectures": [type(model).__name__]}, family)


def _architectures(entries: Mapping[str, Any]) -> list[str]:
    given = entries.get("architectures")
    return [str(name) for name in given] if isinstance(given, list) else []


def _names(family: Family, objective: Objective) -> set[str]:
    return {family.model(objective, plain=plain).__name__ for plain in (True, False)}


def names(entries: Mapping[str, Any]) -> list[str] | None:
    """The labels of a config.json by id, as transformers names them where it does not; None: unreadable."""
    given = entries.get("id2label") or entries.get("label2id")
    if given is None:
        number = entries.get("num_labels", 2)
        return [f"LABEL_{row}" for row in range(number if isinstance(number, int) else 2)]
    if not isinstance(given, dict | list):
        return None
    pairs = list(given.items() if isinstance(given, dict) else enumerate(given))
    by_id = _by_id(pairs) or _by_id([(row, name) for name, row in pairs])  # some have them the wrong way round
    return None if by_id is None else [by_id[row] for row in range(len(by_id))]


def _by_id(pairs: Sequence[tuple[Any, Any]]) -> dict[int, str] | None:
    try:
        by_id = {int(row): str(name) for row, name in pairs}
    except (ValueError, TypeError):
        return None
    return by_id if pairs and by_id.keys() == set(range(len(pairs))) else None


@torch.no_grad()
def reorder(model: PreTrainedModel, order: Sequence[int]) -> None:
    """Put the rows of the last layer, (C, D) and (C,), into this order."""
    head = model.get_submodule(layouts.of(model).classifier)
    last = head if isinstance(head, nn.Linear) else head.get_submodule("out_proj")  # RoBERTa's has two layers
    for parameter in last.parameters():
        parameter.data = parameter.data[list(order)].clone()
