"""The gate of Gate with Inhibition (giMLPs, arXiv 2208.00929): the maths, nothing else.

    s = select(gelu(inhibition(x)))        the inhibition signal, computed once
    t = level · max(s)                     the threshold; gradients flow through it
    gate = gelu(s − t) + 1                 never below 0.830, unbounded above

Shapes: B examples, T positions, D features of x, I features between the two projections, K features that are gated.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

Over = Literal["batch", "sequence", "token"]
OVER: tuple[Over, ...] = get_args(Over)


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
) -> Tensor:
    """What a projection of `hidden_BTD` is multiplied with: `gate_BTK`.

    `over` says how far the maximum reaches: the whole batch (the published formula; on several devices, the batch of
    each), an example, or a position. `real_BT` is True where a token is not padding; padding then is left out of the
    maximum. With `over="token"` that changes nothing.
    """
    inner_BTI = F.gelu(F.linear(hidden_BTD, inhibition_weight_ID, inhibition_bias_I))
    signal_BTK = F.linear(inner_BTI, select_weight_KI, select_bias_K)
    if level != 0:
        signal_BTK = signal_BTK - level * maximum(signal_BTK, over, real_BT)
    return F.gelu(signal_BTK) + 1


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
