"""The gate of Gate with Inhibition (giMLPs, arXiv 2208.00929): the maths, and what training keeps of it.

    s = select(gelu(inhibition(x)))        the inhibition signal, computed once
    t = level · max(s)                     the threshold; gradients flow through it
    gate = gelu(s − t) + 1                 never below 0.830, unbounded above
    gate ⊙ p                               p: the projection of x that is gated

For training, `gated` keeps little of this chain: two tensors of x's size (the first projection, s) beside x and the
product, which other projections and fused attention kernels keep anyhow. The rest is elementwise and cheap next to the
matrix products around it, so the backward pass computes it again. It does so in place where it can: for small batches
on a CPU the page faults of a fresh tensor cost more than its values.

Shapes: B examples, T positions, D features of x, I features between the two projections, K features that are gated,
R rows (B·T), M maxima (1 of a batch, B of examples, B·T of positions).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

Over = Literal["batch", "sequence", "token"]
OVER: tuple[Over, ...] = get_args(Over)
SATURATED_BELOW = -2.67  # gelu is above −0.01 from there on down


def gated(
    projected_BTK: Tensor,
    hidden_BTD: Tensor,
    inhibition_weight_ID: Tensor,
    inhibition_bias_I: Tensor,
    select_weight_KI: Tensor,
    select_bias_K: Tensor,
    *,
    level: float,
    over: Over = "batch",
    real_BT: Tensor | None = None,
    watch: Callable[[Statistics], None] | None = None,
) -> Tensor:
    """`projected_BTK`, a projection of `hidden_BTD`, times its gate. Do not write into the result: it is kept.

    `over` says how far the maximum reaches: the whole batch (the published formula; on several devices, the batch of
    each), an example, or a position. `real_BT` is True where a token is not padding; padding then is left out of the
    maximum. With `over="token"` that changes nothing. Where nothing is left, the maximum is 0. The maximum's gradient
    goes to one position, also where several tie. `watch` gets the gate's statistics. Under autocast the two
    projections compute in its precision. There is no second derivative.
    """
    if over not in OVER:
        raise ValueError(f"over='{over}': valid are {', '.join(OVER)}")
    tensors = (projected_BTK, hidden_BTD, inhibition_weight_ID, inhibition_bias_I, select_weight_KI, select_bias_K)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return _Gated.apply(*tensors, level, over, real_BT, watch)
    signal_BTK = signal(hidden_BTD, inhibition_weight_ID, inhibition_bias_I, select_weight_KI, select_bias_K)
    threshold = find_threshold(signal_BTK, level, over, real_BT)
    if threshold is not None:
        signal_BTK.sub_(threshold)
    return _times(_gate(signal_BTK, threshold, watch, in_place=True), projected_BTK)


def signal(
    hidden_BTD: Tensor,
    inhibition_weight_ID: Tensor,
    inhibition_bias_I: Tensor,
    select_weight_KI: Tensor,
    select_bias_K: Tensor,
) -> Tensor:
    """The inhibition signal s, BTK, where no gradient is wanted."""
    dtype = _precision(hidden_BTD)
    inner_BTI = _linear(hidden_BTD, inhibition_weight_ID, inhibition_bias_I, dtype)
    return _linear(torch.ops.aten.gelu_(inner_BTI), select_weight_KI, select_bias_K, dtype)


def find_threshold(signal_BTK: Tensor, level: float, over: Over, real_BT: Tensor | None) -> Tensor | None:
    """`level` times the maximum, in a shape that broadcasts against the signal; None at level 0."""
    return None if level == 0 else level * _maximum(signal_BTK, over, real_BT)


class _Gated(torch.autograd.Function):
    """`gated` where a gradient is wanted."""

    @staticmethod
    def forward(
        ctx: Any,
        projected_BTK: Tensor,
        hidden_BTD: Tensor,
        inhibition_weight_ID: Tensor,
        inhibition_bias_I: Tensor,
        select_weight_KI: Tensor,
        select_bias_K: Tensor,
        level: float,
        over: Over,
        real_BT: Tensor | None,
        watch: Callable[[Statistics], None] | None,
    ) -> Tensor:
        dtype = _precision(hidden_BTD)
        inner_BTI = _linear(hidden_BTD, inhibition_weight_ID, inhibition_bias_I, dtype)
        signal_BTK = _linear(F.gelu(inner_BTI), select_weight_KI, select_bias_K, dtype)
        threshold = find_threshold(signal_BTK, level, over, real_BT)
        shifted_BTK = signal_BTK if threshold is None else signal_BTK - threshold
        gate_BTK = _gate(shifted_BTK, threshold, watch, in_place=threshold is not None)
        product_BTK = _times(gate_BTK, projected_BTK)
        # What nobody's gradient needs is not kept: weights may be frozen, and below the first that train all is.
        wanted = ctx.needs_input_grad
        ctx.save_for_backward(
            hidden_BTD if wanted[2] else None,
            inhibition_weight_ID,
            select_weight_KI,
            inner_BTI if any(wanted[1:5]) else None,
            signal_BTK,
            threshold,
            real_BT,
            # Not the projection, which nothing else keeps: a gate is at least 0.83, so this can be divided by it.
            product_BTK if any(wanted[1:6]) else None,
        )
        ctx.level, ctx.over = level, over
        return product_BTK

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # pyrefly: ignore[bad-override] - by once_differentiable
        (grad_BTK,) = grad_outputs
        hidden_BTD, inhibition_weight_ID, select_weight_KI, inner_BTI, signal_BTK, threshold, real_BT, product_BTK = (
            ctx.saved_tensors
        )
        wanted = ctx.needs_input_grad
        # As in `_Gated.forward`'s arguments; what nobody wants stays None.
        found: list[Tensor | None] = [None] * len(wanted)

        shifted_BTK = signal_BTK if threshold is None else signal_BTK - threshold
        gate_BTK = F.gelu(shifted_BTK).add_(1)
        if not any(wanted[1:6]):
            found[0] = _times(gate_BTK, grad_BTK)
            return tuple(found)
        grad_signal_BTK = (product_BTK / gate_BTK).mul_(grad_BTK).to(signal_BTK.dtype)  # so far that of the gate
        if wanted[0]:
            found[0] = _times(gate_BTK, grad_BTK)
        _through_gelu(grad_signal_BTK, shifted_BTK)
        del shifted_BTK, gate_BTK
        if threshold is not None:
            _through_maximum(grad_signal_BTK, signal_BTK, ctx.level, ctx.over, real_BT)

        grad_signal_RK = grad_signal_BTK.flatten(0, 1)
        if wanted[4]:
            found[4] = grad_signal_RK.T @ F.gelu(inner_BTI).flatten(0, 1)
        if wanted[5]:
            found[5] = grad_signal_RK.sum(dim=0)
        if not any(wanted[1:4]):
            return tuple(found)
        grad_inner_RI = grad_signal_RK @ select_weight_KI.to(signal_BTK.dtype)
        _through_gelu(grad_inner_RI, inner_BTI.flatten(0, 1))
        if wanted[1]:
            found[1] = (grad_inner_RI @ inhibition_weight_ID.to(inner_BTI.dtype)).unflatten(0, grad_BTK.shape[:2])
        if wanted[2]:
            found[2] = grad_inner_RI.T @ hidden_BTD.flatten(0, 1).to(inner_BTI.dtype)
        if wanted[3]:
            found[3] = grad_inner_RI.sum(dim=0)
        return tuple(found)


def _precision(hidden_BTD: Tensor) -> torch.dtype:
    """What a linear layer would compute in: autocast's dtype, which leaves float64 alone."""
    device = hidden_BTD.device.type
    if hidden_BTD.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return hidden_BTD.dtype
    return torch.get_autocast_dtype(device)


def _linear(x: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    # Cast here and not by autocast, whose cache would hand out a weight without its gradient, were it used once more.
    return F.linear(x.to(dtype), weight.to(dtype), bias.to(dtype))


def _gate(
    shifted_BTK: Tensor, threshold: Tensor | None, watch: Callable[[Statistics], None] | None, *, in_place: bool
) -> Tensor:
    if watch is None and in_place:
        return torch.ops.aten.gelu_(shifted_BTK).add_(1)
    gate_BTK = F.gelu(shifted_BTK).add_(1)
    if watch is not None:
        watch(statistics(gate_BTK, shifted_BTK, threshold))
    return gate_BTK


def _times(gate_BTK: Tensor, factor_BTK: Tensor) -> Tensor:
    """The product, in the gate's place unless it is of another dtype (autocast, and a projection in float32)."""
    if torch.result_type(gate_BTK, factor_BTK) == gate_BTK.dtype:
        return gate_BTK.mul_(factor_BTK)
    return gate_BTK * factor_BTK


def _through_gelu(grad: Tensor, before: Tensor) -> None:
    """Make of the gradient by gelu's result, in place, that by what it was computed of."""
    torch.ops.aten.gelu_backward.grad_input(grad, before, grad_input=grad)


def _maximum(signal_BTK: Tensor, over: Over, real_BT: Tensor | None) -> Tensor:
    """The largest signal of each batch, example or position, in a shape that broadcasts against `signal_BTK`."""
    peak_BT = signal_BTK.amax(dim=-1)
    if over == "token":
        return peak_BT[:, :, None]
    if real_BT is not None:
        peak_BT = peak_BT.masked_fill(~real_BT, -torch.inf)
    peak = peak_BT.amax() if over == "batch" else peak_BT.amax(dim=1)[:, None, None]
    return peak.masked_fill(peak == -torch.inf, 0.0) if real_BT is not None else peak


def _through_maximum(grad_BTK: Tensor, signal_BTK: Tensor, level: float, over: Over, real_BT: Tensor | None) -> None:
    """Add to the gradient of s − t by s, in place, what comes by t: the sum over a maximum's reach, at its position."""
    reach = {"batch": (0, 1, 2), "sequence": (1, 2), "token": (2,)}[over]
    grad_threshold_M = -level * grad_BTK.sum(dim=reach).flatten()
    if over != "token" and real_BT is not None:
        any_M = real_BT.any().view(1) if over == "batch" else real_BT.any(dim=1)
        grad_threshold_M = grad_threshold_M.masked_fill(~any_M, 0.0)
    row_M, column_M = find_maxima(signal_BTK, over, real_BT)
    grad_BTK.view(-1).index_add_(0, row_M * grad_BTK.shape[2] + column_M, grad_threshold_M)


def find_maxima(signal_BTK: Tensor, over: Over, real_BT: Tensor | None) -> tuple[Tensor, Tensor]:
    """Where each maximum is: its row of the B·T, and its column of the K. Where nothing is left, anywhere.

    One position each, and not all that tie. Ties matter in one place only: with `select` at zero every signal is 0.
    """
    batch, length = signal_BTK.shape[:2]
    if over == "token":
        row_M = torch.arange(batch * length, device=signal_BTK.device)
    else:
        peak_BT = signal_BTK.amax(dim=-1)
        if real_BT is not None:
            peak_BT = peak_BT.masked_fill(~real_BT, -torch.inf)
        peak_M = peak_BT.view(1, batch * length) if over == "batch" else peak_BT
        first_M = torch.arange(len(peak_M), device=signal_BTK.device) * peak_M.shape[1]
        row_M = peak_M.argmax(dim=1) + first_M
    return row_M, signal_BTK.flatten(0, 1)[row_M].argmax(dim=1)


@dataclass(frozen=True)
class Statistics:
    """Of one gate in one batch, padding included; tensors without dimensions, so that nothing waits for a GPU."""

    mean: Tensor
    below_one: Tensor  # the fraction of gates that inhibit
    saturated: Tensor  # the fraction so far below the threshold that the gate is within 1 % of 1 and hardly learns
    threshold: Tensor  # the mean, where examples or positions have their own; 0 without


@torch.no_grad()
def statistics(gate_BTK: Tensor, shifted_BTK: Tensor, threshold: Tensor | None) -> Statistics:
    """`shifted_BTK` is the signal minus the threshold, of which gelu makes the gate."""
    return Statistics(
        mean=gate_BTK.mean(),
        below_one=(gate_BTK < 1).float().mean(),
        saturated=(shifted_BTK < SATURATED_BELOW).float().mean(),
        threshold=gate_BTK.new_zeros(()) if threshold is None else threshold.mean(),
    )
