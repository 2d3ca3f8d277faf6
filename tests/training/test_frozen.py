"""Runs with train.parameters=change or bias: what they train and keep, and what becomes of their weights afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from conftest import TINY_DEMO, Result, tiny_bert
from gifine import evaluate, predict
from gifine.cli import compose, config_from
from gifine.errors import ConfigError, ExitCode, ModelError
from gifine.models import from_pretrained
from gifine.runs.records import Status
from gifine.training import callbacks
from support.tiny_models import trained_names

EMBEDDINGS = "bert.embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "bert"
    tiny_bert(folder, seed=0)
    return folder


def over(base: Path, *words: str) -> list[str]:
    own = ["model.random_init=false", "model.tokenizer=null", "model.config_overrides={}", f"model.checkpoint={base}"]
    return [*TINY_DEMO, *own, "train.save_model=true", "train.keep_checkpoints=true", *words]


def change(base: Path, *words: str) -> list[str]:
    return over(base, "train.parameters=change", "train.weight_decay=0.1", *words)


@pytest.fixture(scope="module")
def finished(base, tmp_path_factory, cache) -> Result:
    """Read only."""
    from gifine import train as module
    from gifine.runs import identity, records

    root = tmp_path_factory.mktemp("finished")
    config = config_from(compose([*change(base), f"output_root={root}", f"data.cache_dir={cache}"]))
    code = module.run(config)
    folder = identity.directory(config)
    record = records.read(folder)
    assert record is not None
    return Result(code, folder, record)


def test_a_run_keeps_what_it_trains_and_names_its_base(finished, base):
    assert finished.code == ExitCode.DONE
    assert "both-0.3-trained-alone" in finished.folder.name
    record = finished.record
    head = 2 * 16 + 2
    assert record.parameters["trainable"] == record.parameters["gates"] + head < record.parameters["total"] / 2
    weights = load_file(finished.folder / "model" / "trained.safetensors")
    assert sum(tensor.numel() for tensor in weights.values()) == record.parameters["trainable"]
    assert not (finished.folder / "model" / "model.safetensors").exists()
    over = json.loads((finished.folder / "model" / "config.json").read_text())["trained_over"]
    assert over["checkpoint"] == str(base)
    assert over["sha256"]["model.safetensors"] == record.provenance["weights"]["model.safetensors"]


def test_checkpoints_have_neither_weights_nor_moments_of_what_is_frozen(finished):
    checkpoints = sorted((finished.folder / "checkpoints").glob("checkpoint-*"))
    assert checkpoints
    for checkpoint in checkpoints:
        weights = load_file(checkpoint / "trained.safetensors")
        moments = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
        shapes = [tuple(state["exp_avg"].shape) for state in moments.values()]
        assert sorted(shapes) == sorted(tuple(tensor.shape) for tensor in weights.values())
        model = from_pretrained(checkpoint, whole=True)
        assert trained_names(model) == weights.keys()


def test_what_is_frozen_is_the_base_to_the_bit(finished, base):
    """Weight decay and the rows of embeddings that do not occur leave it alone, too."""
    theirs = {f"bert.{name}": tensor for name, tensor in load_file(base / "model.safetensors").items()}
    model = from_pretrained(finished.folder / "model")
    for name, tensor in theirs.items():
        assert torch.equal(model.state_dict()[name], tensor), name
    assert EMBEDDINGS in theirs
    assert not torch.equal(model.state_dict()["classifier.weight"], torch.zeros(2, 16))


def test_it_is_evaluated_and_predicts_again(finished, base, tmp_path, capsys):
    assert evaluate.main([str(finished.folder)]) == ExitCode.DONE, capsys.readouterr().err
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"sentence": "the fox runs"}))
    words = [str(finished.folder), "--file", str(rows), "--out", str(tmp_path / "out")]
    assert predict.main(words) == ExitCode.DONE, capsys.readouterr().err


def test_a_base_that_is_elsewhere_or_another_one_is_told(finished, base, tmp_path, capsys):
    run = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    entries = json.loads((run / "model" / "config.json").read_text())
    entries["trained_over"]["checkpoint"] = str(tmp_path / "gone")
    (run / "model" / "config.json").write_text(json.dumps(entries))
    assert evaluate.main([str(run)]) == ExitCode.BAD_INPUT
    said = capsys.readouterr().err
    assert "gone does not exist" in said
    assert "--base FOLDER" in said
    assert evaluate.main([str(run), "--base", str(base)]) == ExitCode.DONE, capsys.readouterr().err
    capsys.readouterr()
    tiny_bert(tmp_path / "other", seed=1)
    assert evaluate.main([str(run), "--base", str(tmp_path / "other")]) == ExitCode.BAD_INPUT
    assert "was trained over other weights than those of" in capsys.readouterr().err


def test_a_run_that_is_stopped_goes_on_to_the_same_bits(train, finished, base, monkeypatch):
    """With dropout, and the best checkpoint chosen."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(callbacks.Bar, "on_step_end", on_step_end)
    stopped = train(*change(base))
    assert stopped.record.status == Status.INTERRUPTED
    monkeypatch.undo()
    again = train(*change(base))
    assert again.record.resumed_at == 6
    assert again.record.metrics == finished.record.metrics
    for name in ("model/trained.safetensors", "metrics.jsonl", "predictions-validation.parquet"):
        assert (again.folder / name).read_bytes() == (finished.folder / name).read_bytes()


@pytest.mark.long
def test_so_does_one_with_dropout_inside_the_change(train, base, tmp_path, monkeypatch):
    """Whose masks hang on a count of passes, which checkpoints hold though nothing trains it."""
    words = change(base, "change=lora", "change.dropout=0.3", "train.learning_rate=1e-1")
    undisturbed = train(*words)
    weights = (undisturbed.folder / "model" / "trained.safetensors").read_bytes()
    assert load_file(undisturbed.folder / "model" / "trained.safetensors")["bert.change_passes.count"] > 0
    shutil.rmtree(undisturbed.folder)

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(callbacks.Bar, "on_step_end", on_step_end)
    assert train(*words).record.status == Status.INTERRUPTED
    monkeypatch.undo()
    again = train(*words)
    assert again.record.resumed_at == 6
    assert (again.folder / "model" / "trained.safetensors").read_bytes() == weights


@pytest.mark.long
def test_gradient_checkpointing_trains_the_same(train, finished, base):
    recomputed = train(*change(base, "train.gradient_checkpointing=true"))
    ours, theirs = (load_file(each.folder / "model" / "trained.safetensors") for each in (recomputed, finished))
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-5)


def test_a_run_starts_from_it(train, finished, base):
    """With all weights, which then are saved whole; and with the change again, whose base stays the same."""
    still = ["train.learning_rate=1e-12", "train.weight_decay=0", "model.checkpoint=null", "seed=7"]
    start = [*still, f"model.init_from={finished.folder}"]
    whole = train(*over(base, *start))
    weights = load_file(whole.folder / "model" / "model.safetensors")
    expected = from_pretrained(finished.folder / "model").state_dict()
    assert weights.keys() == expected.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-6)
    assert whole.record.parameters["trainable"] == whole.record.parameters["total"]
    assert whole.record.provenance["init_from"]["sha256"].keys() == {"trained.safetensors"}
    again = train(*over(base, "train.parameters=change", *start))
    over_what = [json.loads((each.folder / "model" / "config.json").read_text()) for each in (again, finished)]
    assert over_what[0]["trained_over"] == over_what[1]["trained_over"]
    assert whole.record.run_id != again.record.run_id


@pytest.mark.long
def test_a_moved_base_of_a_start_is_named_by_a_key(train, finished, base, tmp_path):
    moved = Path(shutil.copytree(finished.folder, tmp_path / "moved"))
    entries = json.loads((moved / "model" / "config.json").read_text())
    entries["trained_over"]["checkpoint"] = str(tmp_path / "gone")
    (moved / "model" / "config.json").write_text(json.dumps(entries))
    words = over(base, "train.max_steps=1", "model.checkpoint=null", f"model.init_from={moved}")
    with pytest.raises(ModelError, match=r"model\.base=FOLDER"):
        train(*words)
    assert train(*words, f"model.base={base}", "overwrite=true").code == ExitCode.DONE


def test_biases_train_in_a_plain_model(train, base):
    result = train(*over(base, "train.parameters=bias", "gi=none"))
    weights = load_file(result.folder / "model" / "trained.safetensors")
    biases = {name for name in weights if "bias" in name}
    assert weights.keys() - biases == {"classifier.weight"}
    assert "_biases-only_" in result.folder.name
    assert evaluate.main([str(result.folder)]) == ExitCode.DONE


def test_the_head_alone_trains_where_there_is_no_change_and_it_is_said(train, base, caplog):
    caplog.set_level("INFO")
    result = train(*over(base, "train.parameters=change", "gi=none", "train.max_steps=1"))
    weights = load_file(result.folder / "model" / "trained.safetensors")
    assert weights.keys() == {"classifier.weight", "classifier.bias"}
    assert "train.parameters=change without a change: classifier train" in caplog.text


def test_what_cannot_be_frozen_is_refused(base):
    def problems(*words: str) -> str:
        with pytest.raises(ConfigError) as error:
            config_from(compose([*words]))
        return str(error.value)

    for parameters in ("change", "bias"):
        key = f"train.parameters={parameters}"
        assert f"{key}: needs pretrained weights" in problems(*TINY_DEMO, key)
        assert f"{key}: excludes model.resize_embeddings" in problems(*over(base, key, "model.resize_embeddings=true"))
