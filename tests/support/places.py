"""A place of a model and what is around it, for changes alone, without a model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gifine import changes
from gifine.changes.contract import SITES, At, Change, Constant, Normal, Parameter, Place, Uniform

HEADS, HIDDEN, INNER = 2, 4, 6
_TAKEN = {"output": HIDDEN, "ffn_output": INNER, "weights": 0, "context": 0}
_GIVEN = {"ffn": INNER, "weights": 0}


def place(site: Any, layer: int = 1, depth: int = 3) -> Place:
    assert site in SITES
    return Place(site, layer, depth, HIDDEN, HEADS, INNER, _TAKEN.get(site, HIDDEN), _GIVEN.get(site, HIDDEN))


def at(where: Place, hidden: Tensor, taken: Tensor | None = None, **entries: Any) -> At:
    given: dict[str, Any] = {
        "real_BT": None,
        "positions": False,
        "kept": {},
        "dropout": lambda tensor, rate: tensor,
        "activation": torch.relu,
        "watch": None,
    }
    return At(where, hidden, hidden if taken is None else taken, **(given | entries))


def change(name: str, **keys: Any) -> tuple[Change, Any]:
    """The change and its settings."""
    found = changes.load(name)
    return found, found.Settings(**keys)


def start(parameter: Parameter, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor as the parameter says that it starts."""
    match parameter.start:
        case Constant(value):
            return torch.full(parameter.shape, value, dtype=dtype)
        case Normal(std):
            return torch.randn(parameter.shape, generator=generator, dtype=dtype) * (std or 0.02)
        case Uniform(bound):
            return (torch.rand(parameter.shape, generator=generator, dtype=dtype) * 2 - 1) * bound
