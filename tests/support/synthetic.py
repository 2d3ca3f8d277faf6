"""Sweeps that nobody has trained: records as gifine writes them, with scores from a random generator."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from gifine import cli
from gifine.choices import GateSide
from gifine.config import RunConfig
from gifine.report.reading import Reader, Run
from gifine.runs import identity, records
from gifine.runs.records import Record, Status

T = TypeVar("T")

Gate = dict[str, Any]  # fields of GiConfig
PLAIN: Gate = {"side": GateSide.none}
BOTH: Gate = {"side": GateSide.both, "level": 0.3}
KEY: Gate = {"side": GateSide.key, "level": 0.1, "layers": 6}

CIRCUMSTANCES: dict[str, Any] = {
    "code": "c0de" * 16,
    "git": {"commit": "ab" * 20, "dirty": False, "diff": None},
    "packages": {"torch": "2.13.0", "transformers": "5.23.0"},
    "processes": 1,
    "device": "cpu",
    "gpus": [],
    "cpu": "A Processor",
    "cpu_capability": "AVX2",
    "threads": {"torch": 2, "interop": 2, "OMP_NUM_THREADS": "2"},
    "precision": "fp32",
    "deterministic": True,
    "attention": "fast/products",
}
_COMPOSED: dict[tuple[str, ...], RunConfig] = {}


def config(*overrides: str, seed: int = 1, **gi: Any) -> RunConfig:
    """A config as the command line composes it; gate and seed without composing anew, which takes 0.1 s."""
    if overrides not in _COMPOSED:
        _COMPOSED[overrides] = cli.config_from(cli.compose(["gi=none", *overrides]))
    composed = _COMPOSED[overrides]
    gate = replace(composed.gi, **gi)
    return replace(composed, gi=gate, seed=seed)


def measures(config: RunConfig) -> list[str]:
    return [
        f"{config.task.name}/{split}/{metric}"
        for split in config.task.evaluation_splits
        for metric in config.task.metrics
    ]


def record(config: RunConfig, scores: Sequence[float | None], status: Status = Status.DONE, **entries: Any) -> Record:
    """The record of a run with these official scores, in the order of `measures`."""
    found = dict(zip(measures(config), scores, strict=True)) if scores else {}
    provenance = {"data": {"validation": config.task.name}, **CIRCUMSTANCES}
    made = Record(
        identity.run_id(config), identity.slug(config), identity.to_dict(config), metrics=found, status=status
    )
    made.provenance, made.finished = provenance, "2026-01-01T00:00:00+00:00"
    return replace(made, **entries)


def write(root: Path, made: Record) -> Path:
    """Below `root`, in a folder named as a run's."""
    folder = root / f"{made.slug}-{made.run_id}"
    folder.mkdir(parents=True, exist_ok=True)
    records.write(folder, made)
    return folder


def given(value: T | None) -> T:
    """What a test is sure to be there."""
    assert value is not None
    return value


def sweep(
    root: Path,
    scores: Callable[[RunConfig], Sequence[float | None]],
    *,
    tasks: Iterable[str] = ("rte",),
    gates: Iterable[Gate] = (PLAIN, BOTH),
    seeds: Iterable[int] = range(1, 6),
    model: str = "debertav3",
    overrides: Sequence[str] = (),
) -> Path:
    """Done runs of a grid, with the scores that the function gives; `root` itself."""
    for task, gate, seed in itertools.product(tasks, gates, seeds):
        made = config(f"task={task}", f"model={model}", *overrides, seed=seed, **gate)
        write(root, record(made, scores(made)))
    return root


def read(root: Path) -> list[Run]:
    reading = Reader([root]).read()
    assert reading.problems == []
    return reading.runs


def add_predictions(folder: Path, split: str, logits: np.ndarray, labels: np.ndarray) -> None:
    """As `evaluation.write_predictions` writes them, which would import torch."""
    columns = {"idx": np.arange(len(labels)), "label": labels, "logits": list(logits.astype(np.float32))}
    pyarrow.parquet.write_table(pa.table(columns), folder / f"predictions-{split}.parquet")
