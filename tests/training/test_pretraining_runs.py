"""Pre-training from a text to weights that others start from: runs, their ends, and the steps of a pair."""

from __future__ import annotations

import itertools
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import TINY_MODEL
from gifine import predict
from gifine.errors import ConfigError, DataError, ExitCode
from gifine.runs.records import Status
from gifine.training import budget, callbacks

# Dropout, gates in both models, accumulated batches: what a step draws from, and what a stop could disturb.
TINY = [
    "data=demo",
    *TINY_MODEL,
    "model.tokenizer=demo",
    "gi.init=identity",
    "data.demo_text_rows=160",
    "data.held_out=0.1",
    "train.batch_size=4",
    "train.eval_batch_size=16",
    "train.gradient_accumulation=2",
    "train.learning_rate=1e-3",
    "train.max_length=32",
    "train.log_steps=1",
    "train.save_model=true",
]
RTD = [*TINY, "task=rtd", "model=debertav3", "train.evaluate=steps", "train.evaluate_steps=4", "train.max_tokens=1200"]


def left(folder):
    """What a stop must not change."""
    record = json.loads((folder / "record.json").read_text())
    weights = {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("model/**/*.safetensors")}
    told = {key: record[key] for key in ("metrics", "best", "last", "evaluations", "steps", "examples")}
    return {**weights, **told, "tokens": record["seen"]["tokens"], "curve": (folder / "metrics.jsonl").read_bytes()}


@pytest.mark.parametrize(
    "own",
    [
        pytest.param([], id="apart"),
        pytest.param(["model=bert"], marks=pytest.mark.long, id="shared"),
        pytest.param(["task=mlm"], marks=pytest.mark.long, id="masked words"),
    ],
)
def test_what_is_stopped_goes_on_to_the_bit(own, train, monkeypatch, caplog, tmp_path):
    asked = [*RTD, *own]
    whole = train(*asked, f"output_dir={tmp_path / 'whole'}")
    assert whole.code == ExitCode.DONE
    assert whole.record.seen["tokens"] >= 1200
    assert whole.record.seen["tokens"] - 8 * 32 < 1200, "the budget ends with the step that has spent it"
    written = {path.name for path in (whole.folder / "model").rglob("*.safetensors")}
    assert written == {"model.safetensors"} | ({"delta.safetensors"} if not own else set())
    at = {2, 6}

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step in at:
            at.remove(state.global_step)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(callbacks.Bar, "on_step_end", on_step_end)
    words = [*asked, f"output_dir={tmp_path / 'stopped'}"]
    assert [train(*words).record.status for _ in range(2)] == [Status.INTERRUPTED] * 2
    resumed = train(*words)
    assert resumed.record.resumed_at == 7
    assert left(resumed.folder) == left(whole.folder)
    assert resumed.record.seen["seconds"] > 0
    assert ("train.select_best=false keeps the last" in caplog.text) == ("task=mlm" not in own)
    assert "no weights will be left" not in caplog.text


def test_fine_tuning_starts_from_the_discriminator_with_its_gates_or_without(train, tmp_path, capsys):
    earlier = train(*RTD, "train.max_tokens=300")
    assert predict.main([str(earlier.folder)]) == ExitCode.BAD_INPUT
    assert "pre-trains; fine-tune what it left first" in capsys.readouterr().err
    found = load_file(earlier.folder / "model" / "model.safetensors")
    words = [
        "task=demo",
        "data=demo",
        "model=debertav3",
        f"model.init_from={earlier.folder}",
        "train.learning_rate=1e-12",
    ]
    words += ["train.max_length=32", "train.epochs=1", "data.demo_train_rows=32", "data.demo_eval_rows=32"]
    words += ["train.save_model=true", "train.device=cpu"]
    kept = train(*words)
    assert kept.record.provenance["init_from"]["run_id"] == earlier.record.run_id
    assert kept.record.provenance["init_from"]["text"] == earlier.record.provenance["data"]["train"]
    assert kept.record.provenance["init_from"]["seen"] == earlier.record.seen
    assert kept.record.parameters["gates"] > 0
    after = load_file(kept.folder / "model" / "model.safetensors")
    encoder = [name for name in found if name.startswith("deberta.")]
    assert any("select" in name for name in encoder)
    for name in encoder:
        torch.testing.assert_close(after[name], found[name], rtol=0, atol=1e-6)
    dropped = train(*words, "gi=none", "model.drop_change=true")
    assert dropped.record.parameters["gates"] == 0
    with pytest.raises(Exception, match="no place for"):
        train(*words, "gi=none")


@pytest.mark.parametrize(
    "words", [["task=mlm", "model=roberta"], ["task=rtd", "model=bert"]], ids=["masked words", "one step of both"]
)
def test_families_without_disentangled_embeddings(train, words):
    done = train(*TINY, *words, "train.epochs=1", "train.evaluate=end", "train.select_best=false")
    assert done.code == ExitCode.DONE
    losses = [json.loads(line) for line in (done.folder / "metrics.jsonl").read_text().splitlines()]
    assert losses[0]["loss"] > 0
    assert np.isfinite([value for value in done.record.metrics.values() if value is not None]).all()


def test_seconds_end_a_run_with_all_that_a_run_leaves(train, monkeypatch, caplog):
    ticks = itertools.count()
    monkeypatch.setattr(budget, "time", SimpleNamespace(perf_counter=lambda: next(ticks) * 0.03))
    words = ["train.epochs=0.01", "train.max_seconds=0.3", "train.warmup=0.1", "train.save_model=false"]
    done = train(*TINY, "task=mlm", "model=bert", *words)
    assert done.code == ExitCode.DONE
    assert done.record.stopped_early["reason"] == "train.max_seconds=0.3 are spent"
    assert 0.3 <= done.record.seen["seconds"] < 0.4
    assert "no weights will be left to fine-tune" in caplog.text
    assert set(done.record.steps) == {"done"}  # how many there will be, is not known
    curve = [json.loads(line) for line in (done.folder / "metrics.jsonl").read_text().splitlines()]
    rates = [line["learning_rate"] for line in curve if "loss" in line]
    assert rates[0] == 0
    assert rates[-1] < max(rates)


def test_seconds_go_on_where_a_run_was_stopped(train, monkeypatch, tmp_path):
    """With a clock that goes on by half a second whenever it is read."""
    ticks = itertools.count()
    monkeypatch.setattr(budget, "time", SimpleNamespace(perf_counter=lambda: 0.5 * next(ticks)))
    words = [*TINY, "task=mlm", "model=bert", "train.max_seconds=4", "train.warmup=0.1", "train.evaluate=end"]
    words += ["train.select_best=false"]
    whole = train(*words, f"output_dir={tmp_path / 'whole'}")
    at = {2}

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step in at:
            at.remove(state.global_step)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(callbacks.Bar, "on_step_end", on_step_end)
    words.append(f"output_dir={tmp_path / 'stopped'}")
    stopped = train(*words)
    assert (stopped.record.status, stopped.record.error) == (Status.INTERRUPTED, "stopped at step 3")
    resumed = train(*words)
    assert resumed.record.resumed_at == 3
    assert resumed.record.seen["seconds"] == whole.record.seen["seconds"] == 4
    assert resumed.record.stopped_early["reason"] == "train.max_seconds=4 are spent"


def test_a_budget_of_tokens_is_a_number_of_steps_that_is_known_before():
    from gifine.training.sampler import EpochSampler

    sampler = EpochSampler([5, 3, 4, 6, 2], 2, seed=3, group_by_length=False)
    lengths = [[5, 3, 4, 6, 2][row] for epoch in range(3) for row in sampler.order(epoch)]
    by_step = [sum(lengths[5 * epoch + at : 5 * epoch + min(at + 2, 5)]) for epoch in range(3) for at in (0, 2, 4)]
    ends = np.cumsum(by_step)
    for tokens in range(1, int(ends[-1]) + 1):
        steps = budget.steps_for(tokens, sampler)
        assert steps == int(np.searchsorted(ends, tokens)) + 1
        assert budget.tokens_in(steps, sampler) == ends[steps - 1]


@pytest.mark.parametrize("end", ["max_tokens=100", "epochs=0.01"])
def test_a_budget_that_ends_before_the_warm_up_is_refused(train, end):
    with pytest.raises(DataError, match=rf"train.{end}: spent after 1 steps, before the 50 of train.warmup"):
        train(*TINY, "task=mlm", "model=bert", f"train.{end}", "train.warmup=50")


class _Steps:
    """Batches of a pair, and the weights that two steps of its Trainer leave."""

    def __init__(self, folder: Path, *, decoupled: bool) -> None:
        from transformers import PrinterCallback, TrainingArguments

        from gifine.objectives.pretraining.loss import PretrainingLoss
        from gifine.training.pair import PairTrainer
        from gifine.training.sampler import EpochSampler

        self.pair, rows = tiny_pair(), batches(8)
        arguments = TrainingArguments(
            output_dir=str(folder),
            max_steps=2,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            learning_rate=1e-2,
            weight_decay=0.1,
            max_grad_norm=0.5,
            lr_scheduler_type="constant",
            adam_epsilon=1e-6,
            report_to=[],
            disable_tqdm=True,
            save_strategy="no",
            use_cpu=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        )
        trainer = PairTrainer(
            model=self.pair,
            args=arguments,
            train_dataset=rows,
            sampler=EpochSampler([6] * 8, 4, seed=0, group_by_length=False),
            loss=PretrainingLoss(10.0),
            compute_metrics=lambda output, split: {},
            decoupled=decoupled,
            generator_rate=2e-2,
            data_collator=lambda chosen: {name: torch.stack([row[name] for row in chosen]) for name in chosen[0]},
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        order = trainer.sampler.order(0)
        self.steps = [[stack(rows, order[at : at + 2]) for at in (start, start + 2)] for start in (0, 4)]


def stack(rows, chosen):
    return {name: torch.stack([rows[row][name] for row in chosen]) for name in rows[0]}


def batches(rows):
    rng = torch.Generator().manual_seed(1)
    found = []
    for _ in range(rows):
        ids = torch.randint(5, 40, (6,), generator=rng)
        labels = torch.full((6,), -100)
        labels[[1, 4]] = ids[[1, 4]]
        masked = ids.clone()
        masked[[1, 4]] = 4
        uniforms = torch.rand(6, generator=rng, dtype=torch.float64)
        found.append(
            {"input_ids": masked, "attention_mask": torch.ones(6).long(), "labels": labels, "uniforms": uniforms}
        )
    return found


def tiny_pair():
    from gifine import cli
    from gifine.inputs import demo
    from gifine.models import drawn_from, pairs

    words = ["task=rtd", "data=demo", "model=debertav3", *TINY_MODEL, "model.tokenizer=demo", "gi.init=identity"]
    words += [f"model.config_overrides.{each}_dropout_prob=0" for each in ("hidden", "attention_probs")]
    torch.manual_seed(0)
    with drawn_from(0):
        return pairs.build(cli.config_from(cli.compose(words)), demo.tokenizer(), {})


def by_hand(pair, steps, *, decoupled):
    """Two AdamW, of generator and discriminator, and the means over a step written out."""
    parts, optimizers = pair.parts(), {}
    decaying = {id(value) for name, value in pair.named_parameters() if not (name.endswith("bias") or "Norm" in name)}
    for part, rate in (("generator", 2e-2), ("discriminator", 1e-2)):
        groups = [
            {"params": [each for each in parts[part] if (id(each) in decaying) == decays], "weight_decay": decay}
            for decays, decay in ((True, 0.1), (False, 0.0))
        ]
        optimizers[part] = torch.optim.AdamW(groups, lr=rate, eps=1e-6)
    pair.train()
    for step in steps:
        read = []
        for batch in step:
            outputs = pair(**batch, part="generator")
            (outputs.nll.sum() / 8).backward()  # 2 batches of 2 rows with 2 masks
            read.append(outputs.replaced)
        if decoupled:
            torch.nn.utils.clip_grad_norm_(parts["generator"], 0.5)
            optimizers["generator"].step()
        for batch, replaced in zip(step, read, strict=True):
            outputs = pair(**batch, part="discriminator", replaced=replaced)
            (10 * outputs.bce.sum() / 24).backward()
        torch.nn.utils.clip_grad_norm_(parts["discriminator"] if decoupled else [*pair.parameters()], 0.5)
        for part in ("discriminator",) if decoupled else ("generator", "discriminator"):
            optimizers[part].step()
        pair.zero_grad()


@pytest.mark.parametrize("decoupled", [True, False])
def test_a_step_of_the_trainer_is_two_steps_written_out(tmp_path, decoupled):
    trained = _Steps(tmp_path, decoupled=decoupled)
    pair = tiny_pair()
    before = {name: value.detach().clone() for name, value in pair.named_parameters()}
    by_hand(pair, trained.steps, decoupled=decoupled)
    moved = dict(trained.pair.named_parameters())
    for name, value in pair.named_parameters():
        torch.testing.assert_close(moved[name], value, rtol=0, atol=2e-6, msg=name)
    assert max(float((value.detach() - before[name]).abs().max()) for name, value in moved.items()) > 1e-3


def test_masks_of_a_row_are_its_own():
    from gifine import cli
    from gifine.inputs import demo
    from gifine.objectives.pretraining.batches import HELD_OUT, Collator

    words = [*TINY, "task=rtd", "model=debertav3"]
    tokenizer = demo.tokenizer()
    collators = [Collator(tokenizer, cli.config_from(cli.compose([*words, f"seed={seed}"]))) for seed in (1, 1, 2)]
    rows = [{"input_ids": [2, *range(10, 10 + length), 3], "idx": length} for length in (5, 9, 20)]
    apart, beside, other = collators[0](rows[:1]), collators[1](rows), collators[2](rows)
    for name, column in apart.items():
        assert torch.equal(column, beside[name][:1, :7]), name
    assert beside["attention_mask"].sum(dim=1).tolist() == [7, 11, 22]
    assert not torch.equal(other["labels"], beside["labels"])
    events: Any = SimpleNamespace(), SimpleNamespace(epoch=1.0), SimpleNamespace()
    collators[0].on_epoch_begin(*events)
    assert not torch.equal(collators[0](rows)["labels"], beside["labels"])
    plain = Collator(tokenizer, cli.config_from(cli.compose([*words, "seed=1", "gi=none"])))
    for name, column in plain(rows).items():
        assert torch.equal(column, beside[name]), f"{name}: another arm"
    held_out = [row | {HELD_OUT: True} for row in rows]
    for name, column in collators[0](held_out).items():
        assert torch.equal(column, collators[2](held_out)[name]), f"{name}: another seed and epoch"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["task=mlm", "model=xlnet"], "without masks"),
        (["task=mlm", "train.max_tokens=5", "train.max_steps=5"], "train.max_steps, train.max_tokens: give one"),
        (["task=mlm", "train.max_seconds=5", "train.warmup=10"], "a fraction of the time"),
        (["task=mlm", "train.max_steps=5", "train.warmup=5"], "ends before the 5 steps of train.warmup are over"),
        (["task=mlm", "train.parameters=bias"], "trains all parameters"),
        (["task=mlm", "task.select_by=mlm_loss"], "of task.metrics: mlm_accuracy"),
        (["task=mlm", "task.masking.share=1"], "task.masking.share=1: above 0, below 1"),
        (["task=mlm", "task.masking.mask=0.95"], "together at most 1"),
        (["task=mlm", "task.masking.max_ngram=0"], "task.masking.max_ngram=0: at least 1"),
        (["task=mlm", "task.metrics=[mlm_accuracy,auc]"], "metric auc: no such metric"),
        (["task=rtd", "model=bert", "task.decoupled=true"], "two steps in one"),
        (["task=rtd", "task.generator.layers=0"], "task.generator.layers=0"),
        (["task=rtd", "task.generator.learning_rate=0"], "must be above 0"),
        (["task=rtd", "task.rtd_weight=0"], "task.rtd_weight=0"),
        (["task=rtd", "task.rtd_weight=inf"], "must be above 0 and finite"),
        (["task=mlm", "train.max_seconds=inf"], "must be above 0 and finite"),
        (["task=rtd", "task.generator.config_overrides.vocab_size=500"], "vocab_size=500: generator and discriminator"),
        (["task=mlm", "task.generator.layers=1"], "task.generator: is for task=rtd"),
        (["task=rtd", "data.held_out=1"], "data.held_out=1"),
        (["task=mlm", "task.rtd_weight=5"], "task.rtd_weight: is for task=rtd"),
        (["task=mlm", "task.changed=generator"], "task.changed: is for task=rtd"),
        (["task=demo", "train.max_tokens=5"], "is for pre-training"),
        (["task=demo", "data.files=[text.txt]"], "is for pre-training"),
        (["task=demo", "data.held_out=0.1"], "data.held_out=0.1: is for pre-training"),
        (["task=demo", "task.masking.share=0.2"], "task.masking: is for pre-training"),
        (["task=demo", "task.generator.layers=1"], "task.generator: is for pre-training"),
        (
            ["task=demo", "first.task=rtd", "data.across_documents=true"],
            "data.across_documents=true: is for pre-training (task=mlm, task=rtd); task=demo has labelled rows; for "
            "first.task=rtd give first.data.across_documents",
        ),
        (["task=rtd", "evaluate.split_dev=true"], "is for tasks with labels"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_read(words, problem):
    from gifine import cli

    composed = cli.compose(["data=demo", "model=debertav3", *words])
    with pytest.raises(ConfigError) as error:
        cli.config_from(composed)
    assert problem in str(error.value)
