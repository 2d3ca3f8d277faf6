"""What an inspection has found, as numbers: what the page and the pictures are made of.

Shapes: L layers, H heads (1 where a site has none), N tokens of all examples one after the other, T tokens of one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass
class Example:
    tokens: list[str]
    first: int  # its place among the N tokens
    label: str | None
    predicted: str
    name: str  # as a person knows it


@dataclass
class Track:
    """What a change does at one site: `gate`, GI's gate (the mean over a head's features), or `moved`, how far values
    move, ‖changed − value‖/‖value‖ over a head's features."""

    kind: str
    site: str
    layers: list[int]
    values_LHN: np.ndarray  # NaN where a token is not computed: of the last layer, one may be
    quantiles_LQ: np.ndarray  # at `QUANTILES`: of the gates of all features (a sample of them), or of `values_LHN`
    shares: dict[str, np.ndarray]  # by name, LH: fractions of the gates
    told: list[dict[str, float]] = field(default_factory=list)  # layer by layer, what the change tells: a batch's mean

    @property
    def name(self) -> str:
        return f"{self.kind} at {self.site}"


@dataclass
class Peak:
    """The token that sets the maximum of a gate's signal."""

    layer: int
    site: str
    batch: int
    example: int
    token: int | None  # of the example; None: padding
    head: int
    maximum: float
    threshold: float


@dataclass
class Attention:
    summary: dict[str, np.ndarray]  # by name, LH: means over the tokens that ask
    maps: dict[int, np.ndarray]  # by example, LHTT: weights as 0 … 255, 255 is 1


@dataclass
class Score:
    measure: str | None  # None: the examples have no labels
    value: float | None
    loss: float | None


@dataclass
class Ablation:
    """The change switched off at all its sites of a layer, or of one of its heads; without a layer, of all layers."""

    layer: int | None
    head: int | None
    score: Score
    flipped: int  # predictions that change
    logit: float  # the largest change of one


@dataclass
class Ablations:
    base: Score
    found: list[Ablation]
    left: int  # not computed: the time was up
    seconds: float


@dataclass
class Findings:
    title: str
    subtitle: str
    settings: str  # a line each
    notes: list[str]
    depth: int
    heads: int
    examples: list[Example]
    shown: list[int]  # those whose tokens the page has
    batches: list[list[int]]  # examples that were computed together
    tracks: list[Track]
    peaks: list[Peak]
    coupled: bool  # the maximum is one of the batch
    attention: Attention
    ablations: Ablations | None
    training: dict[str, dict[int, float]]  # by `gates/LAYER/SITE/NAME`, or `change/…`, by step
