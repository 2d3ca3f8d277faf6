"""What runs took, by their records: parameters, time, memory, operations. Of an older record much is not known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, frozen=True)
class Measured:
    """None: not recorded."""

    parameters: float | None = None
    trained: float | None = None  # of them
    changed: float | None = None  # of them, those of the change
    seconds: float | None = None  # of a step, the median
    memory: float | None = None  # bytes, the most that tensors took on a GPU in a step
    operations: float | None = None  # floating-point ones in training on an example of the first step


def collect(entries: dict[str, Any]) -> Measured:
    """Of a record.

    Raises:
        ValueError, TypeError, AttributeError: for entries of another kind than gifine writes.
    """
    parameters, cost = entries.get("parameters") or {}, entries.get("cost") or {}
    return Measured(
        _number(parameters.get("total")),
        _number(parameters.get("trainable")),
        _number(parameters.get("gates")),
        _number(cost.get("seconds_a_step")),
        _number(cost.get("peak_memory_bytes")),
        _number(cost.get("flops_an_example")),
    )


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"what it took is {value!r}")
    return float(value)
