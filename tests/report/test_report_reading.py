"""Which files are read as runs, what is said of the others, and what runs have in common."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from gifine.errors import RunError
from gifine.report import reading, settings
from gifine.report.reading import Reader
from gifine.runs import identity
from gifine.runs.records import Status
from support.synthetic import BOTH, KEY, PLAIN, config, measures, read, record, sweep, write

HEAVY = "{'torch', 'transformers', 'datasets', 'evaluate', 'wandb', 'pandas'}"


def half(config) -> list[float]:
    return [0.5] * len(measures(config))


def test_a_run_has_what_its_record_has(tmp_path):
    made = config("task=mrpc", "model=debertav3", seed=3, **KEY)
    folder = write(tmp_path, record(made, [0.8, 0.9], Status.DEGENERATE, error="one class", finished="2026"))
    (run,) = read(tmp_path)
    assert (run.folder, run.run_id, run.seed, run.status) == (folder, identity.run_id(made), 3, Status.DEGENERATE)
    assert run.task.measures == ("mrpc/validation/accuracy", "mrpc/validation/f1")
    assert (run.scores, run.score(run.task.primary), run.task.title) == ((0.8, 0.9), 0.8, "MRPC")
    assert (run.error, run.finished, run.processes) == ("one class", "2026", 1)
    assert (settings.gate(run.gate), settings.model(run.setup)) == ("key 0.1 last6", "deberta-v3-large")
    assert run.setup.get("train.epochs") == made.train.epochs


@pytest.mark.parametrize(
    ("overrides", "measured", "primary"),
    [
        (["task=mnli"], ("mnli/validation_matched/accuracy", "mnli/validation_mismatched/accuracy"), 0),
        (["task=stsb"], ("stsb/validation/pearson", "stsb/validation/spearman"), 0),
        (["task=rte", "evaluate.split_dev=true"], ("rte/validation_report/accuracy",), 0),
        (["task=mrpc", "task.select_by=f1"], ("mrpc/validation/accuracy", "mrpc/validation/f1"), 1),
        (["task=cola", "task.files.train=a.csv", "task.files.validation=b.csv"], ("cola/validation/matthews",), 0),
    ],
)
def test_official_measures(tmp_path, monkeypatch, overrides, measured, primary):
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).touch()
    made = config(*overrides)
    found = dict.fromkeys(measured, 0.5)
    write(tmp_path / "runs", record(made, [], metrics=found))
    (run,) = read(tmp_path / "runs")
    assert run.task.measures == measured
    assert run.task.primary == measured[primary]
    assert run.scores == (0.5,) * len(measured)
    assert run.task.is_glue is ("task.files.train=a.csv" not in overrides)


def test_runs_are_found_below_roots_and_by_their_folders(tmp_path):
    root = sweep(tmp_path / "deep" / "sweep", half, seeds=(1, 2))
    folders = sorted(path.parent for path in root.glob("*/record.json"))
    expected = [run.folder for run in read(root)]
    assert len(expected) == 4
    assert [run.folder for run in read(tmp_path)] == expected
    assert [run.folder for run in Reader([*folders, root, folders[0] / "record.json"]).read().runs] == expected
    assert [run.folder for run in Reader([folders[1]]).read().runs] == [folders[1]]
    (tmp_path / "link").symlink_to(root)
    assert [run.folder for run in Reader([tmp_path / "link"]).read().runs] == expected


def test_weights_are_told_apart_by_their_contents_wherever_they_lie(tmp_path):
    """And shown by their names."""
    for path, seed, gate, sha256 in (
        ("/one/bert", 1, PLAIN, "a" * 64),
        ("/two/renamed", 1, BOTH, "a" * 64),
        ("/one/bert", 1, KEY, "b" * 64),
        ("package:weights/model", 1, PLAIN, "c" * 64),
    ):
        made = config("task=rte", "model=bert", seed=seed, **gate)
        elsewhere = identity.to_dict(replace(made, model=replace(made.model, checkpoint=path)))
        contents: dict[str, str] = {"model.checkpoint": sha256}
        write(tmp_path, replace(record(made, [0.5]), run_id=sha256[:12], config=elsewhere, contents=contents))
    found = {(run.run_id[0], settings.gate(run.gate)): run for run in read(tmp_path)}
    plain, both, key, package = (
        found[each] for each in (("a", "none"), ("a", "both 0.3"), ("b", "key 0.1 last6"), ("c", "none"))
    )
    assert plain.setup is both.setup is not key.setup
    assert [settings.model(run.setup) for run in (plain, both, key, package)] == [
        "renamed",
        "renamed",
        "bert",
        "weights",
    ]
    assert (plain.setup.get("model.checkpoint"), key.setup.get("model.checkpoint")) == (
        f"renamed ({'a' * 12})",  # of the names of the same contents the first that is read
        f"bert ({'b' * 12})",
    )


def test_weights_that_a_size_names_are_called_after_the_size(tmp_path):
    made = config("task=rte", "model=minilm", seed=1, **PLAIN)
    write(tmp_path, replace(record(made, [0.5]), contents={"model.checkpoint": "a" * 64}))
    (run,) = read(tmp_path)
    assert settings.model(run.setup) == "minilm-l6"


@pytest.mark.parametrize("provenance", [{"files": []}, {"files": "x"}, {"files": {"/no/such": 3}}])
@pytest.mark.parametrize("contents", [[], "x", {"model.checkpoint": 3}])
def test_foreign_contents_hide_no_other_record(tmp_path, provenance, contents):
    sweep(tmp_path, half, gates=(PLAIN,), seeds=(1,))
    write(tmp_path, record(config(seed=2), [], provenance=provenance, contents=contents))
    reading = Reader([tmp_path]).read()
    assert len(reading.runs) + len(reading.problems) == 2
    assert 1 in {run.seed for run in reading.runs}


@pytest.mark.parametrize("name", [".sweep", "checkpoints", "model", ".hidden"])
def test_what_is_no_run_is_not_looked_into(tmp_path, name):
    sweep(tmp_path, half, seeds=(1,))
    sweep(tmp_path / name, half, seeds=(2,))
    assert {run.seed for run in read(tmp_path)} == {1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[]", "no record of gifine"),
        (b'{"loss": 1}', "no record of gifine"),
        (b'{"run_id": "a", "slug": "b", "status": "done", "schema_version": 99, "config": {}}', "schema_version 99"),
        (b'{"run_id": "a", "slug": "b", "status": "done", "schema_version": 1, "config": {}}', "its config has no"),
        (b'{"run_id": "a", "slug": "b", "status": "lost", "schema_version": 1, "config": {}}', "lost"),
        (b'{"run_id": "a", "slug": "b", "status": "done", "schema_version": 1, "config": 7}', "not a record as"),
    ],
)
def test_foreign_files_are_listed_and_stop_nothing(tmp_path, content, said):
    sweep(tmp_path, half, seeds=(1,))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "record.json").write_bytes(content)
    found = Reader([tmp_path]).read()
    assert len(found.runs) == 2
    assert [each.path.parent.name for each in found.problems] == ["other"]
    assert said in found.problems[0].reason


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda entries: entries["metrics"].update({"rte/validation/accuracy": "high"}), "a metric is 'high'"),
        (lambda entries: entries["metrics"].update({"rte/validation/accuracy": float("nan")}), "a metric is nan"),
        (lambda entries: entries.update(last={"accuracy": "high"}), "a metric is 'high'"),
        (lambda entries: entries.update(evaluations="3"), "its evaluations are '3'"),
        (lambda entries: entries["config"].update(seed="one"), "its seeds are no numbers"),
        (lambda entries: entries["config"]["task"].pop("metrics"), "its config has no metrics"),
        (lambda entries: entries["config"].update(gi=None), "not a record as"),
    ],
)
def test_damaged_records_are_listed(tmp_path, change, said):
    folder = write(tmp_path, record(config("task=rte"), [0.5]))
    entries = json.loads((folder / "record.json").read_text())
    change(entries)
    (folder / "record.json").write_text(json.dumps(entries))
    found = Reader([tmp_path]).read()
    assert found.runs == []
    assert said in found.problems[0].reason


def test_a_record_that_may_not_be_read_is_listed(tmp_path):
    folder = write(tmp_path, record(config("task=rte"), [0.5]))
    (folder / "record.json").unlink()
    (folder / "record.json").symlink_to(tmp_path / "gone")
    found = Reader([tmp_path]).read()
    assert "cannot be read: No such file" in found.problems[0].reason


def test_keys_that_an_older_record_lacks_are_no_problem(tmp_path):
    folder = write(tmp_path, record(config("task=rte"), [0.5]))
    entries = json.loads((folder / "record.json").read_text())
    for key in ("recipe", "tracking", "prefetch", "deterministic"):
        del entries["config"][key]
    del entries["config"]["task"]["title"], entries["config"]["train"]["fsdp"]
    (folder / "record.json").write_text(json.dumps(entries))
    (run,) = read(tmp_path)
    assert run.task.title == "rte"


def test_of_two_records_of_one_result_the_finished_later_one_counts(tmp_path):
    made = config("task=rte")
    write(tmp_path / "a", record(made, [0.5], finished="2026-01-01"))
    later = write(tmp_path / "b", record(made, [0.6], finished="2026-01-02"))
    write(tmp_path / "c", record(made, [], Status.FAILED, finished="2026-01-03"))
    found = Reader([tmp_path]).read()
    assert [run.folder for run in found.runs] == [later]
    assert {each.path.parts[-3] for each in found.problems} == {"a", "c"}
    assert all(str(later) in each.reason for each in found.problems)


def test_metrics_of_runs_that_did_not_end_are_none(tmp_path):
    write(tmp_path, record(config("task=rte"), [0.5], Status.INTERRUPTED))
    (run,) = read(tmp_path)
    assert run.scores == (None,)


def test_weights_of_another_run_are_known_by_its_run_id(tmp_path):
    """Wherever the folder was, and is now."""
    (tmp_path / "config.json").touch()
    for seed, folder in ((1, "/one/mnli"), (2, "/other/mnli")):
        made = record(config("task=rte", seed=seed), [0.5])
        made.config["model"]["init_from"] = folder
        made.provenance["init_from"] = {"folder": folder, "run_id": "0123456789ab"}
        write(tmp_path, made)
    one, other = read(tmp_path)
    assert one.setup is other.setup
    assert one.setup.get("model.init_from") == "0123456789ab"


def test_equal_settings_are_one_object(tmp_path):
    runs = read(sweep(tmp_path, half, gates=(PLAIN, BOTH), seeds=range(1, 4)))
    assert len({id(run.setup) for run in runs}) == 1
    assert len({id(run.gate) for run in runs}) == 2
    assert len({id(run.task) for run in runs}) == 1


def test_only_changed_records_are_read_again(tmp_path, monkeypatch):
    root = sweep(tmp_path, half, seeds=(1, 2))
    reader = Reader([root])
    first = reader.read()
    parsed = []
    monkeypatch.setattr(reading, "_run", lambda path, pool, read=reading._run: parsed.append(path) or read(path, pool))
    assert reader.read().runs == first.runs
    assert parsed == []
    changed = write(root, record(config("task=rte", "model=debertav3", seed=1), [0.75]))
    shutil.rmtree(first.runs[-1].folder)
    again = reader.read()
    assert parsed == [changed / "record.json"]
    assert len(again.runs) == 3
    assert next(run for run in again.runs if run.folder == changed).scores == (0.75,)


@pytest.mark.parametrize(
    ("names", "said"),
    [(["gone"], "gone: no such file or folder"), (["."], "no record.json in or below"), (["gone", "lost"], "lost: no")],
)
def test_nothing_to_read_is_told(tmp_path, monkeypatch, names, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=said):
        Reader([tmp_path / name for name in names]).read()


def test_the_report_is_light(tmp_path):
    """Without torch and the like, to the last table and figure; in a process of its own, since this one has them."""
    sweep(tmp_path, half, seeds=(1, 2))
    program = (
        "import sys\nfrom gifine.report.__main__ import main\ncode = main()\n"
        f"heavy = {HEAVY} & set(sys.modules)\nsys.exit(f'imported: {{heavy}}' if heavy else code)\n"
    )
    words = [sys.executable, "-c", program, str(tmp_path), "--out", str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "## Changed runs against their baseline" in done.stdout


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("config", "seeds", "head"), "x"),
        (("config", "task", "title"), 7),
        (("finished",), ["x"]),
        (("provenance", "begun"), 5),
        (("config", "gi", "level"), float("nan")),
        (("config", "train", "learning_rate"), 10**400),
    ],
)
def test_entries_of_another_kind_are_a_problem_and_not_an_error_later(tmp_path, place, value):
    folder = write(tmp_path, record(config("task=rte", **BOTH), [0.7]))
    entries = json.loads((folder / "record.json").read_text())
    part = entries
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    (folder / "record.json").write_text(json.dumps(entries))
    reading = Reader([tmp_path]).read()
    assert (reading.runs, len(reading.problems)) == ([], 1)
