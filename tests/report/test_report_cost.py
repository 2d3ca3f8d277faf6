"""What arms cost: medians, ratios to the baseline of pairs computed alike, older records, the figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gifine.config import RunConfig
from gifine.report import measured, settings
from gifine.report.analysis import cost
from gifine.report.contents import Contents, gather
from gifine.report.formats import flat, sheets
from gifine.report.measured import Measured
from gifine.report.plots import cost as plots
from gifine.report.reading import Reader
from gifine.runs.records import Status
from support.synthetic import BOTH, KEY, PLAIN, config, record, write

SECONDS = {"none": 0.1, "key": 0.15, "both": 0.2}


def took(made: RunConfig) -> dict[str, float]:
    side = made.gi.side.value
    return {"seconds_a_step": SECONDS[side] * (1 + made.seed / 10), "steps_timed": 9, "flops_an_example": 2e9}


def made(root: Path, **other: Any) -> Contents:
    """Three arms on two tasks; of `both` at seed 3, or all of it with `everywhere`, computed with something else."""
    seeds = (1, 2, 3) if other.pop("everywhere", True) else (3,)
    for task in ("rte", "mrpc"):
        for gate in (PLAIN, KEY, BOTH):
            for seed in (1, 2, 3):
                run = config(f"task={task}", seed=seed, **gate)
                noise = np.random.default_rng([seed, len(task), *str(gate).encode()]).normal(0, 0.01)
                scores = [0.8 + noise] * (2 if task == "mrpc" else 1)
                entries = record(run, scores, parameters={"total": 10, "gates": 4, "trainable": 6}, cost=took(run))
                changed = other if gate is BOTH and seed in seeds else {}
                entries.provenance = {**entries.provenance, **changed}
                write(root, entries)
    return gather(Reader([root]).read(), with_predictions=False)


def of_both(contents: Contents) -> list[cost.Spent]:
    return [each for each in contents.costs if settings.gate(each.gate) == "both 0.3" and each.task.name == "rte"]


def words(contents: Contents) -> list[list[str]]:
    """The sheet's rows."""
    [sheet] = sheets.make(contents, ["cost"])
    return [["".join(piece.text for piece in item) for item in row] for row in sheet.rows]


def test_medians_and_ratios(tmp_path: Path) -> None:
    contents = made(tmp_path)
    found = {(settings.gate(each.gate), each.task.name): each for each in contents.costs}
    assert len(found) == 6
    assert found["both 0.3", "rte"].took == Measured(10, 6, 4, 0.2 * 1.2, None, 2e9)
    assert found["both 0.3", "rte"].ratios == pytest.approx({"seconds": 2, "operations": 1, "trained": 1})
    assert found["none", "rte"].ratios == {}
    assert words(contents)[-1][-6:] == ["240", "2.00", "not recorded", "", "2", "1.00"]
    [sheet] = sheets.make(contents, ["cost"])
    assert "computed with" not in sheet.columns
    assert len(sheet.notes) == 1
    entries = flat.tables(contents)["cost"]
    assert {each["seconds_ratio"] for each in entries if each["change"] == "none"} == {None}


def test_time_on_another_machine_says_nothing_and_operations_do(tmp_path: Path) -> None:
    contents = made(tmp_path, cpu="Another Processor")
    [both] = of_both(contents)
    assert both.ratios == pytest.approx({"operations": 1, "trained": 1})
    assert both.machine == {"CPU": "Another Processor"}
    assert words(contents)[-1][3] == "CPU Another Processor"
    assert words(contents)[-1][-6:] == ["240", "not alike", "not recorded", "", "2", "1.00"]
    [sheet] = sheets.make(contents, ["cost"])
    assert "6 pairs are in no ratio of time and memory: their runs differ in CPU." in sheet.notes


@pytest.mark.parametrize(
    ("other", "kept"),
    [
        ({"attention": "fast/written-out"}, {"seconds", "operations", "trained"}),  # what the change needs, it costs
        ({"attention": "hf/eager"}, {"trained"}),
        ({"deterministic": False}, {"trained"}),
        ({"packages": {"torch": "2.12.0", "transformers": "5.23.0"}}, {"trained"}),
        ({"code": "beef" * 16}, {"trained"}),
        ({"git": {"commit": "cd" * 20, "dirty": False, "diff": None}}, {"seconds", "operations", "trained"}),
        ({"cpu_capability": "AVX512"}, {"operations", "trained"}),
    ],
)
def test_ratios_are_of_pairs_that_differ_in_nothing_that_moves_them(
    tmp_path: Path, other: dict[str, Any], kept: set[str]
) -> None:
    [both] = of_both(made(tmp_path, **other))
    assert both.ratios.keys() == kept


def test_medians_mix_no_machines(tmp_path: Path) -> None:
    contents = made(tmp_path, everywhere=False, threads={"torch": 8})
    few, most = sorted(of_both(contents), key=lambda each: len(each.runs))
    assert [run.seed for run in few.runs] == [3]
    assert (few.machine, few.took.seconds) == ({"threads": "8"}, 0.2 * 1.3)
    assert (most.machine, most.took.seconds) == ({"threads": "2"}, pytest.approx(0.2 * 1.15))
    assert "seconds" not in few.ratios
    assert most.ratios["seconds"] == pytest.approx(2)
    assert {len(row) for row in words(contents)} == {13}
    [sheet] = sheets.make(contents, ["cost"])
    assert "2 pairs are in no ratio of time and memory: their runs differ in threads." in sheet.notes


def test_a_run_that_did_not_come_so_far_is_on_any_machine(tmp_path: Path) -> None:
    made(tmp_path)
    failed = record(config("task=rte", seed=4, **BOTH), [], Status.FAILED, provenance={})
    write(tmp_path, failed)
    [both] = of_both(gather(Reader([tmp_path]).read(), with_predictions=False))
    assert len(both.runs) == 4
    assert both.took.seconds == 0.2 * 1.2


def test_the_figure_has_each_arm_on_each_task_and_over_both(tmp_path: Path) -> None:
    contents = made(tmp_path)
    parts = plots.parts(contents.comparisons, contents.answers)
    assert [part.where for part in parts] == ["mean over tasks", "MRPC", "RTE"]
    assert [[point.change for point in part.points] for part in parts] == [["key 0.1 last6", "both 0.3"]] * 3
    assert [point.ratios["seconds"] for point in parts[0].points] == pytest.approx([1.5, 2])
    drawn = plots.draw(parts[0])
    assert len(drawn.figure.axes) == 3  # no memory was recorded
    assert drawn.name.startswith("cost-")


def test_older_records_have_none() -> None:
    assert measured.collect({}) == Measured()
    assert measured.collect({"parameters": {"total": 3}, "cost": None}) == Measured(3)
    with pytest.raises(ValueError, match="what it took is 'much'"):
        measured.collect({"cost": {"seconds_a_step": "much"}})


def test_a_sweep_of_older_records_has_no_such_part(tmp_path: Path) -> None:
    for seed in (1, 2):
        run = config("task=rte", seed=seed)
        write(tmp_path, record(run, [0.8]))
    contents = gather(Reader([tmp_path]).read(), with_predictions=False)
    assert contents.costs == []
    assert sheets.make(contents, ["cost"]) == []
    assert cost.ratio([], "seconds") is None
