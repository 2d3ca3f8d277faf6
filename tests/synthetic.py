"""Sweeps that nobody has trained: records as gifine writes them, with scores from a random generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gifine import cli, identity, records
from gifine.config import RunConfig
from gifine.records import Record, Status

_COMPOSED: dict[tuple[str, ...], RunConfig] = {}


def config(*overrides: str, seed: int = 1, **gi: object) -> RunConfig:
    """A config as the command line composes it; gate and seed without composing anew, which takes 0.1 s."""
    if overrides not in _COMPOSED:
        _COMPOSED[overrides] = cli.config_from(cli.compose(["gi=none", *overrides]))
    composed = _COMPOSED[overrides]
    gate = replace(composed.gi, **gi)  # pyrefly: ignore[bad-argument-type]
    return replace(composed, gi=gate, seed=seed)


def measures(config: RunConfig) -> list[str]:
    return [
        f"{config.task.name}/{split}/{metric}"
        for split in config.task.evaluation_splits
        for metric in config.task.metrics
    ]


def record(
    config: RunConfig, scores: Sequence[float | None], status: Status = Status.DONE, **entries: object
) -> Record:
    """The record of a run with these official scores, in the order of `measures`."""
    found = dict(zip(measures(config), scores, strict=True)) if scores else {}
    provenance = {"data": {"validation": config.task.name}, "processes": 1, "device": "cpu"}
    made = Record(
        identity.run_id(config), identity.slug(config), identity.to_dict(config), metrics=found, status=status
    )
    made.provenance, made.finished = provenance, "2026-01-01T00:00:00+00:00"
    return replace(made, **entries)  # pyrefly: ignore[bad-argument-type]


def write(root: Path, made: Record) -> Path:
    """Below `root`, in a folder named as a run's."""
    folder = root / f"{made.slug}-{made.run_id}"
    folder.mkdir(parents=True, exist_ok=True)
    records.write(folder, made)
    return folder
