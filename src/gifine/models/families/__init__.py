"""One file a family: config, changed attention, backbone and both heads, on top of transformers' own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from gifine.choices import Objective
from gifine.errors import ModelError
from gifine.inputs.families import FAMILIES, normalise_type
from gifine.models.change_config import ChangedConfig
from gifine.models.pretraining.parts import Pretraining


@dataclass(frozen=True)
class Family:
    """The classes of one architecture."""

    config: type[ChangedConfig]
    backbone: type[PreTrainedModel]
    classifier: type[PreTrainedModel]
    reader: type[PreTrainedModel]  # gives each token's score as the first and as the last of an answer
    plain_config: type[PreTrainedConfig]
    plain_backbone: type[PreTrainedModel]
    plain_classifier: type[PreTrainedModel]
    plain_reader: type[PreTrainedModel]
    classifier_dropout: str = "classifier_dropout"  # its name in config.json
    pretraining: Pretraining | None = None  # of masked tokens and replaced ones; None: not defined for it
    undeclared: tuple[str, ...] = ()  # entries of config.json that the model reads and its config class does not name
    fast: Mapping[type[nn.Module], type[nn.Module]] = field(default_factory=dict)  # same parameters and results
    settled: Mapping[str, Any] = field(default_factory=dict)  # entries of config.json, whatever a checkpoint says
    complete: Callable[[PreTrainedModel], None] | None = None  # gives transformers' own what it lacks, in place

    def model(self, objective: Objective, *, plain: bool) -> type[PreTrainedModel]:
        """The class with the head that an objective takes.

        Raises:
            ModelError: for pre-training that is not defined for the family.
        """
        if objective.pretrains:
            if self.pretraining is None:
                name = normalise_type(self.plain_config.model_type)
                raise ModelError(f"task.objective={objective.value}: is not defined for {name}, which knows no masks")
            return self.pretraining.part(objective, self.plain_backbone if plain else self.backbone)
        if objective is Objective.questions:
            return self.plain_reader if plain else self.reader
        return self.plain_classifier if plain else self.classifier


def family_classes(name: str) -> Family:
    """The config and model classes of one of FAMILIES."""
    return import_module(f"gifine.models.families.{name}").FAMILY


def find(model_type: object, checkpoint: str) -> Family:
    """The family that a config.json's `model_type` names, plain or changed.

    Raises:
        ModelError: if there is none.
    """
    name = normalise_type(model_type)
    if name not in FAMILIES:
        raise ModelError(f"'{checkpoint}': model_type '{model_type}': valid are {', '.join(sorted(FAMILIES))}")
    return family_classes(name)


def register() -> None:
    """Make transformers' Auto classes know the changed models."""
    for name in FAMILIES:
        family = family_classes(name)
        AutoConfig.register(family.config.model_type, family.config)
        AutoModel.register(family.config, family.backbone)
        AutoModelForSequenceClassification.register(family.config, family.classifier)
        AutoModelForQuestionAnswering.register(family.config, family.reader)
