"""When pre-training ends, if not by epochs or steps: after so many tokens, or so many seconds.

Tokens are word pieces of training rows, special ones included and padding left out. How many a step has is known before
it trains, from the order of the rows: a budget of tokens is a number of steps, the same whenever a run was stopped.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gifine.choices import Schedule
from gifine.config import TrainConfig
from gifine.errors import DataError
from gifine.training.sampler import EpochSampler

NO_END = 10**9  # epochs of a run that train.max_seconds ends: it has at least as many steps planned


def known_end(steps: int) -> int | None:
    """How many steps training will have, of those that the Trainer plans; None if a clock ends it."""
    return None if steps >= NO_END else steps


def place(step: int, steps: int, between: str = " of ") -> str:
    """A step, and of how many it is, where that is known: `7 of 60`."""
    return str(step) if known_end(steps) is None else f"{step}{between}{steps}"


def steps_for(tokens: int, sampler: EpochSampler) -> int:
    """The first step, counted from 1, after which training has seen at least so many tokens."""
    epochs, rest = divmod(tokens - 1, int(np.sum(sampler.lengths)))
    ends = np.cumsum(_by_step(sampler, epochs))
    return epochs * len(ends) + int(np.searchsorted(ends, rest + 1)) + 1


def tokens_in(steps: int, sampler: EpochSampler) -> int:
    """How many tokens training has seen after so many steps."""
    epochs, rest = divmod(steps, math.ceil(len(sampler) / sampler.batch_size))
    return epochs * int(np.sum(sampler.lengths)) + int(_by_step(sampler, epochs)[:rest].sum())


def _by_step(sampler: EpochSampler, epoch: int) -> np.ndarray:
    """The tokens of each step of an epoch."""
    lengths = np.asarray(sampler.lengths, dtype=np.int64)[sampler.order(epoch)]
    return np.add.reduceat(lengths, np.arange(0, len(lengths), sampler.batch_size))


def check(train: TrainConfig, steps: int) -> None:
    """
    Raises:
        DataError: for pre-training of so many steps that is over before its warm-up.
    """
    if train.warmup >= 1 and steps <= train.warmup:
        end = f"epochs={train.epochs:g}" if train.max_tokens is None else f"max_tokens={train.max_tokens}"
        raise DataError(
            f"train.{end}: spent after {steps} steps, before the {train.warmup:g} of train.warmup are over; give more, "
            "or a shorter warm-up"
        )


class Clock(TrainerCallback):
    """Counts the seconds of training: between the ends of steps, without evaluation and checkpoints.

    With `train.max_seconds` it ends training with the step that has spent them; `reason` then says so, and `schedule`
    has the learning rate by time. The processes of a run go by the slowest.
    """

    def __init__(self, train: TrainConfig | None = None) -> None:
        self.train, self.seconds = train, 0.0
        self.budget = None if train is None else train.max_seconds
        self.reason: str | None = None
        self._since = 0.0

    @property
    def spent(self) -> float:
        """The share of the budget, 0 … 1."""
        return 0.0 if self.budget is None else min(1.0, self.seconds / self.budget)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._since = time.perf_counter()
        self._judge(control)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        now = time.perf_counter()
        self.seconds += now - self._since
        self._since = now
        if self.budget is not None and args.world_size > 1:
            slowest = torch.tensor(self.seconds, dtype=torch.float64, device=args.device)
            torch.distributed.all_reduce(slowest, torch.distributed.ReduceOp.MAX)
            self.seconds = slowest.item()
        self._judge(control)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._since = time.perf_counter()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._since = time.perf_counter()

    def _judge(self, control: TrainerControl) -> None:
        if self.budget is not None and self.seconds >= self.budget:
            self.reason = f"train.max_seconds={self.budget:g} are spent"
            control.should_training_stop = True

    def schedule(self, optimizer: Optimizer) -> LambdaLR:
        """The learning rate by the share of time that is spent, as `train.schedule` has it by steps."""
        return LambdaLR(optimizer, lambda step: self.factor())

    def factor(self) -> float:
        """Of the highest learning rate, now."""
        assert self.train is not None
        spent, warmup = self.spent, self.train.warmup
        if spent < warmup:
            return spent / warmup
        left = (1 - spent) / (1 - warmup)
        shapes = {Schedule.linear: left, Schedule.cosine: (1 - math.cos(math.pi * left)) / 2, Schedule.constant: 1.0}
        return shapes[self.train.schedule]
