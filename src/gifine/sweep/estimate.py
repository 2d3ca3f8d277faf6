"""How long a run will take: as long as finished ones of the same model and task did, else by a stated default."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import fmean
from typing import Any

from gifine.choices import DataSource, Padding, Precision
from gifine.config import DEMO, RunConfig
from gifine.inputs import architecture
from gifine.runs.records import TRAINED

# Defaults, not measurements: floating-point operations a second that training reaches, about a quarter of what an A100
# could; and what a run takes besides, mostly to start.
FLOPS = {Precision.auto: 6e13, Precision.bf16: 6e13, Precision.fp32: 1.5e13}
START_SECONDS = 60
# Rows to train on (a fact), and word pieces in a row (about).
TASKS = {
    "cola": (8_551, 11),
    "sst2": (67_349, 13),
    "mrpc": (3_668, 53),
    "stsb": (5_749, 31),
    "qqp": (363_846, 31),
    "mnli": (392_702, 39),
    "qnli": (104_743, 50),
    "rte": (2_490, 70),
    "wnli": (635, 37),
    "squad": (87_599, 170),
    "squad_v2": (130_319, 170),
}
_IDENTIFYING = ("checkpoint", "name", "size", "config_overrides")


class Basis(StrEnum):
    SAME_TASK = "same model and task"
    SAME_MODEL = "same model"
    DEFAULT = "default"
    UNKNOWN = "unknown"


@dataclass
class Estimates:
    """Device seconds for an example in training, as finished runs took them."""

    by_task: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    by_model: dict[str, list[float]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)  # to train on, by task
    windows: dict[str, float] = field(default_factory=dict)  # of a question, by task: TASKS counts questions
    devices: set[str] = field(default_factory=set)

    def seconds(self, config: RunConfig) -> tuple[float, Basis]:
        """Device seconds that a run will take, and how that is known."""
        known = _rows(config)
        rows = self.rows.get(config.task.name) if known is None else known * self.windows.get(config.task.name, 1.0)
        if rows is None:
            return 0.0, Basis.UNKNOWN
        train, model = config.train, _model(**{key: getattr(config.model, key) for key in _IDENTIFYING})
        seen = rows * train.epochs
        if train.max_steps is not None:
            seen = train.max_steps * train.batch_size * train.gradient_accumulation
        for measured, basis in (
            (self.by_task.get((model, config.task.name)), Basis.SAME_TASK),
            (self.by_model.get(model), Basis.SAME_MODEL),
        ):
            if measured:
                return fmean(measured) * seen, basis
        in_layers = architecture.in_layers(config)
        if in_layers is None:
            return 0.0, Basis.UNKNOWN
        tokens = TASKS.get(config.task.name, (0, train.max_length))[1]
        tokens = train.max_length if train.padding is Padding.max_length else min(tokens, train.max_length)
        operations = (8 if train.gradient_checkpointing else 6) * in_layers * tokens * seen
        return START_SECONDS + operations / FLOPS[train.precision], Basis.DEFAULT


def learn(records: Iterable[dict[str, Any]]) -> Estimates:
    """What these records, as they lie on disk, tell; only of runs that trained from their first step to the last."""
    estimates = Estimates()
    for record in records:
        if record["status"] not in TRAINED:
            continue
        try:
            _add(estimates, record)
        except (AttributeError, KeyError, TypeError, ZeroDivisionError):  # of another version, or made elsewhere
            continue
    return estimates


def known_by(runs: Mapping[Basis, int], devices: Sequence[str]) -> str:
    """How the hours of so many runs are known, in words."""
    fast, slow = (f"{rate / 1e12:g}" for rate in (FLOPS[Precision.bf16], FLOPS[Precision.fp32]))
    on = f", on {', '.join(devices)}"
    words = {
        Basis.SAME_TASK: f"by finished ones of the same model and task{on}",
        Basis.SAME_MODEL: f"by finished ones of the same model on other tasks{on}",
        Basis.DEFAULT: f"by a default that nobody measured: {fast} TFLOP/s, in fp32 {slow}",
        Basis.UNKNOWN: "not counted: their data or architecture is not known",
    }
    counts = {basis: count for basis in Basis if (count := runs.get(basis))}
    return ", ".join(
        words[basis] if len(counts) == 1 else f"{count:,} {words[basis]}" for basis, count in counts.items()
    )


def _add(estimates: Estimates, record: dict[str, Any]) -> None:
    if record["attempts"] != 1:
        return  # seconds are those of the last attempt
    train, task, rows = record["config"]["train"], record["config"]["task"]["name"], record["rows"]["train"]
    processes = record["provenance"]["processes"]
    seen = rows * train["epochs"]
    if record.get("seen"):  # pre-training, which may have had another end
        seen = record["steps"]["done"] * train["batch_size"] * train["gradient_accumulation"] * processes
    elif train["max_steps"] is not None:
        seen = train["max_steps"] * train["batch_size"] * train["gradient_accumulation"] * processes
    each = record["seconds"]["total"] * processes / seen
    model = _model(**{key: record["config"]["model"][key] for key in _IDENTIFYING})
    estimates.by_task.setdefault((model, task), []).append(each)
    if not record.get("seen"):  # it has other examples than what is fine-tuned
        estimates.by_model.setdefault(model, []).append(each)
    estimates.rows[task] = rows
    if questions := record.get("examples", {}).get("train", {}).get("questions"):
        estimates.windows[task] = rows / questions
    estimates.devices.add(record["provenance"]["device"].partition(":")[0])


def _model(checkpoint: str | None, name: str, size: str, config_overrides: dict[str, Any]) -> str:
    """What two runs have in common if they train the same model, gated or not."""
    of_size = [name, size] if checkpoint is None else [checkpoint]
    return json.dumps([*of_size, config_overrides], sort_keys=True, default=str)


def _rows(config: RunConfig) -> int | None:
    task, data = config.task, config.data
    if task.files.train is not None:
        return None
    if data.source is DataSource.demo and task.name == DEMO:
        rows = data.demo_train_rows
    elif task.name in TASKS:
        rows = TASKS[task.name][0]
    else:
        return None
    return min(rows, data.max_train_rows or rows)
