"""Budgets of tokens and of seconds."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gifine.choices import Schedule
from gifine.errors import DataError
from gifine.training import budget
from gifine.training.sampler import EpochSampler


@pytest.mark.parametrize("grouped", [False, True])
def test_tokens_are_counted_in_the_order_of_the_rows(grouped):
    lengths = np.random.default_rng(0).integers(3, 20, 23).tolist()
    sampler = EpochSampler(lengths, 4, seed=5, group_by_length=grouped)
    seen, total = [], 0
    for epoch in range(3):
        sampler.epoch = epoch
        order = iter(list(sampler))
        while batch := list(itertools.islice(order, 4)):
            total += sum(lengths[row] for row in batch)
            seen.append(total)
    sampler.epoch = 0
    assert [budget.tokens_in(steps, sampler) for steps in range(len(seen) + 1)] == [0, *seen]
    for tokens in range(1, total + 1):
        steps = budget.steps_for(tokens, sampler)
        assert seen[steps - 1] >= tokens
        assert steps == 1 or seen[steps - 2] < tokens


def test_a_budget_that_ends_before_the_warm_up_is_refused():
    train: Any = SimpleNamespace(max_tokens=100, warmup=4)
    budget.check(train, 5)
    train.warmup = 10
    with pytest.raises(DataError, match="spent after 4 steps, before the 10 of"):
        budget.check(train, 4)


def test_the_clock_leaves_evaluations_and_checkpoints_out(monkeypatch):
    now = iter([0.0, 2.0, 10.0, 13.0, 20.0, 24.0])
    monkeypatch.setattr(budget.time, "perf_counter", lambda: next(now))
    train: Any = SimpleNamespace(max_seconds=8.0, warmup=0.25, schedule=Schedule.linear)
    clock = budget.Clock(train)
    events: Any = SimpleNamespace(world_size=1), SimpleNamespace(), SimpleNamespace(should_training_stop=False)
    clock.on_train_begin(*events)
    assert clock.factor() == 0
    clock.on_step_end(*events)  # 2 s
    clock.on_evaluate(*events)  # until 10
    assert clock.factor() == 1
    clock.on_step_end(*events)  # 3 s
    clock.on_save(*events)  # until 20
    assert clock.seconds == 5
    assert clock.factor() == pytest.approx((8 - 5) / (8 - 2))
    assert (clock.reason, events[2].should_training_stop) == (None, False)
    clock.on_step_end(*events)  # 4 s
    assert clock.seconds == 9
    assert clock.factor() == 0
    assert (clock.reason, events[2].should_training_stop) == ("train.max_seconds=8 are spent", True)
