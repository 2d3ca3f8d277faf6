"""Plans: what is counted, what is taken for finished, and where hours come from."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from conftest import TINY_DEMO
from gifine import memory
from gifine.choices import Padding, Precision
from gifine.compose import grid
from gifine.config import RunConfig
from gifine.runs import identity, records
from gifine.runs.records import Record, Status
from gifine.sweep import estimate
from gifine.sweep.commands import plan
from gifine.sweep.estimate import FLOPS, START_SECONDS, TASKS, Basis


def planned(*overrides: str) -> plan.Plan:
    return plan.make(grid.expand(list(overrides)))


@pytest.fixture
def finish(tmp_path):
    """Leave the record of a run that took so many seconds; its config."""

    def write(*overrides: str, rows: int, seconds: float, **other) -> RunConfig:
        (run,) = grid.expand([f"output_root={tmp_path}", *overrides])
        folder = identity.directory(run.config)
        folder.mkdir(parents=True)
        record = Record(identity.run_id(run.config), identity.slug(run.config), identity.to_dict(run.config))
        record.status, record.rows, record.seconds = Status.DONE, {"train": rows}, {"total": seconds}
        record.provenance = {"processes": 1, "device": "cuda:0"}
        for key, value in other.items():
            setattr(record, key, value)
        records.write(folder, record)
        return run.config

    return write


def test_a_run_that_was_made_is_finished_and_tells_how_long_others_take(train, tmp_path):
    made = train(*TINY_DEMO)
    words = [*TINY_DEMO, f"output_root={tmp_path}", f"data.cache_dir={tmp_path}"]
    both = planned(*words, "seed=42,1")
    assert (both.runs, both.finished, both.to_do) == (2, 1, 1)
    assert both.runs_by_basis == {Basis.SAME_TASK: 1}
    assert both.measured_on == ["cpu"]
    assert both.device_hours * 3600 == pytest.approx(made.record.seconds["total"])
    again = planned(*words, "overwrite=true")
    assert (again.finished, again.to_do) == (0, 1)


def test_cells_that_coincide_are_one_run(tmp_path):
    both = planned(f"output_root={tmp_path}", "gi.side=none,key", "gi.level=0,0.3", "seed=1,2")
    assert (both.cells, both.runs, both.to_do) == (8, 6, 6)
    assert plan.describe(both).startswith(
        "6 runs (8 cells, 2 of which ask for what another one does): 0 finished, 6 to do."
    )


@pytest.mark.parametrize("status", list(Status))
def test_what_would_end_so_again_is_finished(finish, tmp_path, status):
    finish("task=rte", "model=bert", rows=10, seconds=1, status=status)
    one = planned(f"output_root={tmp_path}", "task=rte", "model=bert")
    assert one.finished == (status in records.FINISHED)


def test_a_record_of_another_config_in_the_folder_does_not_count(finish, tmp_path):
    folder = f"output_dir={tmp_path / 'own'}"
    finish("task=rte", "model=bert", folder, rows=10, seconds=1)
    assert planned("task=rte", "model=bert", folder).finished == 1
    assert planned("task=rte", "model=bert", folder, "seed=7").finished == 0


def test_hours_scale_with_rows_and_epochs(finish, tmp_path):
    place = [f"output_root={tmp_path}", "model=bert"]
    finish("task=rte", "model=bert", "train.epochs=2", rows=2490, seconds=3600)
    finish("task=rte", "model=bert", "train.epochs=2", "seed=1", rows=2490, seconds=7200)
    same = planned(*place, "task=rte", "train.epochs=4", "gi=none")
    assert (same.device_hours, same.runs_by_basis) == (pytest.approx(3), {Basis.SAME_TASK: 1})
    other = planned(*place, "task=wnli", "train.epochs=2")
    pieces = TASKS["wnli"][1] / TASKS["rte"][1]
    assert (other.device_hours, other.runs_by_basis) == (
        pytest.approx(1.5 * 635 / 2490 * pieces),
        {Basis.SAME_MODEL: 1},
    )
    few = planned(*place, "task=rte", "train.max_steps=249", "train.batch_size=10")
    assert few.device_hours == pytest.approx(1.5 / 2)
    assert planned(*place, "task=rte", "model.size=base").runs_by_basis == {Basis.DEFAULT: 1}


def test_pretraining_takes_what_its_budget_says(finish, tmp_path):
    words = ["task=rtd", "model=debertav3", "data=demo", "train.max_length=100", "train.batch_size=10"]
    place = f"output_root={tmp_path}"
    unknown = planned(place, *words)
    assert (unknown.device_hours, unknown.runs_by_basis) == (0, {Basis.UNKNOWN: 1})
    budget = ["train.max_tokens=1000000000", "model.size=base", "gi=none"]
    # Layers of 7.1 M: 12, and 6 of the generator. Of its 128,100 × 768 table of words 0.15 count.
    met = 18 * 7.09e6 + 0.15 * 128_100 * 768
    one = planned(place, *words, *budget)
    assert one.runs_by_basis == {Basis.DEFAULT: 1}
    assert one.device_hours * 3600 == pytest.approx(START_SECONDS + 6 * met * 1e9 / FLOPS[Precision.auto], rel=0.02)
    timed = planned(place, *words, "train.max_seconds=7200")
    assert (timed.device_hours, timed.runs_by_basis) == (pytest.approx(2), {Basis.BUDGET: 1})
    seen = {"seen": {"tokens": 100_000, "seconds": 3600}, "steps": {"done": 100, "planned": 100}}
    finish(*words, "train.epochs=2", rows=500, seconds=3600, **seen)
    for budget, hours in (("max_tokens=200000", 2), ("max_steps=50", 0.5), ("epochs=3", 1.5)):
        one = planned(place, *words, f"train.{budget}")
        assert (one.device_hours, one.runs_by_basis) == (pytest.approx(hours), {Basis.SAME_TASK: 1}), budget
    others = ("train.max_length=50", "task.generator.layers=3", "data.demo_text_rows=99")
    assert planned(place, *words, "train.max_steps=50", others[2]).runs_by_basis == {Basis.SAME_TASK: 1}
    for other in others:
        assert planned(place, *words, "train.epochs=3", other).runs_by_basis == {Basis.UNKNOWN: 1}, other


def test_a_run_trains_on_windows_and_the_tables_count_questions(finish, tmp_path):
    words = ["task=squad", "model=bert"]
    told = {"questions": 87_599, "windows": 2 * 87_599}
    finish(*words, rows=87_599, seconds=3600, examples={"train": told})
    same = planned(f"output_root={tmp_path}", *words, "seed=1")
    assert (same.device_hours, same.runs_by_basis) == (pytest.approx(1), {Basis.SAME_TASK: 1})


@pytest.mark.parametrize(
    ("max_length", "stride", "counted"),  # of SQuAD 1.1's dev questions, with BERT's word pieces
    [
        (512, 128, (1.0076, 178.1)),
        (384, 128, (1.0249, 178.5)),
        (256, 128, (1.1359, 170.8)),
        (192, 64, (1.4995, 160.4)),
        (128, 64, (2.2858, 113.2)),
        (128, 32, (3.0913, 122.1)),
        (96, 48, (3.1647, 88.6)),
    ],
)
def test_windows_and_their_lengths_are_about_those_of_squad(max_length, stride, counted):
    reading = estimate._reading({"max_length": max_length}, {"objective": "questions", "stride": stride})
    assert estimate._examples("squad", reading, max_length, Padding.dynamic) == pytest.approx(counted, rel=0.1)


def test_shorter_windows_are_more_and_cost_less_each(finish, tmp_path):
    """What was learnt of windows of one length is not taken for those of another."""
    words, told = ["task=squad", "model=bert"], {"questions": 87_599, "windows": 88_641}
    finish(*words, "train.max_length=384", rows=87_599, seconds=3600, examples={"train": told})
    place = [f"output_root={tmp_path}", *words, "seed=1"]
    short = planned(*place, "train.max_length=128", "task.stride=32")
    assert short.runs_by_basis == {Basis.SAME_MODEL: 1}
    windows, pieces = 3.0 / (88_641 / 87_599), 122 / 174
    assert short.device_hours == pytest.approx(windows * pieces, rel=0.01)
    assert planned(*place, "train.max_length=384", "data.max_train_rows=8760").device_hours == pytest.approx(
        0.1, rel=0.01
    )


def test_what_no_estimate_can_be_made_of_is_left_out(finish, tmp_path):
    finish("task=rte", "model=bert", rows=2490, seconds=60, attempts=2)  # of which only the last is timed
    finish("task=rte", "model=bert", "seed=1", rows=2490, seconds=60, status=Status.DIVERGED)
    finish("task=rte", "model=bert", "seed=2", rows=2490, seconds=60, provenance={})
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "record.json").write_text("{")
    two = planned(f"output_root={tmp_path}", "task=rte", "model=bert", "seed=42,1,2,3")
    assert (two.finished, two.runs_by_basis) == (3, {Basis.DEFAULT: 1})


def test_several_processes_take_the_hours_of_each(finish, tmp_path):
    four = {"processes": 4, "device": "cuda:0"}
    finish("task=rte", "model=bert", rows=2490, seconds=900, provenance=four)
    assert planned(f"output_root={tmp_path}", "task=rte", "model=bert", "seed=1").device_hours == pytest.approx(1)


def test_the_default_is_arithmetic_and_says_that_it_is_a_default(tmp_path):
    words = ["task=cola", "model=bert", "model.size=base", "gi=none", "train=original", "train.epochs=1"]
    one = planned(f"output_root={tmp_path}", *words)
    seconds = START_SECONDS + 6 * 12 * 7_087_872 * 128 * 8551 / min(FLOPS.values())
    assert one.device_hours * 3600 == pytest.approx(seconds)
    assert "a default that nobody measured" in plan.describe(one)


def test_what_is_not_known_is_said(tmp_path):
    hub = planned(f"output_root={tmp_path}", "task=cola", "model.checkpoint=my/bert", "model.family=bert")
    assert (hub.runs_by_basis, hub.memory_gb) == ({Basis.UNKNOWN: 1}, None)
    assert "not known" in plan.describe(hub)
    assert "Memory" not in plan.describe(hub)


def test_sizes_are_those_of_memory(tmp_path):
    words = [f"output_root={tmp_path}", "model=bert", "model.size=base", "seed=1,2"]
    counted = [memory.count(run.config) for run in grid.expand(words)]
    plain, kept = planned(*words), planned(*words, "train.save_model=true", "train.keep_checkpoints=true")
    assert plain.memory_gb == pytest.approx(counted[0].training / 1e9)
    assert (plain.disk_gb, plain.scratch_gb) == (0, pytest.approx(3 * counted[0].checkpoint / 1e9))
    assert kept.disk_gb == pytest.approx(2 * (counted[0].weights + 2 * counted[0].checkpoint) / 1e9)


def call(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gifine.sweep", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_command_prints_text_and_json_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a checkout may have runs of its own
    words = ["plan", "model=bert,roberta", "task=rte", "gi.side=none,key"]
    text, machine = call(*words, cwd=tmp_path), call(*words, "--json", cwd=tmp_path)
    assert text.returncode == machine.returncode == 0, text.stderr + machine.stderr
    assert text.stdout.startswith("4 runs: 0 finished, 4 to do. About ")
    assert json.loads(machine.stdout) == json.loads(json.dumps(asdict(planned(*words[1:]))))
    assert json.loads(machine.stdout)["models"]["bert-large"]["runs"] == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "error: the following arguments are required: COMMAND"),
        (["plam"], "error: plam: no such command (did you mean 'plan'?); valid: "),
        (["_estimate"], "error: _estimate: no such command; valid: "),
        (["plan", "gi.level=30"], "error: gi.level=30: a fraction of the maximum"),
        (["plan", "--jsn"], "error: unrecognized arguments: --jsn"),
        (["plan", "--config-dir", "/no/such"], "error: --config-dir /no/such: no such folder"),
    ],
)
def test_wrong_input_is_one_message(tmp_path, words, said):
    done = call(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(said)


def test_help_lists_the_commands(tmp_path):
    done = call("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "plan      How many runs a sweep has" in done.stdout
    assert "OVERRIDE" in call("plan", "--help", cwd=tmp_path).stdout


@pytest.mark.integration
def test_planning_needs_no_torch_and_no_statistics():
    program = (
        "import sys\n"
        "from gifine.sweep.__main__ import main\n"
        "assert main(['plan', 'experiment=original_sbatch']) == 0\n"
        "heavy = {'torch', 'transformers', 'datasets', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
