"""What a change's `apply` gives, looked at: in a model, and for a change of one's own before a run is submitted.

Shapes: as in `changes/contract.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu

from gifine.changes.contract import SITES, At, Change, Constant, Parameter, Place, Settings, Sizes
from gifine.errors import ModelError
from gifine.inputs import change_files
from gifine.inputs.own_changes import told

_EXAMPLES, _TOKENS = 2, 5  # B, T


def check_value(change: Change, place: Place, value: Tensor, changed: Any, *, same_type: bool = True) -> None:
    """ModelError if what `apply` gives is no tensor of the shape, and with `same_type` of the type, of what it got."""
    where = f"{_origin(change)}: apply at {place.site}, layer {place.layer}"
    if not isinstance(changed, Tensor):
        raise ModelError(f"{where}: gives {type(changed).__name__}: a tensor of shape {list(value.shape)}")
    if changed.shape != value.shape:
        raise ModelError(f"{where}: gives shape {list(changed.shape)} for one of {list(value.shape)}")
    if same_type and changed.dtype != value.dtype:
        raise ModelError(f"{where}: gives {changed.dtype} for {value.dtype}: end with .to(value.dtype)")


def _origin(change: Change) -> str:
    code = getattr(change.apply, "__code__", None)
    if change.file is None or code is None:
        return f"change={change.name}"
    return f"{change.file}, line {code.co_firstlineno}"


def check_entries(entries: Mapping[str, Any], sizes: Sizes) -> None:
    """`check_apply` of a config's `change`, in a model of these sizes.

    Raises:
        ModelError: as `check_apply`, and as `change_files.load`, `settings` and `places`.
    """
    _check_entries(change_files.load(entries), json.dumps(entries), sizes)


@lru_cache(maxsize=256)  # thousands of runs of a sweep have the same
def _check_entries(change: Change, text: str, sizes: Sizes) -> None:
    chosen = change_files.settings(change, json.loads(text))
    check_apply(change, chosen, change_files.places(change, chosen, sizes))


@torch.no_grad()
def check_apply(change: Change, chosen: Settings, places: Iterable[Place]) -> None:
    """Apply a change once at each place, layer by layer, as in a pass through a model of these sizes.

    Raises:
        ModelError: for what it raises, with file and line, and for what it gives.
    """
    kept: dict[str, Tensor] = {}
    with torch.random.fork_rng(devices=[]):  # a run's own random numbers stay what they are
        torch.default_generator.manual_seed(0)  # those of GPUs stay as they are
        for place in sorted(places, key=lambda place: (place.layer, SITES.index(place.site))):
            value, at = _value(place), _around(place, kept)
            with told(change):
                learned = change.find_parameters(chosen, place)
                parameters = {name: _start(parameter) for name, parameter in learned.items()}
                changed = change.apply(chosen, parameters, value, at)
            check_value(change, place, value, changed)


def _start(parameter: Parameter) -> Tensor:
    if isinstance(parameter.start, Constant):
        return torch.full(parameter.shape, float(parameter.start.value))
    return torch.randn(parameter.shape) / 100


def _value(place: Place) -> Tensor:
    if place.site == "weights":
        return torch.randn(_EXAMPLES, place.heads, _TOKENS, _TOKENS).softmax(-1)
    return torch.randn(_EXAMPLES, _TOKENS, place.given)


def _around(place: Place, kept: dict[str, Tensor]) -> At:
    real_BT = torch.ones(_EXAMPLES, _TOKENS, dtype=torch.bool)
    real_BT[-1, -1] = False
    hidden_BTD = torch.randn(_EXAMPLES, _TOKENS, place.hidden)
    taken = torch.randn(_EXAMPLES, _TOKENS, place.taken) if place.taken else hidden_BTD
    if place.site == "weights":
        taken = torch.randn(_EXAMPLES, place.heads, _TOKENS, _TOKENS)
    return At(place, hidden_BTD, taken, real_BT, False, kept, lambda x, dropout: x, gelu, None)
