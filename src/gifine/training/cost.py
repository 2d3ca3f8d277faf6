"""What a step of training takes: time, memory, floating-point operations. For a record's `cost`.

    with Cost(record.cost, examples, watches) as cost:
        trainer.add_callback(cost)
        trainer.train()

Operations are those of the first step as it runs, so that they cost no step of their own: products of matrices, forward
and backward, a multiplication and an addition counted as two, and nothing for what goes element by element, as
`torch.utils.flop_counter` does. Of runs with the same seed the first step is of the same examples.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any, Self

import torch
from torch.utils import flop_counter
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_aten = torch.ops.aten
_MOST_STEPS = 1000  # that are timed


def _in_place(this: torch.Tensor, one: torch.Tensor, other: torch.Tensor, **_: Any) -> int:
    """Of `this += one @ other`, whose result has the shape of `this`."""
    return 2 * math.prod(this.shape) * one.shape[-1]


def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any) -> int:
    return flop_counter.sdpa_flop_count(query.shape, key.shape, value.shape)


def _attention_backward(
    gradient: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any
) -> int:
    return flop_counter.sdpa_backward_flop_count(gradient.shape, query.shape, key.shape, value.shape)


# What torch's counter leaves out: sums into a tensor that is there, and the CPU's fused attention.
_OWN: dict[Any, Callable[..., int]] = {
    _aten.addmm_: _in_place,
    _aten.baddbmm_: _in_place,
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


class Counter(TorchDispatchMode):
    """Adds up `operations` of all that is computed within, whatever autograd functions hide it."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in _OWN:
            self.operations += _OWN[packet](*args, **(kwargs or {}))
        elif packet in flop_counter.flop_registry:
            self.operations += flop_counter.flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        return out


class Cost(TrainerCallback):
    """Fills in `found`, of this process and attempt:

    `seconds_a_step`, the median, without loading data, evaluating and saving; `steps_timed`, of how many;
    `flops_an_example`, only where training starts at its first step; `peak_memory_bytes`, on a GPU the most that
    tensors took in a step. `examples` are those of the first step in this process; None: do not count, as with fsdp,
    whose collectives the counter has not been tried with.

    Steps in which statistics of a change are taken, as `watches` says when they begin, are in neither time nor memory.
    Where there are no others they are, and `steps_watched` is how many.
    """

    def __init__(
        self,
        found: dict[str, float],
        examples: float | None,
        watches: Callable[[TrainerState], bool] = lambda state: False,
    ) -> None:
        self.found, self.examples, self.watches = found, examples, watches
        self._began: Any = None
        self._is_watched = False  # the step that has begun
        self._steps: list[tuple[bool, Callable[[], float]]] = []  # whether it was watched, and its seconds
        self._peaks = {False: 0, True: 0}  # of steps that were not watched, and that were
        self._counter: Counter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()  # a step that raised has not ended
        later = self._steps[1:] or self._steps  # the first is slower: memory, kernels, counting
        if timed := [each for each in later if not each[0]] or later:
            self.found.pop("steps_watched", None)  # of an earlier attempt
            self.found |= {"seconds_a_step": statistics.median(each() for _, each in timed), "steps_timed": len(timed)}
            if timed[0][0]:
                self.found["steps_watched"] = len(timed)
        if peak := self._peaks[False] or self._peaks[True]:
            self.found["peak_memory_bytes"] = peak

    def _stop(self) -> None:
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self._counter = None

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if args.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(args.device)
        if state.global_step == 0 and self.examples:
            self._counter = Counter()
            self._counter.__enter__()
        self._is_watched = self.watches(state)
        self._began = _now(args.device)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if len(self._steps) < _MOST_STEPS:
            self._steps.append((self._is_watched, _since(self._began, _now(args.device))))
        if args.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(args.device)
            self._peaks[self._is_watched] = max(self._peaks[self._is_watched], peak)
        if self._counter is not None and self.examples:
            self.found["flops_an_example"] = self._counter.operations / self.examples
        self._stop()


def _now(device: torch.device) -> Any:
    """Of a GPU an event among its work: to wait for it at each step would slow training down."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _since(began: Any, ended: Any) -> Callable[[], float]:
    if isinstance(began, float):
        return lambda: ended - began

    def seconds() -> float:
        ended.synchronize()
        return began.elapsed_time(ended) / 1000

    return seconds
