"""Which model the generator of task=rtd is, beside a discriminator: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gifine.choices import Objective, Sharing
from gifine.config import ModelConfig, RunConfig
from gifine.inputs import model_files
from gifine.inputs.families import normalise_type, own_names
from gifine.inputs.model_files import CONFIG

GENERATOR = "generator"  # in a saved discriminator's folder: the generator's


def of(config: RunConfig, theirs: Mapping[str, Any]) -> ModelConfig:
    """`model` with the generator's sizes, and its place of weights. `theirs` are entries of the discriminator's
    config.json.

    Raises:
        ModelError: for folders that have no model.
    """
    model, wanted = config.model, config.task.generator
    own = own_names(wanted.config_overrides, model.family)
    own |= {} if wanted.layers is None else {"num_hidden_layers": wanted.layers}
    place = checkpoint(config)
    if place is None and not model.random_init:
        folder = model_files.locate(model_files.source(model))
        place = _in_pair(folder) if isinstance(folder, Path) else None
    elsewhere: dict[str, Any] = {"revision": None, "init_from": None, "random_init": False}
    if place is not None:
        return replace(model, config_overrides=own, checkpoint=str(place), **elsewhere)
    sizes = {key: value for key, value in own.items() if key != "num_hidden_layers"}
    ours = replace(
        model, config_overrides=own_names(model.config_overrides, model.family) | _layers(config, theirs) | own
    )
    if model.random_init or all(theirs.get(key) == value for key, value in sizes.items()):
        return ours
    # Of other sizes than the checkpoint, whose first layers are none of its.
    return replace(ours, checkpoint=model_files.source(model), init_from=None, random_init=True)


def checkpoint(config: RunConfig) -> Path | str | None:
    """Where the weights of task.generator.checkpoint are, a folder or a Hub id; None where none is named.

    Raises:
        ModelError: for a folder that has no model.
    """
    name = config.task.generator.checkpoint
    if config.task.objective is not Objective.rtd or name is None:
        return None
    if not Path(name).expanduser().is_dir():
        return model_files.locate(name)
    saved = model_files.saved_model(name)
    return _in_pair(saved) or saved


def _layers(config: RunConfig, theirs: Mapping[str, Any]) -> dict[str, Any]:
    """DeBERTaV3's generators have half of the discriminator's, ELECTRA's as many."""
    depth = theirs.get("num_hidden_layers")
    is_half = config.task.sharing(normalise_type(config.model.family)) is Sharing.gdes
    return {} if depth is None else {"num_hidden_layers": -(-depth // 2) if is_half else depth}


def _in_pair(folder: Path) -> Path | None:
    """The generator's folder below a discriminator's, if that is what a run has saved."""
    return folder / GENERATOR if (folder / GENERATOR / CONFIG).is_file() else None
