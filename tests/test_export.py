"""`gifine export`: whole weights of runs, the change as it is or merged, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertForSequenceClassification

from conftest import TINY_DEMO, tiny_bert
from gifine import export
from gifine.errors import ExitCode
from gifine.models import from_pretrained


@pytest.fixture
def over(train, tmp_path):
    """Train over a tiny BERT: a change alone, or all."""
    tiny_bert(tmp_path / "bert", seed=0)

    def run(*words: str) -> Path:
        own = ["model.random_init=false", "model.tokenizer=null", "model.config_overrides={}"]
        more = [f"model.checkpoint={tmp_path / 'bert'}", "train.save_model=true", "train.max_steps=2"]
        result = train(*TINY_DEMO, *own, *more, "train.learning_rate=0.1", *words)
        return result.folder

    return run


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(6).view(2, 3) + 5).logits


def test_lora_becomes_a_plain_bert(over, tmp_path, capsys):
    run = over("change=lora", "train.parameters=change")
    assert export.main([str(run), "--out", str(tmp_path / "merged"), "--merged"]) == ExitCode.DONE
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{tmp_path / 'merged'}: bert, logits within ")
    plain = BertForSequenceClassification.from_pretrained(tmp_path / "merged")
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["model_type"] == "bert"
    ours = from_pretrained(run / "model", whole=True)
    torch.testing.assert_close(logits(plain), logits(ours), rtol=0, atol=1e-5)
    base = BertForSequenceClassification.from_pretrained(tmp_path / "bert")
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(plain.state_dict()[name], base.state_dict()[name])
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert tokenizer is not None
    assert tokenizer.get_vocab()


def test_gates_are_written_whole_and_not_merged(over, tmp_path, capsys):
    run = over("train.parameters=change")
    assert export.main([str(run), "--out", str(tmp_path / "merged"), "--merged"]) == ExitCode.BAD_INPUT
    said = capsys.readouterr().err
    assert "change gi, key of layer 0: it is no linear function of what it changes" in said
    assert "--full writes the weights as they are" in said
    assert not (tmp_path / "merged").exists()
    assert export.main([str(run), "--out", str(tmp_path / "full"), "--full"]) == ExitCode.DONE
    entries = json.loads((tmp_path / "full" / "config.json").read_text())
    assert entries["model_type"] == "gi_bert"
    assert "trained_over" not in entries
    whole = AutoModelForSequenceClassification.from_pretrained(tmp_path / "full")
    assert torch.equal(logits(whole), logits(from_pretrained(run / "model")))
    assert load_file(tmp_path / "full" / "model.safetensors").keys() == whole.state_dict().keys()


@pytest.mark.long
def test_biases_over_a_plain_model_become_one(over, tmp_path):
    run = over("gi=none", "train.parameters=bias")
    for form in ("full", "merged"):
        assert export.main([str(run), "--out", str(tmp_path / form), f"--{form}"]) == ExitCode.DONE
        plain = BertForSequenceClassification.from_pretrained(tmp_path / form)
        assert torch.equal(logits(plain), logits(from_pretrained(run / "model")))


def test_bad_input_is_told(over, tmp_path, capsys):
    run = over("change=lora", "train.parameters=change")
    for words, said in (
        ([str(run), "--out", str(run), "--full"], "is there already"),
        ([str(tmp_path), "--out", str(tmp_path / "x"), "--full"], "no run's folder"),
        ([str(run), "--out", str(tmp_path / "x")], "one of the arguments --full --merged is required"),
    ):
        assert export.main(words) == ExitCode.BAD_INPUT
        assert said in capsys.readouterr().err
    tiny_bert(tmp_path / "other", seed=1)
    words = [str(run), "--out", str(tmp_path / "x"), "--merged", "--base", str(tmp_path / "other")]
    assert export.main(words) == ExitCode.BAD_INPUT
    assert "was trained over other weights" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
