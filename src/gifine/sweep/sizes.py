"""What runs take in memory and on disk, as far as their architectures are known: no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gifine.config import RunConfig, TrainConfig
from gifine.inputs import architecture
from gifine.machine.footprint import Footprint


@dataclass(frozen=True)
class Sizes:
    memory_gb: float  # a device, the largest run: all but activations
    disk_gb: float  # left behind by all runs
    scratch_gb: float  # besides, by the largest run while it trains


def of(configs: Iterable[RunConfig]) -> Sizes | None:
    """What these runs take; None if there are none, or if one's architecture is not known."""
    counted: dict[str, tuple[int, int, int] | None] = {}
    footprints = []
    for config in configs:
        changed = (config.gi.side, config.gi.layers, config.change, config.train.parameters)
        key = repr((config.model, changed, config.task.objective, len(config.task.labels)))
        if key not in counted:
            counted[key] = architecture.count_trained(config)
        size = counted[key]
        if size is None:
            return None
        footprints.append((config.train, Footprint(*size)))
    if not footprints:
        return None
    return Sizes(
        max(footprint.training for _, footprint in footprints) / 1e9,
        sum(_left_behind(train, footprint) for train, footprint in footprints) / 1e9,
        max(footprint.checkpoints for _, footprint in footprints) / 1e9,
    )


def _left_behind(train: TrainConfig, footprint: Footprint) -> int:
    """Bytes on disk that a run leaves."""
    weights = footprint.saved if train.save_model else 0
    return weights + (footprint.kept_checkpoints if train.keep_checkpoints else 0)
