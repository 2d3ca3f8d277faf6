"""Word embeddings of which only the rows that occur are trained: the same training and model, and less of the rest."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from conftest import TINY_DEMO
from gifine import data, tokenization
from gifine.cli import compose, config_from
from gifine.errors import ExitCode
from gifine.models import _embedding_rows as rows

SAVED = [*TINY_DEMO, "train.save_model=true"]
DENSE = [*SAVED, "train.embedding_rows=all", "overwrite=true"]


def weights(result) -> dict[str, Tensor]:
    assert result.code == ExitCode.DONE
    return load_file(result.folder / "model" / "model.safetensors")


def occurring(*words: str) -> set[int]:
    config = config_from(compose([*words]))
    tokenizer = tokenization.load_for(config.model)
    return data.tokens(data.load(config.task, config.data, tokenizer, config.train.max_length)) | {
        tokenizer.pad_token_id or 0
    }


def losses(result) -> list[float]:
    lines = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.parametrize("decay", [0, 0.1])
def test_a_run_is_the_same_bit_for_bit_without_clipping(train, cache, decay):
    words = [f"train.weight_decay={decay}", "train.max_grad_norm=0"]
    sparse = train(*SAVED, *words)
    found = weights(sparse)
    dense = train(*DENSE, *words)
    expected = weights(dense)
    assert sparse.record.run_id == dense.record.run_id
    assert sparse.record.metrics == dense.record.metrics
    assert found.keys() == expected.keys()
    (name,) = (name for name in expected if name.endswith("word_embeddings.weight"))
    kept = torch.tensor(sorted(occurring(*SAVED, f"data.cache_dir={cache}")))
    others = torch.ones(len(expected[name]), dtype=torch.bool).index_fill(0, kept, value=False)
    assert others.sum() > 20, "else the test says nothing"
    for key in expected:
        if key != name or decay == 0:
            assert torch.equal(found[key], expected[key]), key
    assert torch.equal(found[name][kept], expected[name][kept])
    torch.testing.assert_close(found[name][others], expected[name][others], rtol=1e-6, atol=0)


@pytest.mark.usefixtures("float64")
def test_with_clipping_losses_are_the_same_to_rounding(train):
    words = ["train.max_grad_norm=0.05"]
    sparse = losses(train(*SAVED, *words))
    assert sparse == pytest.approx(losses(train(*DENSE, *words)), rel=1e-10)


def test_checkpoints_hold_the_rows_that_occur(train, cache):
    result = train(*SAVED, "train.keep_checkpoints=true")
    (checkpoint, *_) = (result.folder / "checkpoints").glob("checkpoint-*")
    found = load_file(checkpoint / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    assert len(found) == len(occurring(*SAVED, f"data.cache_dir={cache}"))
    moments = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
    assert any(state["exp_avg"].shape == found.shape for state in moments.values())


def test_the_rows_of_padding_and_of_what_does_not_occur():
    size = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 4}
    model = BertForSequenceClassification(BertConfig(vocab_size=10, pad_token_id=7, **size))
    whole = model.get_input_embeddings()
    rows.keep(model, [9, 2, 3])
    kept = model.get_input_embeddings()
    assert isinstance(whole, nn.Embedding)
    assert isinstance(kept, rows.OccurringRows)
    assert kept.weight.shape == (4, 4)
    ids = torch.tensor([[2, 3, 9, 7], [3, 3, 7, 7]])
    assert torch.equal(kept(ids), whole(ids))
    kept(ids).sum().backward()
    assert kept.weight.grad is not None
    assert [bool(row.any()) for row in kept.weight.grad] == [True, True, False, True], "padding has none"
    with pytest.raises(IndexError):
        kept(torch.tensor([4]))
    before = whole.weight.clone()
    with torch.no_grad():
        kept.weight.add_(1)
    rows.restore(model, 0.5)
    after = model.get_input_embeddings()
    assert isinstance(after, nn.Embedding)
    assert not isinstance(after, rows.OccurringRows)
    assert torch.equal(after.weight[[2, 3, 7, 9]], before[[2, 3, 7, 9]] + 1)
    assert torch.equal(after.weight[[0, 1, 4, 5, 6, 8]], before[[0, 1, 4, 5, 6, 8]] / 2)
