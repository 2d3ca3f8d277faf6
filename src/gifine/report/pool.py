"""The settings and the task of each run, of its config; runs that have equal ones share them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from gifine.choices import Objective
from gifine.inputs import model_files
from gifine.objectives.pretraining_scores import LOWER_IS_BETTER
from gifine.report import settings
from gifine.report.settings import GLUE, SHORT, SQUAD, Settings, Task, Value, flat
from gifine.report.starts import Start, Starts
from gifine.runs import identity, replicate
from gifine.runs.replicate import Replicate


@dataclass(slots=True)
class Pool:
    """Settings and tasks that were met before."""

    sections: dict[str, dict[str, Value]] = field(default_factory=dict)
    known: dict[tuple[int, ...], Settings] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    texts: dict[str, dict[str, str]] = field(default_factory=dict)  # such as the files that a run has read
    names: dict[str, str] = field(default_factory=dict)  # of files and folders, by their sha256
    usual: dict[tuple[Value, Value], dict[str, Value]] = field(default_factory=dict)  # by a change's name and file
    starts: Starts = field(default_factory=Starts)

    def take(
        self, config: dict[str, Any], start: Start, contents: dict[str, str], defaults: dict[str, Any] | None = None
    ) -> tuple[Settings, Settings, Replicate, Task]:
        """Of a record's config: all that decides its result but change and seeds; the change; the seeds; the task.

        The change is the section `change`, of GI and of baselines `gi`. One that differs from that of the run that it
        starts from is one of its own: `gi.first`, or `change.first`, says which. The `contents` are the record's, and
        `defaults` those of a change of one's own, if it has them.

        Raises:
            KeyError, TypeError, AttributeError: for what is no config of ours.
        """
        named = {key: self._named(known_as, _path(config, key)) for key, known_as in contents.items()}
        if start.label is not None:
            named["model.init_from"] = start.label
        kept = identity.deciding(config, named)
        change, seed = identity.take_change(kept), kept.pop("seed")
        if start.change is not None:  # what was left behind of it is told by the two, and is no setting beside them
            kept["model"] = {key: value for key, value in kept["model"].items() if key != "drop_change"}
        if start.change is not None and start.change != change:
            # Without defaults, which another record may bring later: the name is part of the arm.
            first = settings.gate(Settings(self._sections(start.change)))
            own = next(section for section in ("gi", "change") if section in change)
            change |= {own: change[own] | {"first": first}}
        drawn = replicate.replicate(seed, kept.pop("seeds", {}), start.seeds)
        if not all(isinstance(getattr(drawn, name), int) for name in ("seed", *replicate.STREAMS)):
            raise TypeError("its seeds are no numbers")
        found = self._settings(change)
        if defaults:
            found.usual.update(flat("change", defaults))
        return self._settings(kept), found, drawn, self._task(config, start)

    def shared(self, texts: dict[str, str]) -> dict[str, str]:
        """The same texts by name, as one object for all runs that have them."""
        return self.texts.setdefault(json.dumps(texts, sort_keys=True), dict(texts))

    def _named(self, known_as: str, path: str | None) -> str:
        """Contents as a person knows them, `a.csv (0123456789ab)`: the first of their names goes for all."""
        name = path if path is None or path.startswith(model_files.PACKAGE) else PurePosixPath(path).name
        return f"{self.names.setdefault(known_as, name or 'contents')} ({known_as[:SHORT]})"

    def _settings(self, entries: dict[str, Any]) -> Settings:
        sections = self._sections(entries)
        key = tuple(id(sections[name]) for name in sorted(sections))
        if key not in self.known:
            own = sections.get("change", {})
            usual = self.usual.setdefault((own.get("change.name"), own.get("change.file")), {})
            self.known[key] = Settings(sections, usual)
        return self.known[key]

    def _sections(self, entries: dict[str, Any]) -> dict[str, dict[str, Value]]:
        sections = {}
        for name, section in entries.items():
            text = json.dumps({name: section}, sort_keys=True)
            if text not in self.sections:
                self.sections[text] = dict(flat(name, section))
            sections[name] = self.sections[text]
        return sections

    def _task(self, config: dict[str, Any], start: Start) -> Task:
        task, half = config["task"], config["evaluate"].get("split_dev", False)
        is_own = task["files"]["train"] is not None
        splits = ["validation"] if is_own else list(task["evaluation_splits"])
        if half:  # the other half chose the checkpoint
            splits[0] += "_report"
        name, metrics = task["name"], task["metrics"]
        if not isinstance(name, str) or not isinstance(task.get("title"), str | None):
            raise TypeError("its task has no name")
        if task["select_by"] not in metrics:
            raise ValueError("its task is selected by none of its metrics")
        title = (task.get("title") or name) + (f" after {start.title}" if start.title is not None else "")
        objective = Objective(task.get("objective", Objective.classification.value))  # older records have none
        if objective.pretrains:  # losses are in nats, and no fractions
            metrics = [each for each in metrics if each not in LOWER_IS_BETTER]
        kind = [task["labels"], objective.value, is_own]
        text = json.dumps([name, title, start.title, splits, metrics, task["select_by"], kind])
        if text not in self.tasks:
            measures = tuple(f"{name}/{split}/{metric}" for split in splits for metric in metrics)
            self.tasks[text] = Task(
                name,
                title,
                measures,
                f"{name}/{splits[0]}/{task['select_by']}",
                len(task["labels"]),
                name in (*GLUE, *SQUAD) and not is_own,
                objective is Objective.questions,
                start.title,
                objective.pretrains,
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
