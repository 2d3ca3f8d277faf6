"""Real runs of one recipe, split in two at random: nothing differs but luck, and the verdict's test has to say so.

Simulations draw from a model of runs; these are runs. All splits are of the same 20, so their rate is not binomial:
each is a permutation of the others, over which a test at 5 % rejects in about 5 %.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from gifine.report.analysis import crossed, predictions
from gifine.report.reading import Reader, Run

pytestmark = [pytest.mark.integration, pytest.mark.long]

RUNS = 20
SPLITS = 2_000


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Run]:
    folder = tmp_path_factory.mktemp("plain")
    words = ["experiment=demo", "gi.side=none", f"seed=range(1,{RUNS + 1})", "train.epochs=2"]
    words += ["data.demo_train_rows=1000", "data.demo_eval_rows=300", f"output_root={folder}"]
    words += [f"data.cache_dir={tmp_path_factory.mktemp('cache')}"]
    done = subprocess.run(
        [sys.executable, "-m", "gifine", "--multirun", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = Reader([folder]).read().runs
    assert len(found) == RUNS
    return found


@pytest.mark.parametrize("metric", ["accuracy", "matthews"])
@pytest.mark.parametrize("pairs", [5, 10])
def test_runs_of_one_recipe_seldom_differ(runs, metric, pairs):
    answers = [predictions.read(run, "validation") for run in runs]
    predicted = np.asarray([each.predicted for each in answers])
    scores = [(each == answers[0].labels).mean() for each in predicted]
    assert len({*scores}) > RUNS / 2, "they differ by luck"
    parts = crossed.pseudovalues(metric, predicted, answers[0].labels)
    rng = np.random.default_rng(18)
    rejected = 0
    for _ in range(SPLITS):
        one, other = np.split(rng.permutation(RUNS)[: 2 * pairs], 2)
        estimate = crossed.crossed(parts[one] - parts[other])
        assert estimate is not None
        rejected += estimate.p() < 0.05
    assert 0.03 <= rejected / SPLITS <= 0.07
