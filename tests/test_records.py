"""Records: what decides a run_id, and that a record on disk is whole or not there."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from gifine import cli, records
from gifine.config import RunConfig
from gifine.errors import OutputError
from gifine.records import Record, Status

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
        ["model=bert-large"],
        ["data.demo_seed=3"],
    ],
)
def test_run_id_leaves_out_what_does_not_decide_the_result(overrides):
    reference = config("data=glue_dir", "data.dir=..") if "data=glue_dir" in overrides else config()
    assert records.run_id(config(*overrides)) == records.run_id(reference)


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
        "train=seed",
        "train.eval_batch_size=8",
        "train.padding=max_length",
        "train.max_steps=5",
        "data.max_train_rows=5",
        "data.allow_partial=true",
    ],
)
def test_run_id_depends_on_what_decides_the_result(override):
    assert records.run_id(config(override)) != records.run_id(config())


def test_run_id_of_a_baseline_does_not_depend_on_gates_that_are_not_there():
    assert len({records.run_id(config("gi=none", f"gi.level={level}")) for level in (0, 0.1, 0.3)}) == 1


def test_run_id_of_random_weights_depends_on_the_architecture():
    small, large = (config("model.random_init=true", f"model.size={size}") for size in ("base", "large"))
    assert records.run_id(small) != records.run_id(large)


def test_run_id_is_stable_across_versions():
    """Results on disk are found again by it: whoever changes this number makes every finished run run again."""
    assert records.run_id(config()) == "f20029147366"


@pytest.mark.parametrize(
    ("overrides", "slug"),
    [
        (["model=debertav3", "task=cola", "gi.layers=6"], "cola_debertav3-large_both-0.3-last6_s42"),
        (["model.size=base", "gi=none", "seed=1"], "mrpc_bert-base_plain_s1"),
        (["model.random_init=true", "gi.side=key"], "mrpc_bert-large-random_key-0.3_s42"),
        (["model.checkpoint=my/bert-tiny"], "mrpc_bert-tiny_both-0.3_s42"),
        (["model.checkpoint='my/roberta tiny'"], "mrpc_roberta-tiny_both-0.3_s42"),
    ],
)
def test_slug_is_readable(overrides, slug):
    assert records.slug(config(*overrides)) == slug


def test_record_round_trip(tmp_path):
    record = Record("abc", "slug", records.to_dict(config()), metrics={"mrpc/validation/f1": None}, status=Status.DONE)
    records.write(tmp_path, record)
    assert records.read(tmp_path) == record
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"], "no temporary file may stay"


def test_record_has_the_resolved_config_in_json_types(tmp_path):
    records.write(tmp_path, Record("abc", "slug", records.to_dict(config())))
    entries = json.loads((tmp_path / "record.json").read_text())
    assert entries["config"]["gi"]["side"] == "both"
    assert entries["status"] == "running"
    assert entries["schema_version"] == records.SCHEMA_VERSION


def test_a_later_record_with_more_keys_is_still_read(tmp_path):
    entries = asdict(Record("abc", "slug", {})) | {"new_in_version_2": 1}
    (tmp_path / "record.json").write_text(json.dumps(entries))
    earlier = records.read(tmp_path)
    assert earlier is not None
    assert earlier.run_id == "abc"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"run_id": 1}', '{"run_id": "", "slug": "", "config": {}, "status": "x"}']
)
def test_a_foreign_record_is_refused(tmp_path, content):
    (tmp_path / "record.json").write_text(content)
    with pytest.raises(OutputError, match=r"record\.json is no readable record"):
        records.read(tmp_path)


def test_no_record_is_none(tmp_path):
    assert records.read(tmp_path / "not there") is None


def test_folder_of_another_config_is_refused(tmp_path):
    mine, other = (config(f"output_dir={tmp_path}", f"seed={seed}") for seed in (1, 2))
    records.write(records.open_folder(mine), Record(records.run_id(mine), records.slug(mine), {}))
    records.open_folder(mine)
    with pytest.raises(OutputError, match=r"holds the run .* of another config"):
        records.open_folder(other)


def test_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make the folder"):
        records.open_folder(config(f"output_root={tmp_path / 'file' / 'runs'}"))


def test_write_that_fails_leaves_the_old_record(tmp_path, monkeypatch):
    records.write(tmp_path, Record("old", "slug", {}))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        records.write(tmp_path, Record("new", "slug", {}))
    kept = records.read(tmp_path)
    assert kept is not None
    assert kept.run_id == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]
