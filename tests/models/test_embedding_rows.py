"""Word embeddings of which only the rows that occur are trained: the same training and model, and less of the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, set_seed

from conftest import TINY_DEMO, tiny_bert
from gifine import evaluate, predict
from gifine.choices import GateSide
from gifine.cli import compose, config_from
from gifine.config import GiConfig, ModelConfig
from gifine.errors import ConfigError, ExitCode, ModelError
from gifine.inputs import dataset, demo, tokenizers
from gifine.models import build
from gifine.models.speedups import embedding_rows as rows
from gifine.objectives import classification
from gifine.runs import identity

SAVED = [*TINY_DEMO, "train.save_model=true"]
DENSE = [*SAVED, "train.embedding_rows=all", "overwrite=true"]


def weights(result) -> dict[str, Tensor]:
    assert result.code == ExitCode.DONE
    return load_file(result.folder / "model" / "model.safetensors")


def occurring(*words: str) -> set[int]:
    config = config_from(compose([*words]))
    tokenizer = tokenizers.load_for(config.model)
    return dataset.tokens(dataset.Reader(config).load(tokenizer, classification)) | {tokenizer.pad_token_id or 0}


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


WORDS = ["zyzzyva", "quokka"]


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Path:
    """A checkpoint whose tokenizer has two tokens more than it, and the last of them in the data."""
    folder = tmp_path_factory.mktemp("short")
    tiny_bert(folder / "bert", 0)
    tokenizer = demo.tokenizer()
    tokenizer.add_tokens(WORDS)
    tokenizer.save_pretrained(folder / "bert")
    rows = [{"sentence": f"the fox {WORDS[n % 2]}", "label": n % 2} for n in range(16)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def resized(short: Path, *words: str) -> list[str]:
    files = [f"task.files.{split}={short / 'rows.jsonl'}" for split in ("train", "validation", "test")]
    task = ["task=cola", "data=hub", "task.metrics=[accuracy]", "task.select_by=accuracy", *files]
    values = ["device=cpu", "max_steps=1", "max_length=16", "save_model=true", "learning_rate=1e-12", "weight_decay=0"]
    return [*task, f"model.checkpoint={short / 'bert'}", *(f"train.{value}" for value in values), *words]


def test_tokens_that_a_checkpoint_lacks_get_rows_of_their_own(train, short, tmp_path, capsys):
    with pytest.raises(ModelError, match=r"its tokenizer has \d+; model\.resize_embeddings=true adds untrained rows"):
        train(*resized(short))
    name = "bert.embeddings.word_embeddings.weight"
    theirs = load_file(short / "bert" / "model.safetensors")["embeddings.word_embeddings.weight"]
    found = {}
    for side, seed in (("none", 1), ("both", 1), ("none", 2)):
        result = train(*resized(short, "model.resize_embeddings=true", f"gi.side={side}", f"seed={seed}"))
        found[side, seed] = weights(result)
        assert result.record.provenance["embeddings"] == {"rows": len(theirs) + 2, "new": 2}
        torch.testing.assert_close(found[side, seed][name][:-2], theirs, atol=1e-6, rtol=0)
    new = {key: found[key][name][-2:] for key in found}
    assert 0.005 < new["none", 1].std() < 0.05, "drawn as the others were: N(0, 0.02)"
    torch.testing.assert_close(new["none", 1], new["both", 1], atol=1e-6, rtol=0)
    assert not torch.allclose(new["none", 1], new["none", 2], atol=1e-3)

    config = json.loads((result.folder / "model" / "config.json").read_text())
    assert config["vocab_size"] == len(theirs) + 2
    assert evaluate.main([str(result.folder)]) == ExitCode.DONE, capsys.readouterr().err
    assert predict.main([str(result.folder), "--out", str(tmp_path / "out")]) == ExitCode.DONE, capsys.readouterr().err
    again = train(*resized(short), "model.checkpoint=null", f"model.init_from={result.folder}")
    torch.testing.assert_close(weights(again)[name], found["none", 2][name], atol=1e-6, rtol=0)


def test_new_rows_leave_the_head_and_the_random_numbers_alone(short):
    heads, states = [], []
    for tokens in (None, 200):
        set_seed(3)
        model = ModelConfig(
            name="tiny", family="bert", size="tiny", checkpoint=str(short / "bert"), resize_embeddings=True
        )
        built = build(model, GiConfig(side=GateSide.none, level=0.0), labels=["a", "b"], vocab_size=tokens)
        heads.append(built.get_parameter("classifier.weight"))
        states.append(torch.get_rng_state())
    assert torch.equal(*heads)
    assert torch.equal(*states)


def test_resizing_is_in_the_run_id_only_where_it_is_asked_for(short):
    plain, asked = (config_from(compose(resized(short, *words))) for words in ([], ["model.resize_embeddings=true"]))
    assert identity.run_id(plain) != identity.run_id(asked)
    assert "resize_embeddings" not in identity.deciding(identity.to_dict(plain), {})["model"]
    words = ["model.random_init=true", "model.resize_embeddings=true", "model.tokenizer=demo"]
    with pytest.raises(ConfigError, match=r"model\.resize_embeddings=true: with model\.random_init=true"):
        config_from(compose(words))
