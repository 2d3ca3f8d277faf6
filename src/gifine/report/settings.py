"""What runs were asked for: the part of their configs that decides results, and how people call it.

Runs of a sweep share nearly all of it, so equal settings are one object: they are compared with `is`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from gifine import changes
from gifine.choices import TRAINED, Parameters
from gifine.errors import ArgumentError, did_you_mean
from gifine.inputs import change_files

Value = str | int | float | bool | None  # of a config; lists and empty objects as their JSON
GLUE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")  # in the order of papers
SQUAD = ("squad", "squad_v2")

_ABSENT = object()
SHORT = 12  # hex digits of a sha256, as in a run_id
_SHA256 = re.compile(rf" \([0-9a-f]{{{SHORT}}}\)$")  # behind a name
_SPLITS = {"validation_matched": "m", "validation_mismatched": "mm"}  # as papers write them
OF_ARMS = ("gi.", "change.", "train.parameters")  # what keys of an arm begin with
PLAIN, HEAD = "none", TRAINED[Parameters.change][0]  # arms in which nothing is done to attention
_SIDES = ("none", "key", "query", "both")


@dataclass(slots=True, frozen=True, eq=False)
class Settings:
    """Config keys with their values, such as `train.epochs`. Made by `pool` only, so that equal ones are one object."""

    sections: dict[str, dict[str, Value]]  # by the first word of the keys
    usual: dict[str, Value] = field(default_factory=dict)  # of a change of one's own, its defaults; empty: not known

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
    """What is measured. Made by `pool` only, as `Settings`."""

    name: str
    title: str  # as papers write it; with what `after` says, `RTE after MNLI`
    measures: tuple[str, ...]  # keys of a record's metrics: of each split that is reported, the official ones in order
    primary: str  # of `measures`: what chooses checkpoints, on the first split
    labels: int  # how many there are; 0: it predicts a number, or answers questions
    is_official: bool  # GLUE's or SQuAD's own data, not files of one's own under their names
    of_questions: bool = False  # answers in words, from a context: no labels, and no number
    after: str | None = None  # title of the task of the runs that its runs start from; None: there are none, or unknown
    pretrains: bool = False  # its scores are of the pre-training itself

    @property
    def bare_title(self) -> str:
        return self.title.removesuffix(f" after {self.after}")

    @property
    def is_glue(self) -> bool:
        return self.is_official and self.name in GLUE

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


def flat(key: str, value: Any) -> Iterator[tuple[str, Value]]:
    """The entries of a section by their whole keys."""
    if isinstance(value, dict) and value:
        for name, entry in value.items():
            yield from flat(f"{key}.{name}", entry)
    elif isinstance(value, (list, dict)):
        yield key, json.dumps(value)
    elif isinstance(value, (int, float)) and not math.isfinite(value):
        yield key, str(value)  # JSON has no number for it
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

    And what trains of it if not all does: `lora trained alone`, `lora with biases`, `head only`, `biases only`.
    """
    parameters = gate.get("train.parameters")
    if is_plain(gate):
        return PLAIN if parameters is None else TRAINED[Parameters(parameters)][0]
    return _changed(gate) if parameters is None else f"{_changed(gate)} {TRAINED[Parameters(parameters)][1]}"


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

    Of a change of one's own nothing is published: what differs from the defaults in its file, or all of its keys where
    the record is too old to have these.
    """
    usual: dict[str, Value] = {"gi.threshold": "batch", "gi.mask_padding": False, "gi.init": "normal"}
    named = {"gi.side", "gi.level", "gi.layers", "change.name", "change.layers", "change.file", "train.parameters"}
    if (name := other_change(gate)) is not None and gate.get("change.file") is not None:
        usual = gate.usual
    elif name is not None and name in changes.names():
        usual = _published(name)
    others = [key for key in gate.keys() if key not in named and gate.get(key) != usual.get(key)]  # noqa: SIM118 - no dict
    return [f"{key.partition('.')[2]}={shown(gate.get(key))}" for key in others]


@cache  # a report asks for each of its runs
def _published(name: str) -> dict[str, Value]:
    return dict(flat("change", change_files.defaults(changes.load(name))))


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


def has_gates(gate: Settings) -> bool:
    """Whether it is GI: no baseline, no other change, and not what is left where gates were dropped."""
    return other_change(gate) is None and gate.get("gi.side") != "none"


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
    for place, words in enumerate((_SIDES, (*GLUE, *SQUAD))):
        if value in words:
            return 2 + place, words.index(value)
    return 4, value
