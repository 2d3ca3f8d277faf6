"""A change at one site of one layer: what it is handed, and what all layers share in a pass through the model.

Shapes: B examples, T positions; others as in `changes/contract.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gifine.changes.contract import At, Change, Place, Settings
from gifine.errors import ModelError
from gifine.inputs import own_changes
from gifine.inputs.change_trial import check_value
from gifine.inputs.own_changes import raised
from gifine.machine import out_of_memory
from gifine.models import streams
from gifine.models.change_config import saved_name


class Pass:
    """What all layers share in one pass through the model. No dataclass: torch's FSDP would hand on a copy of one."""

    def __init__(
        self, real_BT: Tensor | None = None, count: int | None = None, kept: Mapping[str, Tensor] | None = None
    ) -> None:
        self.real_BT = real_BT
        self.count = count  # of training passes before this one; None: nobody counts
        self.kept = dict(kept or {})
        self.again = 0  # how often the layer that runs has run already in this pass: DeBERTa's mask decoder


_PASS: ContextVar[Pass | None] = ContextVar("_PASS", default=None)


@contextmanager
def during(current: Pass) -> Generator[None]:
    """In a `with` block `current` is the pass that sites read."""
    token = _PASS.set(current)
    try:
        yield
    finally:
        _PASS.reset(token)


def now() -> Pass:
    """The one that is under way; a module that is called alone has one of its own."""
    return _PASS.get() or Pass()


class AtSite:
    """A change at one site of one layer."""

    def __init__(
        self, change: Change, settings: Settings, place: Place, activation: Callable[[Tensor], Tensor]
    ) -> None:
        self.change, self.settings, self.place, self.activation = change, settings, place, activation
        self.parameters = change.find_parameters(settings, place)
        # Each one's submodule, and its name there.
        self.names = {name: saved_name(name, place.site) for name in self.parameters}
        self.seed = streams.seed()
        self.watched: dict[str, Tensor] | None = None  # what was told of the last pass; None: nobody asks

    def learned(self, module: nn.Module) -> dict[str, Tensor]:
        """What the change has learned here, by its own names."""
        return {name: getattr(getattr(module, part), own) for name, (part, own) in self.names.items()}

    def apply(self, module: nn.Module, value: Tensor, taken: Tensor, hidden: Tensor, positions: bool) -> Tensor:
        current = now()
        real_BT = None if positions else current.real_BT
        if real_BT is not None and self.place.site != "weights":
            real_BT = real_BT[:, : value.shape[1]]  # of the last layer, the first position alone may be computed
        at = At(
            place=self.place,
            hidden=hidden,
            taken=taken,
            real_BT=real_BT,
            positions=positions,
            kept=current.kept,
            dropout=_Dropout(self, current.count, positions) if module.training else _no_dropout,
            activation=self.activation,
            watch=None if self.watched is None or positions else self._watch,
        )
        parameters = self.learned(module)
        changed = self._call(parameters, value, at)
        if at.watch is not None:
            with torch.no_grad():
                at.watch({"moved": (changed - value).norm() / value.norm()})
                if self.change.measure is not None:
                    with own_changes.told(self.change):
                        measured = self.change.measure(parameters, value, changed, at)
                    at.watch(measured)
        return changed

    def _call(self, parameters: Mapping[str, Tensor], value: Tensor, at: At) -> Tensor:
        file = self.change.file
        if file is None:
            return self.change.apply(self.settings, parameters, value, at)
        try:
            changed = self.change.apply(self.settings, parameters, value, at)
        except (RuntimeError, TypeError, ValueError, LookupError, AttributeError, NameError, ArithmeticError) as error:
            # Others are torch's own signals, and lack of memory is told by whoever trains.
            if out_of_memory.reason(error) is not None:
                raise
            raise ModelError(raised(error, file)) from error
        # Under autocast what a change learns is float32 beside narrower values: models take both, check-change asks.
        same_type = not torch.is_autocast_enabled(value.device.type)
        check_value(self.change, self.place, value, changed, same_type=same_type)
        return changed

    def _watch(self, told: Any) -> None:
        assert self.watched is not None
        if not is_dataclass(told) and not isinstance(told, Mapping):
            raise ModelError(f"change={self.change.name}: told {told!r} to be logged: a number by each name")
        for name, value in (vars(told) if is_dataclass(told) else told).items():
            number = torch.as_tensor(value) if isinstance(value, int | float) else value
            if not isinstance(number, Tensor) or number.numel() != 1:
                what = f"shape {list(number.shape)}" if isinstance(number, Tensor) else type(number).__name__
                raise ModelError(f"change={self.change.name}: told {name} of {what} to be logged: a single number")
            self.watched[name] = number


class _Dropout:
    """Dropout inside a change: the same mask however often a pass is computed, and no number of torch's drawn."""

    def __init__(self, site: AtSite, count: int | None, positions: bool) -> None:
        self.site, self.count, self.calls = site, count, 0
        self.stream = f"{site.place.layer}.{site.place.site}.{'positions' if positions else 'dropout'}"
        if again := now().again:
            self.stream += f".{again}"

    def __call__(self, x: Tensor, dropout: float) -> Tensor:
        if dropout == 0:
            return x
        if self.count is None:
            name = self.site.change.name
            raise RuntimeError(f"change={name}: its dropout has no seed: it takes a key `dropout`, and a whole model")
        numbers = streams.generator(f"{self.stream} {self.calls} {self.count}", self.site.seed, x.device)
        self.calls += 1
        keep = torch.empty(x.shape, dtype=torch.bool, device=x.device).bernoulli_(1 - dropout, generator=numbers)
        return x * keep * (0.0 if dropout == 1 else 1 / (1 - dropout))


def _no_dropout(x: Tensor, dropout: float) -> Tensor:
    return x
