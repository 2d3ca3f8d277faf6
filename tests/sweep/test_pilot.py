"""Planned seeds by pilot runs: whose runs are taken, what is said of the others, and what it costs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from gifine.choices import GateSide
from gifine.errors import ExitCode
from gifine.objectives import metrics
from gifine.report.analysis import planning
from gifine.report.analysis.planning import Spread
from gifine.runs.records import Status
from gifine.sweep import __main__ as sweep
from support import synthetic
from support.synthetic import BOTH, PLAIN

GRID = ["model=bert", "gi.side=none,both", "gi.level=0.3", "seed=range(6,11)"]
HOUR = {"rows": {"train": 2490}, "seconds": {"total": 3600.0}}


def make(root: Path, task: str = "rte", seeds=range(1, 6), *, flips: float = 0.1, are_kept: bool = True) -> None:
    """Runs of both arms, which are right on 80 % of 277 examples, but for some that each run draws."""
    labels = np.random.default_rng(1).integers(0, 2, 277)
    usual = np.random.default_rng(2).random(277) < 0.8
    for seed in seeds:
        for gate in (PLAIN, BOTH):
            config = synthetic.config(f"task={task}", "model=bert", seed=seed, **gate)
            rng = np.random.default_rng([seed, gate["side"] is GateSide.both])
            right = np.where(rng.random(277) < flips, rng.random(277) < 0.8, usual)
            answers = np.where(right, labels, 1 - labels)
            names = [measure.rpartition("/")[2] for measure in synthetic.measures(config)]
            found = metrics.compute(names, answers, labels)
            folder = synthetic.write(root, synthetic.record(config, [found[name] for name in names], **HOUR))
            if are_kept:
                logits = np.stack([1 - answers, answers], axis=1).astype(float)
                synthetic.add_predictions(folder, "validation", logits, labels)


@pytest.fixture
def power(tmp_path, monkeypatch, capsys):
    """Call `gifine sweep plan --power`; the exit code, and what it printed."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        code = sweep.main(["plan", *words, "--power", "--pilot", "pilot"])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_seeds_are_those_of_the_pilots_spread(power, tmp_path):
    make(tmp_path / "pilot")
    code, out, _ = power("task=rte", *GRID, "--margin", "2", "--json")
    assert code == ExitCode.DONE
    (need,) = json.loads(out)["power"]["found"]
    spread = Spread(**need["spread"])
    assert (need["pilot"], need["seeds"], need["reason"], spread.examples) == ("5 pairs", 5, None, 277)
    for key, shows in (("difference", planning.shows_difference), ("none", planning.shows_none)):
        assert need[key]["fewest"] == planning.seeds(shows, spread, 0.02, 0.05)
        assert need[key]["at_most"] == planning.seeds(shows, spread.at_most(), 0.02, 0.05)
    assert need["power"] == pytest.approx(planning.shows_difference(spread, 5, 0.02, 0.05))
    assert need["seconds_a_seed"] == pytest.approx(2 * 3600)


def test_hours_and_cost_come_from_the_pilots_runs(power, tmp_path):
    make(tmp_path / "pilot")
    code, out, _ = power("task=rte", *GRID, "--margin", "2", "--price", "1.5")
    assert code == ExitCode.DONE
    lines = [line.split("\t") for line in out.splitlines()]
    head = next(line for line in lines if line[0] == "model")
    row = dict(zip(head, lines[lines.index(head) + 1], strict=True))
    seeds = int(row["to show a difference"].partition(" ")[0])
    assert row["hours to show a difference"] == f"{2 * seeds:.3g} (cost {3 * seeds:,.2f})"
    most = max(seeds, int(row["to show none"].partition(" ")[0]))
    assert f"such as seed=range(6,{6 + most}) ({2 * most:.3g} device hours for all models and tasks" in out


def test_the_level_is_that_of_the_family(power, tmp_path):
    make(tmp_path / "pilot")
    make(tmp_path / "pilot", "mrpc")
    words = ["task=rte,mrpc", *GRID, "--json"]

    def levels(*options: str) -> list[float]:
        return [each["alpha"] for each in json.loads(power(*words, *options)[1])["power"]["found"]]

    assert levels() == [0.025, 0.025]
    assert levels("--primary", "task=rte") == [0.05, 0.025]


def test_without_predictions_it_is_given_this_dev_set(power, tmp_path):
    make(tmp_path / "pilot", are_kept=False)
    code, out, _ = power("task=rte", *GRID, "--margin", "2")
    assert code == ExitCode.DONE
    assert "not known" in out
    assert (
        "seeds are for this dev set alone, and another one might say otherwise, since no predictions were kept" in out
    )


def test_what_no_number_of_seeds_shows_is_said(power, tmp_path):
    """Each change answers another tenth of the questions, whatever the seed."""
    make(tmp_path / "pilot")
    labels = np.random.default_rng(1).integers(0, 2, 277)
    fixed = np.random.default_rng(4).random(277) < 0.2
    for seed in range(1, 6):
        config = synthetic.config("task=rte", "model=bert", seed=seed, **BOTH)
        right = (np.random.default_rng(2).random(277) < 0.8) ^ fixed
        right[seed] = not right[seed]
        answers = np.where(right, labels, 1 - labels)
        score = float(np.mean(answers == labels))
        folder = synthetic.write(tmp_path / "pilot", synthetic.record(config, [score], **HOUR))
        synthetic.add_predictions(folder, "validation", np.stack([1 - answers, answers], 1).astype(float), labels)
    code, out, _ = power("task=rte", *GRID)
    assert code == ExitCode.DONE
    assert "no number" in out
    assert "no number of seeds can show 0.5 points; the dev set alone leaves ±" in out


def test_other_settings_and_missing_tasks_are_said(power, tmp_path):
    make(tmp_path / "pilot")
    code, out, _ = power("task=rte,cola", *GRID[:2], "gi.level=0.1", "train.epochs=9", "seed=1", "--margin", "2")
    assert code == ExitCode.DONE
    assert "5 pairs of both 0.3 with train.epochs=" in out
    assert "bert-large-uncased on CoLA, both 0.1: the pilot has no pair of this model and task." in out


def test_runs_of_the_pilot_in_the_grid_are_told(power, tmp_path):
    make(tmp_path / "pilot")
    _, out, _ = power("task=rte", "model=bert", "gi.side=none,both", "gi.level=0.3", "seed=5,6")
    assert "2 of these runs are the pilot's" in out
    assert "they would count" in out


@pytest.mark.parametrize(
    ("pilot", "words", "said"),
    [
        ({}, ["task=cola"], "is of bert-large-uncased on RTE, and these runs are of bert-large-uncased on cola"),
        ({}, ["task=rte", "model=debertav3"], "these runs are of deberta-v3-large on rte"),
        ({"seeds": [1]}, ["task=rte"], "two finished pairs are the least that have a deviation"),
        ({"flips": 0.0}, ["task=rte"], "the differences of its pairs are all the same"),
    ],
)
def test_a_pilot_of_something_else_is_one_message(power, tmp_path, pilot, words, said):
    make(tmp_path / "pilot", **pilot)
    code, _, err = power("model=bert", *GRID[1:], *words)
    assert code == ExitCode.BAD_INPUT
    assert err.startswith("error: --pilot pilot: ")
    assert said in err


def test_an_empty_pilot_and_wrong_options_are_one_message(power, tmp_path, capsys):
    assert power("task=rte", *GRID)[2] == "error: pilot: no such file or folder\n"
    (tmp_path / "pilot").mkdir()
    assert power("task=rte", *GRID)[2] == "error: no record.json in or below pilot\n"
    synthetic.sweep(tmp_path / "pilot", lambda config: [0.5], gates=[PLAIN], model="bert")
    assert "has no run with a change and its baseline" in power("task=rte", *GRID)[2]
    for margin in ("0", "-1", "0.005", "nan"):
        code, _, err = power("task=rte", *GRID, f"--margin={margin}")
        assert code == ExitCode.BAD_INPUT
        assert "points of percent" in err
    for words, said in (
        (["--power"], "--power: needs --pilot RUNS"),
        (["--pilot", "x"], "--pilot: goes with --power"),
        (["--price", "2"], "--price: goes with --power"),
        (["--power", "--pilot", "x", "--price", "0"], "0 is no number above 0"),
    ):
        assert sweep.main(["plan", "task=rte", *GRID, *words]) == ExitCode.BAD_INPUT
        assert said in capsys.readouterr().err


def test_a_pilot_of_degenerate_runs_or_without_any_deviation_is_told(power, tmp_path):
    def pilot(task: str, score: Callable[[int, bool], float], degenerate: Sequence[int] = ()) -> None:
        for seed, gate in itertools.product(range(1, 6), (PLAIN, BOTH)):
            config = synthetic.config(f"task={task}", "model=bert", seed=seed, **gate)
            status = Status.DEGENERATE if seed in degenerate else Status.DONE
            scores = [score(seed, gate is BOTH)] * len(synthetic.measures(config))
            synthetic.write(tmp_path / "pilot", synthetic.record(config, scores, status))

    pilot("rte", lambda seed, gated: 0.7)
    pilot("mrpc", lambda seed, gated: 0.7 + 0.01 * seed * gated, degenerate=(1, 2))
    code, out, _ = power("task=rte,mrpc", *GRID)
    assert code == ExitCode.DONE
    assert "on RTE, both 0.3: the differences of its pairs are all the same: nothing can be planned by them." in out
    assert "5 pairs, 2 degenerate" in out
    assert "on MRPC: in 2 of the pilot's pairs a run answers the same whatever it reads" in out
