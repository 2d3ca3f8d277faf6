"""Checkpoints whose weights have old names, as `LayerNorm.gamma` in BERT's own files: a run of them is one like others.

transformers renames them when it loads, and would name them so again whenever the model is saved.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import set_seed
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import revert_weight_conversion

from gifine import evaluate, predict
from gifine.choices import GateSide
from gifine.config import GiConfig, ModelConfig
from gifine.errors import ExitCode, OutputError
from gifine.inputs import demo
from gifine.models import build, family_classes, from_pretrained
from gifine.runs.records import Status
from gifine.training import callbacks, checkpointing

TOKENIZER = demo.tokenizer()
TINY: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TINY |= {"vocab_size": len(TOKENIZER), "max_position_embeddings": 64, "pad_token_id": TOKENIZER.pad_token_id}
DISENTANGLED = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}
ARCHITECTURE: dict[str, dict[str, Any]] = {
    "bert": TINY,
    "roberta": TINY | {"type_vocab_size": 2},
    "deberta": TINY | DISENTANGLED,
    "deberta_v2": TINY | DISENTANGLED | {"position_buckets": 8, "norm_rel_ebd": "layer_norm", "conv_kernel_size": 3},
}
FAMILIES = list(ARCHITECTURE)  # XLNet's names have not changed
LABELS = ["no", "yes"]


def encoder(family: str) -> Any:
    set_seed(3)
    classes = family_classes(family)
    return classes.plain_classifier(classes.plain_config(**ARCHITECTURE[family])).base_model


def save_with_old_names(folder: Path, model: Any) -> set[str]:
    """As transformers would if all renamings that it knows had been used; the names that are old ones."""
    names = {*model.state_dict()}
    model._weight_conversions = get_model_conversion_mapping(model)
    assert len(model._weight_conversions) >= 4, "else transformers has put the old names elsewhere"
    weights = revert_weight_conversion(model, dict(model.state_dict()))
    model.save_pretrained(folder)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    TOKENIZER.save_pretrained(folder)
    return weights.keys() - names


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    """A pretrained encoder of each family."""
    root = tmp_path_factory.mktemp("old")
    for family in FAMILIES:
        names = save_with_old_names(root / family, encoder(family))
        assert {name.rpartition(".")[2] for name in names} == {"gamma", "beta"}
    return root


@pytest.mark.parametrize("side", ["none", "both"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_saved_has_the_names_of_the_model(family, side, old, tmp_path):
    """Each of transformers' renamings for models of these families."""
    model = build(
        ModelConfig(name="tiny", family=family, size="tiny", checkpoint=str(old / family)),
        GiConfig(side=GateSide(side), level=0.3),
        labels=LABELS,
    )
    for name, parameter in encoder(family).named_parameters():
        assert torch.equal(model.base_model.get_parameter(name), parameter), name
    model.save_pretrained(tmp_path / "once")
    assert load_file(tmp_path / "once" / "model.safetensors").keys() == model.state_dict().keys()
    from_pretrained(tmp_path / "once", whole=True).save_pretrained(tmp_path / "twice")
    once, twice = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("once", "twice"))
    assert once == twice


def words(checkpoint: Path, *more: str) -> list[str]:
    """A run whose best step is not its last one."""
    values = [
        "max_steps=12",
        "batch_size=8",
        "eval_batch_size=32",
        "learning_rate=1e-2",
        "max_length=32",
        "log_steps=4",
    ]
    values += ["device=cpu", "save_model=true", "embedding_rows=all", "evaluate=steps", "evaluate_steps=2"]
    task = ["task=demo", "data=demo", "data.demo_train_rows=32", "data.demo_eval_rows=32"]
    return [*task, f"model.checkpoint={checkpoint}", *(f"train.{value}" for value in values), *more]


def stop_at(monkeypatch, step: int) -> None:
    left = {step}

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step in left:
            left.remove(state.global_step)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(callbacks.Bar, "on_step_end", on_step_end)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("family", "side"),
    [("bert", "none"), ("bert", "both"), ("roberta", "key"), ("deberta", "both"), ("deberta_v2", "none")],
)
def test_the_best_comes_back_whole_and_a_resume_is_as_if_undisturbed(
    family, side, old, train, tmp_path, monkeypatch, capsys
):
    command = words(old / family, f"gi.side={side}", "seed=1")
    undisturbed = train(*command, "train.keep_checkpoints=true", f"output_root={tmp_path / 'undisturbed'}")
    assert undisturbed.code == ExitCode.DONE
    best, last = undisturbed.record.best["step"], undisturbed.record.steps["done"]
    assert best < last, "else reloading says nothing"
    checkpoints, model = undisturbed.folder / "checkpoints", weights(undisturbed.folder / "model")
    at_best = weights(checkpoints / f"checkpoint-{best}")
    assert model.keys() == at_best.keys()
    assert all(torch.equal(model[name], at_best[name]) for name in model)
    at_end = weights(checkpoints / f"checkpoint-{last}")
    assert any(not torch.equal(model[name], at_end[name]) for name in model if "LayerNorm" in name)

    stop_at(monkeypatch, last - 3)
    assert train(*command).record.status == Status.INTERRUPTED
    resumed = train(*command)
    assert resumed.record.resumed_at == last - 2
    assert (resumed.folder / "model" / "model.safetensors").read_bytes() == (
        undisturbed.folder / "model" / "model.safetensors"
    ).read_bytes()
    assert resumed.record.metrics == undisturbed.record.metrics
    assert evaluate.main([str(resumed.folder)]) == ExitCode.DONE, capsys.readouterr().err


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[str]:
    """A task of one's own, with a test set."""
    path = tmp_path_factory.mktemp("files") / "rows.jsonl"
    rows = [{"sentence": f"the fox {'runs ' * (n % 4)}", "label": n % 2} for n in range(16)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = [f"task.files.{split}={path}" for split in ("train", "validation", "test")]
    return ["task=cola", "task.metrics=[accuracy]", "task.select_by=accuracy", "data=hub", *own]


def test_runs_that_were_saved_with_old_names_are_read(old, files, train, tmp_path, capsys):
    """As by gifine before it saved the model's own."""
    result = train(*words(old / "bert", *files, "train.max_steps=2"))
    path = result.folder / "model" / "model.safetensors"
    now = load_file(path)
    renamed = {name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): now[name] for name in now}
    assert renamed.keys() != now.keys()
    save_file(renamed, path, {"format": "pt"})
    assert evaluate.main([str(result.folder)]) == ExitCode.DONE, capsys.readouterr().err
    assert predict.main([str(result.folder), "--out", str(tmp_path / "out")]) == ExitCode.DONE, capsys.readouterr().err
    still = ["train.learning_rate=1e-12", "train.weight_decay=0", "train.max_steps=1"]
    again = train(*words(old / "bert", *files, *still, "model.checkpoint=null", f"model.init_from={result.folder}"))
    taken = weights(again.folder / "model")
    assert taken.keys() == now.keys()
    assert all(torch.allclose(taken[name], now[name], atol=1e-6) for name in now)


@pytest.mark.parametrize("change", ["renamed", "missing", "more"])
def test_a_checkpoint_of_training_with_other_names_is_refused(change, old, train, monkeypatch):
    command = words(old / "bert")
    original = checkpointing.publish

    def publish(partial, final):
        found = load_file(partial / "model.safetensors")
        taken = found["bert.embeddings.LayerNorm.weight"]
        if change != "more":
            del found["bert.embeddings.LayerNorm.weight"]
        if change != "missing":
            found["bert.embeddings.LayerNorm.gamma"] = taken.clone()
        save_file(found, partial / "model.safetensors", {"format": "pt"})
        original(partial, final)

    monkeypatch.setattr(checkpointing, "publish", publish)
    stop_at(monkeypatch, 4)
    assert train(*command).record.status == Status.INTERRUPTED
    with pytest.raises(
        OutputError, match=r"is not of this model .*LayerNorm\.(weight|gamma).*overwrite=true starts anew"
    ):
        train(*command)
    if change == "renamed":
        with pytest.raises(OutputError, match=r"is not of this model"):
            train(*command, "overwrite=true")  # when the best one is read back
