"""What a run logs while it trains: `metrics.jsonl`, a JSON object a line, which a reader may find half written."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

CURVE = "metrics.jsonl"  # in the run's folder
CHANGE = "change.jsonl"  # beside it: some 20 points of what is told of its change, if it has one
LOSS = "loss"


def lines(folder: Path, *, newest_first: bool = False, name: str = CURVE) -> Iterator[dict[str, Any]]:
    """The whole lines of a run's curve that have a step; none where there is no file that can be read."""
    try:
        texts = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for text in reversed(texts) if newest_first else texts:
        try:
            entries = json.loads(text)
        except ValueError:  # being written, or cut off
            continue
        if isinstance(entries, dict) and _is_number(entries.get("step")):
            yield entries


def read(folder: Path, keys: Sequence[str]) -> dict[str, dict[int, float]]:
    """By key the numbers by step, without those that are null."""
    found: dict[str, dict[int, float]] = {key: {} for key in keys}
    for entries in lines(folder):
        for key in keys:
            if _is_number(entries.get(key)):
                found[key][int(entries["step"])] = float(entries[key])
    return found


def change(folder: Path) -> dict[str, dict[int, float]]:
    """By `gates/LAYER/SITE/NAME`, or `change/…`, the numbers by step that a run has kept of its change."""
    found: dict[str, dict[int, float]] = {}
    for entries in lines(folder, name=CHANGE):
        for key, value in entries.items():
            if key.startswith(("gates/", "change/")) and _is_number(value):
                found.setdefault(key, {})[int(entries["step"])] = float(value)
    return found


def last_step(folder: Path) -> int | None:
    """The latest step that was logged."""
    entries = next(lines(folder, newest_first=True), None)
    return int(entries["step"]) if entries is not None else None


def thinned(steps: Sequence[int], most: int) -> list[int]:
    """At most so many of them, evenly spread, with the first and the last one."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(place * (len(steps) - 1) / (most - 1))] for place in range(most)]


def _is_number(value: Any) -> bool:
    # Not `isfinite`, which raises for integers that no float can hold.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
