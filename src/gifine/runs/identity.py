"""What a run is: the config that it is known by, its run_id, and the folder that it writes to."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gifine import schema
from gifine.choices import TRAINED, DataSource, GateSide, Parameters
from gifine.config import GI, RunConfig
from gifine.inputs import change_files, sources
from gifine.runs import replicate
from gifine.task_config import SplitConfig


def to_dict(config: RunConfig) -> dict[str, Any]:
    """The config as JSON types: enums by name, and of the model's sizes the one that is used."""
    entries = schema.plain(asdict(config))
    sizes = entries["model"]["sizes"]
    entries["model"]["sizes"] = {name: size for name, size in sizes.items() if name == config.model.size}
    if config.task.files.train is not None:
        entries["data"]["source"] = DataSource.files.value
    return entries


def from_dict(entries: dict[str, Any]) -> RunConfig:
    """The config that `to_dict` made these entries of.

    Raises:
        OmegaConfBaseException: for entries that the schema does not have.
    """
    return schema.from_entries(RunConfig, entries)


def run_id(config: RunConfig) -> str:
    """Twelve hex digits that are equal for two configs exactly if these ask for the same result.

    Raises:
        DataError, ModelError: for files and folders of one's own that are not there, or cannot be read.
    """
    canonical = json.dumps(deciding(to_dict(config), sources.contents(config)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def deciding(entries: dict[str, Any], contents: Mapping[str, str]) -> dict[str, Any]:
    """Of a config as `to_dict` gives it, or a record has it, what decides the result.

    `contents`, as `sources.contents` gives it, stands in the place of the paths whose keys it has; an older record has
    none. Left out is what `config.py` marks as not deciding, and, here, what has no effect beside other values: of the
    gates where there are none, GI as the change, which older records do not name, of other sizes and other sources, of
    streams that start from `seed` anyway. Keys that an older record does not have are no error.

    Raises:
        KeyError, TypeError, AttributeError: for entries that are no config of ours.
    """
    kept = {key: dict(value) if isinstance(value, dict) else value for key, value in entries.items()}
    model, gi, task, data, train, _ = (kept[key] for key in ("model", "gi", "task", "data", "train", "evaluate"))
    size = model["sizes"].get(model["size"])
    if model["checkpoint"] is None and size is not None:
        model["checkpoint"] = size["checkpoint"]
        if model["random_init"]:
            model["config_overrides"] = size["config"] | model["config_overrides"]
    if not model["random_init"]:
        model.pop("family", None)  # the checkpoint's config.json has it
    is_gi = kept.get("change", {"name": GI})["name"] == GI
    if is_gi:
        kept.pop("change", None)
    if not is_gi or gi["side"] == GateSide.none.value:
        kept["gi"] = {"side": GateSide.none.value}
    if "seeds" in kept:
        seed: Any = kept["seed"]
        apart = replicate.replicate(seed, kept.pop("seeds")).streams_apart
        if is_gi and gi["side"] == GateSide.none.value:
            apart.pop("change", None)
        kept |= {"seeds": apart} if apart else {}
    if data["source"] != DataSource.demo.value:
        for key in ("demo_train_rows", "demo_eval_rows", "demo_text_rows", "demo_seed"):
            data.pop(key, None)
    has_files = task["files"]["train"] is not None
    unread = "test" if has_files else "quoting"
    task["files"] = {key: value for key, value in task["files"].items() if key != unread}
    if has_files:
        data["source"] = DataSource.files.value
        task.pop("splits", None)
        task.pop("hub", None)
    else:
        used = {task["train_split"], *task["evaluation_splits"]}
        splits = {name: split for name, split in task["splits"].items() if name in used}
        task["splits"] = {name: schema.deciding(SplitConfig, split) for name, split in splits.items()}
    if isinstance(train.get("class_weights"), list):
        train["class_weights"] = [float(weight) for weight in train["class_weights"]]
    kept = schema.deciding(RunConfig, kept)
    for key, known_as in contents.items():
        *parents, leaf = key.split(".")
        place = kept
        for parent in parents:
            place[parent] = dict(place.get(parent, {}))  # a copy: the entries stay as they are
            place = place[parent]
        place[leaf] = known_as
    return kept


def take_change(kept: dict[str, Any]) -> dict[str, Any]:
    """Take out of a deciding config what tells arms apart: `{change: …}`, of GI and of plain models `{gi: …}`.

    Beside it `{train: {parameters: …}}` where not all weights train.
    """
    gi, change = kept.pop("gi"), kept.pop("change", None)
    taken = {"gi": gi} if change is None else {"change": change}
    kept["train"] = dict(kept["train"])  # a copy: the entries stay as they are
    parameters = kept["train"].pop("parameters", None)
    return taken if parameters is None else taken | {"train": {"parameters": parameters}}


def slug(config: RunConfig) -> str:
    """What a person reads in a listing, e.g. `cola_debertav3-large_both-0.3-last6_s42`. Nothing parses it."""
    model = config.model
    name = f"{model.name}-{model.size}" if model.checkpoint is None else Path(model.checkpoint).name
    if model.random_init:
        name += "-random"
    if config.first.task is not None:
        name += f"-from-{config.first.task}"
    if model.init_from is not None:
        name += f"-from-{Path(model.init_from).name.partition('_')[0]}"  # of a run's folder: its task
    if model.drop_change:
        name += "-change-dropped"
    found = replicate.of(config)
    seeds = "".join(f"-{stream}{seed}" for stream, seed in found.streams_apart.items())
    return re.sub(r"[^\w.-]+", "-", f"{config.task.name}_{name}_{arm(config)}_s{config.seed}{seeds}")


def arm(config: RunConfig) -> str:
    """The change with its keys, and what trains if not all: `lora-rank8`, `lora-trained-alone`, `biases-only`."""
    parameters = config.train.parameters
    if parameters is Parameters.all:
        return _change(config)
    head, behind = (words.replace(" ", "-") for words in TRAINED[parameters])
    return head if config.is_plain else f"{_change(config)}-{behind}"


def _change(config: RunConfig) -> str:
    """`plain`; of GI `both-0.3-last6`; of another change its name and what is not its default: `lora-rank8-last6`."""
    gi = config.gi
    if config.is_plain:
        return "plain"
    if config.is_gi:
        return f"{gi.side.value}-{gi.level:g}" + (f"-last{gi.layers}" if gi.layers is not None else "")
    return "-".join([config.change["name"], *change_files.unusual(config.change).values()])


def title(config: RunConfig) -> str:
    """What dashboards and job lists show, as `giDeBERTaV3-30-both-last6 cola s1`.

    With another change than GI it has that one's name and the keys that are not at their default.
    """
    model, gi = config.model, config.gi
    name = model.title or model.name
    if model.size != "large":  # what the method was published for
        name += f"-{model.size}"
    if not config.is_gi:
        name = f"{name} {_change(config)}"
    elif not config.is_plain:
        name = f"gi{name}-{100 * gi.level:g}-{gi.side.value}" + (f"-last{gi.layers}" if gi.layers else "")
    if config.train.parameters is not Parameters.all:
        name += f" {TRAINED[config.train.parameters][not config.is_plain]}"
    return f"{name} {config.task.name} s{replicate.of(config)}"


def directory(config: RunConfig, known_as: str | None = None) -> Path:
    """The folder that a run writes to; `known_as` is its run_id, if that has been computed.

    Raises:
        DataError, ModelError: as `run_id`.
    """
    if config.output_dir is not None:
        return Path(config.output_dir).expanduser()
    root = Path(config.output_root).expanduser()
    known_as = run_id(config) if known_as is None else known_as
    folder = root / f"{slug(config)}-{known_as}"
    is_frozen = config.train.parameters is not Parameters.all
    if (config.model.checkpoint or config.model.init_from or is_frozen) and not folder.is_dir():
        # The slug has the name of a folder of weights: the same ones may have been called otherwise when they were run.
        # And what trains, if not all, was called otherwise by the first versions that knew it.
        return next((each for each in sorted(root.glob(f"*-{known_as}")) if each.is_dir()), folder)
    return folder
