"""What a run is known by: what decides a run_id, and the names of folders."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gifine import cli
from gifine.config import RunConfig
from gifine.inputs import offline
from gifine.inputs.offline import Manifest
from gifine.runs import identity

BASE = ["task=mrpc", "model=bert", "gi=both"]


def config(*overrides: str) -> RunConfig:
    return cli.config_from(cli.compose([*BASE, *overrides]))


@pytest.mark.parametrize(
    "overrides",
    [
        ["output_root=elsewhere"],
        ["output_dir=elsewhere"],
        ["overwrite=true"],
        ["data=glue_dir", "data.dir=."],
        ["data.cache_dir=elsewhere"],
        ["train.save_model=true"],
        ["train.keep_checkpoints=true"],
        ["train.log_steps=1"],
        ["evaluate.invariance=true"],
        ["deterministic=true"],
        ["model.attention=hf"],
        ["model=bert-large"],
        ["data.demo_seed=3"],
    ],
)
def test_run_id_leaves_out_what_does_not_decide_the_result(overrides):
    reference = config("data=glue_dir", "data.dir=..") if "data=glue_dir" in overrides else config()
    assert identity.run_id(config(*overrides)) == identity.run_id(reference)


def test_run_id_does_not_depend_on_a_prefetched_folder(tmp_path):
    offline.write(tmp_path, Manifest())
    assert identity.run_id(config(f"prefetch={tmp_path}")) == identity.run_id(config())


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "gi.level=0.1",
        "gi.side=key",
        "gi.layers=6",
        "gi.threshold=token",
        "gi.mask_padding=true",
        "gi.init=identity",
        "model.size=base",
        "model=roberta",
        "model.revision=main",
        "model.random_init=true",
        "++model.config_overrides.hidden_dropout_prob=0.2",
        "task=rte",
        "train=original",
        "train.eval_batch_size=8",
        "train.padding=max_length",
        "train.max_steps=5",
        "data.max_train_rows=5",
        "data.allow_partial=true",
        "evaluate.split_dev=true",
        "threads=1",
    ],
)
def test_run_id_depends_on_what_decides_the_result(override):
    assert identity.run_id(config(override)) != identity.run_id(config())


def test_run_id_of_a_baseline_does_not_depend_on_gates_that_are_not_there():
    assert len({identity.run_id(config("gi=none", f"gi.level={level}")) for level in (0, 0.1, 0.3)}) == 1


def test_run_id_of_random_weights_depends_on_the_architecture():
    small, large = (config("model.random_init=true", f"model.size={size}") for size in ("base", "large"))
    assert identity.run_id(small) != identity.run_id(large)


def test_run_id_knows_the_weights_that_a_run_has_left_wherever_they_lie(tmp_path):
    ids = []
    for place, weights in (("here", "abc"), ("there", "abc"), ("else", "def")):
        (tmp_path / place / "model").mkdir(parents=True)
        (tmp_path / place / "model" / "config.json").write_text("{}")
        (tmp_path / place / "model" / "model.safetensors").write_text(weights)
        (tmp_path / place / "record.json").write_text('{"run_id": "of one command"}')
        ids.append(identity.run_id(config(f"model.init_from={tmp_path / place}")))
    assert ids[0] == ids[1] != ids[2]
    assert ids[0] != identity.run_id(config())


def test_run_id_knows_how_quotes_were_read_where_that_was_said(tmp_path):
    (tmp_path / "rows.tsv").touch()
    files = [f"task.files.{split}={tmp_path}/rows.tsv" for split in ("train", "validation")]
    ids = [identity.run_id(config(*files, f"task.files.quoting={each}")) for each in ("auto", "none", "standard")]
    assert ids[0] == identity.run_id(config(*files))
    assert len(set(ids)) == 3
    assert identity.run_id(config("task.files.quoting=none")) == identity.run_id(config()), "no file is read"


def test_config_comes_back_from_its_record():
    ours = config("gi.layers=6", "model.random_init=true", "++model.config_overrides.hidden_size=64", "train=original")
    again = identity.from_dict(identity.to_dict(ours))
    assert identity.to_dict(again) == identity.to_dict(ours)
    assert identity.run_id(again) == identity.run_id(ours)


def test_run_id_is_stable_across_versions():
    """Results on disk are found again by it: whoever changes this number makes every finished run run again."""
    assert identity.run_id(config()) == "345f540bcbbd"


@pytest.mark.parametrize(
    ("overrides", "slug"),
    [
        (["model=debertav3", "task=cola", "gi.layers=6"], "cola_debertav3-large_both-0.3-last6_s42"),
        (["model.size=base", "gi=none", "seed=1"], "mrpc_bert-base_plain_s1"),
        (["model.random_init=true", "gi.side=key"], "mrpc_bert-large-random_key-0.3_s42"),
        (["model.checkpoint=my/bert-tiny"], "mrpc_bert-tiny_both-0.3_s42"),
        (["model.checkpoint='my/roberta tiny'"], "mrpc_roberta-tiny_both-0.3_s42"),
        (["gi=none", "train.parameters=change"], "mrpc_bert-large_head-only_s42"),
        (["gi=none", "train.parameters=bias"], "mrpc_bert-large_biases-only_s42"),
        (["change=lora", "train.parameters=change"], "mrpc_bert-large_lora-trained-alone_s42"),
        (["train.parameters=bias"], "mrpc_bert-large_both-0.3-with-biases_s42"),
    ],
)
def test_slug_is_readable(overrides, slug):
    assert identity.slug(config(*overrides)) == slug


def test_slugs_tell_a_run_that_dropped_a_change_from_one_that_had_none():
    plain = config("gi=none")
    plain, dropped = (
        replace(plain, model=replace(plain.model, init_from="runs/rtd_x", drop_change=dropped))
        for dropped in (False, True)
    )
    assert identity.slug(plain) == "mrpc_bert-large-from-rtd_plain_s42"
    assert identity.slug(dropped) == "mrpc_bert-large-from-rtd-change-dropped_plain_s42"


def test_a_run_is_found_under_what_was_said_before_of_what_trains(tmp_path):
    frozen = config("gi=none", "train.parameters=bias", f"output_root={tmp_path}")
    folder = tmp_path / f"mrpc_bert-large_plain-bias-only_s42-{identity.run_id(frozen)}"
    folder.mkdir()
    assert identity.directory(frozen) == folder
