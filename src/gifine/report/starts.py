"""What runs started from, as far as two of them are compared: the role of a run that made the weights, not its run_id.

Twins start from twins: the gated run of seed 1 after MNLI from the gated run on MNLI of seed 1, the plain one from the
plain one. What these two have in common is their role, `runs/origin.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gifine.runs import origin, records, replicate
from gifine.runs.replicate import Replicate


@dataclass(slots=True, frozen=True)
class Start:
    run_id: str | None = None  # of the run that made the weights; None: no run did, or it is not known
    status: str | None = None  # of that run when this one began; None: there is none, or it was not recorded
    label: str | None = None  # in the place of `model.init_from`; None: not known to be another run's
    task: str | None = None  # that run's task; None: not known, here and below
    title: str | None = None  # of that task
    change: dict[str, Any] | None = None  # of the run that made the weights, as `identity.take_change`
    seeds: Replicate | None = None  # of that run


@dataclass(slots=True)
class Starts:
    """Runs that others start from, each read once."""

    known: dict[Path, dict[str, Any]] = field(default_factory=dict)  # by folder, what `origin.as_parent` says

    def find(self, folder: Path, entries: dict[str, Any]) -> Start:
        """Of the run in `folder`, by its record: older ones do not have it, but perhaps the run that they name."""
        noted = dict((entries.get("provenance") or {}).get("init_from") or {})
        run_id = noted.get("run_id") or (entries["config"].get("first") or {}).get("run")
        if "title" not in noted and run_id is not None:
            for place in _places(folder, noted, run_id):
                if place not in self.known:
                    record = records.entries(place)
                    self.known[place] = origin.as_parent(record) if record.get("run_id") == run_id else {}
                noted |= self.known[place]
        status = noted.get("status")
        if "role" not in noted:
            return Start(run_id, status, run_id)
        label, title = f"{noted['task']} ({noted['role']})", noted.get("title", noted["task"])
        change = {key: noted[key] for key in ("gi", "change", "train") if key in noted}
        return Start(run_id, status, label, noted["task"], title, change, replicate.parse(noted["seed"]))


def _places(folder: Path, noted: dict[str, Any], run_id: str) -> Iterator[Path]:
    """Where the run may be that made the weights."""
    yield from folder.parent.glob(f"*-{run_id}")
    if isinstance(noted.get("folder"), str):
        yield Path(noted["folder"]).parent  # which is its model
