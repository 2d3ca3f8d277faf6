"""Submissions: names and words as GLUE's server takes them, and the zip."""

from __future__ import annotations

import zipfile
from dataclasses import replace

import numpy as np
import pytest

from gifine import cli, glue_submission, submissions
from gifine.config import TaskConfig
from gifine.errors import ConfigError, DataError, OutputError
from gifine.task_config import FilesConfig


def task(name: str) -> TaskConfig:
    return cli.config_from(cli.compose([f"task={name}", *(["data=demo"] if name == "demo" else [])])).task


def test_the_tasks_give_all_files():
    tasks = [
        task(path.stem)
        for path in (cli.conf_dir() / "task").glob("*.yaml")
        if path.stem not in ("demo", "squad", "squad_v2", "mlm", "rtd")
    ]
    assert sorted(name for each in tasks for name in submissions.names(each).values()) == sorted(glue_submission.FILES)
    assert list(submissions.names(task("mnli")).values()) == ["MNLI-m.tsv", "MNLI-mm.tsv", "AX.tsv"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cola", ["0", "1"]),
        ("sst2", ["0", "1"]),
        ("mrpc", ["0", "1"]),
        ("qqp", ["0", "1"]),
        ("wnli", ["0", "1"]),
        ("qnli", ["entailment", "not_entailment"]),
        ("rte", ["entailment", "not_entailment"]),
        ("mnli", ["entailment", "neutral", "contradiction"]),
    ],
)
def test_words_for_class_ids(name, expected):
    assert glue_submission.words(np.arange(len(expected)), task(name)) == expected


def test_numbers_are_clipped_and_rounded():
    assert glue_submission.words(np.array([-0.2, 2.34567, 5.1]), task("stsb")) == ["0.000", "2.346", "5.000"]


def test_of_own_files_labels_and_numbers_are_as_they_are():
    files = FilesConfig("train.csv", "validation.csv", "test.csv")
    own = {name: replace(task(name), name=f"my {name}", files=files) for name in ("cola", "stsb")}
    assert submissions.names(own["cola"]) == {"test": "my-cola.tsv"}
    assert glue_submission.words(np.array([1, 0]), own["cola"]) == ["acceptable", "unacceptable"]
    assert glue_submission.words(np.array([-0.25, 70.5], dtype=np.float32), own["stsb"]) == ["-0.25", "70.5"]


def test_names_of_a_task_that_glue_does_not_have():
    splits = {split: replace(task("rte").splits["test"], submission=None) for split in ("test", "other")}
    mine = replace(task("rte"), name="mine", splits=splits)
    assert submissions.names(mine) == {"test": "mine.tsv"}
    assert submissions.names(replace(mine, test_splits=["test", "other"])) == {
        "test": "mine-test.tsv",
        "other": "mine-other.tsv",
    }


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (task("demo"), r"task=demo has no test set: task\.test_splits=\[\], task\.splits has: nothing"),
        (replace(task("rte"), test_splits=["tset"]), r"\['tset'\], task\.splits has: train, validation, test"),
        (replace(task("rte"), files=FilesConfig("a.csv", "b.csv")), r"no task\.files\.test; --file FILE"),
    ],
)
def test_no_test_set(task, said):
    with pytest.raises(DataError, match=said):
        submissions.names(task)


@pytest.mark.parametrize(
    ("name", "override", "said"),
    [
        ("rte", "task.submission_labels=[a,b,c]", "one for each of task.labels"),
        ("rte", "task.submission_range=[0,5]", "a regression's lowest and highest number"),
        ("stsb", "task.submission_range=[5]", "a regression's lowest and highest number"),
    ],
)
def test_words_that_do_not_fit_the_task_are_refused(name, override, said):
    with pytest.raises(ConfigError, match=said):
        cli.config_from(cli.compose([f"task={name}", override]))


def test_a_file(tmp_path):
    path = tmp_path / "RTE.tsv"
    assert glue_submission.write(path, np.array([0, 1]), task("rte"), {}) == {path: "2 predictions"}
    assert (tmp_path / "RTE.tsv").read_bytes() == b"index\tprediction\n0\tentailment\n1\tnot_entailment\n"
    assert glue_submission.rows((tmp_path / "RTE.tsv").read_bytes()) == 2


def test_sample_is_found_in_a_folder_or_a_zip_wherever_it_lies(tmp_path):
    folder = tmp_path / "sample" / "inside"
    folder.mkdir(parents=True)
    for name in ("RTE.tsv", "AX.tsv", "SNLI.tsv"):
        (folder / name).write_text(name)
    with zipfile.ZipFile(tmp_path / "sample.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"glue/{path.name}")
        archive.writestr("__MACOSX/._RTE.tsv", "a Mac's own")
    for place in (tmp_path / "sample", tmp_path / "sample.zip"):
        assert glue_submission.read_sample(place, glue_submission.FILES) == {"RTE.tsv": b"RTE.tsv", "AX.tsv": b"AX.tsv"}


def test_sample_that_is_none(tmp_path):
    with pytest.raises(DataError, match=r"--fill .*nothing\.zip: no such file or folder"):
        glue_submission.read_sample(tmp_path / "nothing.zip", glue_submission.FILES)
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(DataError, match=r"text\.zip: neither a folder nor a readable zip"):
        glue_submission.read_sample(tmp_path / "text.zip", glue_submission.FILES)


def test_a_zip_is_whole_or_not_there(tmp_path, monkeypatch):
    contents = {"RTE.tsv": b"rte", "CoLA.tsv": b"cola"}
    glue_submission.pack(tmp_path / "a.zip", contents)
    glue_submission.pack(tmp_path / "b.zip", dict(reversed(contents.items())))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["CoLA.tsv", "RTE.tsv"]
        assert archive.read("RTE.tsv") == b"rte"
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o644}, "readable where it is unpacked"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(OutputError, match="No space left on device"):
        glue_submission.pack(tmp_path / "c.zip", contents)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "b.zip"]
