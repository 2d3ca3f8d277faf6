"""The order of training examples: a function of seed and epoch, and of nothing else.

transformers' length-grouped sampler draws from torch's global stream. Its order then depends on how many numbers
dropout took before; it cannot be repeated in the middle of an epoch; and the processes of a distributed run, whose
batches differ in length and so in dropout, shuffle apart: some examples come twice and some never.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_pt_utils import get_length_grouped_indices


class EpochSampler(Sampler[int], TrainerCallback):
    """A new permutation each epoch; with `group_by_length`, one whose batches hold examples of about equal length.

    A callback as well, since resumed distributed training does not tell its sampler the epoch.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, *, group_by_length: bool) -> None:
        self.lengths, self.batch_size, self.seed = lengths, batch_size, seed
        self.group_by_length = group_by_length
        self.epoch = 0

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.epoch = int(state.epoch or 0)

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order(self.epoch))

    def order(self, epoch: int) -> list[int]:
        # Seeds lie far apart: the second epoch of seed 1 is not the first of seed 2.
        generator = torch.Generator().manual_seed(self.seed * 2**20 + epoch)
        if self.group_by_length:
            return get_length_grouped_indices(self.lengths, self.batch_size, generator=generator)
        return torch.randperm(len(self), generator=generator).tolist()
