"""How far rounding may move a result, by what is added up in it: measured on the reference, in float64.

A result in float32 is wrong by what each operation rounds away, and by how far that reaches it. A sum of n products is
off by about sqrt(n)·u·Σ|ab| (Higham and Mary, 2019), also where it is 0 itself; anything else by u·|value|; u is half
of the dtype's eps. So the reference is computed again in float64 with errors of that form, random and tiny, behind each
of its operations (Monte Carlo arithmetic; Parker, 1997). What they do to a result, times u over their size, is what
rounding does to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

SIZE = 2.0**-40  # in place of u: far above float64's own, and so small that what it does is in proportion
SAMPLES = 8
FACTOR = 10  # from what rounding does on average to what it may do, to both of two computations
HUGE = 1e30  # what masks are made of stays what it is

aten = torch.ops.aten
SUMS = [aten.mm.default, aten.bmm.default, aten.addmm.default, aten.baddbmm.default]
SUMS += [aten.sum.default, aten.sum.dim_IntList, aten.scatter_add.default]


class _Rounding(TorchDispatchMode):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        returns = [entry.alias_info for entry in func._schema.returns]
        view = any(alias is not None and not alias.is_write for alias in returns)
        if view or not isinstance(result, Tensor) or result.dtype != torch.float64:
            return result
        errors = torch.rand(result.shape, generator=self.generator, dtype=result.dtype).mul_(2).sub_(1).mul_(SIZE)
        moved = torch.where(result.abs() < HUGE, result + errors * _magnitude(func, args, kwargs or {}, result), result)
        return moved if returns[0] is None else result.copy_(moved)


def _magnitude(func: Any, args: Any, kwargs: Any, result: Tensor) -> Tensor:
    """Of a result's errors, in u."""
    if func in SUMS:
        each = [arg if not _is_number(arg) else arg.abs() for arg in args]
        ones = [arg if not _is_number(arg) else torch.ones_like(arg) for arg in args]
        return func(*each, **kwargs) * func(*ones, **kwargs).sqrt()  # Σ|ab| and sqrt(n)
    if func == aten._softmax_backward_data.default:  # weights · (grad − Σ grad · weights)
        grad, weights, dim = args[:3]
        return weights * (grad.abs() + (grad * weights).abs().sum(dim, keepdim=True) * grad.shape[dim] ** 0.5)
    return result.abs()


def _is_number(arg: Any) -> bool:
    return isinstance(arg, Tensor) and arg.is_floating_point()


def tolerances(compute: Callable[[], dict[str, Tensor]], dtype: torch.dtype) -> dict[str, float]:
    """By how much two computations in `dtype` of what `compute` does in float64 may differ, for each of its results."""
    exact, squares = compute(), defaultdict(float)
    for seed in range(SAMPLES):
        with _Rounding(seed):
            moved = compute()
        for name, value in exact.items():
            squares[name] += float((moved[name] - value).abs().max()) ** 2
    unit = torch.finfo(dtype).eps / 2 / SIZE
    return {name: FACTOR * unit * (square / SAMPLES) ** 0.5 for name, square in squares.items()}
