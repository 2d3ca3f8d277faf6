"""One `record.json` a run: what was run, on what, and what came out. A report reads nothing else.

The folder is `<output_root>/<readable slug>-<run_id>`; the run_id is a hash of what decides the result.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass, field, fields
from enum import Enum, StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gifine import __version__
from gifine.config import DataSource, GateSide, RunConfig
from gifine.errors import OutputError

SCHEMA_VERSION = 1
RECORD = "record.json"
_PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "numpy", "safetensors")


class Status(StrEnum):
    RUNNING = "running"
    DONE = "done"
    DEGENERATE = "degenerate"  # ran to the end, but predicts one class or one number for everything
    DIVERGED = "diverged"  # the loss became NaN or infinite
    INTERRUPTED = "interrupted"  # stopped before its last step
    FAILED = "failed"  # raised; `error` has the traceback


# The same config would end so again: running it again is a waste.
FINISHED = frozenset({Status.DONE, Status.DEGENERATE, Status.DIVERGED})


@dataclass
class Record:
    """What `record.json` holds. Metrics are keyed `task/split/metric`; an undefined metric is null."""

    run_id: str
    slug: str
    config: dict[str, Any]
    status: Status = Status.RUNNING
    error: str | None = None  # why a run failed, diverged or is degenerate
    metrics: dict[str, float | None] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)  # step, epoch and metric of the chosen checkpoint
    steps: dict[str, int] = field(default_factory=dict)  # done, planned
    parameters: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)  # a split: its examples
    seconds: dict[str, float] = field(default_factory=dict)
    started: str = ""  # UTC, ISO 8601
    finished: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION


def to_dict(config: RunConfig) -> dict[str, Any]:
    """The config as JSON types: enums by name, and of the model's sizes the one that is used."""

    def plain(value: Any) -> Any:
        if isinstance(value, Enum):
            return value.value
        if isinstance(value, dict):
            return {key: plain(entry) for key, entry in value.items()}
        return [plain(entry) for entry in value] if isinstance(value, list) else value

    entries = plain(asdict(config))
    sizes = entries["model"]["sizes"]
    entries["model"]["sizes"] = {name: size for name, size in sizes.items() if name == config.model.size}
    return entries


def run_id(config: RunConfig) -> str:
    """Twelve hex digits that are equal for two configs exactly if these ask for the same result.

    Left out: where data, caches and results lie, how results are shown and kept, and values without an effect (of the
    gates where there are none, of other sizes and other sources).
    """
    deciding = to_dict(config)
    for key in ("output_root", "output_dir", "overwrite"):
        del deciding[key]
    model, task, data, train = (deciding[key] for key in ("model", "task", "data", "train"))
    size = config.model.sizes.get(config.model.size)
    if model["checkpoint"] is None and size is not None:
        model["checkpoint"] = size.checkpoint
        if model["random_init"]:
            model["config_overrides"] = size.config | model["config_overrides"]
    if not model["random_init"]:
        del model["family"]  # the checkpoint's config.json has it
    for key in ("name", "size", "sizes"):
        del model[key]
    if config.gi.side is GateSide.none:
        deciding["gi"] = {"side": "none"}
    for key in ("dir", "cache_dir"):
        del data[key]
    if config.data.source is not DataSource.demo:
        for key in ("demo_train_rows", "demo_eval_rows", "demo_seed"):
            del data[key]
    if config.task.files.train is not None:
        data["source"] = "files"
        del task["splits"], task["hub"]
    for key in ("save_model", "save_predictions", "keep_checkpoints", "log_steps", "device"):
        del train[key]
    canonical = json.dumps(deciding, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def slug(config: RunConfig) -> str:
    """What a person reads in a listing, e.g. `cola_debertav3-large_both-0.3-last6_s42`. Nothing parses it."""
    model, gi = config.model, config.gi
    name = f"{model.name}-{model.size}" if model.checkpoint is None else Path(model.checkpoint).name
    if model.random_init:
        name += "-random"
    gate = "plain" if gi.side is GateSide.none else f"{gi.side.value}-{gi.level:g}"
    if gi.side is not GateSide.none and gi.layers is not None:
        gate += f"-last{gi.layers}"
    return re.sub(r"[^\w.-]+", "-", f"{config.task.name}_{name}_{gate}_s{config.seed}")


def directory(config: RunConfig) -> Path:
    if config.output_dir is not None:
        return Path(config.output_dir).expanduser()
    return Path(config.output_root).expanduser() / f"{slug(config)}-{run_id(config)}"


def read(folder: Path) -> Record | None:
    """The record in a run's folder, or None if there is none yet.

    Raises:
        OutputError: for a file that is no record of ours.
    """
    path = folder / RECORD
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        known = {f.name for f in fields(Record)}
        record = Record(**{key: value for key, value in entries.items() if key in known})
        record.status = Status(record.status)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise OutputError(
            f"{path} is no readable record ({error}); move it away, or give another output_dir"
        ) from error
    return record


def write(folder: Path, record: Record) -> None:
    """Write `record.json` so that a reader sees the old one or the new one, never a part."""
    write_text(folder / RECORD, json.dumps(asdict(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace a file's content atomically and durably."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def open_folder(config: RunConfig) -> Path:
    """Make the run's folder, which must be writable and must not hold a run of another config.

    Raises:
        OutputError: if it does, or cannot be written.
    """
    folder = directory(config)
    earlier = read(folder)
    if earlier is not None and earlier.run_id != run_id(config):
        raise OutputError(
            f"{folder} holds the run {earlier.run_id} of another config ({earlier.slug}), not {run_id(config)}: "
            "give another output_dir, or none"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}; give another output_root") from error
    return folder


def check_space(folder: Path, parameters: int) -> None:
    """Refuse to start where the checkpoints will not fit.

    One holds weights and AdamW's two moments in float32, and two are there at a time.

    Raises:
        OutputError: with what is needed and what is free.
    """
    needed, free = 2 * 3 * 4 * parameters, shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(
            f"{folder}: two checkpoints need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
            "give another output_root"
        )


def provenance() -> dict[str, Any]:
    """What code and machine this is: package versions, git commit of a checkout, Python, platform."""
    return {
        "gifine": __version__,
        "git": _git(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "host": platform.node(),
        "cpus": os.cpu_count(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git() -> dict[str, Any] | None:
    """Commit and dirty flag of the checkout that this code runs from; None for an installed wheel."""
    top = Path(__file__).parents[2]
    if not (top / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(["git", "-C", str(top), *command], capture_output=True, text=True, check=True).stdout  # noqa: S603, S607 - fixed words
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit.strip(), "dirty": bool(changes.strip())}
