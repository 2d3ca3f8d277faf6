"""What the random numbers of a run start from: one seed, or several that are set one by one; and those of the run
whose weights it starts from, if these are others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from gifine.config import RunConfig

STREAMS = ("head", "order", "dropout", "change")  # as in config.SeedsConfig
_NAME = re.compile(rf"(\d+)((?: (?:{'|'.join(STREAMS)})=\d+)*)")  # without that of the run before


Twin = tuple[int, ...]  # seeds of head, order, dropout; and of the run that it starts from, if they are others


class Replicate(NamedTuple):
    """The seed of each stream of random numbers; `seed` is that of those which were not set.

    Runs of one setting are replicates of each other, which differ in nothing else. They sort by seed, then by stream,
    then by the run that they start from.
    """

    seed: int
    head: int
    order: int
    dropout: int
    change: int
    # of the run that it starts from; (): there is none, it is not known, or it has the same seeds
    first: Replicate | tuple[()] = ()

    @property
    def streams(self) -> tuple[int, int, int, int]:
        """The seeds of its own streams, in the order of STREAMS."""
        return self.head, self.order, self.dropout, self.change

    @property
    def streams_apart(self) -> dict[str, int]:
        """The streams that do not start from `seed`."""
        return {name: seed for name, seed in zip(STREAMS, self.streams, strict=True) if seed != self.seed}

    @property
    def is_apart(self) -> bool:
        """Whether one seed is not all that it draws from: then it may share draws with runs of other seeds."""
        return bool(self.streams_apart or self.first)

    @property
    def twin(self) -> Twin:
        """What a run has in common with its baseline, which has no change to draw."""
        own = (self.head, self.order, self.dropout)
        before = self.first.twin if isinstance(self.first, Replicate) else own
        return own if before == own else own + before

    @property
    def name(self) -> int | str:
        """For tables: the seed, `1 order=3`, or `1 first=2` after a run of seed 2. `parse` reads it."""
        words = "".join(f" {stream}={seed}" for stream, seed in self.streams_apart.items())
        words += f" first={self.first}" if isinstance(self.first, Replicate) else ""
        return f"{self.seed}{words}" if words else self.seed

    def __str__(self) -> str:
        return str(self.name)


def replicate(seed: int, streams: Mapping[str, int | None], first: Replicate | None = None) -> Replicate:
    """Of `seed` and of `seeds`, whose streams start from the former where they are null or not there.

    `first` is of the run that it starts from, if that is known.
    """
    given = [streams.get(name) for name in STREAMS]
    head, order, dropout, change = (seed if value is None else value for value in given)
    own = Replicate(seed, head, order, dropout, change)
    return own if first is None or first == own else own._replace(first=first)


def parse(name: int | str) -> Replicate:
    """The replicate of this `name`.

    Raises:
        ValueError: if it is none.
    """
    own, has_first, first = str(name).partition(" first=")
    found = _NAME.fullmatch(own)
    if found is None:
        raise ValueError(f"no seeds: {name!r}")
    streams = {stream: int(number) for stream, number in (word.split("=") for word in found[2].split())}
    return replicate(int(found[1]), streams, parse(first) if has_first else None)


def of(config: RunConfig) -> Replicate:
    """What a run draws from. A baseline draws nothing from `change`."""
    seeds = config.seeds
    change = None if config.is_plain else seeds.change
    return replicate(
        config.seed, {"head": seeds.head, "order": seeds.order, "dropout": seeds.dropout, "change": change}
    )
