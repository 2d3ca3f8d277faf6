"""`model.init_from`: training that goes on from another run's weights, for the same task or another."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import TINY_DEMO
from gifine import cli
from gifine.errors import ConfigError, ModelError
from gifine.runs import identity

SEVERAL = ["task.name=three", "task.labels=[a,b,c]", "task.metrics=[accuracy]", "task.select_by=accuracy"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A task of three labels and one of two other labels, on the demo's words."""
    folder = tmp_path_factory.mktemp("rows")
    for name, labels in (("three", "abc"), ("two", "xy")):
        texts = [f"the fox {'runs ' * (n % 4)}" for n in range(16)]
        lines = [json.dumps({"sentence": text, "label": labels[n % len(labels)]}) for n, text in enumerate(texts)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    return folder


def files(rows, name):
    return [f"task.files.{split}={rows / name}.jsonl" for split in ("train", "validation")] + ["data=hub", "task=cola"]


@pytest.fixture(scope="module")
def first(tmp_path_factory, rows):
    """A gated run on three labels, its weights kept."""
    from gifine import train as module

    root = tmp_path_factory.mktemp("first")
    words = [*TINY_DEMO, *files(rows, "three"), *SEVERAL, "train.save_model=true", f"output_root={root}"]
    config = cli.config_from(cli.compose([*words, f"data.cache_dir={root}"]))
    module.run(config)
    return identity.directory(config)


OWN_WEIGHTS = ["model.random_init=false", "model.tokenizer=null", "model.config_overrides={}"]
STILL = [*OWN_WEIGHTS, "train.learning_rate=1e-12", "train.weight_decay=0", "train.save_model=true"]


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


def test_weights_come_along_and_the_head_stays_behind(train, first, rows):
    words = [*TINY_DEMO, *files(rows, "two"), "task.labels=[x,y]", *STILL]
    ours = train(*words, f"model.init_from={first}")
    theirs, now = weights(first), weights(ours.folder)
    for name, tensor in theirs.items():
        if not name.startswith("classifier."):
            torch.testing.assert_close(now[name], tensor, atol=1e-6, rtol=0)
    assert now["classifier.weight"].shape == (2, 16)
    assert any("select_k" in name for name in now)
    made_by = ours.record.provenance["init_from"]
    assert made_by["run_id"] == json.loads((first / "record.json").read_text())["run_id"]
    assert made_by["folder"] == str(first / "model")
    assert set(made_by["sha256"]) == {"model.safetensors"}
    assert ours.record.slug == "cola_bert-large-from-three_both-0.3_s42"


def test_the_new_head_is_that_of_the_seed_with_and_without_gates(train, tmp_path, rows):
    plain = train(*TINY_DEMO, *files(rows, "three"), *SEVERAL, "gi=none", "train.save_model=true")
    words = [*TINY_DEMO, *files(rows, "two"), "task.labels=[x,y]", *STILL, f"model.init_from={plain.folder}"]
    heads = [weights(train(*words, f"gi.side={side}").folder)["classifier.weight"] for side in ("none", "both")]
    torch.testing.assert_close(heads[0], heads[1], atol=1e-6, rtol=0)
    assert not torch.allclose(heads[0], weights(train(*words, "gi.side=none", "seed=1").folder)["classifier.weight"])


def test_the_head_stays_where_labels_are_the_same(train, first, rows):
    ours = train(*TINY_DEMO, *files(rows, "three"), *SEVERAL, *STILL, f"model.init_from={first}", "seed=1")
    torch.testing.assert_close(
        weights(ours.folder)["classifier.weight"], weights(first)["classifier.weight"], atol=1e-6, rtol=0
    )


def test_labels_of_the_same_number_and_other_names_get_a_new_head(train, first, rows):
    renamed = ["task.labels=[x,y,z]"]
    words = [*TINY_DEMO, *files(rows, "two"), *SEVERAL, *renamed, *STILL, f"model.init_from={first}", "seed=1"]
    ours = train(*words)
    assert not torch.allclose(weights(ours.folder)["classifier.weight"], weights(first)["classifier.weight"], atol=1e-3)


def test_gates_without_a_place_are_refused(train, first, rows):
    with pytest.raises(ModelError, match="gates that the gi settings leave no place for"):
        train(*TINY_DEMO, *files(rows, "two"), "task.labels=[x,y]", *OWN_WEIGHTS, f"model.init_from={first}", "gi=none")


def test_bad_sources_are_said_before_anything_is_loaded(first, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "forgetful").mkdir()
    shutil.copy(first / "record.json", tmp_path / "forgetful")
    for value, said in (
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path / "empty", r"no record\.json and no config\.json"),
        (tmp_path / "forgetful", "kept no weights: run it with train.save_model=true"),
    ):
        with pytest.raises(ConfigError, match=said):
            cli.config_from(cli.compose([f"model.init_from={value}"]))
    with pytest.raises(ConfigError, match=r"excludes model\.checkpoint"):
        cli.config_from(cli.compose([f"model.init_from={first}", "model.checkpoint=some/model"]))
    with pytest.raises(ConfigError, match="the model has 2 layers"):
        cli.config_from(cli.compose([f"model.init_from={first}", "gi.layers=3", "train.max_length=64"]))


def test_files_beside_the_weights_are_not_read(train, first, rows, tmp_path):
    folder = shutil.copytree(first / "model", tmp_path / "model")
    zeros = {name: torch.zeros_like(tensor) for name, tensor in load_file(folder / "model.safetensors").items()}
    for name in ("aaa", "model-00001-of-00001", "zzz"):
        save_file(zeros, folder / f"{name}.safetensors", {"format": "pt"})
    ours = train(*TINY_DEMO, *files(rows, "three"), *SEVERAL, *STILL, f"model.init_from={folder}")
    for name, tensor in weights(first).items():
        torch.testing.assert_close(weights(ours.folder)[name], tensor, atol=1e-6, rtol=0)
    assert set(ours.record.provenance["init_from"]["sha256"]) == {"model.safetensors"}


def test_weights_of_a_run_are_taken_whole_or_not_at_all(train, first, rows, tmp_path):
    path = shutil.copytree(first, tmp_path / "run") / "model" / "model.safetensors"
    whole = load_file(path)
    words = [*TINY_DEMO, *files(rows, "two"), "task.labels=[x,y]", *STILL, f"model.init_from={tmp_path / 'run'}"]
    for lost, said in (("bert.pooler.dense.bias", "lacks"), ("bert.embeddings.LayerNorm.bias", "lacks")):
        save_file({name: tensor for name, tensor in whole.items() if name != lost}, path, {"format": "pt"})
        with pytest.raises(ModelError, match=rf"{said}: {lost}"):
            train(*words)
    save_file(whole | {"bert.more.weight": torch.ones(2)}, path, {"format": "pt"})
    with pytest.raises(ModelError, match=r"no place for: bert\.more\.weight"):
        train(*words)
