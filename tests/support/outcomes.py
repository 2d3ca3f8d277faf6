"""What a run's folder holds: the result, which an interruption must not change, and what must hold at any moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gifine.training import checkpointing

FINISHED = ("done", "degenerate", "diverged")
# Not the result: what an attempt says of itself, and TrainingArguments with the folder's name in them.
_OWN = ("record.json", "run.log", ".lock", "training_args.bin")


def record_of(folder: Path) -> dict[str, Any] | None:
    path = folder / "record.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def result(folder: Path) -> dict[str, Any]:
    """Every file, byte for byte, and the record's results."""
    record = record_of(folder)
    assert record is not None
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in _OWN]
    keys = ("status", "error", "metrics", "best", "steps", "rows", "parameters")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files} | {key: record[key] for key in keys}


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The names of what differs: the bytes themselves say little."""
    return sorted(name for name in one | other if one.get(name) != other.get(name))


def curve(folder: Path, *, cut: bool = False) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; with `cut`, the last one need not be whole: training mends it when it begins."""
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else [""]
    rest = lines.pop()
    assert cut or rest == "", "the last line is cut"
    return [json.loads(line) for line in lines]


def checkpoints(folder: Path) -> dict[str, list[Path]]:
    """Those of that name, and what is being written."""
    below = folder / "checkpoints"
    return {
        "named": sorted(below.glob("checkpoint-*")),
        "whole": [path for path in sorted(below.glob("checkpoint-*")) if checkpointing.damage(path) is None],
        "partial": sorted((below / checkpointing.PARTIAL).glob("*")),
    }
