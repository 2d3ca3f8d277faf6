"""The peer of the benchmarks trains as gifine does: of equal batches, equal losses."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from transformers import BertConfig, DebertaV2Config, set_seed

from benchmarks import stock
from conftest import TINY_DEMO
from gifine import models
from gifine.changes.autograd import gate
from gifine.cli import compose, config_from
from gifine.errors import ExitCode
from gifine.inputs import dataset, tokenizers
from gifine.objectives import classification
from gifine.training.sampler import EpochSampler

STEPS, LENGTH, RATE = 50, 24, 3e-3
LIKE_STOCK = [
    *TINY_DEMO,
    f"data.demo_train_rows={8 * STEPS}",
    "train=original",
    "train.batch_size=8",
    "train.epochs=1",
    f"train.learning_rate={RATE}",
    f"train.max_length={LENGTH}",
    "train.log_steps=1",
]
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
LEARNS = {"initializer_range": 0.2}  # else nothing happens in so few steps
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def overrides(**entries: Any) -> str:
    return f"model.config_overrides={{{', '.join(f'{key}: {value}' for key, value in entries.items())}}}"


@pytest.mark.long
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("side", ["both", "none"])
@pytest.mark.parametrize("name", ["bert", "debertav3"])
def test_losses_of_fifty_steps_are_those_of_the_peer(train, cache, tmp_path, name, side):
    words = [
        *LIKE_STOCK,
        f"model={name}",
        "model.tokenizer=demo",
        f"gi.side={side}",
        overrides(**SIZE, **LEARNS, **NO_DROPOUT),
    ]
    result = train(*words)
    assert result.code == ExitCode.DONE
    lines = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    ours = [line["loss"] for line in lines if "loss" in line]

    config = config_from(compose([*words, f"data.cache_dir={cache}"]))
    tokenizer = tokenizers.load_for(config.model)
    rows = dataset.Reader(config).load(tokenizer, classification)["train"].examples
    set_seed(config.seed)
    pad = tokenizer.pad_token_id
    assert isinstance(pad, int)
    labels, vocabulary = config.task.labels, len(tokenizer)
    started = models.build(config.model, config.gi, labels=labels, vocab_size=vocabulary, pad_token_id=pad)
    entries = {key: value for key, value in started.config.to_dict().items() if not key.startswith("gi_")}
    entries["hidden_act"] = "gelu"  # ours is marked
    plain = BertConfig if name == "bert" else DebertaV2Config
    peer = stock.build(plain.from_dict(entries), gated=side == "both", level=config.gi.level)
    if side == "both":
        stock.copy_weights(peer, started.state_dict())
    else:
        peer.load_state_dict(started.state_dict())

    order = EpochSampler(rows["length"][:], 8, config.seed, group_by_length=False)
    examples = stock.padded([rows[place] for place in order], LENGTH, pad)
    options = {
        "num_train_epochs": 1,
        "logging_steps": 1,
        "learning_rate": RATE,
        "train_sampling_strategy": "sequential",
    }
    trainer = stock.trainer(peer, examples, tmp_path / "peer", **options)
    trainer.train()
    theirs = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert len(ours) == len(theirs) == STEPS
    assert max(ours) - min(ours) > 0.1, "else nothing was learned, and the test says nothing"
    assert ours == pytest.approx(theirs, rel=1e-10)


def test_select_is_computed_twice_and_the_gate_is_that_of_the_formula():
    torch.manual_seed(0)
    linear = torch.nn.Linear(4, 6)
    gated, calls = stock.GatedProjection(linear, 0.3), []
    gated.select.register_forward_hook(lambda *_: calls.append(1))
    hidden_BTD = torch.randn(2, 3, 4)
    found = gated(hidden_BTD)
    assert len(calls) == 2
    parts = (gated.inhibition.weight, gated.inhibition.bias, gated.select.weight, gated.select.bias)
    torch.testing.assert_close(found, gate.gated(linear(hidden_BTD), hidden_BTD, *parts, level=0.3))
    gated.gating = False
    assert torch.equal(gated(hidden_BTD), linear(hidden_BTD))


def test_positions_of_deberta_are_not_gated():
    relative = {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"]}
    config = DebertaV2Config.from_dict({**SIZE, **relative, "vocab_size": 20, "share_att_key": True})
    model = stock.build(config, gated=True)
    gate = model.get_submodule("deberta.encoder.layer.0.attention.self.key_proj")
    assert isinstance(gate, stock.GatedProjection)
    gated_lengths: list[int] = []
    gate.inhibition.register_forward_hook(lambda _, inputs, __: gated_lengths.append(inputs[0].shape[1]))
    projected_lengths: list[int] = []
    gate.projection.register_forward_hook(lambda _, inputs, __: projected_lengths.append(inputs[0].shape[1]))
    model(input_ids=torch.ones(2, 5, dtype=torch.long))
    assert gated_lengths == [5]
    assert projected_lengths == [5, 16]
