"""The order of training examples: complete, of like lengths, and a function of seed and epoch alone."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import TrainerControl, TrainerState, TrainingArguments

from gifine.training.sampler import EpochSampler


def order(sampler: EpochSampler, epoch: float, tmp_path) -> list[int]:
    sampler.on_epoch_begin(TrainingArguments(str(tmp_path)), TrainerState(epoch=epoch), TrainerControl())
    return list(sampler)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=200), st.integers(1, 9), st.booleans())
def test_every_example_comes_once(lengths, batch_size, group_by_length):
    sampler = EpochSampler(lengths, batch_size, seed=1, group_by_length=group_by_length)
    assert sorted(sampler) == list(range(len(lengths)))
    assert len(sampler) == len(lengths)


def test_order_depends_on_seed_and_epoch_alone(tmp_path):
    for group_by_length in (False, True):
        lengths = [n % 7 + 1 for n in range(100)]
        one, other = (EpochSampler(lengths, 4, seed, group_by_length=group_by_length) for seed in (1, 1))
        first = order(one, 0, tmp_path)
        torch.rand(5)  # what dropout takes in between
        second = order(one, 1.0, tmp_path)
        assert first != second
        assert order(other, 1.5, tmp_path) == second, "resumed in the middle of the second epoch"
        assert order(other, 0, tmp_path) == first
        another_seed = EpochSampler(lengths, 4, 2, group_by_length=group_by_length)
        assert order(another_seed, 0, tmp_path) not in (first, second)


def test_grouped_batches_hold_little_padding():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(5, 60, (800,), generator=generator).tolist()

    def padding(sampler: EpochSampler) -> float:
        batches = torch.tensor(lengths)[list(sampler)].view(-1, 8)
        return (batches.max(dim=1).values * 8).sum().item() / sum(lengths)

    assert padding(EpochSampler(lengths, 8, seed=0, group_by_length=False)) > 1.4
    assert padding(EpochSampler(lengths, 8, seed=0, group_by_length=True)) < 1.1
