"""`gifine.predict`: the official files, in the order of the test sets, of what the run's own batches give."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import datasets
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import gifine.models  # noqa: F401 - registers the gated models
from conftest import TINY_DEMO, TINY_MODEL
from gifine import cli, glue_submission, predict
from gifine import train as training
from gifine.choices import DataSource
from gifine.errors import ExitCode
from gifine.runs import identity, lifecycle, records
from gifine.runs.finished import read as read_runs
from gifine.runs.records import Status

SENTENCES = ["a dog sleeps", "the boy sees a cat near the house", "the girls run", "a cat", "the man who sleeps runs"]
SPREAD = ["model.config_overrides.initializer_range=0.5", "train.save_model=true"]  # predictions that differ
PAIRS = [(SENTENCES[n % 5], SENTENCES[n * n % 5] + " and a dog" * (n % 3)) for n in range(50)]
TESTS = {"RTE": 50, "STS-B": 40, "MNLI-m": 30, "MNLI-mm": 20, "AX": 10}


def write_table(path: Path, header: str, rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["\t".join(map(str, row)) for row in [header.split(), *rows]]) + "\n")


@pytest.fixture(scope="module")
def glue(tmp_path_factory) -> Path:
    """The official layout of three tasks, with sentences of our own."""
    root = tmp_path_factory.mktemp("glue")
    labels = {"RTE": ["entailment", "not_entailment"], "MNLI": ["neutral", "contradiction", "entailment"]}
    for task, names in {**labels, "STS-B": [0, 2.5, 5]}.items():
        last = {"RTE": "label", "MNLI": "gold_label", "STS-B": "score"}[task]
        rows = [[n, *pair, names[n % len(names)]] for n, pair in enumerate(PAIRS[:24])]
        for name in ("train", "dev", "dev_matched", "dev_mismatched"):
            write_table(root / task / f"{name}.tsv", f"index sentence1 sentence2 {last}", rows)
    places = {"MNLI-m": "MNLI/test_matched", "MNLI-mm": "MNLI/test_mismatched", "AX": "diagnostic/diagnostic"}
    for name, number in TESTS.items():
        path = root / f"{places.get(name, f'{name}/test')}.tsv"
        write_table(path, "index sentence1 sentence2", [[n, *pair] for n, pair in enumerate(PAIRS[:number])])
    return root


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache, glue) -> dict[str, Path]:
    """A finished run of each task, by its name."""
    root, folders = tmp_path_factory.mktemp("finished"), {}
    for task in ("rte", "stsb", "mnli"):
        words = [*TINY_DEMO, f"task={task}", "data=glue_dir", f"data.dir={glue}", "gi.level=0.9", *SPREAD]
        words += ["train.max_length=64", "seed=2"]  # no pair is cut, and of RTE both classes are predicted
        config = cli.config_from(cli.compose([*words, f"output_root={root}", f"data.cache_dir={cache}"]))
        assert training.run(config) == ExitCode.DONE
        folders[task] = identity.directory(config)
    return folders


@pytest.fixture
def runs(finished, tmp_path) -> dict[str, Path]:
    return {task: shutil.copytree(folder, tmp_path / task) for task, folder in finished.items()}


@pytest.fixture
def command(capsys):
    """Call the command in this process; its exit code, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = predict.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def read(path: Path) -> list[str]:
    """The predictions of a file whose form is right."""
    header, *lines = path.read_text().splitlines()
    assert header == "index\tprediction"
    indices, predictions = zip(*(line.split("\t") for line in lines), strict=True)
    assert list(indices) == [str(n) for n in range(len(lines))]
    return list(predictions)


def test_files_of_a_run(command, runs):
    code, out, _ = command(runs["mnli"])
    assert code == ExitCode.DONE
    folder = runs["mnli"] / "submission"
    names = ["MNLI-m", "MNLI-mm", "AX"]
    assert out.splitlines() == [f"{folder / name}.tsv: {TESTS[name]} predictions" for name in names]
    assert sorted(path.stem for path in folder.iterdir()) == sorted(names), "nothing temporary may stay"
    for name in names:
        assert len(read(folder / f"{name}.tsv")) == TESTS[name]
    assert set(read(folder / "MNLI-m.tsv")) <= {"entailment", "neutral", "contradiction"}


def test_predictions_are_those_of_the_runs_batches_in_the_order_of_the_file(command, runs, tmp_path):
    """Computed anew from the saved weights, longest examples first, 16 a batch as in the run."""
    assert command(runs["rte"], runs["stsb"], "--out", tmp_path / "out")[0] == ExitCode.DONE
    logits = {}
    for task, name in (("rte", "RTE"), ("stsb", "STS-B")):
        model = AutoModelForSequenceClassification.from_pretrained(runs[task] / "model").eval()
        tokenizer = AutoTokenizer.from_pretrained(runs[task] / "model")
        assert tokenizer is not None
        pairs = PAIRS[: TESTS[name]]
        longest_first = sorted(range(len(pairs)), key=lambda n: -len(tokenizer(*pairs[n])["input_ids"]))
        logits[name] = torch.zeros(len(pairs), model.config.num_labels)
        for start in range(0, len(pairs), 16):
            batch = longest_first[start : start + 16]
            texts = ([pairs[n][side] for n in batch] for side in (0, 1))
            inputs = tokenizer(*texts, padding=True, return_tensors="pt")
            with torch.no_grad():
                logits[name][batch] = model(**inputs).logits
    expected = [["entailment", "not_entailment"][row.argmax()] for row in logits["RTE"]]
    assert read(tmp_path / "out" / "RTE.tsv") == expected
    assert len(set(expected)) == 2
    numbers = logits["STS-B"][:, 0].clamp(0, 5).tolist()
    assert [float(number) for number in read(tmp_path / "out" / "STS-B.tsv")] == pytest.approx(numbers, abs=6e-4)
    assert len(set(numbers)) > 5


def test_a_run_and_its_data_may_have_moved(command, runs, glue, tmp_path):
    moved = shutil.copytree(glue, tmp_path / "glue")
    write_table(moved / "RTE" / "test.tsv", "index sentence1 sentence2", [[0, *PAIRS[0]], [1, *PAIRS[1]]])
    assert command(runs["rte"], "--data-dir", moved)[0] == ExitCode.DONE
    assert len(read(runs["rte"] / "submission" / "RTE.tsv")) == 2


def test_own_files(command, train, tmp_path):
    """Labels by their names; what the test file has for labels is not read."""
    rows = {
        "train": [f"{sentence},{n % 2}" for n, sentence in enumerate(SENTENCES * 4)],
        "validation": [f"{sentence},{n % 2}" for n, sentence in enumerate(SENTENCES)],
        "test": [f"{sentence},-1" for sentence in SENTENCES],
    }
    for name, lines in rows.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(["sentence,label", *lines]) + "\n")
    files = [f"task.files.{name}={tmp_path / name}.csv" for name in rows]
    result = train(*TINY_DEMO, *SPREAD, "task=cola", "task.name=mine", "data=hub", *files)
    assert command(result.folder)[0] == ExitCode.DONE
    predictions = read(result.folder / "submission" / "mine.tsv")
    assert len(predictions) == 5
    assert set(predictions) <= {"acceptable", "unacceptable"}
    code, _, err = command(result.folder, "--zip", tmp_path / "s.zip", "--incomplete")
    assert code == ExitCode.BAD_INPUT
    assert "GLUE takes no mine.tsv, so task=mine goes into no zip" in err


def test_own_files_of_one_name_are_not_mixed_up(command, train, tmp_path):
    """By their folders, in a copy elsewhere, too: dev's rows once were predicted as the test set."""
    rows = {"train": 8, "dev": 5, "test": 3}
    for name, number in rows.items():
        (tmp_path / "rows" / name).mkdir(parents=True)
        lines = [f"{SENTENCES[n % 5]},{n % 2}" for n in range(number)]
        (tmp_path / "rows" / name / "data.csv").write_text("\n".join(["sentence,label", *lines]) + "\n")
    places = zip(("train", "validation", "test"), rows, strict=True)
    files = [f"task.files.{split}={tmp_path}/rows/{name}/data.csv" for split, name in places]
    result = train(*TINY_DEMO, *SPREAD, "task=cola", "task.name=mine", "data=hub", *files)
    (tmp_path / "rows").rename(tmp_path / "moved")
    assert command(result.folder, "--data-dir", tmp_path / "moved")[0] == ExitCode.DONE
    assert len(read(result.folder / "submission" / "mine.tsv")) == 3


def test_a_new_file_is_predicted(command, runs, tmp_path):
    """As the official test set is, whose rows it has in another format."""
    rows = [{"sentence1": left, "sentence2": right} for left, right in PAIRS]
    path = tmp_path / "new pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert command(runs["rte"])[0] == ExitCode.DONE
    assert command(runs["rte"], runs["mnli"], "--file", path)[0] == ExitCode.BAD_INPUT, "MNLI's columns are others"
    code, out, _ = command(runs["rte"], "--file", path)
    assert (code, out) == (ExitCode.DONE, f"{runs['rte']}/submission/rte-new-pairs.tsv: 50 predictions\n")
    assert read(runs["rte"] / "submission" / "rte-new-pairs.tsv") == read(runs["rte"] / "submission" / "RTE.tsv")


@pytest.mark.parametrize(
    ("content", "words", "said"),
    [
        (None, [], "no file "),
        ("sentence1\n", [], "no column 'sentence2' (did you mean 'sentence1'?)"),
        ('sentence1\tsentence2\n"a"\tb\n', [], "line 2: a cell begins with a quote: task.files.quoting=standard"),
        ('sentence1\tsentence2\n"a"\tb\n', ["--quoting", "maybe"], "invalid choice: 'maybe'"),
        ("sentence1\tsentence2\n", ["--data-dir", "."], "it goes with neither --zip nor --data-dir"),
    ],
)
def test_a_file_that_cannot_be_predicted_is_one_message(command, finished, tmp_path, content, words, said):
    path = tmp_path / "new.tsv"
    if content is not None:
        path.write_text(content)
    code, out, err = command(finished["rte"], "--file", path, *words)
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert err.startswith("error: ")
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_task_without_a_test_set_is_one_message(command, train):
    result = train(*TINY_DEMO, "train.save_model=true")
    assert command(result.folder) == (
        ExitCode.BAD_INPUT,
        "",
        "error: task=demo has no test set: task.test_splits=[], task.splits has: nothing\n",
    )


def test_what_needs_no_diagnostic_set_does_without(command, runs, glue, sample, tmp_path, caplog):
    moved = shutil.copytree(glue, tmp_path / "glue")
    (moved / "diagnostic" / "diagnostic.tsv").unlink()
    assert command(runs["mnli"], "--data-dir", moved)[0] == ExitCode.DONE
    folder = runs["mnli"] / "submission"
    assert sorted(path.name for path in folder.iterdir()) == ["MNLI-m.tsv", "MNLI-mm.tsv"]
    assert f"{runs['mnli']}: no AX.tsv: no file {moved}/diagnostic/diagnostic.tsv" in caplog.text
    code, _, err = command(runs["mnli"], "--data-dir", moved, "--zip", tmp_path / "s.zip")
    assert code == ExitCode.BAD_INPUT, "a zip lacks nothing unasked"
    assert "AX.tsv; --fill SAMPLE takes them" in err
    code, out, _ = command(runs["mnli"], "--data-dir", moved, "--zip", tmp_path / "s.zip", "--fill", sample)
    assert code == ExitCode.DONE
    assert "from the sample, not from a run: " in out
    assert "AX.tsv" in out


def test_what_the_hub_lacks_of_several_test_sets_is_left_out(runs, monkeypatch, caplog):
    def load_dataset(path, name, **_):
        if name == "ax":
            raise ConnectionError
        return datasets.Dataset.from_dict({})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    (run,) = read_runs([runs["mnli"]])
    run.config.data.source = DataSource.hub
    _, names = predict._with_tests(run)
    assert list(names.values()) == ["MNLI-m.tsv", "MNLI-mm.tsv"]
    assert "no AX.tsv: nyu-mll/glue (ax, test): Hub not reachable" in caplog.text


def test_missing_test_files_are_said_before_anything_is_predicted(command, runs, glue, tmp_path):
    moved = shutil.copytree(glue, tmp_path / "glue")
    (moved / "STS-B" / "test.tsv").unlink()
    code, out, err = command(runs["rte"], runs["stsb"], "--data-dir", moved)
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert err.startswith(f"error: no file {moved}/STS-B/test.tsv; {moved}/STS-B holds: ")
    assert not (runs["rte"] / "submission").exists()


@pytest.fixture
def sample(tmp_path) -> Path:
    """A sample submission: every file, with the number of rows that ours have."""
    folder = tmp_path / "sample"
    folder.mkdir()
    for name in glue_submission.FILES:
        write_sample(folder / name, TESTS.get(Path(name).stem, 3))
    return folder


def write_sample(path: Path, rows: int) -> None:
    write_table(path, "index prediction", [[row, "sample"] for row in range(rows)])


def test_zip_filled_from_the_sample(command, runs, sample, tmp_path):
    target = tmp_path / "to" / "submit.zip"
    code, out, _ = command(*runs.values(), "--zip", target, "--fill", sample, "--out", tmp_path / "out")
    assert code == ExitCode.DONE
    ours = [f"{name}.tsv" for name in TESTS]
    with zipfile.ZipFile(target) as archive:
        assert archive.namelist() == list(glue_submission.FILES)
        for name in glue_submission.FILES:
            assert archive.read(name) == ((tmp_path / "out" if name in ours else sample) / name).read_bytes()
    filled = [name for name in glue_submission.FILES if name not in ours]
    assert out.splitlines()[-2:] == [f"from the sample, not from a run: {', '.join(filled)}", f"{target}: 11 files"]
    assert [path.name for path in target.parent.iterdir()] == ["submit.zip"]


def test_zip_that_is_incomplete_on_request_only(command, runs, sample, tmp_path):
    target = tmp_path / "submit.zip"
    missing = "CoLA.tsv, SST-2.tsv, MRPC.tsv, STS-B.tsv, QQP.tsv, MNLI-m.tsv, MNLI-mm.tsv, QNLI.tsv, WNLI.tsv, AX.tsv"
    code, out, err = command(runs["rte"], "--zip", target)
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert err.startswith(f"error: --zip {target}: the runs give no {missing}; --fill SAMPLE takes them")
    (sample / "WNLI.tsv").unlink()
    code, _, err = command(runs["rte"], "--zip", target, "--fill", sample)
    assert (code, err) == (
        ExitCode.BAD_INPUT,
        f"error: --zip {target}: the runs give no WNLI.tsv; nor does --fill {sample}\n",
    )
    assert not target.exists()
    code, out, _ = command(runs["rte"], "--zip", target, "--incomplete")
    assert code == ExitCode.DONE
    assert out.splitlines()[-2:] == [f"not in the zip: {missing}", f"{target}: 1 files"]
    with zipfile.ZipFile(target) as archive:
        assert archive.read("RTE.tsv") == (runs["rte"] / "submission" / "RTE.tsv").read_bytes()


def test_test_set_of_another_size_than_the_samples_is_refused(command, runs, sample, tmp_path):
    write_sample(sample / "RTE.tsv", 51)
    code, _, err = command(runs["rte"], "--zip", tmp_path / "submit.zip", "--fill", sample)
    assert code == ExitCode.BAD_INPUT
    assert "RTE.tsv has 50 predictions, the sample's 51: not the same test set" in err
    assert not (tmp_path / "submit.zip").exists()


@pytest.mark.parametrize("place", ["--zip", "--out"])
def test_two_runs_of_one_task_do_not_share_a_place(command, runs, tmp_path, place):
    other = shutil.copytree(runs["rte"], tmp_path / "other")
    code, out, err = command(runs["rte"], runs["stsb"], other, place, tmp_path / "place")
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert err == f"error: RTE.tsv would come from {runs['rte']} and {other}\n"
    assert not (tmp_path / "place").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--incomplete"], "they go with --zip FILE"),
        (["--fill", "sample.zip"], "they go with --zip FILE"),
        (["--quoting", "none"], "--quoting is that of --file FILE"),
        (["--quoting", "none", "--file", "a.json"], "--quoting is of a csv or tsv file; a.json is neither"),
        (["--zip", "a.zip", "--fill", "b.zip", "--incomplete"], "not allowed with argument"),
        (["--zip", "a.zip", "--fill", "/no/such.zip"], "--fill /no/such.zip: no such file or folder"),
        (["--zip", "/"], "--zip /: a folder"),
        (["--out", "/dev/null/out"], "cannot make the folder /dev/null/out"),
        (["--data-dir", "/no/such"], "--data-dir /no/such: no such folder"),
    ],
)
def test_arguments_that_do_not_go_together_are_one_message(command, finished, words, said):
    code, out, err = command(finished["rte"], *words)
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert err.startswith("error: ")
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_run_under_way_is_not_written_to(command, runs):
    with lifecycle.locked(runs["rte"]):
        code, _, err = command(runs["rte"])
    assert code == ExitCode.BAD_INPUT
    assert "another process is at this run" in err
    assert not (runs["rte"] / "submission").exists()


def test_an_unfinished_run_is_refused_and_a_degenerate_one_predicted(command, runs, caplog):
    record = records.read(runs["rte"])
    assert record is not None
    record.status, record.error = Status.DEGENERATE, "validation: one class"
    records.write(runs["rte"], record)
    assert command(runs["rte"])[0] == ExitCode.DONE
    assert f"{runs['rte']} is degenerate: validation: one class" in caplog.text
    record.status = Status.INTERRUPTED
    records.write(runs["rte"], record)
    code, _, err = command(runs["rte"])
    assert code == ExitCode.BAD_INPUT
    assert "the run is interrupted; only those that are done or degenerate" in err


def test_model_of_another_task_is_refused(command, runs):
    shutil.rmtree(runs["rte"] / "model")
    shutil.copytree(runs["mnli"] / "model", runs["rte"] / "model")
    code, _, err = command(runs["rte"])
    assert code == ExitCode.BAD_INPUT
    assert "its labels are ['entailment', 'neutral', 'contradiction'], those of the run ['entailment', 'not" in err


# The number of rows, and what may stand in them.
OFFICIAL = {
    "cola": {"CoLA.tsv": (1063, {"0", "1"})},
    "stsb": {"STS-B.tsv": (1379, None)},
    "mnli": {
        name: (rows, {"entailment", "neutral", "contradiction"})
        for name, rows in (("MNLI-m.tsv", 9796), ("MNLI-mm.tsv", 9847), ("AX.tsv", 1104))
    },
    "rte": {"RTE.tsv": (3000, {"entailment", "not_entailment"})},
    "wnli": {"WNLI.tsv": (146, {"0", "1"})},
}


@pytest.fixture
def official(train, shared):
    """Train a tiny model on the beginning of a task's official files."""

    def run(task: str):
        return train(
            f"task={task}",
            "model=bert",
            *TINY_MODEL,
            *SPREAD,
            f"model.tokenizer={shared / 'tokenizers' / 'bert-base-uncased'}",
            "data=glue_dir",
            f"data.dir={shared / 'glue'}",
            "data.allow_partial=true",
            "data.max_train_rows=32",
            "data.max_eval_rows=24",
            "train.epochs=1",
            "train.max_length=32",
            "train.eval_batch_size=128",
        )

    return run


@pytest.mark.shared
@pytest.mark.parametrize("task", OFFICIAL)
def test_official_test_sets(command, official, task):
    folder = official(task).folder
    assert command(folder)[0] == ExitCode.DONE
    assert sorted(path.name for path in (folder / "submission").iterdir()) == sorted(OFFICIAL[task])
    for name, (rows, words) in OFFICIAL[task].items():
        predictions = read(folder / "submission" / name)
        assert len(predictions) == rows
        if words is None:
            assert all(0 <= float(word) <= 5 and len(word) == 5 for word in predictions)
        else:
            assert set(predictions) <= words


@pytest.mark.shared
def test_official_test_set_that_is_not_there(command, official, shared):
    if (shared / "glue" / "QQP" / "test.tsv").is_file():
        pytest.skip("QQP's test set is there")
    code, out, err = command(official("qqp").folder)
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert err.startswith(f"error: no file {shared / 'glue' / 'QQP' / 'test.tsv'}; ")
    assert len(err.splitlines()) == 1


@pytest.mark.integration
def test_the_real_command(runs):
    done = subprocess.run(
        [sys.executable, "-m", "gifine.predict", runs["rte"]], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == ExitCode.DONE, done.stderr
    assert done.stdout == f"{runs['rte']}/submission/RTE.tsv: 50 predictions\n"
    assert "Warning" not in done.stderr
    assert len(read(runs["rte"] / "submission" / "RTE.tsv")) == 50
