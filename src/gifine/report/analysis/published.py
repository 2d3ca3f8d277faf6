"""Our numbers beside published ones, with what differs in the setting: a ledger of reproduction, not a claim.

Only runs of the published checkpoint, on GLUE's or SQuAD's own data, are set beside a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from gifine.compose import recipes
from gifine.compose.conf_dir import conf_dir
from gifine.errors import ConfigError
from gifine.report import settings
from gifine.report.analysis import cells
from gifine.report.analysis.cells import Summary
from gifine.report.reading import Run
from gifine.report.settings import Settings, Task, Value

SOURCE = Path(__file__).with_suffix(".yaml")
# What makes another experiment of it, where it has any other value than these.
_USUAL: dict[str, Value] = {
    "model.revision": None,
    "model.config_overrides": "{}",
    "data.allow_partial": False,
    "data.max_train_rows": None,
    "data.max_eval_rows": None,
    "train.max_steps": None,
    "evaluate.split_dev": False,
}
_AFTER_MNLI = ("rte", "mrpc", "stsb")  # the tasks that are trained after MNLI where any are
_THEIRS = {
    "said": "theirs from weights trained on MNLI first",
    "perhaps": "theirs perhaps from weights trained on MNLI first",
}
_UNKNOWN = "their settings are not published, or not all"
_SECTIONS = {"classifier_dropout": "model", "max_answer_tokens": "task"}  # of a recipe's keys; of the others, train
_SOURCES = {
    "models": "one number a task, from the table over models; of how many runs is not said",
    "seeds": "mean ± over runs with other seeds; of how many, and which deviation, is not said",
    "method": "from the method's own tables",
    "XLNet": "one number a task, from XLNet's repository; of how many runs is not said",
}


@dataclass(slots=True)
class Entry:
    """One measure of one of our cells, and the published number. Fractions, not percent."""

    column: str  # of the published tables
    model: str
    extra: dict[str, Value]
    gate: Settings
    task: Task
    measure: str
    runs: list[Run]
    ours: Summary
    theirs: float
    their_spread: float | None  # "±" over runs with other seeds; which deviation, and of how many, they do not say
    difference: float  # ours minus theirs
    differing: list[str]  # in the setting, as far as theirs is known
    caveats: list[str]  # about all numbers of the column


def set_beside(runs: Sequence[Run]) -> list[Entry]:
    """An entry for each of our cells and measures that has a published number."""
    groups = cells.group(runs, ["model", "gi", "task"])
    found: list[Entry] = []
    for (names, extra), members in groups.runs.items():
        run = members[0]
        for column in _columns(run):
            for score in cells.fill(members).scores:
                theirs = column["scores"].get(run.task.name, {}).get(_plain_name(run.task, score.measure))
                if theirs is None or score.summary.mean is None:
                    continue
                number, spread = theirs if isinstance(theirs, list) else (theirs, None)
                entry = Entry(
                    column=column["name"],
                    model=str(names[0]),
                    extra=dict(zip(groups.extra, extra, strict=True)),
                    gate=run.gate,
                    task=run.task,
                    measure=score.measure,
                    runs=members,
                    ours=score.summary,
                    theirs=_fraction(number),
                    their_spread=_fraction(spread) if spread is not None else None,
                    difference=score.summary.mean - _fraction(number),
                    differing=_differing(run, column, score.summary),
                    caveats=[_SOURCES[column["source"]], *column.get("caveats", [])],
                )
                found.append(entry)
    columns = [column["name"] for column in _data()["columns"]]
    return sorted(
        found,
        key=lambda each: settings.order(
            [
                columns.index(each.column),
                each.task.name,
                each.measure,
                *settings.gate_place(each.gate),
                *each.extra.values(),
            ]
        ),
    )


def _fraction(percent: float) -> float:
    return round(percent / 100, 6)  # 91.1 / 100 is not 0.911


@cache
def _data() -> dict[str, Any]:
    return yaml.safe_load(SOURCE.read_text(encoding="utf-8"))


def _columns(run: Run) -> list[dict[str, Any]]:
    """The published columns of the run's model, gated or not as the run is."""
    if not run.task.is_official or run.setup.get("model.random_init") or not settings.is_gi(run.gate):
        return []
    gated = not settings.is_baseline(run.gate)
    checkpoint = run.setup.get("model.checkpoint")
    return [
        column
        for column in _data()["columns"]
        if checkpoint in column["checkpoints"] and column.get("gated", False) == gated
    ]


def _plain_name(task: Task, measure: str) -> str:
    """`split/metric`; half of a split is that split, which `evaluate.split_dev` among the differences tells."""
    return f"{task.split(measure).removesuffix('_report')}/{task.metric(measure)}"


def _differing(run: Run, column: dict[str, Any], ours: Summary) -> list[str]:
    told = _known(run, column)
    found = [] if told else [_UNKNOWN]
    for key, known in told.items():
        value = cells.value(run, key)
        if value is None:  # runs do not have keys at a default that was added later
            value = recipes.FEW.get(key.rpartition(".")[2])
        if value not in known:
            theirs = " or ".join(map(settings.shown, known))
            found.append(f"{key} {settings.shown(value)}, theirs {theirs}")
    for key, usual in _USUAL.items():
        if key not in told and run.setup.get(key) != usual:
            found.append(f"{key} {settings.shown(run.setup.get(key))}")
    found += _beginnings(run, column)
    if run.processes not in (None, 1):
        found.append(f"{run.processes} processes")
    if ours.n == 1:
        found.append("ours is one seed")
    return found


def _beginnings(run: Run, column: dict[str, Any]) -> list[str]:
    """What differs in the weights that training started from; of what made a folder of weights nobody knows."""
    ours = run.setup.get("model.init_from")
    theirs = column.get("after_mnli") if run.task.name in _AFTER_MNLI else None
    if ours is None:
        return [_THEIRS[theirs]] if theirs is not None else []
    is_after_mnli = run.first_task in (None, "mnli")
    return [] if theirs == "said" and is_after_mnli else [f"model.init_from {settings.shown(ours)}"]


def _known(run: Run, column: dict[str, Any]) -> dict[str, list[Value]]:
    """What theirs may have been, by config key; empty where it is not published, or not all of it."""
    if "recipe" not in column:
        return column["settings"]
    try:
        recipe = recipes.settings(conf_dir(), column["recipe"], run.task.name, column.get("size", "large"))
    except ConfigError:
        return {}
    if recipes.OURS in recipe:
        return {}
    return {f"{_SECTIONS.get(key, 'train')}.{key}": [value] for key, value in recipe.items() if key != "source"}
