"""What a step of `check` or `measure` is: a function of a `Setting` that gives rows (dicts of JSON types).

It raises `Wrong` where gifine is, and `Skipped` where it has nothing to say of this machine. Anything else that it
raises is a failure, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What steps know of the machine and of the call."""

    device: str  # "cuda" or "cpu"
    pack: Path  # of `make gpu-pack`; what it has is looked for beside the checkout, too
    scratch: Path  # goes when the call ends
    deadline: float  # of this step, by time.monotonic()

    @property
    def tiny(self) -> bool:
        """On a CPU nothing is measured: the smallest shapes show whether the script works."""
        return self.device == "cpu"

    @property
    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()

    def shared(self, name: str) -> Path:
        """A folder of the pack (golden, glue, tokenizers), or of the developers' shared folder.

        Raises:
            Skipped: where neither is.
        """
        from benchmarks.workloads import SHARED

        for folder in (self.pack / "data" / name, SHARED / name):
            if folder.is_dir():
                return folder
        raise Skipped(f"needs {name}, which neither {self.pack} nor {SHARED} has")


class Wrong(Exception):  # noqa: N818 - of gifine, not of the program
    """gifine does not do on this device what it must. `rows` are what was seen until then."""

    def __init__(self, message: str, rows: list[Row] | None = None) -> None:
        super().__init__(message)
        self.rows = rows or []


class Skipped(Exception):  # noqa: N818 - no error
    """This machine cannot show it."""


@dataclass(frozen=True)
class Step:
    run: Callable[[Setting], list[Row]]
    limit: float  # seconds, on a GPU

    @property
    def name(self) -> str:
        return f"{self.run.__module__.rpartition('.')[2]}.{self.run.__name__}"
