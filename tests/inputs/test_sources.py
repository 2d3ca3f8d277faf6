"""Contents decide a run, not paths: what the run_id has of files, weights and tokenizers on this machine."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest

from gifine import cli
from gifine.compose import grid
from gifine.config import RunConfig
from gifine.errors import ConfigError, DataError, ModelError, UserError
from gifine.inputs import model_files
from gifine.runs import identity

BASE = ["task=cola", "model=bert", "gi=both"]


def config(*overrides: object) -> RunConfig:
    return cli.config_from(cli.compose([*BASE, *map(str, overrides)]))


def known_as(*overrides: object) -> str:
    return identity.run_id(config(*overrides))


def own(folder: Path, name: str = "a.csv", *more: str) -> list[str]:
    return [f"task.files.train={folder / name}", f"task.files.validation={folder / 'b.csv'}", *more]


@pytest.fixture
def rows(tmp_path) -> Path:
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "a.csv").write_text("sentence,label\na dog,0\na cat,1\n")
    (folder / "b.csv").write_text("sentence,label\na cow,0\n")
    return folder


@pytest.fixture
def weights(tmp_path) -> Path:
    """A folder with all that may be read of a checkpoint, and a file that is not."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "vocab.txt", "README.md", "other.safetensors"):
        (folder / name).write_text(f'{{"{name}": 1}}')
    return folder


def test_the_same_files_elsewhere_are_the_same_run(rows, tmp_path, monkeypatch):
    shutil.copytree(rows, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "a.csv").rename(tmp_path / "elsewhere" / "renamed.CSV")
    here = known_as(*own(rows))
    assert known_as(*own(tmp_path / "elsewhere", "renamed.CSV")) == here
    monkeypatch.chdir(rows)
    assert known_as(*own(Path())) == here


def test_relative_names_in_another_folder_are_another_run(rows, tmp_path, monkeypatch):
    shutil.copytree(rows, tmp_path / "two")
    (tmp_path / "two" / "a.csv").write_text("sentence,label\na dog,1\na cat,0\n")
    folders = []
    for folder in (rows, tmp_path / "two"):
        monkeypatch.chdir(folder)
        folders.append(identity.directory(config(*own(Path()), f"output_root={tmp_path / 'runs'}")))
    assert folders[0] != folders[1]


@pytest.mark.parametrize("name", ["a.csv", "b.csv"])
def test_changed_files_are_another_run(rows, name):
    before = known_as(*own(rows))
    text = (rows / name).read_text()
    (rows / name).write_text(text.replace(",0\n", ",1\n"))
    assert known_as(*own(rows)) != before
    (rows / name).write_text(text)
    assert known_as(*own(rows)) == before


def test_how_a_file_is_read_is_part_of_the_run(rows):
    shutil.copy(rows / "a.csv", rows / "a.tsv")
    others = [known_as(*own(rows, "a.tsv")), known_as(*own(rows), "task.labels=[acceptable,unacceptable]")]
    assert len({known_as(*own(rows)), *others}) == 3


def test_a_test_set_decides_nothing(rows):
    without = known_as(*own(rows))
    assert known_as(*own(rows), f"task.files.test={rows / 'a.csv'}") == without


def test_a_record_says_that_the_data_are_files(rows):
    made = config(*own(rows))
    entries = identity.to_dict(made)
    assert entries["data"]["source"] == "files"
    again = identity.from_dict(entries)
    assert identity.run_id(again) == identity.run_id(made)
    with pytest.raises(UserError, match=r"data\.source=files: needs task\.files\.train"):
        config("data.source=files")


def test_the_same_weights_elsewhere_are_the_same_run_in_the_same_folder(weights, tmp_path):
    before = config(f"model.checkpoint={weights}", f"output_root={tmp_path / 'runs'}")
    shutil.copytree(weights, tmp_path / "b" / "called otherwise")
    after = config(f"model.checkpoint='{tmp_path / 'b' / 'called otherwise'}'", f"output_root={tmp_path / 'runs'}")
    assert identity.run_id(before) == identity.run_id(after)
    assert identity.directory(before) != identity.directory(after), "nothing is there yet"
    identity.directory(before).mkdir(parents=True)
    assert identity.directory(before) == identity.directory(after)


@pytest.mark.parametrize("key", ["model.checkpoint", "model.init_from"])
@pytest.mark.parametrize(
    ("name", "decides"),
    [
        ("config.json", True),
        ("model.safetensors", True),
        ("tokenizer.json", True),
        ("vocab.txt", True),
        ("merges.txt", True),  # which is not there yet
        ("README.md", False),
        ("other.safetensors", False),
    ],
)
def test_whatever_is_read_of_a_checkpoint_decides(weights, key, name, decides):
    before = known_as(f"{key}={weights}")
    (weights / name).write_text('{"changed": 1}')
    assert (known_as(f"{key}={weights}") != before) == decides


def test_shards_decide_where_there_is_no_single_file(weights):
    (weights / "model.safetensors").unlink()
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (weights / model_files.INDEX).write_text(json.dumps(index))
    for name in ("one", "two"):
        (weights / f"{name}.safetensors").write_text(name)
    before = known_as(f"model.checkpoint={weights}")
    (weights / "two.safetensors").write_text("changed")
    changed = known_as(f"model.checkpoint={weights}")
    (weights / "other.safetensors").write_text("changed")
    assert before != changed == known_as(f"model.checkpoint={weights}")


@pytest.mark.parametrize("index", ["", "{", "[]", '{"weight_map": 3}', "{}"])
def test_a_damaged_index_is_one_message(weights, index):
    (weights / "model.safetensors").unlink()
    (weights / model_files.INDEX).write_text(index)
    with pytest.raises(ConfigError, match="is no index of weights"):
        known_as(f"model.checkpoint={weights}")


def test_a_tokenizer_of_its_own_takes_the_place_of_the_checkpoints(weights, tmp_path):
    shutil.copytree(weights, tmp_path / "tokenizer")
    words = [f"model.checkpoint={weights}", f"model.tokenizer={tmp_path / 'tokenizer'}"]
    before = known_as(*words)
    (weights / "tokenizer.json").write_text("changed")
    assert known_as(*words) == before
    (tmp_path / "tokenizer" / "model.safetensors").write_text("changed")
    assert known_as(*words) == before
    (tmp_path / "tokenizer" / "vocab.txt").write_text("changed")
    assert known_as(*words) != before
    shutil.move(tmp_path / "tokenizer", tmp_path / "moved")
    assert known_as(words[0], f"model.tokenizer={tmp_path / 'moved'}") == known_as(
        words[0], f"model.tokenizer={shutil.copytree(tmp_path / 'moved', tmp_path / 'copy')}"
    )


def test_of_random_weights_only_the_architecture_decides(weights):
    words = [f"model.checkpoint={weights}", "model.random_init=true", "model.tokenizer=demo"]
    before = known_as(*words)
    for name in ("model.safetensors", "vocab.txt"):
        (weights / name).write_text("changed")
    assert known_as(*words) == before
    (weights / "config.json").write_text("{}")
    assert known_as(*words) != before


def test_weights_in_a_package_are_known_by_their_contents(weights, tmp_path, monkeypatch):
    package = tmp_path / "site" / "gifine_weights"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copytree(weights, package / "model")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    word = f"model.checkpoint={model_files.PACKAGE}gifine_weights/model"
    before = known_as(word)
    assert before == known_as(f"model.checkpoint={weights}")
    (package / "model" / "model.safetensors").write_text("the next version")
    assert known_as(word) != before
    sys.modules.pop("gifine_weights", None)


def test_the_beginning_of_a_training_set_is_another_run_than_all_of_it(tmp_path):
    folder = tmp_path / "CoLA"
    folder.mkdir()
    words = ["data=glue_dir", f"data.dir={tmp_path}", "data.allow_partial=true"]
    (folder / "dev.tsv").write_text("x\t1\t\ta dog\n")
    nothing = known_as(*words)
    (folder / "train.part.tsv").write_text("x\t1\t\ta dog\n")
    partial = known_as(*words)
    (folder / "train.part.tsv").write_text("x\t1\t\ta dog\nx\t0\t\ta cat\n")
    longer = known_as(*words)
    (folder / "train.tsv").write_text("x\t1\t\ta dog\nx\t0\t\ta cat\n")
    assert len({nothing, partial, longer}) == 3
    assert known_as(*words) == nothing, "the official file stands for known data"


def test_a_data_set_in_a_folder_is_known_by_its_contents(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name / "data" / ".cache").mkdir(parents=True)
        (tmp_path / name / "data" / "train.csv").write_text("sentence,label\na dog,1\n")
    ids = []
    for name, change in (("one", None), ("two", ".cache/x"), ("two", "train.csv")):
        monkeypatch.chdir(tmp_path / name)
        if change is not None:
            (tmp_path / name / "data" / change).write_text("sentence,label\na dog,0\n")
        ids.append(known_as("data=hub", "task.hub.path=data"))
    assert ids[0] == ids[1] != ids[2]


def test_names_on_the_hub_and_the_official_folders_keep_their_run_ids(tmp_path):
    """Literals: whoever changes them makes every finished run of theirs run again."""
    (tmp_path / "CoLA").mkdir()
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / "CoLA" / name).touch()
    official = ["data=glue_dir", f"data.dir={tmp_path}"]
    found = [
        identity.run_id(cli.config_from(cli.compose(words)))
        for words in (
            ["task=cola", "model=debertav3"],
            ["task=rte", *official],
            ["task=cola", *official, "data.allow_partial=true"],
            ["task=cola", "model.checkpoint=my/bert", "model.revision=v1", "model.tokenizer=my/tok"],
            ["task=demo", "data=demo", "model=bert", "model.random_init=true", "model.tokenizer=demo"],
        )
    ]
    assert found == ["a8028513036a", "48fa7c43b4d1", "5c3d870ed53a", "f5f019fd28c6", "3444b4054318"]


def test_what_is_gone_is_one_message(rows, weights):
    made = config(*own(rows)), config(f"model.checkpoint={weights}")
    (rows / "a.csv").unlink()
    shutil.rmtree(weights)
    for each, error in zip(made, (DataError, ModelError), strict=True):
        with pytest.raises(error) as said:
            identity.run_id(each)
        assert len(str(said.value).splitlines()) == 1


def test_two_thousand_runs_hash_each_file_once(rows, weights, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("gifine.inputs.digests._SETTLED_NS", 0)
    words = [*BASE, *own(rows), f"model.checkpoint={weights}", "seed=range(0,2000)", f"output_root={tmp_path}"]
    runs = grid.expand(words)
    read, original = [], hashlib.file_digest

    def file_digest(file, name):
        read.append(file.name)
        return original(file, name)

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    assert len(grid.distinct(runs)) == 2000
    names = ("config.json", "model.safetensors", "tokenizer.json", "vocab.txt")
    assert sorted(read) == sorted(map(str, [rows / "a.csv", rows / "b.csv", *(weights / name for name in names)]))
