"""A change of one's own, for tests: what stands at a site times 1 + 3 · factor, which starts at zero."""

from __future__ import annotations

from dataclasses import dataclass

from gifine import changes


@dataclass
class Settings(changes.Settings):
    site: str = "query"
    positions: bool = False
    dropout: float = 0.0
    share: bool = False  # add what the layer before kept


def find_sites(settings):
    return (settings.site,)


def find_parameters(settings, place):
    return {"factor": changes.Parameter((place.given or place.heads,))}


def apply(settings, parameters, value, at):
    factor = parameters["factor"]
    if at.place.site == "weights":
        factor = factor[:, None, None]
    moved = value * at.dropout(3 * factor.expand(value.shape), settings.dropout)
    if settings.share and at.place.layer > 0:
        moved = moved + at.kept["moved"]
    at.kept["moved"] = moved
    return value + moved


def measure(parameters, value, changed, at):
    return {"factor": parameters["factor"].mean()}
