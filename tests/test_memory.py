"""What training takes in memory, against what models and checkpoints really take."""

from __future__ import annotations

import pytest
from transformers import BertConfig

from conftest import ROOT, TINY_DEMO
from gifine import cli, memory, models

SMALL = ["model.size=base", "model.config_overrides={num_hidden_layers: 2, hidden_size: 48}"]


@pytest.mark.parametrize("model", ["bert", "roberta", "deberta", "debertav3"])
@pytest.mark.parametrize("gates", [["gi=none"], ["gi.side=both"], ["gi.side=key", "gi.layers=1"]])
def test_counts_are_those_of_the_model_that_a_run_builds(model, gates):
    config = cli.config_from(cli.compose([f"model={model}", *SMALL, "model.random_init=true", *gates]))
    counted = memory.count(config)
    built = models.count_parameters(models.build(config.model, config.gi, labels=["no", "yes"]))
    assert (counted.parameters, counted.gates) == (built["total"], built["gates"])


def test_a_checkpoint_takes_on_disk_what_is_said(train):
    """But for the headers of its files, and a training state of some kilobytes."""
    result = train(*TINY_DEMO, "train.keep_checkpoints=true", "train.epochs=1")
    (checkpoint,) = (result.folder / "checkpoints").glob("checkpoint-*")
    files = {path.name: path.stat().st_size for path in checkpoint.iterdir()}
    said = memory.Footprint(result.record.parameters["total"], result.record.parameters["gates"])
    assert files["model.safetensors"] == pytest.approx(said.weights, rel=0.1)
    assert files["optimizer.pt"] == pytest.approx(said.optimizer, rel=0.3)
    assert said.checkpoint == said.weights + said.optimizer
    assert said.training == 4 * said.weights


@pytest.mark.long
def test_the_documents_have_the_table_that_the_command_prints():
    assert memory.table(memory.presets()) in (ROOT / "docs" / "memory.md").read_text()


def test_command_prints_a_line_for_each_run_and_refuses_what_is_wrong(capsys, tmp_path):
    def call(*words):
        return memory.main(words), *capsys.readouterr()

    code, out, _ = call("model=bert", "task=stsb")
    assert code == 0
    assert "giBERT-30-both stsb s42 | 435.9 M" in out
    code, out, _ = call("model=debertav3", "gi.layers=6,12")
    assert code == 0
    assert "giDeBERTaV3-30-both-last6 cola s42 | 460.3 M | 25.2 M" in out
    assert "giDeBERTaV3-30-both-last12" in out
    code, out, _ = call("model=debertav3", "model.size=base", "gi=none", "task=rtd")
    assert code == 0
    assert "326.8 M | 0.0 M" in out, "of the discriminator and of a generator with half of its layers"
    code, out, _ = call("model=bert", "model.size=base", "gi=none", "task=rtd", "recipe=rtd_electra_base")
    assert code == 0
    assert "119.4 M | 0.0 M" in out, "of BERT's 110 M, and of layers a third as wide below its embeddings"
    BertConfig(
        vocab_size=1000, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    ).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    code, out, _ = call("model=bert", f"model.init_from={tmp_path}", "gi=none")
    assert code == 0
    assert " | 0.1 M | 0.0 M | " in out, "of what it starts from, not of model.size"
    drawn = ["model=debertav3", "gi=none", "model.random_init=true", "model.tokenizer=demo"]
    for task in ("cola", "mlm"):
        code, out, _ = call(*drawn, f"task={task}")
        assert code == 0
        assert " | 30" in out, "without the published vocabulary's 131.1 M"
    code, _, err = call("model=bert", "model.checkpoint=someone/bert", "task=mlm")
    assert code == 2
    assert "task=mlm: the architecture is not known" in err
    code, out, err = call("model=nope")
    assert (code, out) == (2, "")
    assert err.startswith("error: model=nope: no such choice")
