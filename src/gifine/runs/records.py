"""One `record.json` a run: what was run, on what, and what came out. A report reads nothing else.

It is written when the run starts and when it ends, however it ends, and never in part.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from gifine.errors import OutputError
from gifine.inputs.run_folder import RECORD
from gifine.machine import disk

SCHEMA_VERSION = 1


class Status(StrEnum):
    RUNNING = "running"
    DONE = "done"
    DEGENERATE = "degenerate"  # ran to the end, but predicts one class or one number for everything
    DIVERGED = "diverged"  # the loss became NaN or infinite
    INTERRUPTED = "interrupted"  # stopped before its last step
    FAILED = "failed"  # raised; `error` has the traceback


# They have a result and weights.
TRAINED = frozenset({Status.DONE, Status.DEGENERATE})
# The same config would end so again: running it again is a waste.
FINISHED = TRAINED | {Status.DIVERGED}


@dataclass
class Record:
    """What `record.json` holds. Metrics are keyed `task/split/metric`; an undefined metric is null."""

    run_id: str
    slug: str
    config: dict[str, Any]
    status: Status = Status.RUNNING
    error: str | None = None  # why a run failed, diverged or is degenerate
    metrics: dict[str, float | None] = field(default_factory=dict)
    invariance: list[dict[str, Any]] = field(default_factory=list)  # what `evaluate.invariance` found
    best: dict[str, Any] = field(default_factory=dict)  # step and metric of the chosen checkpoint
    last: dict[str, Any] = field(default_factory=dict)  # step and metric of the last evaluation while it trained
    evaluations: int = 0  # while it trained: what the best one was chosen from
    class_weights: dict[str, float] = field(default_factory=dict)  # by label, if the loss had any
    stopped_early: dict[str, Any] = field(default_factory=dict)  # step and reason, if train.patience ended training
    attempts: int = 1
    resumed_at: int = 0  # the step that this attempt went on from
    steps: dict[str, int] = field(default_factory=dict)  # done, planned (not with train.max_seconds)
    parameters: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)  # a split: as many as `data.max_…_rows` counts, so no windows
    examples: dict[str, Any] = field(default_factory=dict)  # a split: what else is told of them; of questions, windows
    thresholds: dict[str, float] = field(default_factory=dict)  # a split: beyond which doubt a question has no answer
    seconds: dict[str, float] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)  # of a step of training: `training/cost.py`
    seen: dict[str, float] = field(default_factory=dict)  # of pre-training, all attempts: tokens, seconds of training
    started: str = ""  # UTC, ISO 8601
    finished: str | None = None
    contents: dict[str, str] = field(default_factory=dict)  # `sources.contents`: what the run_id has in place of paths
    provenance: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION


def load(folder: Path) -> dict[str, Any]:
    """What the `record.json` of a folder says, of any version and perhaps not ours: nothing is checked.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no JSON.
    """
    found = json.loads((folder / RECORD).read_bytes())
    return found if isinstance(found, dict) else {}


def entries(folder: Path) -> dict[str, Any]:
    """As `load`, but empty where there is nothing to be read."""
    try:
        return load(folder)
    except (OSError, ValueError):
        return {}


def read(folder: Path) -> Record | None:
    """The record in a run's folder, or None if there is none yet.

    Raises:
        OutputError: for a file that is no record of ours.
    """
    path = folder / RECORD
    try:
        known = {f.name for f in fields(Record)}
        record = Record(**{key: value for key, value in load(folder).items() if key in known})
        record.status = Status(record.status)
        for each in fields(Record):
            # Of the config whoever needs one says what is wrong with it.
            is_object = each.name != "config" and str(each.type).startswith("dict")
            if is_object and not isinstance(getattr(record, each.name), dict):
                raise TypeError(f"its {each.name} is no object")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise OutputError(
            f"{path} is no readable record ({error}); move it away, or give another output_dir"
        ) from error
    return record


def reason(error: str | None) -> str | None:
    """What a record's error says in one line: of a traceback what was raised, else its first line."""
    lines = (error or "").strip().splitlines()
    if not lines or not lines[0].startswith("Traceback "):
        return lines[0] if lines else None
    frames = [place for place, line in enumerate(lines) if line.startswith('  File "')]
    # It follows the last frame, perhaps on several lines, of which the first says what it is.
    raised = [line for line in lines[frames[-1] + 1 :] if not line.startswith(" ")] if frames else []
    return raised[0] if raised else lines[-1]


def write(folder: Path, record: Record) -> None:
    """Write `record.json` so that a reader sees the old one or the new one, never a part."""
    disk.write_text(folder / RECORD, json.dumps(asdict(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
