"""What the random numbers of a run start from: one seed, or several that are set one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gifine.config import RunConfig

STREAMS = ("head", "order", "dropout", "change")  # as in config.SeedsConfig


Twin = tuple[int, int, int]  # seeds of head, order, dropout


class Replicate(NamedTuple):
    """The seed of each stream of random numbers; `seed` is that of those which were not set.

    Runs of one setting are replicates of each other, which differ in nothing else. They sort by seed, then by stream.
    """

    seed: int
    head: int
    order: int
    dropout: int
    change: int

    @property
    def apart(self) -> dict[str, int]:
        """The streams that do not start from `seed`."""
        return {name: getattr(self, name) for name in STREAMS if getattr(self, name) != self.seed}

    @property
    def twin(self) -> Twin:
        """What a run has in common with its baseline, which has no change to draw."""
        return self.head, self.order, self.dropout

    @property
    def name(self) -> int | str:
        """For tables: the seed, or `1 order=3`."""
        apart = "".join(f" {stream}={seed}" for stream, seed in self.apart.items())
        return f"{self.seed}{apart}" if apart else self.seed

    def __str__(self) -> str:
        return str(self.name)


def replicate(seed: int, streams: Mapping[str, int | None]) -> Replicate:
    """Of `seed` and of `seeds`, whose streams start from the former where they are null or not there."""
    given = {name: streams.get(name) for name in STREAMS}
    return Replicate(seed, **{name: seed if value is None else value for name, value in given.items()})


def of(config: RunConfig) -> Replicate:
    """What a run draws from. A baseline draws nothing from `change`."""
    seeds = config.seeds
    change = None if config.is_plain else seeds.change
    return replicate(
        config.seed, {"head": seeds.head, "order": seeds.order, "dropout": seeds.dropout, "change": change}
    )
