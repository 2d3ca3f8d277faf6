"""The classification head of a checkpoint: taken over for the same labels in whatever order, and never for others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    PreTrainedModel,
    set_seed,
)

from conftest import tiny_bert
from gifine.choices import Attention, GateInit, GateSide
from gifine.config import GiConfig, ModelConfig
from gifine.errors import ModelError
from gifine.inputs.families import FAMILIES, own_names
from gifine.models import build, family_classes, from_pretrained, layouts

TINY: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 50,
}
PLAIN = GiConfig(side=GateSide.none, level=0.0)
MNLI = ["entailment", "neutral", "contradiction"]
IDS = torch.tensor([[5, 6, 7, 8], [9, 8, 7, 6]])


def saved(folder: Path, family: str, labels: list[str], auto: Any = AutoModelForSequenceClassification) -> Any:
    set_seed(1)
    config = family_classes(family).plain_config(**own_names(TINY, family), id2label=dict(enumerate(labels)))
    model = auto.from_config(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return model


def built(folder: Path, labels: list[str], gi: GiConfig = PLAIN, seed: int = 7, **settings: Any) -> tuple[Any, str]:
    """The model and what the record says of its head."""
    set_seed(seed)
    told: dict[str, Any] = {}
    model = ModelConfig(
        name="tiny", family="bert", size="tiny", attention=Attention.hf, checkpoint=str(folder), **settings
    )
    return build(model, gi, labels=labels, provenance=told).eval(), told["head"]


def edit(folder: Path, **entries: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def head(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    own = f"{layouts.of(model).classifier}."
    return {name: value for name, value in model.state_dict().items() if name.startswith(own)}


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(params=FAMILIES)
def family(request) -> str:
    return request.param


@torch.no_grad()
def test_the_same_labels_in_another_order_and_case_give_the_same_logits(family, tmp_path, caplog):
    theirs = saved(tmp_path, family, ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"])
    with caplog.at_level("INFO", logger="gifine"):
        model, told = built(tmp_path, MNLI)
    assert torch.equal(model(IDS).logits, theirs(IDS).logits[:, [2, 1, 0]])
    assert told == "kept, its rows reordered: of the same labels, there CONTRADICTION, NEUTRAL, ENTAILMENT"
    assert told in caplog.text
    assert [model.config.id2label[row] for row in range(3)] == MNLI
    same, told = built(tmp_path, ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"])
    assert torch.equal(same(IDS).logits, theirs(IDS).logits)
    assert told == "kept, of the same labels"
    rolled, _ = built(tmp_path, ["neutral", "entailment", "contradiction"])
    assert torch.equal(rolled(IDS).logits, theirs(IDS).logits[:, [1, 2, 0]]), "not the inverse of the order"


@pytest.mark.parametrize("labels", [["a", "b", "c"], ["LABEL_0", "LABEL_1", "LABEL_2"], ["Neutral", "neutral", "x"]])
def test_other_labels_get_a_new_head_and_it_is_said(family, labels, tmp_path, caplog):
    theirs = saved(tmp_path, family, labels)
    with caplog.at_level("INFO", logger="gifine"):
        model, told = built(tmp_path, MNLI)
    assert all(not torch.equal(value, head(theirs)[name]) for name, value in head(model).items())
    assert f"left behind: its labels are {', '.join(labels)}, those of the task {', '.join(MNLI)}" in told
    assert told in caplog.text


def test_the_new_head_is_that_of_a_checkpoint_without_one_whatever_the_gates(family, tmp_path):
    """So that runs that are compared start alike, and so do those of a seed."""
    theirs = saved(tmp_path / "head", family, ["a", "b", "c"])
    if family == "bert":  # else the pooler is drawn before
        del theirs.classifier
        theirs.save_pretrained(tmp_path / "none")
        edit(tmp_path / "none", architectures=["BertModel"])
        bare, told = built(tmp_path / "none", MNLI)
        assert told == "new"
        assert same(head(bare), head(built(tmp_path / "head", MNLI)[0]))
    both = GiConfig(side=GateSide.both, level=0.3, init=GateInit.identity)
    gated, plain = built(tmp_path / "head", MNLI, both)[0], built(tmp_path / "head", MNLI)[0]
    state = torch.get_rng_state()
    assert all(torch.equal(gated.state_dict()[name], value) for name, value in plain.state_dict().items())
    with torch.no_grad():
        assert torch.equal(gated(IDS).logits, plain(IDS).logits)
    built(tmp_path / "head", MNLI, both)
    assert torch.equal(torch.get_rng_state(), state)
    other = head(built(tmp_path / "head", MNLI, seed=8)[0])
    assert all(not torch.equal(value, other[name]) for name, value in head(plain).items() if "weight" in name)


@pytest.mark.parametrize("said", [True, False], ids=["architectures", "names of weights"])
@pytest.mark.parametrize("auto", [AutoModelForTokenClassification, AutoModelForMultipleChoice])
def test_the_head_of_another_kind_of_model_is_left_behind(family, auto, said, tmp_path):
    if family_classes(family).plain_config not in auto._model_mapping:
        auto = AutoModelForTokenClassification  # DeBERTa's first version has no other
    labels = MNLI if auto is AutoModelForTokenClassification else ["LABEL_0"]
    theirs = saved(tmp_path, family, labels, auto)
    if not said:
        edit(tmp_path, architectures=None)
    if auto is AutoModelForMultipleChoice and not said:
        edit(tmp_path, id2label=None, label2id=None)  # as it has one row whatever config.json says
    model, told = built(tmp_path, labels if auto is AutoModelForTokenClassification else [])
    if family == "xlnet" and auto is AutoModelForTokenClassification:
        assert told == "new", "that head has another name than a sequence classifier's"
    else:
        assert told.startswith(f"new; {layouts.of(model).classifier}.")
    for name, value in head(model).items():
        assert name not in head(theirs) or not torch.equal(value, head(theirs)[name])


@pytest.mark.parametrize(
    "id2label",
    [
        ["contradiction", "neutral", "entailment"],
        {"contradiction": 0, "neutral": 1, "entailment": 2},
        {"contradiction": "0", "neutral": "1", "entailment": "2"},
        {"2": "entailment", "0": "contradiction", "1": "neutral"},
        None,
    ],
)
def test_labels_are_found_however_config_json_has_them(id2label, tmp_path):
    theirs = saved(tmp_path, "bert", ["contradiction", "neutral", "entailment"])
    edit(tmp_path, id2label=id2label, label2id={"contradiction": 0, "neutral": 1, "entailment": 2})
    model, told = built(tmp_path, MNLI)
    assert told.startswith("kept, its rows reordered")
    assert torch.equal(head(model)["classifier.bias"], head(theirs)["classifier.bias"][[2, 1, 0]])
    if id2label is not None:
        loaded = from_pretrained(tmp_path)
        assert loaded.config.id2label == {0: "contradiction", 1: "neutral", 2: "entailment"}


@pytest.mark.parametrize(
    "id2label", ["neutral", 3, {"0": "a", "2": "b"}, {"0": None, "x": "y"}, {"a": 0, "b": 0}, {"a": [1]}, [["a"], {}]]
)
def test_labels_that_cannot_be_read_are_another_head(id2label, tmp_path):
    saved(tmp_path, "bert", MNLI)
    edit(tmp_path, id2label=id2label, label2id=None)
    _, told = built(tmp_path, MNLI)
    assert told.startswith("new; classifier.")
    assert "id2label" in told or "its labels are" in told


def test_unnamed_labels_are_others(tmp_path):
    saved(tmp_path, "bert", ["a", "b"])
    edit(tmp_path, id2label=None, label2id=None)
    assert "its labels are LABEL_0, LABEL_1, those of the task no, yes" in built(tmp_path, ["no", "yes"])[1]
    edit(tmp_path, num_labels=1)
    with pytest.raises(ModelError, match=r"weights of another shape: classifier\.bias \(2,\), not \(1,\)"):
        built(tmp_path, [])  # a regression's, says config.json


def test_a_regression_keeps_its_head(family, tmp_path):
    theirs = saved(tmp_path, family, ["LABEL_0"])
    model, told = built(tmp_path, [])
    assert told == "kept, of the same labels"
    assert same(head(model), head(theirs))


def test_a_classifier_must_be_whole(tmp_path):
    theirs = saved(tmp_path, "bert", MNLI)
    del theirs.bert.pooler.dense
    theirs.save_pretrained(tmp_path)
    with pytest.raises(
        ModelError, match=r"weights that it lacks: bert\.pooler\.dense\.bias, bert\.pooler\.dense\.weight"
    ):
        built(tmp_path, MNLI)


def test_weights_without_a_place_in_a_layer_are_refused(tmp_path):
    """They belong to another architecture, which would be lost."""
    theirs = saved(tmp_path, "bert", MNLI)
    theirs.bert.encoder.layer[1].scale = torch.nn.Linear(2, 2)
    theirs.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"no place for: bert\.encoder\.layer\.1\.scale\.bias, "):
        built(tmp_path, MNLI)
    shallow, _ = built(tmp_path, MNLI, config_overrides={"num_hidden_layers": 1})
    assert len(shallow.bert.encoder.layer) == 1


def test_runs_record_what_became_of_the_head(train, tmp_path):
    """Of model.checkpoint and of model.init_from alike."""
    tiny_bert(tmp_path / "bert", 0)
    config = BertConfig.from_pretrained(tmp_path / "bert", id2label=dict(enumerate(["B", "A"])))
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "bert")
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"sentence": "the fox runs", "label": "ab"[n % 2]}) + "\n" for n in range(8)))
    files = [f"task.files.{split}={path}" for split in ("train", "validation")]
    task = ["task=cola", "data=hub", "task.metrics=[accuracy]", "task.select_by=accuracy", *files]
    words = [*task, "train.device=cpu", "train.max_steps=1", "train.max_length=16", "gi=none"]
    for source in ("checkpoint", "init_from"):
        result = train(*words, f"model.{source}={tmp_path / 'bert'}", "task.labels=[a,b]")
        assert result.record.provenance["head"] == "kept, its rows reordered: of the same labels, there B, A"
