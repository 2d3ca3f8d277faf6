"""The table: what is averaged, what splits rows, what is bold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gifine.errors import ArgumentError
from gifine.report.analysis import cells, statistics, table
from gifine.report.settings import GLUE
from gifine.runs.records import Status
from support.synthetic import BOTH, KEY, PLAIN, config, measures, read, record, sweep, write


def noisy(config) -> list[float]:
    words = [config.seed, *config.gi.side.value.encode(), *config.task.name.encode(), *config.model.name.encode()]
    rng = np.random.default_rng(words)
    return list(rng.normal(0.8, 0.01, size=len(measures(config))))


def better(by: float):
    """Gates on both sides help by so much; otherwise noise that pairs share."""

    def scores(config) -> list[float]:
        shared = np.random.default_rng(config.seed).normal(0.7, 0.05)
        return [s - 0.8 + shared + by * (config.gi.side.value == "both") for s in noisy(config)]

    return scores


def test_cells_have_mean_and_sample_deviation_over_seeds(tmp_path):
    made = table.build(read(sweep(tmp_path, noisy, tasks=("mrpc", "cola"), gates=(PLAIN, BOTH))))
    assert made.columns == [("cola",), ("mrpc",)]
    assert [row.key for row in made.rows] == [
        ("deberta-v3-large", "none", None, None),
        ("deberta-v3-large", "both", 0.3, cells.ALL),
    ]
    cell = made.rows[1].cells[("mrpc",)]
    assert [score.measure for score in cell.scores] == ["mrpc/validation/accuracy", "mrpc/validation/f1"]
    expected = [noisy(config("task=mrpc", "model=debertav3", seed=seed, **BOTH)) for seed in range(1, 6)]
    for score, values in zip(cell.scores, np.transpose(expected), strict=True):
        assert score.summary.n == 5
        assert (score.summary.mean, score.summary.sd) == pytest.approx((values.mean(), values.std(ddof=1)))
    assert cell.failures == {}


def test_runs_of_every_status_are_counted(tmp_path):
    sweep(tmp_path, noisy, gates=(PLAIN,), seeds=(1, 2))
    for seed, status in enumerate(Status, start=10):
        scores = [0.5] if status in (Status.DONE, Status.DEGENERATE) else []
        write(tmp_path, record(config("task=rte", "model=debertav3", seed=seed), scores, status))
    (row,) = table.build(read(tmp_path)).rows
    cell = row.cells[("rte",)]
    assert cell.counts == {status: 3 if status is Status.DONE else 1 for status in Status}
    (score,) = cell.scores
    assert (score.summary.n, score.regular.n) == (4, 3)


def test_a_key_that_differs_within_a_cell_splits_the_rows_of_every_cell(tmp_path):
    sweep(tmp_path, noisy, tasks=("rte", "mrpc"))
    sweep(tmp_path, noisy, tasks=("rte",), overrides=["train.epochs=3", "train.batch_size=8"])
    made = table.build(read(tmp_path))
    assert set(made.extra) == {"train.epochs", "train.batch_size"}
    assert len(made.rows) == 4
    assert {len(row.cells[("rte",)].runs) for row in made.rows} == {5}
    assert "Runs of one cell would differ in" in made.notes[0]


def test_recipes_that_differ_between_tasks_split_nothing(tmp_path):
    sweep(tmp_path, noisy, tasks=("rte",))
    sweep(tmp_path, noisy, tasks=("mrpc",), overrides=["train.epochs=3"])
    made = table.build(read(tmp_path))
    assert made.extra == ()
    assert len(made.rows) == 2


def test_what_rows_do_not_show_is_noted(tmp_path):
    sweep(tmp_path, noisy, gates=(PLAIN,))
    sweep(tmp_path, noisy, gates=(BOTH,), overrides=["train.epochs=3"])
    assert table.build(read(tmp_path)).notes == ["rte: the rows also differ in train.epochs."]


def test_rows_and_columns_of_ones_own(tmp_path):
    runs = read(sweep(tmp_path, noisy, tasks=("rte", "mrpc"), gates=(PLAIN, BOTH, BOTH | {"level": 0.1}, KEY)))
    made = table.build(runs, ["task", "gi.side", "gi.layers"], ["gi.level"])
    assert made.columns == [(None,), (0.1,), (0.3,)]
    assert [row.key for row in made.rows] == [
        (task, *gate) for task in ("mrpc", "rte") for gate in (("none", None), ("key", 6), ("both", "all"))
    ]
    alone = table.build(runs, ["model"], ["seed"])
    assert set(alone.extra) >= {"task", "gi.side", "gi.level"}
    assert {len(cell.runs) for row in alone.rows for cell in row.cells.values()} == {1}


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        (["gi.sides"], ["task"], r"gi\.sides: no run has such a config key.*did you mean 'gi\.side'"),
        (["output_root"], ["task"], "it decides no result"),
        (["task"], ["task"], "task: more than once"),
    ],
)
def test_keys_that_there_are_not(tmp_path, rows, columns, said):
    runs = read(sweep(tmp_path, noisy, seeds=(1,)))
    with pytest.raises(ArgumentError, match=said):
        table.build(runs, rows, columns)


@pytest.mark.parametrize(("by", "is_best"), [(0.1, True), (0.0, False)])
def test_bold_is_what_is_significantly_best(tmp_path, by, is_best):
    made = table.build(read(sweep(tmp_path, better(by), gates=(PLAIN, KEY, BOTH))))
    marks = {row.key[1]: row.cells[("rte",)].scores[0].is_best for row in made.rows}
    assert marks == {"none": False, "key": False, "both": is_best}


def test_bold_is_corrected_over_the_whole_table(tmp_path):
    """A p of 0.02 is bold in a table of its own, and not as one of nine columns."""

    def scores(config) -> list[float]:
        step = [-1.0, 1.0, -0.5, 0.5, 0.0][config.seed - 1] if config.gi.side.value == "both" else 0.0
        gain = 0.0012 if config.task.name == "rte" and config.gi.side.value == "both" else 0.0
        return [0.8 + gain + 0.001 * step for _ in measures(config)]

    sweep(tmp_path / "alone", scores)
    sweep(tmp_path / "all", scores, tasks=GLUE)
    alone, whole = (table.build(read(tmp_path / name)) for name in ("alone", "all"))
    p = stats.ttest_1samp([0.0002, 0.0022, 0.0007, 0.0017, 0.0012], 0).pvalue
    assert 0.01 < p < 0.05
    for made, is_best in ((alone, True), (whole, False)):
        assert [row.cells["rte",].scores[0].is_best for row in made.rows] == [False, is_best]


def test_pairs_are_used_where_there_are_pairs(tmp_path):
    """What the seed does is five times what the gate does: a test that knows no pairs finds nothing."""
    runs = read(sweep(tmp_path, better(0.03)))
    none, both = (
        np.asarray([run.scores[0] for run in runs if run.gate.get("gi.side") == side]) for side in ("none", "both")
    )
    order = [run.seed for run in runs if run.gate.get("gi.side") == "none"]
    assert order == [run.seed for run in runs if run.gate.get("gi.side") == "both"]
    unpaired = statistics.welch_t(both, none)
    assert unpaired is not None
    assert unpaired > 0.05 > stats.ttest_rel(both, none).pvalue
    assert table.build(runs).rows[1].cells[("rte",)].scores[0].is_best


def test_other_models_are_no_pairs(tmp_path):
    sweep(tmp_path, better(0.0), gates=(PLAIN,), model="bert")
    sweep(tmp_path, lambda made: [s + 0.03 for s in better(0.0)(made)], gates=(PLAIN,), model="roberta")
    made = table.build(read(tmp_path))
    assert [row.cells[("rte",)].scores[0].is_best for row in made.rows] == [False, False]


def test_one_row_or_one_seed_is_never_bold(tmp_path):
    alone = table.build(read(sweep(tmp_path / "a", noisy, gates=(BOTH,))))
    assert not alone.rows[0].cells[("rte",)].scores[0].is_best
    single = table.build(read(sweep(tmp_path / "b", better(0.1), seeds=(1,))))
    assert not any(row.cells[("rte",)].scores[0].is_best for row in single.rows)


def test_glue_average_is_there_with_all_nine_tasks_only(tmp_path):
    sweep(tmp_path, noisy, tasks=GLUE, gates=(PLAIN,))
    sweep(tmp_path, noisy, tasks=GLUE[:-1], gates=(BOTH,))
    (tmp_path / next(tmp_path.glob("wnli_*_s5-*")).name / "record.json").unlink()
    none, both = table.build(read(tmp_path)).rows
    assert both.glue is None
    each = [
        np.mean([np.mean(noisy(config(f"task={task}", "model=debertav3", seed=seed))) for task in GLUE])
        for seed in range(1, 5)
    ]
    assert none.glue is not None
    assert none.glue.n == 4
    assert (none.glue.mean, none.glue.sd) == pytest.approx((np.mean(each), np.std(each, ddof=1)))


def test_runs_of_other_data_or_devices_in_a_cell_are_noted(tmp_path):
    write(tmp_path, record(config("task=rte"), [0.5]))
    other = {"data": {"validation": "changed"}, "device": "cuda:0", "processes": 1}
    write(tmp_path, record(config("task=rte", seed=2), [0.5], provenance=other))
    notes = " ".join(table.build(read(tmp_path)).notes)
    assert "data of another fingerprint" in notes
    assert "other devices: cpu, cuda" in notes
