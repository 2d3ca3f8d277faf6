"""What trains, and models saved without what does not: names, gradients, what a step keeps, and their bases."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from transformers import AutoModelForSequenceClassification, set_seed

from gifine.choices import Attention, GateSide, Parameters
from gifine.config import GiConfig
from gifine.errors import ModelError
from gifine.models import bases, build, family_classes, from_pretrained, frozen, layouts, pretrained
from gifine.models.change_config import is_change
from support.tiny_models import (
    ARCHITECTURE,
    BOTH,
    FAMILIES,
    LABELS,
    NONE,
    ROUNDING,
    logits_of,
    make_batch,
    model_config,
    trained_names,
)

BASE_SEED = 5
ON_TOP = {
    "bert": {"classifier.weight", "classifier.bias"},
    "roberta": {f"classifier.{part}.{name}" for part in ("dense", "out_proj") for name in ("weight", "bias")},
    "deberta": {f"{part}.{name}" for part in ("pooler.dense", "classifier") for name in ("weight", "bias")},
}
ON_TOP["deberta_v2"] = ON_TOP["deberta"]
ON_TOP["xlnet"] = {
    f"{part}.{name}" for part in ("sequence_summary.summary", "logits_proj") for name in ("weight", "bias")
}


@pytest.fixture(scope="module")
def bases_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A pretrained encoder of each family: no head, and no pooler where the family's encoders have none."""
    found = {family: tmp_path_factory.mktemp(family) for family in FAMILIES}
    for family, folder in found.items():
        encoder(family, BASE_SEED).save_pretrained(folder)
    return found


def encoder(family: str, seed: int) -> Any:
    set_seed(seed)
    classes = family_classes(family)
    return classes.plain_classifier(classes.plain_config(**ARCHITECTURE[family])).base_model


def trained_over(
    base: Path, family: str, parameters: Parameters, gi: GiConfig = BOTH, attention: Attention = Attention.hf
) -> Any:
    """As a run builds it, and names its base."""
    model = model_config(family, random_init=False, checkpoint=str(base), attention=attention)
    set_seed(1)
    built = build(model, gi, labels=LABELS, parameters=parameters)
    if parameters is not Parameters.all:
        built.config.trained_over = bases.describe(model, model, frozen(built))
    return built


@pytest.mark.parametrize("family", FAMILIES)
def test_the_change_trains_with_head_and_the_poolers_that_no_checkpoint_has(bases_of, family):
    model = trained_over(bases_of[family], family, Parameters.change)
    gates = {name for name, _ in model.named_parameters() if is_change(name)}
    assert len(gates) == 3 * 2 * 4
    assert trained_names(model) == ON_TOP[family] | gates
    assert trained_names(trained_over(bases_of[family], family, Parameters.change, NONE)) == ON_TOP[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_biases_are_those_of_bitfit_beside_the_whole_change(bases_of, family):
    model = trained_over(bases_of[family], family, Parameters.bias)
    gates = {name for name, _ in model.named_parameters() if is_change(name)}
    biases = {name for name, _ in model.named_parameters() if "bias" in name}
    own = {"deberta": {"q_bias", "v_bias"}, "xlnet": {"r_w_bias", "r_r_bias", "r_s_bias"}}
    assert {name.rpartition(".")[2] for name in biases} == {"bias"} | own.get(family, set())
    assert gates - biases
    assert trained_names(model) == ON_TOP[family] | biases | gates


def test_the_pooler_trains_where_a_bert_has_none(bases_of, tmp_path):
    """As in checkpoints of masked language models."""
    whole = encoder("bert", BASE_SEED)
    tensors = {name: tensor for name, tensor in whole.state_dict().items() if "pooler" not in name}
    whole.save_pretrained(tmp_path, state_dict=tensors)
    pooler = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    assert trained_names(trained_over(tmp_path, "bert", Parameters.change, NONE)) == ON_TOP["bert"] | pooler


@pytest.mark.shared
@pytest.mark.parametrize("family", ["bert", "deberta_v2"])
def test_bitfit_trains_as_its_numbers_say(shared, tmp_path, family):
    golden = shared / "golden" / "changes" / family
    expected = json.loads((golden / "summary.json").read_text())["bitfit"]
    classes = family_classes(family)
    config = classes.plain_config(**json.loads((golden / "config.json").read_text()))
    whole = classes.plain_classifier(config)
    whole.load_state_dict(load_file(golden / "state.safetensors"))
    whole.save_pretrained(tmp_path)
    model = model_config(family, random_init=False, checkpoint=str(tmp_path), attention=Attention.hf)
    labels = [f"LABEL_{index}" for index in range(3)]
    built = build(model, NONE, labels=labels, parameters=Parameters.bias).double().eval()
    sizes = {name: parameter.numel() for name, parameter in built.named_parameters() if parameter.requires_grad}
    assert [*sizes] == expected["trainable"]
    assert sizes == expected["numel"]
    inputs = load_file(golden / "inputs.safetensors")
    batch = {name.partition(".")[2]: tensor for name, tensor in inputs.items() if name.startswith("padded.")}
    optimizer = torch.optim.SGD([each for each in built.parameters() if each.requires_grad], lr=expected["lr"])
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = built(**batch).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    tolerance = 1e-10 if family == "bert" else 1e-6  # DeBERTa's scale is of float32
    assert losses == pytest.approx(expected["losses"], abs=tolerance)
    assert built(**batch).loss.item() == pytest.approx(expected["padded"]["loss"], abs=tolerance)


# Gradients, and what they are computed of


def gradients(model: Any, family: str) -> dict[str, Tensor]:
    loss = model(**make_batch(family), labels=torch.tensor([0, 2, 1])).loss
    loss.backward()
    return {name: each.grad for name, each in model.named_parameters() if each.grad is not None}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("attention", Attention)
@pytest.mark.parametrize("parameters", [Parameters.change, Parameters.bias])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_training_all(bases_of, family, parameters, attention):
    whole = trained_over(bases_of[family], family, Parameters.all, attention=attention).double().eval()
    part = trained_over(bases_of[family], family, parameters, attention=attention).double().eval()
    assert torch.equal(logits_of(whole, make_batch(family)), logits_of(part, make_batch(family)))
    expected, found = gradients(whole, family), gradients(part, family)
    assert found.keys() == trained_names(part)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=ROUNDING)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_checkpointing_gives_the_same_and_asks_nothing_of_the_embeddings(bases_of, family):
    model = trained_over(bases_of[family], family, Parameters.change, attention=Attention.fast).double().train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    expected = gradients(model, family)
    model.zero_grad()
    model.activation_checkpointing_enable({"use_reentrant": False})
    seen = []
    model.get_input_embeddings().register_forward_hook(lambda module, inputs, output: seen.append(output.requires_grad))
    found = gradients(model, family)
    assert seen == [False]
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=ROUNDING)


def kept(model: Any, family: str, *inner: str) -> dict[str, int]:
    """Bytes that a training step keeps of what is computed, by the modules in which they are kept."""
    own = {each.untyped_storage().data_ptr() for each in (*model.parameters(), *model.buffers())}
    place, found, seen = [""], dict.fromkeys(("", *inner), 0), dict[int, Tensor]()
    for name in inner:
        module = model.get_submodule(name)
        module.register_forward_pre_hook(lambda module, inputs, name=name: place.append(name))
        module.register_forward_hook(lambda module, inputs, output: place.pop() and None)

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and storage.data_ptr() not in seen:
            seen[storage.data_ptr()] = tensor
            found[place[-1]] += storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        model(**make_batch(family), labels=torch.tensor([0, 2, 1]))
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_below_what_trains_nothing_is_kept(bases_of, family):
    gi = GiConfig(side=GateSide.both, level=0.3, layers=1)
    model = trained_over(bases_of[family], family, Parameters.change, gi, Attention.fast).train()
    layout = layouts.of_family(family)
    layers = [f"{model.base_model_prefix}.{layout.layers}.{index}" for index in range(3)]
    found = kept(model, family, f"{model.base_model_prefix}.{layout.embeddings}", *layers)
    assert [found[name] for name in found if name not in ("", layers[-1])] == [0, 0, 0]
    assert found[layers[-1]] > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_keeps_less_where_weights_are_frozen(bases_of, family):
    sizes = []
    for parameters in (Parameters.all, Parameters.change, Parameters.bias):
        model = trained_over(bases_of[family], family, parameters, attention=Attention.fast).train()
        sizes.append(sum(kept(model, family).values()))
    whole, change, bias = sizes
    assert change < 0.9 * whole
    assert bias < 0.9 * whole


# Saved without what is frozen


@torch.no_grad()
def move(model: Any, by: float) -> None:
    """Add to each parameter that trains."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(by)


@pytest.fixture(scope="module")
def saved(bases_of, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, Path]:
    """A gated BERT whose trained parameters have moved, where it is saved, and a copy of its base."""
    place = tmp_path_factory.mktemp("saved")
    base = Path(shutil.copytree(bases_of["bert"], place / "base"))
    model = trained_over(base, "bert", Parameters.change).eval()
    move(model, 0.05)
    model.save_pretrained(place / "model")
    return model, place / "model", base


def test_what_is_frozen_is_not_saved_and_its_hash_is(saved):
    model, folder, base = saved
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "trained.safetensors"]
    assert load_file(folder / "trained.safetensors").keys() == trained_names(model)
    over = json.loads((folder / "config.json").read_text())["trained_over"]
    assert over["checkpoint"] == str(base)
    assert over["sha256"] == {"model.safetensors": bases.sources.sha256(base / "model.safetensors")}


@pytest.mark.parametrize("parameters", [Parameters.change, pytest.param(Parameters.bias, marks=pytest.mark.long)])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_loaded_over_its_base(bases_of, tmp_path, family, parameters):
    for gi in (BOTH, NONE):
        model = trained_over(bases_of[family], family, parameters, gi).eval()
        folder = tmp_path / gi.side.value
        model.save_pretrained(folder)
        expected = logits_of(model, make_batch(family))
        for load in (from_pretrained, AutoModelForSequenceClassification.from_pretrained, type(model).from_pretrained):
            before = torch.random.get_rng_state()
            again = load(folder)
            assert torch.equal(torch.random.get_rng_state(), before), "it draws nothing"
            assert type(again) is type(model)
            assert torch.equal(logits_of(again, make_batch(family)), expected)
            assert frozen(again) == frozen(model)
            assert not again.training


def test_a_config_json_is_read_once(saved, monkeypatch):
    """Of what lies on the Hub each look is a question to it."""
    _, folder, base = saved
    read, whole = [], bases.read_config

    def look(checkpoint: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        read.append(checkpoint)
        return whole(checkpoint, *args, **kwargs)

    for module in (bases, pretrained):
        monkeypatch.setattr(module, "read_config", look)
    from_pretrained(folder)
    assert read == [str(folder), str(base)]
    build(model_config("bert", random_init=False, checkpoint=str(folder)), BOTH, labels=LABELS)
    assert read == [str(folder), str(base)] * 2


def test_saved_again_it_is_the_same(saved, tmp_path):
    _, folder, _ = saved
    from_pretrained(folder).save_pretrained(tmp_path)
    assert (tmp_path / "trained.safetensors").read_bytes() == (folder / "trained.safetensors").read_bytes()
    assert json.loads((tmp_path / "config.json").read_text()) == json.loads((folder / "config.json").read_text())


def test_what_is_of_the_base_is_told_by_name_not_by_who_wants_gradients_as_it_is_saved(saved, bases_of, tmp_path):
    """Frozen to be looked at, it is saved as it was; and what somebody trains beside it is saved, too."""
    model, folder, _ = saved
    built = trained_over(bases_of["bert"], "bert", Parameters.change)
    for number, each in enumerate((built, copy.deepcopy(built), from_pretrained(folder))):
        each.requires_grad_(False)
        each.save_pretrained(tmp_path / f"{number}")
        assert load_file(tmp_path / f"{number}" / "trained.safetensors").keys() == trained_names(model)
    more = from_pretrained(folder)
    word = "bert.embeddings.word_embeddings.weight"
    more.get_parameter(word).requires_grad_(True)
    more.save_pretrained(tmp_path / "more")
    assert load_file(tmp_path / "more" / "trained.safetensors").keys() == trained_names(model) | {word}


def test_a_base_that_was_moved_is_named(saved, tmp_path):
    model, folder, base = saved
    moved = tmp_path / "elsewhere"
    ours = tmp_path / "model"
    shutil.copytree(base, moved)
    shutil.copytree(folder, ours)
    entries = json.loads((ours / "config.json").read_text())
    entries["trained_over"]["checkpoint"] = str(tmp_path / "gone")
    (ours / "config.json").write_text(json.dumps(entries))
    with pytest.raises(ModelError, match=r"gone does not exist; .* \(model\.base=FOLDER, or --base FOLDER"):
        from_pretrained(ours)
    for again in (
        from_pretrained(ours, base=moved),
        AutoModelForSequenceClassification.from_pretrained(ours, base=moved),
    ):
        assert torch.equal(logits_of(again, make_batch("bert")), logits_of(model, make_batch("bert")))


def test_another_base_is_refused(saved, bases_of, tmp_path):
    _, folder, _ = saved
    other = tmp_path / "other"
    other.mkdir()
    encoder("bert", BASE_SEED + 1).save_pretrained(other)
    said = r"was trained over other weights than those of '.*other': sha256 model\.safetensors \w{12}, there"
    for load in (from_pretrained, AutoModelForSequenceClassification.from_pretrained):
        with pytest.raises(ModelError, match=said):
            load(folder, base=other)
    with pytest.raises(ModelError, match="was trained over other weights"):
        from_pretrained(folder, base=bases_of["roberta"])


@pytest.mark.parametrize("over", ["bert", {"checkpoint": "somewhere"}, {"checkpoint": "x", "sha256": 3}])
def test_a_config_that_names_no_base_is_told(saved, tmp_path, over):
    _, folder, _ = saved
    ours = Path(shutil.copytree(folder, tmp_path / "model"))
    entries = json.loads((ours / "config.json").read_text()) | {"trained_over": over}
    (ours / "config.json").write_text(json.dumps(entries))
    with pytest.raises(ModelError, match="names no base with its sha256"):
        from_pretrained(ours)


def test_trained_parameters_without_their_file_are_told(saved, tmp_path):
    _, folder, _ = saved
    ours = Path(shutil.copytree(folder, tmp_path / "model"))
    (ours / "trained.safetensors").unlink()
    with pytest.raises(ModelError, match=re.escape("has no trained.safetensors, which its config.json speaks of")):
        from_pretrained(ours)


def test_a_plain_class_takes_it_for_no_model(saved):
    _, folder, _ = saved
    with pytest.raises((OSError, KeyError, ValueError)):
        family_classes("bert").plain_classifier.from_pretrained(folder)


def test_all_train_again_from_it_and_are_saved_whole(saved, tmp_path):
    model, folder, _ = saved
    config = model_config("bert", random_init=False, checkpoint=str(folder), attention=Attention.hf)
    again = build(config, BOTH, labels=LABELS).eval()
    assert trained_names(again) == {name for name, _ in again.named_parameters()}
    again.save_pretrained(tmp_path)
    assert "trained_over" not in json.loads((tmp_path / "config.json").read_text())
    whole = from_pretrained(tmp_path, whole=True)
    assert torch.equal(logits_of(whole, make_batch("bert")), logits_of(model, make_batch("bert")))


def test_what_is_trained_over_it_has_its_base_or_itself(saved, tmp_path):
    """Its own base, if what it has trained all trains again; else some of it stays frozen."""
    model, folder, base = saved
    again = trained_over(folder, "bert", Parameters.change)
    assert again.config.trained_over == model.config.trained_over
    biases = trained_over(base, "bert", Parameters.bias).eval()
    move(biases, -0.05)
    biases.save_pretrained(tmp_path / "biases")
    gates = trained_over(tmp_path / "biases", "bert", Parameters.change).eval()
    assert gates.config.trained_over["checkpoint"] == str(tmp_path / "biases")
    assert gates.config.trained_over["sha256"].keys() == {"trained.safetensors"}
    gates.save_pretrained(tmp_path / "gates")
    moved = Path(shutil.copytree(base, tmp_path / "moved"))
    for found in (
        from_pretrained(tmp_path / "gates", whole=True),
        from_pretrained(tmp_path / "gates", whole=True, base=moved),
    ):
        assert torch.equal(logits_of(found, make_batch("bert")), logits_of(gates, make_batch("bert")))
        assert torch.equal(logits_of(found, make_batch("bert")), logits_of(biases, make_batch("bert")))
    (tmp_path / "biases" / "trained.safetensors").write_bytes((folder / "trained.safetensors").read_bytes())
    with pytest.raises(ModelError, match=r"over other weights than those of '.*biases': sha256 trained\.safetensors"):
        from_pretrained(tmp_path / "gates")
