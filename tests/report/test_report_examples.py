"""Tests on single predictions: against enumeration and our own metrics."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from scipy import stats

from gifine.objectives import metrics
from gifine.report.analysis import examples, pairing, predictions
from gifine.report.analysis.predictions import PredictionTest
from support.synthetic import BOTH, PLAIN, add_predictions, config, given, read, record, write


@for_all(st.integers(0, 40), st.integers(0, 40), st.integers(0, 5))
def test_mcnemar_of_one_pair_is_the_mid_p_of_the_binomial(gained, lost, same):
    net = np.repeat([1, -1, 0], [gained, lost, same])
    n, few = gained + lost, min(gained, lost)
    mid = 2 * (stats.binom.cdf(few, n, 0.5) - stats.binom.pmf(few, n, 0.5) / 2)
    assert examples.mcnemar(net) == pytest.approx(1 if gained == lost else mid, abs=1e-12)


@for_all(st.lists(st.integers(-4, 4), max_size=10).map(lambda net: np.asarray(net, dtype=int)))
def test_mcnemar_of_several_pairs_is_the_enumeration_of_all_signs(net):
    sums = np.asarray(
        [
            abs(sum(s * n for s, n in zip(signs, net, strict=True)))
            for signs in itertools.product([1, -1], repeat=len(net))
        ]
    )
    observed = abs(net.sum())
    expected = 1.0 if observed == 0 else np.mean(sums > observed) + np.mean(sums == observed) / 2
    assert examples.mcnemar(net) == pytest.approx(expected, abs=1e-12)


def exact(net: np.ndarray) -> Fraction:
    """The same mid-p in whole numbers: of all 2ⁿ signs, how many have a sum as large as the observed one."""
    ways = {0: 1}
    for step in map(int, net[net != 0]):
        longer: dict[int, int] = {}
        for place, count in ways.items():
            for there in (place - step, place + step):
                longer[there] = longer.get(there, 0) + count
        ways = longer
    observed = abs(int(net.sum()))
    as_large = sum(count for place, count in ways.items() if place >= observed)
    return Fraction(2 * as_large - ways[observed], sum(ways.values())) if observed else Fraction(1)


@pytest.mark.parametrize(
    "net",
    [
        [(1, 400), (-1, 20)],  # one collapsed run on SST-2
        [(1, 20), (-1, 400)],
        [(1, 110)],
        [(-1, 1000)],
        [(1, 1073), (-1, 1)],
        [(1, 1074)],  # the smallest p that a float holds
        [(1, 1075)],
        [(1, 700), (-1, 650)],
        [(5, 60), (4, 80), (1, 7), (-1, 9), (-2, 20)],
        [(-5, 300), (3, 2)],
        [(40, 3), (-7, 250)],
    ],
)
def test_mcnemar_of_lopsided_nets_is_exact_however_small(net):
    values, counts = zip(*net, strict=True)
    net = np.repeat(values, counts)
    expected = float(exact(net))
    assert examples.mcnemar(net) == pytest.approx(expected, rel=1e-9, abs=0)
    assert examples.mcnemar(-net[::-1]) == examples.mcnemar(net)


@for_all(st.dictionaries(st.sampled_from([-5, -2, -1, 1, 2, 5]), st.integers(1, 60), max_size=4))
def test_mcnemar_is_exact_for_any_net(counts):
    net = np.repeat(np.asarray([*counts, 0]), [*counts.values(), 3])
    assert examples.mcnemar(net) == pytest.approx(float(exact(net)), rel=1e-9, abs=0)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (500_400, 499_600), (509_315, 490_685), (1_000_000, 3)])
def test_mcnemar_of_a_million_examples(gained, lost):
    test = stats.binomtest(lost, max(gained + lost, 1))
    mid = test.pvalue - stats.binom.pmf(lost, gained + lost, 0.5) if gained else 1
    assert examples.mcnemar(np.repeat([1, -1], [gained, lost])) == pytest.approx(mid, rel=1e-7, abs=0)


def test_answers_of_several_seeds_to_one_example_are_no_further_evidence():
    once = np.repeat([1, -1, 0], [9, 3, 88])
    assert examples.mcnemar(5 * once) == pytest.approx(examples.mcnemar(once)), "five seeds that answer the same"


def test_mcnemar_is_quick_and_finite_on_large_splits():
    net = np.random.default_rng(0).integers(-5, 6, size=40_430)
    assert 0 <= examples.mcnemar(net) <= 1


@for_all(st.integers(0, 10**6), st.sampled_from(sorted(metrics.METRICS)))
def test_drawn_scores_are_those_of_our_metrics(seed, metric):
    """Each example as often as in one draw, given to the real metric, scores what the bootstrap works with."""
    rng = np.random.default_rng(seed)
    numeric = metric in metrics.REGRESSION_METRICS
    labels = np.round(rng.normal(size=12), 1) if numeric else rng.integers(2, size=12)
    answers = np.round(rng.normal(size=(2, 12)), 1) if numeric else rng.integers(2, size=(2, 12))
    drawn = examples.draws(metric, answers, labels)(np.random.default_rng(seed), 3)
    rows = np.random.default_rng(seed)
    if numeric:
        places = rows.integers(12, size=(3, 12))
    else:
        combinations, counts = np.unique(np.vstack([labels, answers]), axis=1, return_counts=True)
        labels, *rest = combinations
        answers = np.asarray(rest)
        places = [np.repeat(np.arange(len(counts)), each) for each in rows.multinomial(12, counts / 12, size=3)]
    for draw, place in enumerate(places):
        for side in range(2):
            expected = metrics.compute([metric], answers[side][place], labels[place])[metric]
            assert drawn[side, draw] == pytest.approx(np.nan if expected is None else expected, nan_ok=True, abs=1e-9)


@pytest.mark.parametrize(
    ("metric", "numeric"), [("matthews", False), ("f1", False), ("pearson", True), ("spearman", True)]
)
def test_paired_bootstrap_finds_what_is_there_and_nothing_else(metric, numeric):
    rng = np.random.default_rng(1)
    labels = rng.normal(size=300) if numeric else rng.integers(2, size=300)

    def answers(noise: float) -> np.ndarray:
        if numeric:
            return labels + rng.normal(0, noise, size=(3, 300))
        return np.where(rng.random((3, 300)) < noise, 1 - labels, labels)

    p, low, high = examples.paired_bootstrap(metric, answers(0.4), answers(0.05), labels)
    assert p < 0.01
    assert 0 < low < high
    same = answers(0.3)
    p, low, high = examples.paired_bootstrap(metric, same, same, labels)
    assert (p, low, high) == (1, 0, 0)
    other = examples.paired_bootstrap(metric, answers(0.3), answers(0.3), labels)
    assert other[1] < 0 < other[2]


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
@pytest.mark.parametrize("scale", [1, 1e200, 1e-200])
def test_drawn_correlations_are_defined_where_the_metric_is(metric, scale):
    """Whatever the unit of labels is; and equal numbers whose mean is rounded are equal."""
    labels = scale * np.asarray([0.1, 0.1, 0.1, 0.7])
    answers = scale * np.asarray([[0.3, 0.2, 0.9, 0.5]])
    drawn = examples.draws(metric, answers, labels)(np.random.default_rng(3), 200)[0]
    expected = []
    for place in np.random.default_rng(3).integers(4, size=(200, 4)):
        score = metrics.compute([metric], answers[0][place], labels[place])[metric]
        expected.append(np.nan if score is None else score)
    assert np.isnan(expected).any()
    np.testing.assert_allclose(drawn, expected, atol=1e-9)


def make_pair(root: Path, *, task="rte", seed=1, right=(70, 80), examples=100):
    """A run without gates and one with, that have these numbers of examples right."""
    labels = np.arange(examples) % 2
    for gate, hits in zip((PLAIN, BOTH), right, strict=True):
        made = config(f"task={task}", "model=debertav3", seed=seed, **gate)
        predicted = np.where(np.arange(examples) < hits, labels, 1 - labels)
        found = metrics.compute(made.task.metrics, predicted, labels)
        folder = write(root, record(made, list(found.values())))
        add_predictions(folder, "validation", np.eye(2)[predicted], labels)
    return root


def outcome(root: Path) -> PredictionTest:
    pairs, _ = pairing.pair(read(root))
    pairs.sort(key=lambda each: each.gated.seed)
    return predictions.test(pairs, pairs[0].gated.task.primary)


def test_predictions_of_pairs_are_outcome(tmp_path):
    for seed in (1, 2):
        make_pair(tmp_path, seed=seed)
    found = outcome(tmp_path)
    assert (found.test, found.pairs, found.reason) == ("mcnemar", 2, None)
    assert found.counts == [(10, 0), (10, 0)]
    assert found.by_pair == [pytest.approx(2**-10)] * 2
    assert found.p == pytest.approx(2**-10), "the same ten examples twice"


def test_matthews_is_tested_by_the_bootstrap(tmp_path):
    found = outcome(make_pair(tmp_path, task="cola"))
    assert (found.test, found.counts) == ("bootstrap", None)
    assert given(found.p) < 0.05
    low, high = given(found.interval)
    assert 0 < low < 0.2 < high


@pytest.mark.parametrize(
    "damage", ["missing", "cut", "other rows", "other score", "no columns", "no rows", "no labels"]
)
def test_predictions_that_are_not_the_runs_are_left_out(tmp_path, damage):
    for seed in (1, 2):
        make_pair(tmp_path, seed=seed)
    path = next(tmp_path.glob("rte_*both*_s1-*")) / "predictions-validation.parquet"
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:200])
    elif damage.startswith("no "):
        import pyarrow as pa
        import pyarrow.parquet

        columns = {"idx": [1]}
        if damage != "no columns":
            columns = {"label": pa.array([], "int64"), "logits": pa.array([], pa.list_(pa.float32()))}
        if damage == "no labels":
            columns = {"label": pa.nulls(100), "logits": [[0.0, 1.0]] * 100}
        pyarrow.parquet.write_table(pa.table(columns), path)
    else:
        labels = (np.arange(100) + (damage == "other rows")) % 2
        right = np.arange(100) < (80 if damage == "other rows" else 81)
        add_predictions(path.parent, "validation", np.eye(2)[np.where(right, labels, 1 - labels)], labels)
    found = outcome(tmp_path)
    assert found.pairs == 1
    assert found.reason
    assert found.p == pytest.approx(2**-10)


def test_what_evaluation_writes_is_read(tmp_path):
    from gifine.objectives import predictions

    make_pair(tmp_path)
    for gate, hits in (("plain", 70), ("both", 80)):
        path = next(tmp_path.glob(f"rte_*{gate}*")) / "predictions-validation.parquet"
        labels, order = np.arange(100) % 2, np.random.default_rng(0).permutation(100)
        logits = np.eye(2)[np.where(np.arange(100) < hits, labels, 1 - labels)].astype(np.float32)
        predictions.write(path, order, labels[order], logits[order])
    assert outcome(tmp_path).p == pytest.approx(2**-10)
