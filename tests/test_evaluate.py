"""`gifine.evaluate`: a finished run's weights give what its record says, exactly, or it is said what they give.

The run is a regression, whose correlations move with the last bit of any example's logits.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import TINY_DEMO
from gifine import cli, evaluate
from gifine import train as training
from gifine.errors import ExitCode
from gifine.runs import identity, lifecycle, records
from gifine.training import numerics

SENTENCES = ["a dog sleeps", "the boy sees a cat near the house", "the girls run", "a cat", "the man who sleeps runs"]
FOXES = [
    "task=stsb",
    "task.name=foxes",
    "task.inputs=[left,right]",
    "data=hub",
    "gi.level=0.9",
    "model.config_overrides.initializer_range=0.5",  # else all predictions of so small a model are nearly the same
    "train.save_model=true",
]


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    """Pairs of sentences of many lengths, with numbers."""
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    pairs = [(SENTENCES[n % 5], SENTENCES[n * n % 5] + " and a dog" * (n % 3), n % 6) for n in range(48)]
    path.write_text("left,right,label\n" + "".join(f"{left},{right},{label}\n" for left, right, label in pairs))
    return path


@pytest.fixture(scope="module")
def words(rows, cache) -> list[str]:
    files = [f"task.files.{split}={rows}" for split in ("train", "validation")]
    return [*TINY_DEMO, *FOXES, *files, f"data.cache_dir={cache}"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, words) -> Path:
    """A gated run whose thresholds are over batches, with half of the development set held out."""
    config = cli.config_from(
        cli.compose([*words, "evaluate.split_dev=true", f"output_root={tmp_path_factory.mktemp('finished')}"])
    )
    assert training.run(config) == ExitCode.DONE
    return identity.directory(config)


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """The same run in another folder: on another machine, say."""
    return shutil.copytree(finished, tmp_path / "moved")


@pytest.fixture
def command(capsys):
    """Call the command in this process; its exit code, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = evaluate.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def edit(run: Path, **changes: object) -> None:
    """Change entries of a record; a dot in a key goes down."""
    entries = json.loads((run / "record.json").read_text())
    for key, value in changes.items():
        *parents, leaf = key.split("__")
        place = entries
        for parent in parents:
            place = place[parent]
        place[leaf] = value
    (run / "record.json").write_text(json.dumps(entries))


def test_agreement_is_said_for_every_metric(command, run):
    before = (run / "record.json").read_bytes()
    code, out, _ = command(run)
    assert code == ExitCode.DONE
    first, *lines = out.splitlines()
    assert first == f"{run}:"
    metrics = json.loads(before)["metrics"]
    assert [line.split() for line in lines] == [
        [key, f"{value:.4f}", "same", "as", "the", "record"] for key, value in metrics.items()
    ]
    assert len({*metrics.values()}) == len(metrics) == 4, "two halves, two correlations"
    assert (run / "record.json").read_bytes() == before


@pytest.mark.parametrize(
    "overrides",
    [
        ["gi=none", "train.group_by_length=false"],
        ["model=debertav3", "gi.threshold=sequence", "train.padding=max_length"],
        ["model=xlnet", "gi.level=0.3"],
        ["train.precision=bf16", "train.evaluate=end", "train.select_best=false"],
        ["train.gradient_checkpointing=true", "data.max_eval_rows=20", "deterministic=false"],
    ],
)
def test_agreement_of_other_settings(command, train, words, overrides, monkeypatch):
    monkeypatch.setattr(numerics, "cpu_flags", lambda: {"avx512_bf16"})
    result = train(*words, *overrides)
    code, out, err = command(result.folder)
    assert code == ExitCode.DONE, err
    assert out.count("same as the record") == len(result.record.metrics) == 2


@pytest.mark.parametrize(
    "change",
    [{"config__train__eval_batch_size": 5}, {"config__train__group_by_length": False}],
    ids=lambda change: next(iter(change)),
)
def test_batches_are_part_of_the_agreement(command, run, change):
    edit(run, **change)
    assert command(run)[0] == ExitCode.DIFFERS


def test_other_weights_are_found_out(command, run):
    path = run / "model" / "model.safetensors"
    weights = load_file(path)
    weights["classifier.weight"] = torch.flip(weights["classifier.weight"], (1,))
    save_file(weights, path, metadata={"format": "pt"})
    before = (run / "record.json").read_bytes()
    code, out, err = command(run, "--invariance")
    assert code == ExitCode.DIFFERS
    for key, value in json.loads(before)["metrics"].items():
        (line,) = [line for line in out.splitlines() if line.startswith(key)]
        ours, theirs = line.removeprefix(key).split("the record has")
        assert float(theirs) == value != float(ours)
    assert f"{run}: the weights in model/ do not give the metrics of the record" in err
    assert "elsewhere" not in err
    assert "not recorded" in err
    assert (run / "record.json").read_bytes() == before


def test_disagreement_says_what_else_is_different(command, run):
    edit(run, config__train__eval_batch_size=5, provenance__device="cuda:0", provenance__packages={"torch": "1.0"})
    _, _, err = command(run)
    assert "device cuda:0, now cpu" in err
    assert f"torch 1.0, now {torch.__version__}" in err
    assert "processes" not in err


def test_logits_that_are_no_numbers_are_said(command, run):
    path = run / "model" / "model.safetensors"
    weights = load_file(path)
    weights["classifier.bias"] += float("nan")
    save_file(weights, path, metadata={"format": "pt"})
    code, out, err = command(run)
    assert code == ExitCode.DIFFERS
    assert out.count("missing  the record has") == 4
    assert "logits are NaN or infinite" in err


def test_weights_that_are_missing_are_not_drawn_at_random(command, run):
    path = run / "model" / "model.safetensors"
    weights = load_file(path)
    del weights["bert.encoder.layer.1.attention.self.select_k.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    code, _, err = command(run)
    assert code == ExitCode.BAD_INPUT
    assert "weights that it lacks: bert.encoder.layer.1.attention.self.select_k.weight" in err
    path.write_bytes(path.read_bytes()[:1000])
    code, _, err = command(run)
    assert code == ExitCode.BAD_INPUT
    assert "the weights cannot be read" in err


def test_invariance_is_recorded_as_the_run_would_have(command, train, words):
    result = train(*words, "evaluate.invariance=true")
    found = result.record.invariance
    assert {entry["changed"] for entry in found} != {0}
    result.record.invariance = []
    records.write(result.folder, result.record)
    code, out, _ = command(result.folder, "--invariance")
    assert code == ExitCode.DONE
    again = records.read(result.folder)
    assert again is not None
    assert again.invariance == found
    result.record.invariance = found
    assert again == result.record, "nothing else may change"
    assert f"validation with batch_size 1: {found[0]['changed']} of 48 predictions change" in out
    assert len(out.splitlines()) == 1 + 2 + len(found)


def test_a_run_under_way_is_not_written_to(command, run):
    with lifecycle.locked(run):
        code, _, err = command(run, "--invariance")
        assert code == ExitCode.BAD_INPUT
        assert "another process is at this run" in err
        assert command(run)[0] == ExitCode.DONE, "reading is free"


def test_a_folder_that_cannot_be_written_is_one_message(command, run):
    (run / ".lock").unlink()
    (run / ".lock").mkdir()
    code, out, err = command(run, "--invariance")
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert err == f"error: cannot write to {run}: Is a directory\n"


def test_changed_data_are_refused(command, run, rows, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "rows.csv"
    copy.write_text(rows.read_text().replace(",5\n", ",4\n", 1))
    code, out, err = command(run, "--data-dir", copy.parent)
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert err.startswith(f"error: {run}: not the data that the run was evaluated on")
    assert "validation" in err


def test_data_and_cache_may_have_moved(command, run, rows, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    edit(
        run,
        config__task__files={"train": "/gone/rows.csv", "validation": "/gone/rows.csv", "test": None},
        config__data__cache_dir="/gone/cache",
    )
    code, _, err = command(run)
    assert code == ExitCode.BAD_INPUT
    assert err.startswith("error: no file /gone/rows.csv")
    assert command(run, "--data-dir", rows.parent)[0] == ExitCode.DONE
    assert (tmp_path / "cache" / "gifine").is_dir()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda run: edit(run, status="running"), "the run is running; only those that are done or degenerate"),
        (lambda run: edit(run, status="diverged"), "the run is diverged"),
        (lambda run: edit(run, status="asleep"), "is no readable record"),
        (lambda run: edit(run, config__train__speed=3), "not one that this gifine knows (Key 'speed' not in"),
        (lambda run: edit(run, config=[]), "not one that this gifine knows"),
        (lambda run: (run / "record.json").write_text('{"name": "of another program"}'), "is no readable record"),
        (lambda run: (run / "record.json").unlink(), "no record.json there, so no run's folder"),
        (lambda run: shutil.rmtree(run), "no such folder"),
        (lambda run: shutil.rmtree(run / "model"), "run it again with train.save_model=true overwrite=true"),
        (lambda run: (run / "model" / "config.json").unlink(), "config.json"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_message(command, run, spoil, said):
    spoil(run)
    code, out, err = command(run)
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert err.startswith("error: ")
    assert said in err
    assert len(err.splitlines()) == 1


def test_all_folders_are_checked_first(command, run, tmp_path):
    code, out, err = command(run, tmp_path / "one", tmp_path / "two")
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert err.splitlines() == [
        "error:",
        f"  {tmp_path / 'one'}: no such folder",
        f"  {tmp_path / 'two'}: no such folder",
    ]


def test_one_of_several_that_differs_is_enough(command, finished, run):
    edit(run, config__train__eval_batch_size=5)
    code, out, _ = command(run, finished)
    assert code == ExitCode.DIFFERS
    assert out.count("same as the record") == 4


def test_a_degenerate_run_is_evaluated_with_a_warning(command, run, caplog):
    edit(run, status="degenerate", error="validation: one number predicted")
    assert command(run)[0] == ExitCode.DONE
    assert f"{run} is degenerate: validation: one number predicted" in caplog.text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "--data-dir /no/such: no such folder"),
        ({"config__task__files__train": None, "config__data__source": "hub"}, "read its data from data=hub"),
    ],
)
def test_data_dir_that_does_not_go_with_the_run(command, run, tmp_path, changes, said):
    edit(run, **changes)
    code, _, err = command(run, "--data-dir", tmp_path if changes else "/no/such")
    assert code == ExitCode.BAD_INPUT
    assert said in err


@pytest.mark.parametrize("module", ["gifine.evaluate", "gifine.predict"])
@pytest.mark.parametrize("words", [["--help"], [], ["--fast", "runs/x"], ["runs/x"]])
def test_start_up_is_light(module, words):
    """Without torch and the like; in a process of its own, since this one has them."""
    program = (
        f"import sys\nfrom {module} import main\n"
        "try:\n    assert main() == 2\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'datasets', 'accelerate'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("usage: ") if words == ["--help"] else done.stderr.startswith("error: ")


@pytest.mark.integration
def test_the_real_command(run):
    done = subprocess.run(
        [sys.executable, "-m", "gifine.evaluate", run], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (ExitCode.DONE, "")
    assert done.stdout.count("same as the record") == 4
