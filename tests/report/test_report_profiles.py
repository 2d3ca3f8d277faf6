"""Interquartile means and performance profiles: rliable's definitions, and which runs a figure is of."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gifine.choices import GateSide
from gifine.report import contents, plots
from gifine.report.analysis import profiles
from gifine.report.plots import profiles as drawn
from gifine.report.reading import Reader
from support.synthetic import BOTH, KEY, PLAIN, sweep


@pytest.mark.parametrize("shape", [(2, 2), (5, 9), (3, 5), (1, 3)])
def test_the_interquartile_mean_is_scipys_trimmed_mean(shape):
    """Which is rliable's definition: the trimmed mean of all scores, a quarter off at either end."""
    scores = np.random.default_rng(0).normal(size=(4, *shape))
    found = profiles.interquartile_mean(scores)
    assert found == pytest.approx([stats.trim_mean(each, 0.25, axis=None) for each in scores])


def test_a_profile_is_the_share_of_runs_above_each_level():
    scores = np.asarray([[1.0, 2.0], [3.0, 4.0]])
    assert profiles.profile(scores, np.asarray([0, 1, 2.5, 4])).tolist() == [1, 0.75, 0.5, 0]


def test_the_interval_draws_the_runs_of_each_task():
    """Tasks that each have one score only vary in nothing, however much they differ."""
    constant = np.tile([10.0, 50.0, 90.0, 95.0], (5, 1))
    assert profiles.interval(constant) == pytest.approx((70, 70))
    scores = np.random.default_rng(1).normal(size=(50, 4))
    low, high = profiles.interval(scores)
    assert low < profiles.interquartile_mean(scores) < high
    assert 0.1 < high - low < 0.5


def test_a_figure_has_the_seeds_that_all_tasks_have(tmp_path):
    def score(made) -> list[float]:
        return [0.7 + 0.01 * made.seed + 0.1 * (made.gi.side is GateSide.both)] * len(made.task.metrics)

    sweep(tmp_path, score, tasks=("rte", "cola"), gates=(PLAIN, BOTH, KEY), seeds=range(4))
    sweep(tmp_path, score, tasks=("rte",), gates=(PLAIN, BOTH, KEY), seeds=(4, 5))
    found = contents.gather(Reader([tmp_path]).read())
    (part,) = drawn.parts(found.answers)
    assert [name for name, _ in part.arms] == ["baseline", "key 0.1 last6", "both 0.3"]
    assert part.arms[0][1] == pytest.approx(np.tile([[70], [71], [72], [73]], 2))
    assert part.arms[2][1] == pytest.approx(np.tile([[80], [81], [82], [83]], 2))
    assert any(each.name == "over-tasks-deberta-v3-large" for each in plots.make(found))


def test_one_task_or_one_seed_has_no_figure(tmp_path):
    sweep(tmp_path, lambda made: [0.7], tasks=("rte",))
    assert drawn.parts(contents.gather(Reader([tmp_path]).read()).answers) == []
    sweep(tmp_path / "one", lambda made: [0.7], tasks=("rte", "cola"), seeds=(1,))
    assert drawn.parts(contents.gather(Reader([tmp_path / "one"]).read()).answers) == []
