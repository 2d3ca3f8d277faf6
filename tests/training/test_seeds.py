"""Streams of random numbers apart: each key moves its own stream and no other, and none at the seed's own value."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch

from conftest import TINY_DEMO
from gifine import changes
from gifine.models.change_config import is_change
from gifine.runs import replicate
from gifine.training import callbacks
from gifine.training.sampler import EpochSampler

SEED = [*TINY_DEMO, "seed=3"]
RUN = [*SEED, "gi=both", "train.save_model=true"]
FILES = ["model/model.safetensors", "predictions-validation.parquet", "metrics.jsonl"]


@pytest.fixture
def drawn(train, monkeypatch):
    """What a run draws from each stream, as hashes: before its first step, and in it."""
    seen: dict[str, str] = {}

    def digest(values: list[Any]) -> str:
        return hashlib.sha256(b"".join(torch.as_tensor(each).numpy().tobytes() for each in values)).hexdigest()

    def look_at_order(self):
        order = [*iterate(self)]
        seen["order"] = digest([order])
        return iter(order)

    def look(self, args, state, control, *, model, **kwargs):
        parameters = {name: each.detach().clone() for name, each in model.named_parameters()}
        seen["change"] = digest([each for name, each in parameters.items() if is_change(name)])
        seen["head"] = digest([each for name, each in parameters.items() if "classifier" in name])
        seen["backbone"] = digest([each for name, each in parameters.items() if "query.weight" in name])
        seen["dropout"] = digest([torch.get_rng_state()])

    iterate = EpochSampler.__iter__
    monkeypatch.setattr(EpochSampler, "__iter__", look_at_order)
    monkeypatch.setattr(callbacks.Bar, "on_train_begin", look)

    def run(*words: str, base: list[str] = RUN) -> dict[str, str]:
        train(*base, "train.max_steps=1", *words)
        return dict(seen)

    return run


def test_each_key_moves_its_own_stream_alone(drawn):
    before = drawn()
    for name in replicate.STREAMS:
        after = drawn(f"seeds.{name}=8")
        moved = {key for key in before if before[key] != after[key]}
        # With random weights the backbone is drawn as the head is.
        assert moved == ({"head", "backbone"} if name == "head" else {name})


def test_all_keys_together_are_another_seed(drawn):
    every = [f"seeds.{name}=8" for name in replicate.STREAMS]
    assert drawn(*every) == drawn("seed=8")


@pytest.mark.long
def test_arms_of_a_seed_differ_in_their_change_alone(drawn, monkeypatch):
    after: list[bytes] = []  # what torch would draw next: each arm has drawn as much, for the same masks

    def look(self, args, state, control, **kwargs):
        after.append(torch.get_rng_state().numpy().tobytes())

    monkeypatch.setattr(callbacks.Bar, "on_step_end", look)
    plain = drawn("change=none", base=SEED)
    found = set()
    for name in changes.names():
        dropout = ["change.dropout=0.2"] if name in ("lora", "ina") else []
        arm = drawn(f"change={name}", *dropout, base=SEED)
        assert arm | {"change": plain["change"]} == plain, name
        found.add(arm["change"])
    assert len(found) == len(changes.names())
    assert len(after) == 1 + len(changes.names())
    assert len(set(after)) == 1


def test_a_stream_at_the_seeds_own_value_is_the_run_without_the_key(train, tmp_path):
    plain = train(*RUN)
    for name in replicate.STREAMS:
        again = train(*RUN, f"seeds.{name}=3", f"output_dir={tmp_path / name}")
        assert again.record.run_id == plain.record.run_id
        for file in FILES:
            assert (again.folder / file).read_bytes() == (plain.folder / file).read_bytes(), (name, file)


def test_a_run_that_was_stopped_goes_on_in_its_streams(train, tmp_path, monkeypatch):
    words = [*RUN, "seeds.order=5", "seeds.dropout=6", "seeds.head=7", "seeds.change=8", "train.save_steps=1"]
    whole = train(*words, f"output_dir={tmp_path / 'whole'}")
    stop = callbacks.Bar.on_step_end

    def at_step_three(self, args, state, control, **kwargs):
        if state.global_step == 3:
            raise KeyboardInterrupt
        return stop(self, args, state, control, **kwargs)

    monkeypatch.setattr(callbacks.Bar, "on_step_end", at_step_three)
    with pytest.raises(KeyboardInterrupt):
        train(*words, f"output_dir={tmp_path / 'stopped'}")
    monkeypatch.undo()
    again = train(*words, f"output_dir={tmp_path / 'stopped'}")
    assert again.record.resumed_at > 0
    for file in FILES[:2]:
        assert (again.folder / file).read_bytes() == (whole.folder / file).read_bytes(), file
