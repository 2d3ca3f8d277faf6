"""The loss of spans: cross-entropy of the first and of the last token, over the tokens that there are.

transformers' models take it over the padding as well: there an example's loss depends on the longest of its batch. Of a
batch without padding both are the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from gifine.objectives.question_answering.windows import NOT_LEARNT


class SpanLoss:
    def __init__(self) -> None:
        self.class_weights: dict[str, float] = {}

    def of(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], total: Tensor | None) -> Tensor:
        """The mean of both ends, summed over windows and divided by `total`, their number in the step."""
        padding_BT = ~batch["attention_mask"].bool()
        losses = [
            F.cross_entropy(
                outputs[f"{end}_logits"].float().masked_fill(padding_BT, -torch.inf),
                batch[f"{end}_positions"],
                reduction="sum",
                ignore_index=NOT_LEARNT,
            )
            for end in ("start", "end")
        ]
        count = self.weight_of(batch) if total is None else total
        return (losses[0] + losses[1]) / 2 / count.clamp(min=1)  # of an evaluated batch no answer may be known

    def weight_of(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The number of windows of which the answer is known."""
        return (batch["start_positions"] != NOT_LEARNT).sum().float()
