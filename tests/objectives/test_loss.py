"""Weights of classes, smoothed labels and patience: against PyTorch's own loss, by hand, and over a resume."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
import torch

from conftest import TINY_DEMO
from gifine import cli
from gifine.errors import ConfigError, DataError, ExitCode
from gifine.objectives import classification, loss
from gifine.objectives.loss import Loss
from gifine.runs import identity
from gifine.runs.records import Status
from gifine.training import callbacks

RUN = [*TINY_DEMO, "train.gradient_accumulation=2", "train.batch_size=4", "train.save_model=true"]


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5], [3.0, 3.0, 3.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_it_is_pytorchs_of_all_examples_however_they_are_divided(weights, smoothing):
    torch.manual_seed(0)
    logits, labels = torch.randn(10, 3, requires_grad=True), torch.tensor([0, 0, 1, 2, 1, 0, 0, 0, 2, 0])
    theirs = torch.nn.CrossEntropyLoss(
        weight=None if weights is None else torch.tensor(weights), label_smoothing=smoothing
    )(logits, labels)
    ours = Loss(weights, smoothing)
    torch.testing.assert_close(ours(logits, labels), theirs)
    parts = [slice(0, 1), slice(1, 2), slice(2, 7), slice(7, 10)]
    total = torch.stack([ours.total(labels[part]) for part in parts]).sum()
    pieces = torch.stack([ours(logits[part], labels[part], total) for part in parts]).sum()
    torch.testing.assert_close(pieces, theirs)
    own, same = (torch.autograd.grad(each, logits, retain_graph=True)[0] for each in (pieces, theirs))
    torch.testing.assert_close(own, same)


def test_it_is_what_one_computes_by_hand():
    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), torch.tensor([0, 0, 1])
    p = np.asarray([1 / (1 + np.exp(-2)), 1 / (1 + np.e), 0.5])  # of the right label
    by_hand = -(1 * np.log(p[0]) + 1 * np.log(p[1]) + 4 * np.log(p[2])) / (1 + 1 + 4)
    assert Loss([1.0, 4.0], 0.0)(logits, labels).item() == pytest.approx(by_hand, rel=1e-6)
    smooth = -np.mean(0.9 * np.log(p) + 0.1 * (np.log(p) + np.log(1 - p)) / 2)
    assert Loss(None, 0.1)(logits, labels).item() == pytest.approx(smooth, rel=1e-6)


def test_balanced_is_the_rule_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.repeat([0, 1, 2], [70, 20, 10])
    config = cli.config_from(cli.compose([*TINY_DEMO, "train.class_weights=balanced"]))
    found = loss.class_weights(config.train, labels, ["a", "b", "c"])
    assert found == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=labels).tolist())
    with pytest.raises(DataError, match="the training set has no example of c, d; give a list"):
        loss.class_weights(config.train, labels[:90], ["a", "b", "c", "d"])


@pytest.mark.parametrize(
    "words", [["train.class_weights=balanced"], ["train.class_weights=[1,3]", "train.label_smoothing=0.1"]]
)
def test_a_step_has_the_loss_of_its_examples(train, words):
    """The first logged one, before any update, and the weights in the record."""
    from gifine import models
    from gifine.inputs import dataset, demo
    from gifine.training.sampler import EpochSampler

    still = [*RUN, "train.epochs=1", "train.learning_rate=1e-30", "gi=none", *words]
    still += [
        "model.config_overrides.hidden_dropout_prob=0.0",
        "model.config_overrides.attention_probs_dropout_prob=0.0",
    ]
    still = [f"+{word}" if word.startswith("model.config_overrides.") else word for word in still]
    result = train(*still)
    config = identity.from_dict(result.record.config)
    splits = dataset.Reader(config).load(demo.tokenizer(), classification)
    rows = splits["train"].examples
    labels = torch.tensor(rows["labels"][:])
    counts = torch.bincount(labels)
    weights = len(labels) / (2 * counts) if words == ["train.class_weights=balanced"] else torch.tensor([1.0, 3.0])
    assert result.record.class_weights == pytest.approx(dict(zip(config.task.labels, weights.tolist(), strict=True)))
    sampler = EpochSampler(rows["length"][:], 8, config.seed, group_by_length=True)
    model = models.from_pretrained(result.folder / "model").eval()
    order = list(sampler)
    inputs = demo.tokenizer().pad([{"input_ids": rows[i]["input_ids"]} for i in order], return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs)["logits"]
    reference = torch.nn.CrossEntropyLoss(weight=weights, label_smoothing=config.train.label_smoothing)
    steps = [reference(logits[at : at + 8], labels[order][at : at + 8]).item() for at in range(0, 64, 8)]
    assert [line["loss"] for line in lines(result.folder) if "loss" in line] == pytest.approx(steps, rel=1e-5)


def test_weights_change_what_is_learnt_and_batches_do_not(train):
    """Two batches of four a step, or eight of one, are one of eight; with weights of each batch alone, they are not."""
    words = [*RUN, "train.epochs=1", "gi=none", "train.class_weights=[1,5]", "train.padding=max_length"]
    words += [f"+model.config_overrides.{key}=0.0" for key in ("hidden_dropout_prob", "attention_probs_dropout_prob")]
    found = [
        train(*words, f"train.batch_size={size}", f"train.gradient_accumulation={8 // size}") for size in (1, 4, 8)
    ]
    losses = [[line["loss"] for line in lines(each.folder) if "loss" in line] for each in found]
    np.testing.assert_allclose(losses[0], losses[2], rtol=1e-4)
    np.testing.assert_allclose(losses[1], losses[2], rtol=1e-4)


PATIENT = [*RUN, "train.epochs=6", "train.patience=2", "train.learning_rate=1e-30", "train.class_weights=balanced"]
PATIENT += ["train.label_smoothing=0.05", "train.log_steps=3"]


def outcome(result):
    record = result.record
    weights = (result.folder / "model" / "model.safetensors").read_bytes()
    curve = (result.folder / "metrics.jsonl").read_bytes()
    return record.status, record.metrics, record.steps, record.best, record.stopped_early, weights, curve


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache):
    from conftest import Result
    from gifine import train as module
    from gifine.runs import records

    words = [*PATIENT, f"output_root={tmp_path_factory.mktemp('undisturbed')}", f"data.cache_dir={cache}"]
    config = cli.config_from(cli.compose(words))
    code, folder = module.run(config), identity.directory(config)
    record = records.read(folder)
    assert record is not None
    return Result(code, folder, record)


def test_patience_ends_training_and_says_so(undisturbed):
    """A model that does not move is best after the first epoch, of eight steps."""
    record = undisturbed.record
    assert undisturbed.code == ExitCode.DONE
    assert record.status in (Status.DONE, Status.DEGENERATE)
    assert record.steps == {"done": 24, "planned": 48}
    assert record.best["step"] == 8
    assert record.stopped_early == {"step": 24, "reason": "no better matthews in 2 evaluations since step 8"}


@pytest.mark.parametrize("steps", [(3, 18), (15,), (23,)], ids=["mid-epoch", "end of an epoch", "at its end"])
def test_patience_goes_on_after_a_resume(train, monkeypatch, undisturbed, steps):
    left = set(steps)

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step in left:
            left.remove(state.global_step)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(callbacks.Bar, "on_step_end", on_step_end)
    for _ in steps:
        assert train(*PATIENT).code == ExitCode.INTERRUPTED
    assert outcome(train(*PATIENT)) == outcome(undisturbed)


def test_a_crash_after_patience_has_ended_trains_no_further(train, monkeypatch, undisturbed):
    def crash(*args):
        raise RuntimeError("lost the node")

    with monkeypatch.context() as patch:
        patch.setattr(classification, "score", crash)
        with pytest.raises(RuntimeError, match="lost the node"):
            train(*PATIENT)
    again = train(*PATIENT)
    assert again.record.resumed_at == 24
    assert outcome(again) == outcome(undisturbed)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train.class_weights=balance"], r"train.class_weights='balance': balanced, or numbers above 0"),
        (["train.class_weights=[1,0]"], r"one for each of \[unacceptable, acceptable\]; or null"),
        (["train.class_weights=[1,a]"], "balanced, or numbers above 0"),
        (["train.class_weights=[1,true]"], "balanced, or numbers above 0"),
        (["train.class_weights=[1,inf]"], "balanced, or numbers above 0"),
        (["train.class_weights='[1,2]'"], r"train.class_weights='\[1,2\]': balanced, or numbers"),
        (["train.class_weights=3"], "balanced, or numbers above 0"),
        (["train.class_weights={a: 1}"], "balanced, or numbers above 0"),
        (["train.class_weights=[]"], "0 for the 2 labels of task=cola"),
        (["train.class_weights=[1,2,3]"], "3 for the 2 labels of task=cola"),
        (["train.class_weights=balanced", "task=stsb"], "is for classes; task=stsb is a regression"),
        (["train.label_smoothing=0.1", "task=stsb"], "is for classes; task=stsb is a regression"),
        (["train.label_smoothing=1"], "must be in 0 … 1, below 1"),
        (["train.label_smoothing=-0.1"], "must be in 0 … 1, below 1"),
        (["train.label_smoothing=nan"], "must be in 0 … 1, below 1"),
        (["train.patience=0"], "train.patience=0: evaluations without a better score, at least 1"),
        (["train.patience=2", "train=original"], "train.patience=2: needs train.select_best=true"),
    ],
)
def test_what_does_not_fit_is_refused(words, said):
    with pytest.raises(ConfigError, match=said):
        cli.config_from(cli.compose(["task=cola", *words]))


def test_run_ids_have_them_where_they_are_used():
    def run_id(*words: str) -> str:
        return identity.run_id(cli.config_from(cli.compose(["task=mrpc", "model=bert", "gi=both", *words])))

    assert run_id() == "345f540bcbbd", "the one that it had before"
    assert run_id("train.class_weights=null", "train.label_smoothing=0", "train.patience=null") == run_id()
    used = [
        "train.class_weights=balanced",
        "train.class_weights=[1,2]",
        "train.label_smoothing=0.1",
        "train.patience=3",
    ]
    assert len({run_id(), *map(run_id, used)}) == 5
    assert run_id("train.class_weights=[1,2]") == run_id("train.class_weights=[1.0,2.0]")
    assert run_id("train.class_weights=[1,2]") != run_id("train.class_weights=[2,1]")
