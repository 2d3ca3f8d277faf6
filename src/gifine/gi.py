"""The gate of Gate with Inhibition (giMLPs, arXiv 2208.00929): the maths, nothing else.

    s = select(gelu(inhibition(x)))        the inhibition signal, computed once
    t = level · max(s)                     the threshold; gradients flow through it
    gate = gelu(s − t) + 1                 never below 0.830, unbounded above

Shapes: B examples, T positions, D features of x, I features between the two projections, K features that are gated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

Over = Literal["batch", "sequence", "token"]
OVER: tuple[Over, ...] = get_args(Over)
SATURATED_BELOW = -2.67  # gelu is above −0.01 from there on down


def gate(
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
    """What a projection of `hidden_BTD` is multiplied with: `gate_BTK`.

    `over` says how far the maximum reaches: the whole batch (the published formula; on several devices, the batch of
    each), an example, or a position. `real_BT` is True where a token is not padding; padding then is left out of the
    maximum. With `over="token"` that changes nothing. `watch` gets the gate's statistics.
    """
    inner_BTI = F.gelu(F.linear(hidden_BTD, inhibition_weight_ID, inhibition_bias_I))
    signal_BTK = F.linear(inner_BTI, select_weight_KI, select_bias_K)
    threshold = None
    if level != 0:
        threshold = level * maximum(signal_BTK, over, real_BT)
        signal_BTK = signal_BTK - threshold
    gate_BTK = F.gelu(signal_BTK) + 1
    if watch is not None:
        watch(statistics(gate_BTK, signal_BTK, threshold))
    return gate_BTK


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


def maximum(signal_BTK: Tensor, over: Over, real_BT: Tensor | None = None) -> Tensor:
    """The largest signal of each batch, example or position, in a shape that broadcasts against `signal_BTK`.

    The gradient goes to one position (`max` by index), also where several tie; `torch.amax` and `torch.max()` would
    share it among them. Ties matter in one place only: with `select` at zero every signal is 0. Where padding is left
    out and nothing is left, the maximum is 0.
    """
    peak_BT = signal_BTK.max(dim=-1).values
    if over == "token":
        return peak_BT[:, :, None]
    if real_BT is not None:
        peak_BT = peak_BT.masked_fill(~real_BT, -torch.inf)
    if over == "batch":
        peak = peak_BT.flatten().max(dim=0).values
    elif over == "sequence":
        peak = peak_BT.max(dim=1).values[:, None, None]
    else:
        raise ValueError(f"over='{over}': valid are {', '.join(OVER)}")
    return peak.masked_fill(peak == -torch.inf, 0.0) if real_BT is not None else peak
