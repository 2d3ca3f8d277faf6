"""A plan that is written before its runs: what will be compared, on which runs, and by which margin. No torch.

`gifine sweep plan … --preregister FILE` writes it, `plan=FILE` has runs name it, and `gifine report RUNS --plan FILE`
holds them against it. The file is YAML, for people and for version control. Its last line is the sha256 of the lines
above it, which tells of an edit by accident; an edit on purpose is told by the sha256 of the whole file, which each run
that has named the plan has in its record.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from gifine.config import RunConfig
from gifine.errors import OutputError, PlanError
from gifine.machine import disk
from gifine.runs import selections
from gifine.runs.records import Record

VERSION = 1
ALPHA = 0.05  # the level that decides
_SHORT = 12  # hex digits of a sha256 that people read, as of a run_id
_WRITES = "gifine sweep plan … --preregister FILE writes one"
_CHECKSUM = "checksum"
_HEAD = """\
# Written before the runs. `gifine … plan=THIS_FILE` has runs name it; `gifine report RUNS --plan THIS_FILE` holds them
# against it. Do not edit it: the checksum would not fit, and runs have the sha256 of the file in their records.
"""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, ten times as fast

Value = str | int | float | bool | None
Settings = dict[str, Value]  # config keys with their values


@dataclass(frozen=True)
class Hypothesis:
    """A change and the task that it is tried on, against runs that differ from it in the change alone; two-sided."""

    model: str
    task: str
    change: Settings
    others: Settings  # keys that tell hypotheses of the same change and task apart
    is_primary: bool

    def fits(self, selection: Mapping[str, str]) -> bool:
        """Whether it may be meant by these keys and values: of further keys it does not know its value."""
        known = {"model": self.model, "task": self.task, **self.change, **self.others}
        return selections.fits(((key, word) for key, word in selection.items() if key in known), known.get)


@dataclass(frozen=True)
class Preregistration:
    written: datetime  # UTC
    gifine: str  # version
    command: list[str]  # that makes the runs, but for `plan=`
    margin: float  # points of percent: differences within ± this do not matter
    alpha: float
    primary: list[dict[str, str]]  # config keys that name the primary comparisons; none: all are one family
    seeds: list[int | str]  # by name, as Replicate.name: `1`, or `1 order=3` where streams have seeds of their own
    tasks: dict[str, str]  # by name the measure that verdicts are about: split/metric
    hypotheses: list[Hypothesis]
    runs: dict[str, str]  # by run_id the slug
    finished_before: list[str]  # run_ids of those that had a result when this was written
    path: str = ""  # where it was read
    sha256: str = ""  # of the file that was read

    def __str__(self) -> str:
        return f"{self.path} (sha256 {self.sha256[:_SHORT]})"

    def deviation(self, run_id: str) -> str | None:
        """Why a run is not one of the plan's; None: it is."""
        return None if run_id in self.runs else f"it is not among the {len(self.runs):,} runs of {self.path}"


def note(record: Record, earlier: Record | None, path: str | None) -> str | None:
    """Put into a record's provenance when the first attempt at its run was started, and the plan that it names.

    Returns why the run deviates from the plan, if it does.

    Raises:
        PlanError: as `read`.
    """
    if earlier is not None:
        record.provenance["begun"] = earlier.provenance.get("begun", earlier.started)
    if path is None:
        return None
    plan = read(path)
    deviation = plan.deviation(record.run_id)
    noted = {"sha256": plan.sha256, "written": plan.written.isoformat(), "path": path, "deviates": deviation}
    record.provenance["plan"] = noted
    return deviation


def write(plan: Preregistration, path: Path) -> str:
    """Write the file, which must not be there yet; its sha256.

    Raises:
        OutputError: if something is there, or it cannot be written.
    """
    content = text(plan).encode()
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise OutputError(f"{path}: is there already, and a plan is never replaced; give another name") from None
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; give --preregister another FILE") from error
    return hashlib.sha256(content).hexdigest()


def keep(path: str | os.PathLike[str], folder: Path) -> Path:
    """A copy in a folder, for runs that start later: the file may be moved meanwhile. Of a copy in it, that one.

    Raises:
        PlanError: as `read`.
        OSError, OutputError: if it cannot be written.
    """
    there = folder / Path(path).name
    if there.is_file() and not Path(path).is_file():  # a copy in a folder that was moved
        return there
    plan = read(path)
    copy = folder / f"{Path(path).stem.removesuffix(f'-{plan.sha256[:_SHORT]}')}-{plan.sha256[:_SHORT]}.yaml"
    if not copy.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        disk.write_text(copy, Path(path).expanduser().read_bytes().decode())  # byte for byte
    return copy


def text(plan: Preregistration) -> str:
    """The file: the same for the same plan, byte for byte."""
    entries: dict[str, Any] = {
        "version": VERSION,
        "written": plan.written.isoformat(),
        "gifine": plan.gifine,
        "command": plan.command,
        "margin": plan.margin,
        "alpha": plan.alpha,
        "primary": plan.primary,
        "seeds": plan.seeds,
        "tasks": plan.tasks,
        "hypotheses": [_entries(each) for each in plan.hypotheses],
        "runs": plan.runs,
    }
    if plan.finished_before:
        entries["finished_before"] = plan.finished_before
    body = _HEAD + "".join(_lines(key, value) for key, value in entries.items())
    return f"{body}{_CHECKSUM}: {_checksum(body.encode())}\n"


def read(path: str | os.PathLike[str]) -> Preregistration:
    """The plan in a file.

    Raises:
        PlanError: for what is none, is of another version, or was altered.
    """
    if not str(path):
        raise PlanError(": names no file; plan=null where there is none")
    place = Path(path).expanduser()
    try:
        state = place.stat()
        return _read(str(path), place, (state.st_mtime_ns, state.st_size, state.st_ino))
    except FileNotFoundError:
        raise PlanError(f"{path}: no such file; {_WRITES}") from None
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error.strerror}; {_WRITES}") from error


@lru_cache(maxsize=8)  # thousands of runs of a sweep name one plan
def _read(path: str, place: Path, stamp: tuple[int, ...]) -> Preregistration:
    content = place.read_bytes()
    try:
        entries = yaml.load(content, _LOADER)  # noqa: S506 - a safe one
    except (yaml.YAMLError, ValueError) as error:
        raise PlanError(f"{path}: no YAML ({' '.join(str(error).split())}); {_WRITES}") from error
    if not isinstance(entries, dict) or not {"version", _CHECKSUM} <= entries.keys():
        raise PlanError(f"{path}: no plan: it has no version or no checksum; {_WRITES}")
    if entries["version"] != VERSION:
        raise PlanError(f"{path}: a plan of version {entries['version']}, this gifine reads {VERSION}")
    body, _, last = content.rpartition(f"{_CHECKSUM}: ".encode())
    if last.strip() != _checksum(body).encode():
        raise PlanError(f"{path}: was altered since it was written: its checksum does not fit; put the original back")
    try:
        return _parsed(entries, path, hashlib.sha256(content).hexdigest())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PlanError(f"{path}: not a plan as gifine writes them ({error!r}); {_WRITES}") from error


def _parsed(entries: dict[str, Any], path: str, sha256: str) -> Preregistration:
    plan = Preregistration(
        written=datetime.fromisoformat(entries["written"]),
        gifine=str(entries["gifine"]),
        command=list(entries["command"]),
        margin=float(entries["margin"]),
        alpha=float(entries["alpha"]),
        primary=[{key: str(value) for key, value in each.items()} for each in entries["primary"]],
        seeds=[each if isinstance(each, str) else int(each) for each in entries["seeds"]],
        tasks=dict(entries["tasks"]),
        hypotheses=[
            Hypothesis(**{_HYPOTHESIS[key]: value for key, value in each.items()}) for each in entries["hypotheses"]
        ],
        runs=dict(entries["runs"]),
        finished_before=list(entries.get("finished_before", [])),
        path=path,
        sha256=sha256,
    )
    wrong = _wrong(plan)
    if wrong is not None:
        raise PlanError(f"{path}: {wrong}; {_WRITES}")
    return plan


def _wrong(plan: Preregistration) -> str | None:
    """What of its values nobody could have meant."""
    least = selections.SMALLEST_MARGIN
    if not least <= plan.margin < 100:
        return f"margin {plan.margin:g}: points of percent, at least {least:g} and below 100, such as 0.5"
    if plan.alpha != ALPHA:
        return f"alpha {plan.alpha:g}: verdicts are at {ALPHA:g}"
    if plan.written.tzinfo is None:
        return f"written {plan.written.isoformat()}: has no time zone, such as +00:00: what was before it?"
    if not plan.hypotheses or not plan.runs:
        return f"has no {'runs' if plan.hypotheses else 'hypotheses'}: nothing can be held against it"
    for selection in plan.primary:
        words = ",".join(f"{key}={value}" for key, value in selection.items())
        unknown = [key for key in selection if key.partition(".")[0] not in _SECTIONS]
        if unknown:
            return f"primary {words}: no config has a key {unknown[0]}"
        if not any(each.is_primary and each.fits(selection) for each in plan.hypotheses):
            return f"primary {words}: is none of its {len(plan.hypotheses):,} hypotheses that are primary"
    return None


_SECTIONS = {field.name for field in fields(RunConfig)}
_HYPOTHESIS = {field.name.removeprefix("is_"): field.name for field in fields(Hypothesis)}


def _entries(hypothesis: Hypothesis) -> dict[str, Any]:
    return {key: getattr(hypothesis, name) for key, name in _HYPOTHESIS.items()}


def _lines(key: str, value: Any) -> str:
    """A key with its value: one line, or a line for each entry of what may have many."""
    if isinstance(value, dict) and value:
        return f"{key}:\n" + "".join(f"  {_flow(name)}: {_flow(entry)}\n" for name, entry in value.items())
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"{key}:\n" + "".join(f"- {_flow(entry)}\n" for entry in value)
    return f"{key}: {_flow(value)}\n"


def _flow(value: Any) -> str:
    words = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False)
    return words.removesuffix("\n").removesuffix("\n...")


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
