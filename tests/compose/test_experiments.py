"""The grids in conf/experiment: their headers say what they are, and the original's job is the original's."""

from __future__ import annotations

import pytest

from gifine import cli
from gifine.choices import GateSide
from gifine.compose import grid
from gifine.runs import identity
from gifine.sweep.commands import plan

FOLDER = cli.conf_dir() / "experiment"
GRIDS = [path.stem for path in sorted(FOLDER.glob("*.yaml")) if "sweeper:" in path.read_text()]
TASKS = ["CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI", "QNLI", "RTE", "WNLI"]


def test_grids_are_found():
    assert GRIDS == [
        "baseline_vs_gi",
        "controls",
        "laboratory",
        "mnli_first",
        "original_sbatch",
        "original_table",
        "paper_grid",
        "pretrain_demo",
        "random_search",
        "smoke",
    ]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.long if name in ("original_table", "paper_grid") else ()) for name in GRIDS],
)
def test_headers_have_command_count_and_cost(name, tmp_path):
    header = (FOLDER / f"{name}.yaml").read_text().partition("defaults:")[0]
    runs = grid.expand([f"experiment={name}", f"output_root={tmp_path}"])
    planned = plan.make(runs)
    assert f"# python -m gifine --multirun experiment={name}\n" in header
    assert f"# {planned.cells:,} cells, {planned.runs:,} runs" in header
    assert planned.runs == len({identity.directory(run.config) for run in runs})
    if name not in ("smoke", "pretrain_demo"):  # which say what was measured
        assert f"# About {planned.device_hours:,.0f} device hours" in header


def test_cells_of_the_paper_grid_that_coincide_are_those_without_a_side():
    runs = grid.expand(["experiment=paper_grid", "model=bert", "task=rte", "seed=1"])
    assert len(runs) == 4 * 4 * 4
    assert len(grid.distinct(runs)) == 1 + 3 * 4 * 4


def test_values_on_the_command_line_replace_an_axis():
    runs = grid.expand(["experiment=baseline_vs_gi", "model=minilm", "task=rte,mrpc", "seed=1,2", "train.epochs=1"])
    assert len(runs) == 2 * 4 * 2
    assert {run.config.model.name for run in runs} == {"minilm"}


def test_the_original_job_is_reproduced():
    runs = [run.config for run in grid.expand(["experiment=original_sbatch"])]
    assert [run.output_dir for run in runs] == [f"output_final/DeBERTa_30_on_Last6/{task}" for task in TASKS]
    for run in runs:
        assert run.model.sizes[run.model.size].checkpoint == "microsoft/deberta-v3-large"
        assert (run.gi.side, run.gi.level, run.gi.layers) == (GateSide.both, 0.3, 6)
        assert (run.train.epochs, run.train.batch_size, run.train.learning_rate) == (10, 8, 5e-5)


def test_compared_runs_differ_in_the_gates_alone():
    runs = [run.config for run in grid.expand(["experiment=baseline_vs_gi", "task=rte", "seed=1"])]
    assert [run.gi.side for run in runs] == list(GateSide)
    without = [{key: value for key, value in identity.to_dict(run).items() if key != "gi"} for run in runs]
    assert without == [without[0]] * 4
