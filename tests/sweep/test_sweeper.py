"""Hydra's side of a sweep: what `--multirun` launches, in this process and with training replaced."""

from __future__ import annotations

import sys

import pytest

from gifine import cli, train
from gifine.config import RunConfig
from gifine.errors import ExitCode


@pytest.fixture
def sweep(monkeypatch, tmp_path, capsys):
    """Call `gifine --multirun`; its exit code, side, level and seed of each run, and what it said on stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    started: list[tuple[str, float, int]] = []

    def run(config: RunConfig) -> ExitCode:
        started.append((config.gi.side.value, config.gi.level, config.seed))
        return ExitCode.DONE

    monkeypatch.setattr(train, "run", run)

    def call(*words: str) -> tuple[int, list[tuple[str, float, int]], str]:
        started.clear()
        monkeypatch.setattr(sys, "argv", ["gifine", "--multirun", *words])
        code = cli.main()
        return code, [*started], capsys.readouterr().err

    return call


def test_each_result_is_launched_once_and_the_plan_is_said_first(sweep):
    code, started, err = sweep("gi.side=none,key", "gi.level=0,0.3", "seed=1,2")
    assert code == ExitCode.DONE
    assert sorted(started) == sorted(
        [*(("none", 0, seed) for seed in (1, 2))] + [("key", level, seed) for level in (0, 0.3) for seed in (1, 2)]
    )
    assert err.startswith("6 runs (8 cells, 2 of which ask for what another one does): 0 finished, 6 to do. About ")


def test_an_experiment_of_ones_own_brings_its_sweep(sweep, tmp_path):
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "grid.yaml").write_text(
        "# @package _global_\nhydra:\n  sweeper:\n    params:\n      gi.side: key,query\n      seed: 1,2\n"
    )
    own = ["--config-dir", str(tmp_path / "own"), "experiment=grid"]
    assert sweep(*own)[1] == [("key", 0.3, 1), ("key", 0.3, 2), ("query", 0.3, 1), ("query", 0.3, 2)]
    assert sweep(*own, "seed=7", "gi.level=0.1")[1] == [("key", 0.1, 7), ("query", 0.1, 7)]


def test_hydras_own_settings_hold(sweep):
    code, started, _ = sweep("seed=1,2,3", "hydra.sweeper.max_batch_size=2", "+hydra.job.env_set={A:  b}")
    assert (code, [seed for _, _, seed in started]) == (ExitCode.DONE, [1, 2, 3])


def test_hydras_own_sweeper_can_be_chosen(sweep):
    code, started, _ = sweep("gi.side=none", "gi.level=0,0.3", "hydra/sweeper=basic")
    assert (code, len(started)) == (ExitCode.DONE, 2)


def test_nothing_is_launched_or_written_if_one_of_many_is_wrong(sweep, tmp_path):
    code, started, err = sweep("task=cola,rte", "gi.layers=6,12,25", "seed=range(0,100)")
    assert (code, started) == (ExitCode.BAD_INPUT, [])
    assert err == "error: gi.layers=25: the model has 24 layers\n"
    assert list(tmp_path.iterdir()) == []


def test_a_grid_that_is_meant_to_be_swept_is_not_one_run(sweep, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gifine", "experiment=original_sbatch"])
    assert cli.main() == ExitCode.BAD_INPUT
    said = "error: experiment=original_sbatch is a grid over task: add --multirun, or give each of them a value\n"
    assert capsys.readouterr().err == said
    monkeypatch.setattr(sys, "argv", ["gifine", "experiment=original_sbatch", "task=rte"])
    assert cli.main() == ExitCode.DONE


def test_options_may_stand_between_overrides(sweep, monkeypatch, capsys, tmp_path):
    assert sweep("gi=none", "--multirun", "seed=1,2")[1] == [("none", 0.3, 1), ("none", 0.3, 2)]
    monkeypatch.setattr(sys, "argv", ["gifine", "seed=1", "--config-dir", str(tmp_path), "-m", "gi=key,query"])
    assert cli.main() == ExitCode.DONE
    assert "2 runs: " in capsys.readouterr().err


def test_names_by_pattern(sweep, tmp_path):
    assert {side for side, _, _ in sweep("gi=glob(*,exclude=none)")[1]} == {"both", "key", "query"}
    (tmp_path / "own" / "gi").mkdir(parents=True)
    (tmp_path / "own" / "gi" / "kind.yaml").write_text("defaults: [key]\nlevel: 0.7\n")
    assert sweep("--config-dir", str(tmp_path / "own"), "gi=glob(k*)")[1] == [("key", 0.3, 42), ("key", 0.7, 42)]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("hydra.launcher=slurm", "hydra.launcher is a group of configs, which are chosen with a slash"),
        ("+hydra.launcher.retry_faild=true", "no such key (did you mean 'retry_failed'?); valid: wait, "),
        ("hydra.launcher.parallelism=1,2", "Hydra's own keys have one value in a sweep; give one"),
    ],
)
def test_what_is_wrong_about_the_launcher(sweep, word, said):
    code, started, err = sweep("hydra/launcher=local", word)
    assert (code, started) == (ExitCode.BAD_INPUT, [])
    assert err.startswith(f"error: {word.lstrip('+').partition('=')[0]}")
    assert said in err
