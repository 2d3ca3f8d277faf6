"""What ends training before its last step: scores that get no better, and signals."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gifine.machine import signals


class Patience(TrainerCallback):
    """Ends training after `evaluations` in a row whose `key` is not above the best one; `reason` then says so.

    It is told from what the Trainer has logged, which a checkpoint holds: a run that goes on waits no longer than one
    that was not stopped.
    """

    def __init__(self, evaluations: int, key: str, name: str) -> None:
        self.evaluations, self.key, self.name = evaluations, key, name
        self.reason: str | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._judge(state, control)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        metrics: dict[str, float] = kwargs["metrics"]
        if self.key not in metrics:
            return  # of another split
        best = -math.inf if state.best_metric is None else state.best_metric
        if not metrics[self.key] > best:  # NaN, too, is no better
            self._judge(state, control)

    def _judge(self, state: TrainerState, control: TrainerControl) -> None:
        since = state.best_global_step or 0
        waited = sum(self.key in entry and entry["step"] > since for entry in state.log_history)
        if waited >= self.evaluations:
            self.reason = f"no better {self.name} in {waited} evaluations since step {since}"
            control.should_training_stop = True


class Interruption(TrainerCallback):
    """Saves every `save_steps`, and on SIGTERM, SIGUSR1 or SIGUSR2 saves and stops at the end of the step.

    At the end of an epoch its evaluation still belongs to it, so training stops after that; in the middle, the Trainer
    would end the epoch with an evaluation that undisturbed training does not have.
    """

    def __init__(self, save_steps: int | None) -> None:
        self.save_steps = save_steps
        self.signalled = False
        self.in_mid_epoch = False

    def listening(self) -> AbstractContextManager[None]:
        """Take the signals' handlers for the time of a `with` block."""

        def note(number: int, frame: FrameType | None) -> None:
            self.signalled = True

        return signals.handled(note)

    def agreed(self, args: TrainingArguments) -> bool:
        """Whether any process was signalled: all have to ask, and get the same answer.

        A signal that comes while they ask is not in it, but stays in `signalled`, and is in the next one.
        """
        if args.world_size == 1:
            return self.signalled
        votes = torch.tensor(float(self.signalled), device=args.device)
        torch.distributed.all_reduce(votes)
        return bool(votes.item())

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        mid_epoch = bool(float(state.epoch or 0) % 1)
        if mid_epoch and self.save_steps is not None and state.global_step % self.save_steps == 0:
            control.should_save = True  # the last step of an epoch is saved with its evaluation
        if mid_epoch and self.agreed(args):
            self.in_mid_epoch = True
            control.should_save = control.should_training_stop = True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.in_mid_epoch:
            control.should_evaluate = control.should_save = False
        elif self.agreed(args):
            control.should_save = control.should_training_stop = True
