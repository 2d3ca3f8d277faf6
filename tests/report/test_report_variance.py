"""Seeds of single streams: replicates, pairs, and where the deviation comes from."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from gifine.report import __main__ as report
from gifine.report import contents
from gifine.report.analysis import cells, pairing, variance
from gifine.report.analysis.comparison import Verdict
from gifine.report.reading import Reader
from gifine.runs import identity, replicate
from gifine.runs.records import Status
from support.synthetic import BOTH, PLAIN, config, measures, read, record, write

SD = {"head": 0.004, "order": 0.02, "dropout": 0.01, "change": 0.002}


def score(made) -> float:
    """Each stream adds what its seed draws."""
    drawn = replicate.of(made)
    parts = [
        np.random.default_rng([place, getattr(drawn, name)]).normal(0, sd)
        for place, (name, sd) in enumerate(SD.items())
    ]
    return 0.8 + 0.05 * (made.gi.side.value == "both") + math.fsum(parts)


def run(root: Path, *words: str, seed: int = 1, gate=BOTH, status: Status = Status.DONE) -> Path:
    made = config("task=rte", "model=debertav3", *words, seed=seed, **gate)
    return write(root, record(made, [score(made)] * len(measures(made)), status))


def gather(root: Path) -> contents.Contents:
    return contents.gather(Reader([root]).read())


def test_replicates_are_named_by_what_is_apart():
    assert str(replicate.replicate(1, {})) == "1"
    assert replicate.replicate(1, {"order": None, "head": 1}).name == 1
    assert replicate.replicate(1, {"order": 3, "change": 2}).name == "1 order=3 change=2"
    found = [replicate.replicate(seed, {"order": order}) for seed, order in ((2, 1), (1, 3), (1, None))]
    assert [str(each) for each in sorted(found)] == ["1", "1 order=3", "2 order=1"]


def test_run_ids_and_names_know_the_streams_that_are_apart():
    words = ["task=rte", "model=debertav3"]
    plain, same, apart = (
        config(*words, *more, seed=1, **BOTH) for more in ([], ["seeds.order=1"], ["seeds.order=3", "seeds.change=2"])
    )
    assert identity.run_id(plain) == identity.run_id(same) != identity.run_id(apart)
    assert identity.slug(apart) == "rte_debertav3-large_both-0.3_s1-order3-change2"
    assert identity.title(apart) == "giDeBERTaV3-30-both rte s1 order=3 change=2"
    assert (identity.slug(same), identity.title(same)) == (identity.slug(plain), identity.title(plain))


def test_a_baseline_has_no_change_to_draw():
    words = ["task=rte", "model=debertav3"]
    plain, other = (config(*words, *more, seed=1, **PLAIN) for more in ([], ["seeds.change=5"]))
    assert (identity.run_id(plain), identity.slug(plain)) == (identity.run_id(other), identity.slug(other))


def test_streams_apart_are_replicates_and_no_rows(tmp_path):
    for gate, order in itertools.product((PLAIN, BOTH), (1, 2, 3)):
        run(tmp_path, f"seeds.order={order}", gate=gate)
    found = gather(tmp_path)
    assert [len(row.cells[("rte",)].scores[0].values) for row in found.table.rows] == [3, 3]
    assert found.table.extra == ()
    ((comparison,), unpaired) = found.comparisons, found.unpaired
    assert [each.gated.replicate.name for each in comparison.pairs] == [1, "1 order=2", "1 order=3"]
    assert unpaired == []
    assert comparison.cautions == ["all pairs have one seed of head, dropout, change: of other ones nothing is said"]
    assert comparison.doubt is None


def test_runs_of_other_streams_are_no_pair(tmp_path):
    run(tmp_path, "seeds.order=2", gate=PLAIN)
    run(tmp_path, "seeds.order=3")
    pairs, unpaired = pairing.pair(read(tmp_path))
    assert pairs == []
    assert {each.reason for each in unpaired} == {
        "no baseline of the same seed; there are seeds 1 order=2",
        "no changed run of the same seed; there are seeds 1 order=3",
    }


def test_one_baseline_serves_all_seeds_of_the_change(tmp_path):
    baseline = run(tmp_path, gate=PLAIN)
    for change in (1, 2, 3):
        run(tmp_path, f"seeds.change={change}")
    pairs, unpaired = pairing.pair(read(tmp_path))
    assert sorted((each.baseline.folder, str(each.gated.replicate)) for each in pairs) == [
        (baseline, "1"),
        (baseline, "1 change=2"),
        (baseline, "1 change=3"),
    ]
    assert unpaired == []


def test_pairs_that_share_seeds_in_part_have_no_verdict(tmp_path):
    """Two heads and three orders are no six independent pairs."""
    for gate, seed, order in itertools.product((PLAIN, BOTH), (11, 12), (1, 2, 3)):
        run(tmp_path, f"seeds.order={order}", seed=seed, gate=gate)
    (comparison,) = gather(tmp_path).comparisons
    said = "pairs that share seeds of head, order, dropout, change are not independent"
    assert (comparison.effect.verdict, comparison.effect.why) == (Verdict.UNDECIDED, said)


def test_runs_for_the_variance_leave_a_comparison_over_seeds_alone(tmp_path):
    for gate, seed in itertools.product((PLAIN, BOTH), range(1, 6)):
        run(tmp_path, seed=seed, gate=gate)
    before = gather(tmp_path)
    for order in (11, 12, 13):
        run(tmp_path, f"seeds.order={order}")
        run(tmp_path, f"seeds.order={order}", gate=PLAIN)
    after = gather(tmp_path)
    assert [each.effect for each in after.comparisons] == [each.effect for each in before.comparisons]
    assert after.comparisons[0].cautions == []
    of = [row.cells[("rte",)].scores[0].summary for row in after.table.rows]
    assert of == [row.cells[("rte",)].scores[0].summary for row in before.table.rows]
    assert any(note.startswith("6 runs with seeds of single streams") for note in after.table.notes)


def test_the_deviation_by_source(tmp_path):
    for seed in range(1, 6):
        run(tmp_path, seed=seed)
    for seed, order in itertools.product((1, 2), range(20, 24)):
        run(tmp_path, f"seeds.order={order}", seed=seed)
    for change in (30, 31):
        run(tmp_path, f"seeds.change={change}")
    run(tmp_path, "seeds.head=40", status=Status.FAILED)
    found = variance.find(read(tmp_path))
    assert [(each.source, len(each.runs), each.groups, each.freedom) for each in found] == [
        ("all", 5, 1, 4),
        ("order", 10, 2, 8),  # each seed's own order, and four others
        ("change", 3, 1, 2),
    ]
    order = found[1]
    scores = np.asarray([each.score(order.measure) for each in order.runs]).reshape(2, 5)
    assert order.sd == pytest.approx(math.sqrt(np.mean(scores.var(axis=1, ddof=1))))
    low, high = order.interval
    assert low < order.sd < high
    # A variance of `low`² would give one as large as ours with a chance of 2.5 %.
    assert stats.chi2.sf(8 * order.sd**2 / low**2, 8) == pytest.approx(0.025)
    assert stats.chi2.cdf(8 * order.sd**2 / high**2, 8) == pytest.approx(0.025)


def test_the_interval_holds_the_true_deviation_in_95_of_100():
    """Of 2,000 samples of five; 3 standard errors are 1.5 points."""
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(2000):
        low, high = variance._interval(float(rng.normal(0, 0.3, 5).var(ddof=1)), 4)
        held += low < 0.3 < high
    assert held / 2000 == pytest.approx(0.95, abs=0.015)


def test_the_same_streams_by_another_seed_are_the_same_run(tmp_path):
    run(tmp_path, "seeds.order=7")
    run(tmp_path, "seeds.order=8")
    run(tmp_path, "seeds.head=1", "seeds.dropout=1", "seeds.change=1", seed=8)  # all of seed 1, but its order: 8
    (order,) = variance.find(read(tmp_path))
    assert (order.source, len(order.runs)) == ("order", 2)


def test_without_streams_apart_there_is_no_part(tmp_path, capsys):
    for seed in range(1, 4):
        run(tmp_path, seed=seed)
    assert gather(tmp_path).variance == []
    assert report.main([str(tmp_path), "--format", "json", "--show", "variance"]) == 0
    assert json.loads(capsys.readouterr().out)["variance"] == []


def test_the_part_in_words_and_numbers(tmp_path, capsys):
    for gate, order in itertools.product((PLAIN, BOTH), range(1, 4)):
        run(tmp_path, f"seeds.order={order}", gate=gate)
    assert report.main([str(tmp_path), "--show", "variance", "--format", "markdown"]) == 0
    told = capsys.readouterr().out
    assert "Where the deviation over seeds comes from" in told
    assert told.count("order of examples (seeds.order)") == 2
    assert report.main([str(tmp_path), "--show", "variance", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["variance"]
    assert [(each["gate"], each["source"], each["n"]) for each in rows] == [
        ("none", "order", 3),
        ("both 0.3", "order", 3),
    ]
    assert all(each["sd_low"] < each["sd"] < each["sd_high"] for each in rows)


def test_streams_may_be_rows(tmp_path):
    for order in (1, 2):
        run(tmp_path, f"seeds.order={order}")
    groups = cells.group(read(tmp_path), ["seeds.order"])
    assert [key for key, _ in groups.runs] == [(1,), (2,)]
    assert report.main([str(tmp_path), "--rows", "seeds.order"]) == 0
