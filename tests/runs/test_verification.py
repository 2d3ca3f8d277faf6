"""No result is served, and no run goes on, with other data, tokenizer or weights than those that it was begun with."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path

import datasets
import pytest

from conftest import TINY_DEMO, tiny_bert
from gifine import cli, evaluate
from gifine.compose import grid
from gifine.errors import DataError, ExitCode, OutputError
from gifine.inputs import dataset, demo, digests, sources
from gifine.report import __main__ as report
from gifine.runs import identity, records, verification
from gifine.runs.records import Record, Status
from gifine.sweep import __main__ as sweep
from gifine.sweep import ledger
from gifine.sweep.commands import plan
from gifine.sweep.ledger import Entry, Ledger
from gifine.training import callbacks

TINY = [*(word for word in TINY_DEMO if word.split("=")[0] not in ("task", "data")), "train.epochs=1", "task=cola"]
TINY = [word for word in TINY if not word.startswith("data.demo")]


def rows(split: str = "train", number: int = 64) -> list[dict]:
    return demo.generate(split, number, seed=0)


def write_official(folder: Path, *, flipped: bool = False, number: int = 64, name: str = "train.tsv") -> None:
    """Sentences of the demo in the form of CoLA."""
    (folder / "CoLA").mkdir(parents=True, exist_ok=True)
    for file, found in ((name, rows(number=number)), ("dev.tsv", rows("validation", 32))):
        lines = [f"x\t{int(row['label'] != (flipped and file == name))}\t\t{row['sentence']}\n" for row in found]
        (folder / "CoLA" / file).write_text("".join(lines))


def write_own(folder: Path, *, flipped: bool = False, number: int = 64) -> list[str]:
    """The same as files of one's own; the words that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, found in (("a.csv", rows(number=number)), ("b.csv", rows("validation", 32))):
        lines = [f"{row['sentence']},{int(row['label'] != (flipped and name == 'a.csv'))}\n" for row in found]
        (folder / name).write_text("sentence,label\n" + "".join(lines))
    return [f"task.files.train={folder / 'a.csv'}", f"task.files.validation={folder / 'b.csv'}"]


@pytest.fixture
def official(tmp_path) -> list[str]:
    """The words of a run on official files below tmp_path / "glue"."""
    write_official(tmp_path / "glue")
    return [*TINY, "data=glue_dir", f"data.dir={tmp_path / 'glue'}"]


def stop_at(monkeypatch, step: int) -> None:
    """SIGTERM in the middle of training, once."""
    left = [step]

    def on_step_end(self, args, state, control, **kwargs):
        if left and state.global_step == left[0]:
            os.kill(os.getpid(), signal.SIGTERM)
            left.clear()

    monkeypatch.setattr(callbacks.Bar, "on_step_end", on_step_end)


def test_official_files_that_have_changed_are_refused_until_it_is_run_again(
    train, official, tmp_path, capsys, monkeypatch
):
    done = train(*official)
    before = (done.folder / "record.json").read_bytes()
    assert train(*official).code == ExitCode.DONE, "nothing has changed yet"
    write_official(tmp_path / "glue", flipped=True)
    with pytest.raises(DataError) as error:
        train(*official)
    path, then = tmp_path / "glue" / "CoLA" / "train.tsv", done.record.provenance["data"]["train"]
    now = dataset.Reader(config(*official)).fingerprints(["train"])["train"]
    assert f"train ({path}: fingerprint {then[:12]}, now {now[:12]})" in str(error.value)
    assert "validation" not in str(error.value)
    assert "overwrite=true in its place, another output_root beside it" in str(error.value)
    assert (done.folder / "record.json").read_bytes() == before
    told = plan.describe(plan.make(grid.expand([*official, f"output_root={tmp_path}"])))
    assert "1 finished, 0 to do. 1 run was made of data or weights that are not those on disk any more" in told
    assert f"{done.folder.name} ({path})" in told
    monkeypatch.setattr(sys, "argv", ["gifine", "--multirun", *official, f"output_root={tmp_path}", "seed=42,43"])
    assert cli.main() == ExitCode.BAD_INPUT, "of a sweep nothing starts"
    assert (
        f"a finished run is of other data than those there now, {done.folder.name}: train (" in capsys.readouterr().err
    )
    assert len([*tmp_path.glob("cola_*/record.json")]) == 1
    again = train(*official, "overwrite=true")
    assert (again.record.run_id, again.record.provenance["data"]["train"]) == (done.record.run_id, now)


def test_a_record_of_an_older_version_is_compared_by_its_fingerprints(train, official, tmp_path):
    done = train(*official)
    edit(done.folder, contents=None, **{"provenance.files": None, "provenance.weights": None})
    assert train(*official).code == ExitCode.DONE
    write_official(tmp_path / "glue", flipped=True)
    with pytest.raises(DataError, match="of other data than those there now"):
        train(*official)
    assert plan.make(grid.expand([*official, f"output_root={tmp_path}"])).changed == {done.folder.name: ["train"]}


def test_a_result_is_served_where_its_data_are_gone(train, official, tmp_path, caplog):
    done = train(*official)
    (tmp_path / "glue" / "CoLA" / "train.tsv").unlink()
    assert train(*official).record == done.record
    assert "were not compared with those of now: no file" in caplog.text


def test_the_full_training_set_is_another_run_than_its_beginning(train, official, tmp_path):
    (tmp_path / "glue" / "CoLA" / "train.tsv").unlink()
    write_official(tmp_path / "glue", number=32, name="train.part.tsv")
    words = [*official, "data.allow_partial=true"]
    partial = train(*words)
    write_official(tmp_path / "glue")
    full = train(*words)
    assert (partial.record.rows["train"], full.record.rows["train"]) == (32, 64)
    assert partial.folder != full.folder


def hub_answers(monkeypatch, flipped: bool = False) -> None:
    """`datasets` as it answers for CoLA: the fingerprint of other data is another one."""

    def load_dataset(path, name, split, cache_dir):
        found = rows(split, 64)
        names = datasets.ClassLabel(names=["unacceptable", "acceptable"])
        features = datasets.Features({"sentence": datasets.Value("string"), "label": names})
        labels = [int(row["label"] != flipped) for row in found]
        columns = {"sentence": [row["sentence"] for row in found], "label": labels}
        made = datasets.Dataset.from_dict(columns, features=features)
        made._fingerprint = f"{split}-{flipped}"
        return made

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)


def test_hub_data_that_have_changed_are_refused(train, monkeypatch, caplog):
    hub_answers(monkeypatch)
    done = train(*TINY)
    assert train(*TINY).record == done.record
    hub_answers(monkeypatch, flipped=True)
    said = r"train \(nyu-mll/glue/cola/train: fingerprint train-False, now train-True\), validation \("
    with pytest.raises(DataError, match=said):
        train(*TINY)

    def nothing(*args, **kwargs):
        from huggingface_hub import constants

        assert constants.HF_HUB_OFFLINE
        raise ValueError("Couldn't find cache for nyu-mll/glue")

    monkeypatch.setattr(datasets, "load_dataset", nothing)
    assert train(*TINY).record == done.record
    said = "were not compared with those of now: nyu-mll/glue (cola, train): Couldn't find cache"
    assert said in caplog.text


@pytest.mark.parametrize("older", [False, True])
def test_a_run_goes_on_with_the_data_only_that_it_was_begun_with(train, official, tmp_path, monkeypatch, older):
    stop_at(monkeypatch, 2)
    stopped = train(*official)
    assert stopped.record.status is Status.INTERRUPTED
    if older:  # which wrote nothing down beside its checkpoints
        (stopped.folder / "checkpoints" / verification.BEGUN_WITH).unlink()
    for flipped, number in ((True, 64), (False, 40), (True, 64)):
        write_official(tmp_path / "glue", flipped=flipped, number=number)
        with pytest.raises(DataError, match=r"checkpoint-3 is of a run that was begun with other data .*: train \("):
            train(*official)
        assert (stopped.folder / "checkpoints" / "checkpoint-3").is_dir()
    write_official(tmp_path / "glue")
    ended = train(*official)
    assert (ended.record.resumed_at, ended.record.status in records.FINISHED) == (3, True)


def test_resume_false_takes_the_data_of_now(train, official, tmp_path, monkeypatch):
    stop_at(monkeypatch, 2)
    train(*official)
    write_official(tmp_path / "glue", number=40)
    assert train(*official, "resume=false").record.resumed_at == 0
    assert train(*official).code == ExitCode.DONE


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("tokenizer", "tokenizer (word pieces: sha256 aaa, now bbb); put them back"),
        ("weights", "weights (model.safetensors: sha256 aaa, now bbb); put them back"),
        ("data", "train (nyu-mll/glue/cola/train: fingerprint aaa, now bbb)"),
    ],
)
def test_whatever_differs_is_named(tmp_path, kind, said):
    def made_of(known_as: str) -> Record:
        found = {"data": {"train": "aaa"}, "tokenizer": "aaa", "weights": {"model.safetensors": "aaa"}}
        changed = {"data": {"train": known_as}, "tokenizer": known_as, "weights": {"model.safetensors": known_as}}
        return Record("id", "slug", {}, provenance=found | {kind: changed[kind]})

    checkpoint = tmp_path / "checkpoints" / "checkpoint-1"
    verification.begin(checkpoint.parent, made_of("aaa"))
    verification.check_resumed(config("task=cola"), checkpoint, made_of("aaa"))
    with pytest.raises(DataError) as error:
        verification.check_resumed(config("task=cola"), checkpoint, made_of("bbb"))
    assert said in str(error.value)
    assert str(error.value).endswith("start anew: resume=false in its place, another output_root beside it")
    for content in ("", "[]", '{"data": 3}'):  # nothing is known then
        (checkpoint.parent / verification.BEGUN_WITH).write_text(content)
        verification.check_resumed(config("task=cola"), checkpoint, made_of("bbb"))


def test_changed_files_of_ones_own_are_another_run(train, tmp_path, caplog, capsys):
    caplog.set_level("INFO")
    words = [*TINY, *write_own(tmp_path)]
    first = train(*words)
    assert first.record.config["data"]["source"] == "files"
    write_own(tmp_path, flipped=True)
    second = train(*words)
    assert second.folder != first.folder
    assert f"{first.folder} ({first.record.status}) is of other contents of task.files.train" in caplog.text
    with pytest.raises(OutputError, match=r"of other contents of task\.files\.train \(sha256 \w{12}, now \w{12}\)"):
        train(*words, f"output_dir={first.folder}")

    path = str(tmp_path / "a.csv")
    told = f"made of data or weights that are not those on disk any more: {first.folder.name} ({path})"
    planned = plan.make(grid.expand([*words, f"output_root={tmp_path}"]))
    assert (planned.finished, planned.changed) == (1, {first.folder.name: [path]})
    assert told in plan.describe(planned)
    capsys.readouterr()
    assert report.main([str(tmp_path)]) == ExitCode.DONE
    out = capsys.readouterr().out
    assert re.match(r"2 runs: .*; 1 of data or weights that are not those on disk any more\n", out)
    assert "## Runs of data or weights that are not those on disk any more" in out
    assert "a.csv (" not in out.partition("## Runs of data")[0].partition("\n| --- ")[0], "names without their hashes"

    entries = [Entry(each.record.run_id, each.record.slug, str(each.folder)) for each in (first, second)]
    (tmp_path / ledger.FOLDER).mkdir()
    ledger.write(tmp_path, Ledger({entry.run_id: entry for entry in entries}))
    assert sweep.main(["status", str(tmp_path)]) == ExitCode.DONE
    out = capsys.readouterr().out
    assert f"1 run was {told}" in out
    for name in ("a.csv", "b.csv"):  # elsewhere, where they are not
        (tmp_path / name).unlink()
    assert report.main([str(tmp_path)]) == ExitCode.DONE
    assert "any more" not in capsys.readouterr().out


def test_other_weights_in_a_folder_are_another_run_and_the_record_has_their_hashes(train, tmp_path, caplog):
    own = ["model.random_init=false", "model.config_overrides={}", "model.tokenizer=null", "train.save_model=true"]
    words = [*TINY, *own, *write_own(tmp_path), f"model.checkpoint={tmp_path / 'bert'}"]
    tiny_bert(tmp_path / "bert", seed=0)
    first = train(*words)
    weights = first.record.provenance["weights"]
    assert weights == {name: digests.sha256(tmp_path / "bert" / name) for name in ("config.json", "model.safetensors")}
    tiny_bert(tmp_path / "bert", seed=1)
    second = train(*words)
    assert second.record.provenance["weights"]["model.safetensors"] != weights["model.safetensors"]
    assert first.folder != second.folder
    assert evaluate.main([str(first.folder)]) == ExitCode.DONE, "its own weights are what is evaluated"
    path = tmp_path / "bert" / "model.safetensors"
    assert f"not those on disk any more: {first.folder} ({path})" in caplog.text


def test_files_at_another_place_are_another_command(tmp_path, caplog):
    caplog.set_level("INFO")
    first, second = (config("task=cola", f"output_root={tmp_path}", *write_own(tmp_path / name)) for name in "ab")
    folder = identity.directory(first)
    folder.mkdir()
    entries = sources.contents(first) | {"task.files.train": "0" * 64}
    records.write(folder, Record("0" * 12, identity.slug(first), identity.to_dict(first), contents=entries))
    verification.tell_others(second, identity.directory(second))
    assert "another run" not in caplog.text
    verification.tell_others(first, folder)
    assert f"{folder} (running) is of other contents of task.files.train: this is another run" in caplog.text


def test_files_that_change_while_a_run_starts_end_it(train, tmp_path, monkeypatch):
    words, original = [*TINY, *write_own(tmp_path)], dataset.Reader.load

    def load(*args):
        found = original(*args)
        write_own(tmp_path, flipped=True)
        return found

    monkeypatch.setattr(dataset.Reader, "load", load)
    with pytest.raises(DataError, match="changed while it was starting: give the command again"):
        train(*words)
    monkeypatch.setattr(dataset.Reader, "load", original)
    assert train(*words).code == ExitCode.DONE


def config(*overrides: str):
    return cli.config_from(cli.compose(list(overrides)))


def edit(folder: Path, **changes: object) -> None:
    """Set entries of a record, or delete them with None; a dot in a key goes down."""
    entries = json.loads((folder / "record.json").read_text())
    for key, value in changes.items():
        *parents, leaf = key.split(".")
        place = entries
        for parent in parents:
            place = place[parent]
        if value is None:
            del place[leaf]
        else:
            place[leaf] = value
    (folder / "record.json").write_text(json.dumps(entries))
