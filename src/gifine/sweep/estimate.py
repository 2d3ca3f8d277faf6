"""How long a run will take: as long as finished ones of the same model and task did, else by a stated default."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import fmean
from typing import Any

from gifine.choices import DataSource, Objective, Padding, Precision
from gifine.config import DEMO, RunConfig, TaskConfig
from gifine.inputs import architecture
from gifine.runs import identity
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
}
QUESTIONS = {"squad": 87_599, "squad_v2": 130_319}  # to train on (a fact)
# BERT's word pieces of the contexts of SQuAD 1.1's dev questions, at 5 %, 15 % … 95 % of them, and of a question, as
# counted. Windows of 96 to 512 pieces that they give differ from the counted ones by less than a tenth.
_CONTEXTS = (73, 104, 117, 128, 140, 154, 169, 188, 220, 284)
_QUESTION = 13
_SPECIALS = 3  # beside them in a window
Reading = tuple[int, ...]  # train.max_length, task.stride, task.max_question_tokens; of classification empty
_IDENTIFYING = ("checkpoint", "name", "size", "config_overrides")


class Basis(StrEnum):
    SAME_TASK = "same model and task"
    SAME_MODEL = "same model"
    DEFAULT = "default"
    BUDGET = "budget"
    UNKNOWN = "unknown"


@dataclass
class Estimates:
    """What finished runs took of a device's seconds in training. An example of questions is one of their windows."""

    by_task: dict[tuple[str, str, Reading], list[float]] = field(default_factory=dict)  # an example
    by_model: dict[str, list[float]] = field(default_factory=dict)  # a word piece of an example
    rows: dict[str, int] = field(default_factory=dict)  # to train on, by task; of questions, themselves
    windows: dict[tuple[str, Reading], float] = field(default_factory=dict)  # of a question, by task
    devices: set[str] = field(default_factory=set)

    def seconds(self, config: RunConfig) -> tuple[float, Basis]:
        """Device seconds that a run will take, and how that is known."""
        if config.task.objective.pretrains:
            return self._of_pretraining(config)
        rows = _rows(config) or self.rows.get(config.task.name)
        if rows is None:
            return 0.0, Basis.UNKNOWN
        train, model = config.train, _model(**{key: getattr(config.model, key) for key in _IDENTIFYING})
        name, reading = config.task.name, _reading(vars(config.train), vars(config.task))
        windows, tokens = _examples(name, reading, train.max_length, train.padding)
        seen = rows * self.windows.get((name, reading), windows) * train.epochs
        if train.max_steps is not None:
            seen = train.max_steps * train.batch_size * train.gradient_accumulation
        if measured := self.by_task.get((model, name, reading)):
            return fmean(measured) * seen, Basis.SAME_TASK
        if measured := self.by_model.get(model):
            return fmean(measured) * tokens * seen, Basis.SAME_MODEL
        return _by_default(config, tokens * seen)

    def _of_pretraining(self, config: RunConfig) -> tuple[float, Basis]:
        """By its budget, else by the rows of a finished one: how many rows a corpus has, is not known before."""
        name, text = _pretraining(identity.to_dict(config))
        train, rows = config.train, self.rows.get(text)
        if train.max_seconds is not None:
            return train.max_seconds, Basis.BUDGET
        if train.max_steps is not None:
            seen = train.max_steps * train.batch_size * train.gradient_accumulation
        elif train.max_tokens is not None:
            seen = train.max_tokens / train.max_length  # of full rows
        elif rows is not None:
            seen = rows * train.epochs
        else:
            return 0.0, Basis.UNKNOWN
        model = _model(**{key: getattr(config.model, key) for key in _IDENTIFYING})
        if measured := self.by_task.get((model, name, ())):
            return fmean(measured) * seen, Basis.SAME_TASK
        return _by_default(config, train.max_length * seen)


def _by_default(config: RunConfig, tokens: float) -> tuple[float, Basis]:
    """By the operations that so many tokens take."""
    in_layers = architecture.in_layers(config)
    if in_layers is None:
        return 0.0, Basis.UNKNOWN
    operations = (8 if config.train.gradient_checkpointing else 6) * in_layers * tokens
    return START_SECONDS + operations / FLOPS[config.train.precision], Basis.DEFAULT


def learn(records: Iterable[dict[str, Any]]) -> Estimates:
    """What these records, as they lie on disk, tell; only of runs that trained from their first step to the last."""
    estimates = Estimates()
    for record in records:
        if record["status"] not in TRAINED:
            continue
        try:
            _add(estimates, record)
        except (
            AttributeError,
            KeyError,
            TypeError,
            ValueError,
            ZeroDivisionError,
        ):
            continue  # of another version, or made elsewhere
    return estimates


def known_by(runs: Mapping[Basis, int], devices: Sequence[str]) -> str:
    """How the hours of so many runs are known, in words."""
    fast, slow = (f"{rate / 1e12:g}" for rate in (FLOPS[Precision.bf16], FLOPS[Precision.fp32]))
    on = f", on {', '.join(devices)}"
    words = {
        Basis.SAME_TASK: f"by finished ones of the same model and task{on}",
        Basis.SAME_MODEL: f"by finished ones of the same model on other tasks, or in other windows{on}",
        Basis.DEFAULT: f"by a default that nobody measured: {fast} TFLOP/s, in fp32 {slow}",
        Basis.BUDGET: "by train.max_seconds",
        Basis.UNKNOWN: "not counted: their data or architecture is not known",
    }
    counts = {basis: count for basis in Basis if (count := runs.get(basis))}
    return ", ".join(
        words[basis] if len(counts) == 1 else f"{count:,} {words[basis]}" for basis, count in counts.items()
    )


def _add(estimates: Estimates, record: dict[str, Any]) -> None:
    if record["attempts"] != 1:
        return  # seconds are those of the last attempt
    train, task = record["config"]["train"], record["config"]["task"]
    name, reading = task["name"], _reading(train, task)
    told = record.get("examples", {}).get("train", {})
    rows, questions = told.get("windows", record["rows"]["train"]), told.get("questions")
    processes = record["provenance"]["processes"]
    seen = rows * train["epochs"]
    if record.get("seen"):  # pre-training, which may have had another end
        seen = record["steps"]["done"] * train["batch_size"] * train["gradient_accumulation"] * processes
    elif train["max_steps"] is not None:
        seen = train["max_steps"] * train["batch_size"] * train["gradient_accumulation"] * processes
    each = record["seconds"]["total"] * processes / seen
    model = _model(**{key: record["config"]["model"][key] for key in _IDENTIFYING})
    estimates.devices.add(record["provenance"]["device"].partition(":")[0])
    if record.get("seen"):  # it has other examples than what is fine-tuned
        name, text = _pretraining(record["config"])
        estimates.by_task.setdefault((model, name, ()), []).append(each)
        estimates.rows[text] = rows
        return
    windows, tokens = _examples(name, reading, train["max_length"], Padding(train["padding"]))
    estimates.by_task.setdefault((model, name, reading), []).append(each)
    estimates.by_model.setdefault(model, []).append(each / tokens)
    if questions:
        estimates.windows[name, reading] = rows / questions
    estimates.rows[name] = questions or round(rows / windows)


def _pretraining(config: Mapping[str, Any]) -> tuple[str, str]:
    """What runs of one model have in common if an example costs them the same: task, length and generator; and the same
    with the text, which says how many examples there are."""
    task, data = config["task"], {key: value for key, value in config["data"].items() if key != "cache_dir"}
    same = [task["name"], task["generator"], config["train"]["max_length"], data["across_documents"]]
    return json.dumps(same, sort_keys=True), json.dumps([*same, data], sort_keys=True)


def _reading(train: Mapping[str, Any], task: Mapping[str, Any]) -> Reading:
    """What decides a question's windows; empty of classification. Older records have neither key."""
    if task.get("objective") not in (Objective.questions, Objective.questions.value):
        return ()
    default = vars(TaskConfig)
    return train["max_length"], *(task.get(key, default[key]) for key in ("stride", "max_question_tokens"))


def _examples(name: str, reading: Reading, max_length: int, padding: Padding) -> tuple[float, float]:
    """Of a row of the data, how many examples the model reads, and about how many word pieces each has."""
    found = _windows(*reading) if reading else [min(TASKS.get(name, (0, max_length))[1], max_length)]
    rows = len(_CONTEXTS) if reading else 1
    return len(found) / rows, max_length if padding is Padding.max_length else fmean(found)


def _windows(max_length: int, stride: int, most: int) -> list[int]:
    """Word pieces of each window of questions with these contexts: `objectives/question_answering/windows.py`."""
    around = min(_QUESTION, most) + _SPECIALS
    room = max(1, max_length - around)
    return [
        around + min(room, tokens - begin)
        for tokens in _CONTEXTS
        for begin in range(0, max(0, tokens - room) + stride, stride)
    ]


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
    elif task.name in QUESTIONS:
        rows = QUESTIONS[task.name]
    else:
        return None
    return min(rows, data.max_train_rows or rows)
