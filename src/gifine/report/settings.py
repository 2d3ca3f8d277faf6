"""What runs were asked for: the part of their configs that decides results, and how people call it.

Runs of a sweep share nearly all of it, so equal settings are one object: they are compared with `is`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from gifine import changes
from gifine.errors import ArgumentError, did_you_mean
from gifine.inputs import change_files, model_files
from gifine.report.starts import Start, Starts
from gifine.runs import identity, replicate
from gifine.runs.replicate import Replicate

Value = str | int | float | bool | None  # of a config; lists and empty objects as their JSON
GLUE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")  # in the order of papers

_ABSENT = object()
_SHORT = 12  # hex digits of a sha256, as in a run_id
_SHA256 = re.compile(rf" \([0-9a-f]{{{_SHORT}}}\)$")  # behind a name
_SPLITS = {"validation_matched": "m", "validation_mismatched": "mm"}  # as papers write them
OF_ARMS = ("gi.", "change.", "train.parameters")  # what keys of an arm begin with
PLAIN, HEAD = "none", "head only"  # arms in which nothing is done to attention
_TRAINED = {  # by train.parameters: of a plain model, and behind the name of a change
    "change": (HEAD, "trained alone"),
    "bias": ("biases only", "biases only"),
}
_SIDES = ("none", "key", "query", "both")


@dataclass(slots=True, frozen=True, eq=False)
class Settings:
    """Config keys with their values, such as `train.epochs`. Made by `Pool` only, so that equal ones are one object."""

    sections: dict[str, dict[str, Value]]  # by the first word of the keys

    def get(self, key: str) -> Value:
        """The value, or None where it is null or there is none."""
        return self.sections.get(key.partition(".")[0], {}).get(key)

    def values(self) -> dict[str, Value]:
        """All of them, by key."""
        return {key: value for section in self.sections.values() for key, value in section.items()}

    def keys(self) -> Iterator[str]:
        for section in self.sections.values():
            yield from section

    def differing(self, other: Settings) -> list[str]:
        """The keys that the other has not, or with another value."""
        if self is other:
            return []
        found = []
        for name in dict.fromkeys([*self.sections, *other.sections]):
            ours, theirs = self.sections.get(name, {}), other.sections.get(name, {})
            if ours is not theirs:
                keys = dict.fromkeys([*ours, *theirs])
                found += [key for key in keys if ours.get(key, _ABSENT) != theirs.get(key, _ABSENT)]
        return found


@dataclass(slots=True, frozen=True, eq=False)
class Task:
    """What is measured. Made by `Pool` only, as `Settings`."""

    name: str
    title: str  # as papers write it; with what `after` says, `RTE after MNLI`
    measures: tuple[str, ...]  # keys of a record's metrics: of each split that is reported, the official ones in order
    primary: str  # of `measures`: what chooses checkpoints, on the first split
    labels: int  # how many there are; 0: it predicts a number
    is_glue: bool  # GLUE's own data, not files of one's own under its name
    after: str | None = None  # title of the task of the runs that its runs start from; None: there are none, or unknown

    @property
    def bare_title(self) -> str:
        return self.title.removesuffix(f" after {self.after}")

    @property
    def is_classification(self) -> bool:
        return self.labels > 0

    @property
    def heading(self) -> str:
        """The official metrics in the order of `measures`: `accuracy/f1`; of several splits, `accuracy m/mm`."""
        splits = list(dict.fromkeys(map(self.split, self.measures)))
        words = "/".join(dict.fromkeys(map(self.metric, self.measures)))
        return words if len(splits) == 1 else f"{words} {'/'.join(_SPLITS.get(each, each) for each in splits)}"

    @property
    def logged(self) -> str:
        """The primary measure's name in a curve: where dev is split, the half that chooses is what training sees."""
        split = self.split(self.primary)
        chosen = f"{split.removesuffix('_report')}_select" if split.endswith("_report") else split
        return f"{self.name}/{chosen}/{self.metric(self.primary)}"

    def described(self, measure: str) -> str:
        """One measure in words, with its split where there are several: `accuracy`, `accuracy m`."""
        several = len({self.split(each) for each in self.measures}) > 1
        split = self.split(measure)
        return f"{self.metric(measure)} {_SPLITS.get(split, split)}" if several else self.metric(measure)

    def split(self, measure: str) -> str:
        return measure.removeprefix(f"{self.name}/").rpartition("/")[0]

    def metric(self, measure: str) -> str:
        return measure.rpartition("/")[2]


@dataclass(slots=True)
class Pool:
    """Settings and tasks that were met before."""

    sections: dict[str, dict[str, Value]] = field(default_factory=dict)
    settings: dict[tuple[int, ...], Settings] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    texts: dict[str, dict[str, str]] = field(default_factory=dict)  # such as the files that a run has read
    names: dict[str, str] = field(default_factory=dict)  # of files and folders, by their sha256
    starts: Starts = field(default_factory=Starts)

    def take(
        self, config: dict[str, Any], start: Start, contents: dict[str, str]
    ) -> tuple[Settings, Settings, Replicate, Task]:
        """Of a record's config: all that decides its result but change and seeds; the change; the seeds; the task.

        The change is the section `change`, of GI and of baselines `gi`. One that differs from that of the run that it
        starts from is one of its own: `gi.first`, or `change.first`, says which. The `contents` are the record's.

        Raises:
            KeyError, TypeError, AttributeError: for what is no config of ours.
        """
        named = {key: self._named(known_as, _path(config, key)) for key, known_as in contents.items()}
        if start.label is not None:
            named["model.init_from"] = start.label
        kept = identity.deciding(config, named)
        change, seed = identity.take_change(kept), kept.pop("seed")
        if start.change is not None and start.change != change:
            first = gate(self._settings(start.change))
            change = {section: entries | {"first": first} for section, entries in change.items()}
        if not isinstance(seed, int):
            raise TypeError("its seed is no number")
        drawn = replicate.replicate(seed, kept.pop("seeds", {}), start.seeds)
        return self._settings(kept), self._settings(change), drawn, self._task(config, start)

    def shared(self, texts: dict[str, str]) -> dict[str, str]:
        """The same texts by name, as one object for all runs that have them."""
        return self.texts.setdefault(json.dumps(texts, sort_keys=True), dict(texts))

    def _named(self, known_as: str, path: str | None) -> str:
        """Contents as a person knows them, `a.csv (0123456789ab)`: the first of their names goes for all."""
        name = path if path is None or path.startswith(model_files.PACKAGE) else PurePosixPath(path).name
        return f"{self.names.setdefault(known_as, name or 'contents')} ({known_as[:_SHORT]})"

    def _settings(self, entries: dict[str, Any]) -> Settings:
        sections = {}
        for name, section in entries.items():
            text = json.dumps({name: section}, sort_keys=True)
            if text not in self.sections:
                self.sections[text] = dict(_flat(name, section))
            sections[name] = self.sections[text]
        key = tuple(id(sections[name]) for name in sorted(sections))
        return self.settings.setdefault(key, Settings(sections))

    def _task(self, config: dict[str, Any], start: Start) -> Task:
        task, half = config["task"], config["evaluate"].get("split_dev", False)
        is_own = task["files"]["train"] is not None
        splits = ["validation"] if is_own else list(task["evaluation_splits"])
        if half:  # the other half chose the checkpoint
            splits[0] += "_report"
        name, metrics = task["name"], task["metrics"]
        if not isinstance(name, str) or task["select_by"] not in metrics:
            raise ValueError("its task has no name, or is selected by none of its metrics")
        title = (task.get("title") or name) + (f" after {start.task}" if start.task is not None else "")
        text = json.dumps([name, title, start.task, splits, metrics, task["select_by"], task["labels"], is_own])
        if text not in self.tasks:
            measures = tuple(f"{name}/{split}/{metric}" for split in splits for metric in metrics)
            self.tasks[text] = Task(
                name,
                title,
                measures,
                f"{name}/{splits[0]}/{task['select_by']}",
                len(task["labels"]),
                name in GLUE and not is_own,
                start.task,
            )
        return self.tasks[text]


def _path(config: dict[str, Any], key: str) -> str | None:
    """The path that a key of `Record.contents` stands for, if the config has it; of a size of a model, its name."""
    place: Any = config
    for part in key.split("."):
        place = place.get(part) if isinstance(place, dict) else None
    if place is None and key == "model.checkpoint":
        return f"{config['model']['name']}-{config['model']['size']}"
    return place if isinstance(place, str) else None


def _flat(key: str, value: Any) -> Iterator[tuple[str, Value]]:
    if isinstance(value, dict) and value:
        for name, entry in value.items():
            yield from _flat(f"{key}.{name}", entry)
    elif isinstance(value, (list, dict)):
        yield key, json.dumps(value)
    else:
        yield key, value


def model(setup: Settings) -> str:
    """What a person calls the model, e.g. `deberta-v3-large`. Not unique: whatever else differs is shown beside it."""
    checkpoint = setup.get("model.checkpoint")
    name = PurePosixPath(str(checkpoint)).name if checkpoint is not None else str(setup.get("model.family"))
    if str(checkpoint).startswith("package:"):
        name = str(checkpoint).removeprefix("package:").partition("/")[0]
    name = _SHA256.sub("", name)
    return f"{name}-random" if setup.get("model.random_init") else name


def gate(gate: Settings) -> str:
    """What a person calls an arm: `both 0.3 last6`, `lora rank=8`; `none` for a baseline.

    And what trains of it if not all does: `lora trained alone`, `head only`, `biases only`.
    """
    parameters = gate.get("train.parameters")
    if is_plain(gate):
        return "none" if parameters is None else _TRAINED[str(parameters)][0]
    return _changed(gate) if parameters is None else f"{_changed(gate)} {_TRAINED[str(parameters)][1]}"


def _changed(gate: Settings) -> str:
    if (name := other_change(gate)) is not None:
        layers = gate.get("change.layers")
        return " ".join([name, *([f"last{layers}"] if layers is not None else []), *unusual(gate)])
    level, layers = gate.get("gi.level"), gate.get("gi.layers")
    words = [str(gate.get("gi.side")), *([f"{level:g}"] if level is not None else [])]
    words += [f"last{layers}"] if layers is not None else []
    return " ".join([*words, *unusual(gate)])


def unusual(gate: Settings) -> list[str]:
    """What else of a gate, or of another change, is not as published: `threshold=token`, `rank=8`.

    Of a change of one's own nothing is published, so all of its keys are told.
    """
    usual: dict[str, Value] = {"gi.threshold": "batch", "gi.mask_padding": False, "gi.init": "normal"}
    named = {"gi.side", "gi.level", "gi.layers", "change.name", "change.layers", "change.file", "train.parameters"}
    if (name := other_change(gate)) is not None and gate.get("change.file") is None and name in changes.names():
        usual = dict(_flat("change", change_files.defaults(changes.load(name))))
    others = [key for key in gate.keys() if key not in named and gate.get(key) != usual.get(key)]  # noqa: SIM118 - no dict
    return [f"{key.partition('.')[2]}={shown(gate.get(key))}" for key in others]


def other_change(gate: Settings) -> str | None:
    """The name of another change than GI; None for GI and for baselines."""
    name = gate.get("change.name")
    return None if name is None else str(name)


def is_gi(gate: Settings) -> bool:
    """Whether it is GI or a baseline, with all weights trained: what `gi.side`, `gi.level` and `gi.layers` tell."""
    return other_change(gate) is None and gate.get("train.parameters") is None


def gate_place(gate: Settings) -> list[Value]:
    """What gates are sorted by, for `order`; other changes come after them."""
    if (name := other_change(gate)) is not None:
        return [name, *gate.values().values()]
    return [gate.get(f"gi.{name}") for name in ("side", "level", "layers", "first")] + [gate.get("train.parameters")]


def is_plain(gate: Settings) -> bool:
    """Whether nothing is done to attention, whatever trains."""
    return gate.get("gi.side") == "none" and gate.get("gi.first") is None


def is_baseline(gate: Settings, against: Settings | None = None) -> bool:
    """Whether it is what others are compared with: the plain model of which all weights train, or another arm."""
    return gate is against if against is not None else is_plain(gate) and gate.get("train.parameters") is None


def find_baseline(gates: Iterable[Settings], name: str | None) -> Settings | None:
    """The arm of this name, as `gate` and tables have it; None: the plain model of which all weights train.

    Where nobody has named one and no such model is there, it is the plain one of which the head alone trains, if that
    is: so runs whose base is frozen have a baseline of theirs.

    Raises:
        ArgumentError: for a name that no arm has, or several.
    """
    known: dict[str, list[Settings]] = {}
    for each in {id(each): each for each in gates}.values():
        known.setdefault(gate(each), []).append(each)
    if name is None:
        return None if PLAIN in known or HEAD not in known else known[HEAD][0]
    wanted = name.removeprefix("gi ")
    if wanted == PLAIN:
        return None
    if wanted not in known:
        raise ArgumentError(f"--against {name}: no run has it{did_you_mean(wanted, known)}; there are {_list(known)}")
    if len(known[wanted]) > 1:
        raise ArgumentError(f"--against {name}: several changes are called so: give the report the runs of one alone")
    return known[wanted][0]


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" if " " in name else name for name in sorted(names))


def shown(value: Value) -> str:
    """A value as it is written on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def order(values: Sequence[Value]) -> tuple[tuple[int, Any], ...]:
    """What tables sort by: nothing first, numbers by size, tasks and sides as in papers, words by the alphabet."""
    return tuple(_rank(value) for value in values)


def _rank(value: Value) -> tuple[int, Any]:
    if value is None:
        return 0, 0
    if isinstance(value, (bool, int, float)):
        return 1, value
    for place, words in enumerate((_SIDES, GLUE)):
        if value in words:
            return 2 + place, words.index(value)
    return 4, value
