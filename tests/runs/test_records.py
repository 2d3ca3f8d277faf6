"""Records: a record on disk is whole or not there, and folders of other runs are left alone."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from gifine import cli
from gifine.config import RunConfig
from gifine.errors import OutputError
from gifine.runs import identity, lifecycle, records, tree
from gifine.runs.records import Record, Status

BASE = ["task=mrpc", "model=bert", "gi=both"]


def config(*overrides: str) -> RunConfig:
    return cli.config_from(cli.compose([*BASE, *overrides]))


@pytest.mark.parametrize("part", ["provenance", "metrics", "seconds"])
@pytest.mark.parametrize("other", [None, [1], "x"])
def test_a_record_with_parts_of_another_kind_is_no_readable_one(tmp_path, part, other):
    records.write(tmp_path, Record("id", "slug", {}))
    entries = json.loads((tmp_path / records.RECORD).read_text()) | {part: other}
    (tmp_path / records.RECORD).write_text(json.dumps(entries))
    with pytest.raises(OutputError, match=f"its {part} is no object"):
        records.read(tmp_path)


def test_record_round_trip(tmp_path):
    record = Record("abc", "slug", identity.to_dict(config()), metrics={"mrpc/validation/f1": None}, status=Status.DONE)
    records.write(tmp_path, record)
    assert records.read(tmp_path) == record
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"], "no temporary file may stay"


def test_record_has_the_resolved_config_in_json_types(tmp_path):
    records.write(tmp_path, Record("abc", "slug", identity.to_dict(config())))
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


def test_entries_are_those_on_disk_whatever_the_version(tmp_path):
    written = {"run_id": "abc", "schema_version": 99, "new_in_version_99": [1]}
    (tmp_path / "record.json").write_text(json.dumps(written))
    assert records.load(tmp_path) == records.entries(tmp_path) == written


@pytest.mark.parametrize("content", ["[1]", "null", "{", "", b"\xff\xfe\xff", None])
def test_where_there_is_no_record_there_are_no_entries(tmp_path, content):
    if content is not None:
        (tmp_path / "record.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert records.entries(tmp_path) == {}
    assert records.entries(tmp_path / "record.json") == {}, "a file, not a folder"


def test_no_record_is_none(tmp_path):
    assert records.read(tmp_path / "not there") is None


def test_folder_of_another_config_is_refused(tmp_path):
    mine, other = (config(f"output_dir={tmp_path}", f"seed={seed}") for seed in (1, 2))
    records.write(lifecycle.open_folder(mine), Record(identity.run_id(mine), identity.slug(mine), {}))
    lifecycle.open_folder(mine)
    with pytest.raises(OutputError, match=r"holds the run .* of another config"):
        lifecycle.open_folder(other)


def test_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make the folder"):
        lifecycle.open_folder(config(f"output_root={tmp_path / 'file' / 'runs'}"))


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


def test_links_are_followed_and_each_run_is_found_once(tmp_path):
    """Runs that were moved to a larger disk, with links where they were."""
    disk, root = tmp_path / "disk", tmp_path / "runs"
    for name in ("a", "b"):
        (disk / name).mkdir(parents=True)
        (disk / name / records.RECORD).write_text("{}")
    root.mkdir()
    (root / "a").symlink_to(disk / "a")
    (root / "again").symlink_to(disk / "a")
    (root / "nested").mkdir()
    (root / "nested" / "all").symlink_to(disk)
    (disk / "up").symlink_to(tmp_path)
    (root / "gone").symlink_to(tmp_path / "nowhere")
    (root / "itself").symlink_to(root / "itself")
    assert sorted(tree.below(root)) == [disk / "a", disk / "b"]
    assert list(tree.below(root / "a")) == [disk / "a"]
