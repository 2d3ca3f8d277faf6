"""What a record says of code and machine."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from conftest import needs
from gifine import cli
from gifine.runs import origin, provenance


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with one commit, which the code is made to run from; marked `machine` by whoever takes it."""
    git = needs("git")
    for name in ("src/gifine", "src/hydra_plugins", "conf", "docs"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("src/gifine/train.py", "conf/config.yaml", "docs/index.md"):
        (tmp_path / name).write_text("first\n")
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    named = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], [*named, "commit", "-q", "-m", "first"]):
        subprocess.run([git, "-C", str(tmp_path), *words], check=True)
    monkeypatch.setattr(provenance, "SOURCES", tmp_path / "src")
    return tmp_path


def git() -> dict:
    found = provenance.git()
    assert found is not None
    return found


@pytest.mark.machine
def test_a_clean_checkout_has_a_commit_and_no_diff(checkout):
    (checkout / "src/gifine/__pycache__").mkdir()
    (checkout / "src/gifine/__pycache__/train.pyc").write_text("ignored")
    (checkout / "docs/notes.txt").write_text("decides nothing")
    found = git()
    assert len(found["commit"]) == 40
    assert (found["dirty"], found["diff"]) == (False, None)


@pytest.mark.machine
def test_a_changed_file_and_an_unknown_one_are_told_by_their_contents(checkout):
    clean, seen = git()["commit"], []
    (checkout / "src/gifine/train.py").write_text("second\n")
    seen.append(git())
    (checkout / "src/gifine/new.py").write_text("new\n")
    seen.append(git())
    (checkout / "src/gifine/new.py").write_text("newer\n")
    seen.append(git())
    (checkout / "src/gifine/new.py").rename(checkout / "conf/new.py")
    seen.append(git())
    (checkout / "conf/nowhere").symlink_to("nothing")
    seen.append(git())
    assert {each["commit"] for each in seen} == {clean}
    assert all(each["dirty"] for each in seen)
    assert len({each["diff"] for each in seen}) == len(seen)
    (checkout / "conf/nowhere").unlink()
    assert git() == seen[3], "the same changes again"


@pytest.mark.machine
def test_a_staged_change_is_a_change(checkout):
    (checkout / "conf/config.yaml").write_text("second\n")
    before = git()
    subprocess.run(["git", "-C", str(checkout), "add", "conf"], check=True)
    assert git() == before
    assert before["dirty"]


def test_a_copy_says_what_its_original_was(tmp_path, monkeypatch):
    (tmp_path / provenance.SNAPSHOT).write_text(json.dumps({"commit": "abc", "dirty": True, "diff": "def"}))
    monkeypatch.setattr(provenance, "SOURCES", tmp_path / "src")
    assert provenance.git() == {"commit": "abc", "dirty": True, "diff": "def"}


def test_code_is_known_by_its_contents_and_names_wherever_it_lies(tmp_path, monkeypatch):
    ids = []
    for place, name, text in (("a", "x.py", "1"), ("b", "x.py", "1"), ("c", "x.py", "2"), ("d", "y.py", "1")):
        folder = tmp_path / place / "gifine"
        folder.mkdir(parents=True)
        (folder / name).write_text(text)
        (folder / "page.html").write_text(place)
        monkeypatch.setattr(provenance, "SOURCES", tmp_path / place)
        ids.append(provenance.code())
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC 9534 64-Core Processor\nmodel name\t: another\n", None),
        ("processor\t: 0\nBogoMIPS\t: 50\n", "other"),
    ],
)
def test_the_processor_has_the_name_that_linux_gives_it_or_pythons(tmp_path, monkeypatch, text, name):
    monkeypatch.setattr("platform.processor", lambda: "other")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(text)
    assert provenance.cpu(tmp_path) == (name or "AMD EPYC 9534 64-Core Processor")
    assert provenance.cpu(tmp_path / "nowhere") == "other"


def test_weights_of_a_package_are_named_with_its_version(tmp_path, monkeypatch):
    """An installed package as `pip` leaves it."""
    (tmp_path / "small_bert/model").mkdir(parents=True)
    for name in ("__init__.py", "model/config.json", "model/model.safetensors"):
        (tmp_path / "small_bert" / name).touch()
    (tmp_path / "Small_BERT-1.2.dist-info").mkdir()
    (tmp_path / "Small_BERT-1.2.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: Small-BERT\nVersion: 1.2\n"
    )
    (tmp_path / "Small_BERT-1.2.dist-info/top_level.txt").write_text("small_bert\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def package(*words: str) -> dict[str, str] | None:
        return origin.package(cli.config_from(cli.compose(["task=rte", "model=bert", *words])).model)

    assert package("model.checkpoint='package:small_bert/model'") == {"name": "Small-BERT", "version": "1.2"}
    assert package() is None
    assert package("model.checkpoint='package:small_bert/model'", "model.random_init=true") is None


def test_this_code_is_told_whole():
    found = provenance.collect()
    assert found["code"] == provenance.code()
    assert found["cpu"]
    assert Path(provenance.SOURCES / "gifine/runs/provenance.py").is_file()
    assert set(found["packages"]) >= {"torch", "transformers", "numpy"}
    assert found["cpus"] == os.cpu_count()
