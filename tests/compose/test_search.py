"""Random search: what is drawn, for whom it is the same, what wins over it, and what is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from conftest import TINY_DEMO
from gifine import cli
from gifine.choices import Schedule
from gifine.compose import grid, search
from gifine.config import RunConfig
from gifine.errors import ConfigError
from gifine.runs import identity

SPACE = [
    "search.space.train.learning_rate={low: 1e-5, high: 1e-3, log: true}",
    "search.space.train.warmup={low: 0, high: 0.2}",
    "search.space.train.batch_size={values: [8, 16, 32]}",
]


def run(*words: str) -> RunConfig:
    return grid.expand(["gi=none", *words])[0].config


def drawn(space: dict[str, Any], trial: int | None, seed: int = 0) -> RunConfig:
    config = RunConfig()
    config.search.space, config.search.trial, config.search.seed = space, trial, seed
    return search.apply(config)


def many(key: str, options: dict[str, Any], trials: int = 1000) -> list[Any]:
    section, leaf = key.split(".")
    return [getattr(getattr(drawn({key: options}, trial), section), leaf) for trial in range(trials)]


def test_no_trial_draws_nothing():
    assert run(*SPACE).train == run().train
    assert identity.run_id(run(*SPACE)) == identity.run_id(run())


def test_a_trial_is_the_same_for_all_arms_tasks_and_seeds():
    runs = grid.expand([*SPACE, "search.trial=range(0,3)", "gi.side=none,both", "task=rte,mrpc", "seed=1,2"])
    by_trial = {
        trial: {repr(each.config.train) for each in runs if each.config.search.trial == trial} for trial in range(3)
    }
    assert [len(each) for each in by_trial.values()] == [1, 1, 1]
    assert len(set.union(*by_trial.values())) == 3
    assert len(grid.distinct(runs)) == 3 * 2 * 2 * 2


def test_a_value_hangs_on_its_own_key_alone():
    whole = run(*SPACE, "search.trial=5").train
    for kept, key in ((SPACE[:1], "learning_rate"), (SPACE[::-1], "batch_size"), (SPACE[1:2], "warmup")):
        assert getattr(run(*kept, "search.trial=5").train, key) == getattr(whole, key)
    assert run(*SPACE, "search.trial=5", "search.seed=1").train != whole


def test_draws_stay_what_they_are():
    """Literals: sweeps on disk go on with the trials that they have begun."""
    train = run(*SPACE, "search.trial=0").train
    assert (train.learning_rate, train.warmup, train.batch_size) == (0.000135, 0.152, 32)


def test_the_same_values_by_hand_are_the_same_run():
    trial = run(*SPACE, "search.trial=7")
    train = trial.train
    words = [f"train.{key}={getattr(train, key)}" for key in ("learning_rate", "warmup", "batch_size")]
    by_hand = run(*words)
    assert by_hand.search.trial is None
    assert identity.run_id(by_hand) == identity.run_id(trial)
    assert len(f"{train.learning_rate:.15g}".replace(".", "").split("e")[0].strip("0")) <= 3, (
        "short enough to be quoted"
    )


def test_numbers_are_spread_as_the_space_says():
    uniform = np.asarray(many("train.warmup", {"low": 0.1, "high": 0.3}), dtype=float)
    assert uniform.min() >= 0.1
    assert uniform.max() <= 0.3
    assert abs(np.mean(uniform < 0.15) - 0.25) < 0.055, "four standard errors"
    log = np.log10(np.asarray(many("train.learning_rate", {"low": 1e-6, "high": 1e-2, "log": True}), dtype=float))
    assert abs(np.mean(log < -5) - 0.25) < 0.055
    whole = many("train.batch_size", {"low": 1, "high": 4})
    assert {type(each) for each in whole} == {int}
    assert all(abs(whole.count(each) / 1000 - 0.25) < 0.055 for each in (1, 2, 3, 4))
    chosen = many("train.schedule", {"values": ["linear", "cosine"]})
    assert abs(chosen.count(Schedule.linear) / 1000 - 0.5) < 0.06
    assert set(many("model.classifier_dropout", {"values": [None, 0.2]}, 50)) == {None, 0.2}


def test_whole_numbers_of_a_logarithmic_range_stay_inside():
    found = many("train.batch_size", {"low": 1, "high": 64, "log": True})
    assert (min(found), max(found)) == (1, 64)
    halves = math.log(8.5 / 0.5) / math.log(64.5 / 0.5)
    assert abs(np.mean(np.asarray(found) <= 8) - halves) < 0.06


def test_rounding_leaves_no_range():
    bounds = {"low": 1.2345e-5, "high": 1.2349e-5}
    assert all(1.2345e-5 <= each <= 1.2349e-5 for each in many("train.learning_rate", bounds, 50))


def test_words_of_the_command_line_win_and_recipes_do_not():
    assert run(*SPACE, "search.trial=1", "train.learning_rate=2e-5").train.learning_rate == 2e-5
    whole, train = run(*SPACE, "search.trial=1").train, run(*SPACE, "search.trial=1", "train={warmup: 0.5}").train
    assert train.warmup == 0.5
    assert run(*SPACE, "search.trial=1", "train=original", "recipe=original").train.learning_rate == whole.learning_rate
    words = ["model=debertav3", "model.size=large", "recipe=auto", "task=rte"]
    assert run(*words, *SPACE, "search.trial=1").train.learning_rate == whole.learning_rate


def test_ranges_of_an_experiment_can_be_changed_and_left_out():
    words = ["experiment=random_search", "search.trial=range(0,30)", "gi.side=none"]
    narrow = grid.expand([*words, "search.space.train.learning_rate.high=6e-6", "~search.space.train.batch_size"])
    assert all(5e-6 <= each.config.train.learning_rate <= 6e-6 for each in narrow)
    assert {each.config.train.batch_size for each in narrow} == {16}
    assert {each.config.train.batch_size for each in grid.expand(words)} == {16, 32}


def test_sixty_trials_are_few_compositions(monkeypatch):
    compose, calls = grid.compose, []
    monkeypatch.setattr(grid, "compose", lambda *words, **how: calls.append(1) or compose(*words, **how))
    runs = grid.expand(["experiment=random_search", "search.trial=range(0,60)", "task=rte,mrpc,cola"])
    assert len(runs) == 60 * 2 * 3
    assert len(calls) < 10


@pytest.mark.parametrize(
    ("key", "entry", "said"),
    [
        ("train.learning_rate", {"low": 1e-3, "high": 1e-5}, "low=0.001 must be below high=1e-05"),
        ("train.learning_rate", {"low": 1e-5, "high": 1e-5}, "low=1e-05 must be below high=1e-05"),
        ("train.warmup", {"low": 0, "high": 0.1, "log": True}, "low=0: must be above 0 with log=true"),
        ("train.warmup", {"low": 0, "high": 0.1, "log": 2}, "log=2: true or false"),
        ("train.warmup", {"low": math.nan, "high": 0.1}, "low=nan: must be a number"),
        ("train.warmup", {"low": "x", "high": 0.1}, "low=x: must be a number"),
        ("train.warmup", {"low": 0.1}, "needs low and high, or values"),
        ("train.warmup", {"lwo": 0.1}, "lwo: no such entry"),
        ("train.warmup", {"low": 0, "high": 1, "values": [1]}, "values exclude low, high"),
        ("train.warmup", 0.1, "0.1: give {low: A, high: B}"),
        ("train.warmup", [0.1], "[0.1]: give {low: A, high: B}"),
        ("train.warmup", {}, "{}: give {low: A, high: B}"),
        ("train.warmup", {"values": []}, "values=[]: a list of at least one"),
        ("train.warmup", {"values": 0.1}, "values=0.1: a list of at least one"),
        ("train.batch_size", {"low": 1.5, "high": 4}, "low=1.5: must be a whole number"),
        ("train.batch_size", {"values": [8, "many"]}, "values: 'many' is none of this key"),
        ("train.schedule", {"low": 0, "high": 1}, "its values are no numbers"),
        ("train.schedule", {"values": ["linear", "zigzag"]}, "values: 'zigzag' is none of this key"),
        ("train.learning_rat", {"low": 0, "high": 1}, "no hyper-parameter (did you mean 'train.learning_rate'?)"),
        ("train.log_steps", {"values": [1, 2]}, "no hyper-parameter"),
        ("gi.level", {"low": 0, "high": 1}, "Whatever is compared (gi), measured (task, data) or repeated (seed)"),
        ("seed", {"values": [1, 2]}, "no hyper-parameter"),
        ("model.checkpoint", {"values": ["a", "b"]}, "no hyper-parameter"),
    ],
)
@pytest.mark.parametrize("trial", [None, 0])
def test_what_cannot_be_drawn_is_refused(key, entry, said, trial):
    with pytest.raises(ConfigError) as error:
        drawn({key: entry}, trial)
    assert len(error.value.problems) == 1
    assert error.value.problems[0].startswith(f"search.space.{key}: ")
    assert said in error.value.problems[0]


def test_a_sweep_with_a_wrong_space_starts_nothing_and_says_each_problem_once():
    words = [f"++{SPACE[0]}", "search.space.train.epochs={low: 2, high: 1}", "search.space.gi={level: {values: [0]}}"]
    with pytest.raises(ConfigError) as error:
        grid.expand([*words, "search.trial=-1,0", "seed=1,2"])
    assert [problem.partition(":")[0] for problem in error.value.problems] == [
        "search.space.train.epochs",
        "search.space.gi.level",
        "search.trial=-1",
    ]


def test_a_trial_without_a_space_is_refused():
    with pytest.raises(ConfigError, match=r"^search\.trial=3: search\.space is empty, so all trials would be the same"):
        run("search.trial=3")


def test_drawn_values_are_checked_as_given_ones():
    with pytest.raises(ConfigError, match=r"train\.label_smoothing=.*: must be in 0 … 1, below 1"):
        run("search.space.train.label_smoothing={low: 1, high: 2}", "search.trial=0")


def test_a_single_run_draws_as_a_sweep_does_and_records_it(tmp_path, monkeypatch, capsys):
    """The command line itself: Hydra's own way to a config is another one than the sweep's."""
    from gifine import train

    configs = []
    monkeypatch.setattr(train, "run", lambda config: configs.append(config) or 0)
    monkeypatch.chdir(tmp_path)
    demo = [word for word in TINY_DEMO if "learning_rate" not in word]
    words = [*demo, *SPACE, "search.trial=2"]
    monkeypatch.setattr("sys.argv", ["gifine", *words])
    assert cli.main() == 0
    capsys.readouterr()
    (config,) = configs
    assert config == grid.expand(words)[0].config
    assert config.train.batch_size == 16, "which the command line has"
    entries = json.loads(json.dumps(identity.to_dict(config)))
    assert entries["search"] == {"trial": 2, "seed": 0, "space": config.search.space}
    assert identity.to_dict(identity.from_dict(entries)) == entries, "queued jobs are sent so, and do not draw again"
