"""Figures: what is in them is what the report says, names stay text, and the same runs make the same bytes."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gifine.choices import GateSide
from gifine.errors import ExitCode
from gifine.machine import limits
from gifine.report import __main__ as report
from gifine.report import contents, plots
from gifine.report.analysis import families, statistics
from gifine.report.analysis.cells import Summary
from gifine.report.analysis.comparison import Comparison, Effect, Verdict
from gifine.report.analysis.crossed import Estimate
from gifine.report.analysis.families import Rules
from gifine.report.analysis.pairing import Pair
from gifine.report.contents import Contents
from gifine.report.plots import Plot, curves, drawing, forest, heat, panels
from gifine.report.pool import Pool
from gifine.report.reading import Reader, _from_entries
from gifine.runs.records import Status
from support.synthetic import BOTH, KEY, PLAIN, Gate, config, given, measures, record, sweep, write

ODD = "a$b_c$<script>1</script>&語\x1b"
GRID: list[Gate] = [
    PLAIN,
    *(
        {"side": side, "level": level, "layers": layers}
        for side in (GateSide.key, GateSide.both)
        for level in (0.0, 0.3, 0.9)
        for layers in (None, 6)
    ),
]


def helpful(config) -> list[float]:
    rng = np.random.default_rng([config.seed, *config.gi.side.value.encode(), int(10 * config.gi.level)])
    gain = 0.05 * (config.gi.side is GateSide.both) * (1 - config.gi.level)
    return [0.8 + gain + rng.normal(0, 0.005) for _ in measures(config)]


def add_curve(folder: Path, measure: str, values: dict[int, float], losses: dict[int, float]) -> None:
    lines: list[dict[str, Any]] = [{"step": step, "epoch": 1.0, "loss": loss} for step, loss in losses.items()]
    lines += [{"step": step, "epoch": 1.0, measure: value} for step, value in values.items()]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def gather(root: Path) -> Contents:
    return contents.gather(Reader([root]).read())


def made(found: Contents) -> dict[str, Plot]:
    return {plot.name: plot for plot in plots.make(found)}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Contents:
    """A grid on two tasks with five seeds, a sixth of which one run is degenerate; curves of two seeds on RTE."""
    root = sweep(tmp_path_factory.mktemp("runs"), helpful, tasks=("mrpc", "rte"), gates=GRID)
    write(root, record(config("task=rte", "model=debertav3", seed=6), [0.8]))
    odd = config("task=rte", "model=debertav3", seed=6, side=GateSide.both, level=0.3)
    write(root, record(odd, [0.5], Status.DEGENERATE))
    for gate in (PLAIN, BOTH):
        for seed in (1, 2):
            made = config("task=rte", "model=debertav3", seed=seed, **gate)
            folder = write(root, record(made, helpful(made)))
            values = {10: 0.5, 20: 0.6 + 0.1 * seed, 30: 0.8}
            add_curve(folder, "rte/validation/accuracy", values, {5: 0.7, 10: 0.6 - 0.1 * seed})
    return gather(root)


@pytest.fixture(scope="module")
def drawn(found) -> dict[str, Plot]:
    return made(found)


def error_bars(figure: Figure, axes: int = 0) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """By label: the points (N, 2) and the bars' ends (N, 2, 2) of each line with intervals."""
    bars = [each for each in figure.axes[axes].containers if isinstance(each, ErrorbarContainer)]
    return [
        (str(each.get_label()), np.asarray(each.lines[0].get_xydata()), np.asarray(each.lines[2][0].get_segments()))
        for each in bars
    ]


def words(plot: Plot) -> str:
    """All text of the SVG, which is well-formed."""
    return "\n".join(ET.fromstring(plots.written(plot, "svg")).itertext())  # noqa: S314 - our own


def test_each_kind_of_figure_where_there_is_something_to_show(drawn):
    model = "deberta-v3-large"
    assert set(drawn) == {
        f"forest-over-tasks-{model}",
        f"forest-{model}",
        *(f"over-tasks-{model}{number}" for number in ("", "-2", "-3")),
        *(f"{kind}-{task}-{model}" for kind in ("heat", "levels", "seeds") for task in ("mrpc", "rte")),
        f"curves-rte-{model}-both",
    }
    for plot in drawn.values():
        assert "n " in plot.caption
        assert model in plot.title


def test_the_heat_map_has_each_cell(found, drawn):
    plot = drawn["heat-rte-deberta-v3-large"]
    *sides, bar = plot.figure.axes
    assert [each.get_title() for each in sides] == ["side: key", "side: both"]
    assert [each.get_text() for each in sides[0].get_yticklabels()] == ["0", "0.3", "0.9"]
    assert bar.get_ylabel() == "mean accuracy (%)"
    panel = panels.split(found.runs)[1]
    assert panel.task.name == "rte"
    for axes, side in zip(sides, ("key", "both"), strict=True):
        [mesh] = [each for each in axes.collections if isinstance(each, QuadMesh)]
        assert [each.get_text() for each in axes.get_xticklabels()] == ["last 6", "all"]
        scores = [panel.means()[side, level, layers] for level in (0.0, 0.3, 0.9) for layers in (6, "all")]
        means = [100 * given(score.summary.mean) for score in scores]
        assert np.ravel(np.asarray(mesh.get_array())) == pytest.approx(means)
        expected = [f"{mean:.1f}\n({score.summary.n})" for mean, score in zip(means, scores, strict=True)]
        assert [each.get_text() for each in axes.texts] == expected
    assert sides[1].texts[3].get_text().endswith("(6)"), "the cell with a sixth seed"


def test_numbers_on_the_heat_map_can_be_read():
    for share in np.linspace(0, 1, 101):
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
            for part in matplotlib.colormaps["cividis"](share)[:3]
        )
        light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        assert (1.05 / (light + 0.05) if heat._ink(share) == drawing.ON_DARK else (light + 0.05) / 0.05) >= 4.5


def test_gates_that_differ_in_all_at_once_have_neither_heat_map_nor_levels(tmp_path):
    names = made(gather(sweep(tmp_path, helpful, gates=[PLAIN, BOTH, KEY])))
    assert {name.split("-")[0] for name in names} == {"forest", "seeds"}


def test_a_cell_that_is_missing_stays_empty(tmp_path):
    [plot] = [plot for name, plot in made(gather(sweep(tmp_path, helpful, gates=GRID[:-1]))).items() if "heat" in name]
    assert [len(axes.texts) for axes in plot.figure.axes] == [6, 5, 0]


def test_levels_have_means_and_intervals_of_the_seeds(found, drawn):
    plot = drawn["levels-rte-deberta-v3-large"]
    panel = panels.split(found.runs)[1]
    assert plot.figure.axes[0].get_ylabel() == "accuracy (%)"
    assert [axes.get_title() for axes in plot.figure.axes] == ["gates on the last 6 layers", "gates on all layers"]
    bars = error_bars(plot.figure, axes=1)
    assert [label for label, _, _ in bars] == ["key (n = 5)", "both (n = 5–6)"]
    for (_, points, ends), side in zip(bars, ("key", "both"), strict=True):
        scores = [panel.means()[side, level, "all"] for level in (0.0, 0.3, 0.9)]
        assert points[:, 1] == pytest.approx([100 * given(score.summary.mean) for score in scores])
        assert points[:, 0] == pytest.approx([0.0, 0.3, 0.9], abs=0.05)
        intervals = [given(statistics.mean_interval(np.asarray(list(each.values.values())))) for each in scores]
        assert ends[:, :, 1] == pytest.approx(100 * np.asarray(intervals))
    baseline = panel.score(given(panel.baseline)).summary
    line = next(each for each in plot.figure.axes[1].lines if each.get_label() == "baseline (n = 6)")
    assert np.asarray(line.get_ydata()) == pytest.approx(100 * given(baseline.mean))


def test_the_forest_has_the_numbers_of_the_comparison(found, drawn):
    plot = drawn["forest-deberta-v3-large"]
    effects = [each.effect for each in found.comparisons if each.is_primary]
    bars = error_bars(plot.figure)
    assert len(bars) == len(effects) == 24, "survivors have no verdict"
    for (_, points, ends), effect in zip(bars, effects, strict=True):
        assert points[0, 0] == pytest.approx(100 * effect.summary.mean)
        assert ends[0, :, 0] == pytest.approx([100 * end for end in effect.interval])
    axes = plot.figure.axes[0]
    assert axes.get_xlabel().startswith("changed − baseline")
    labels = [each.get_text() for each in axes.get_yticklabels()]
    assert labels[0] == "key 0: MRPC accuracy, n = 5"
    assert "both 0.3: RTE accuracy, n = 6" in labels
    verdicts = [each.get_text() for each in axes.child_axes[0].get_yticklabels()]
    assert verdicts == [str(effect.verdict) for effect in effects]
    assert {"helps", "undecided"} == set(verdicts)


def test_the_changes_over_tasks_are_the_first_forest(found, drawn):
    assert next(iter(drawn)) == "forest-over-tasks-deberta-v3-large"
    plot = drawn["forest-over-tasks-deberta-v3-large"]
    bars = error_bars(plot.figure)
    assert len(bars) == len(found.answers) == 12
    for (_, points, ends), answer in zip(bars, found.answers, strict=True):
        assert points[0, 0] == pytest.approx(100 * given(answer.effect.summary.mean))
        assert ends[0, :, 0] == pytest.approx([100 * end for end in given(answer.effect.interval)])
    axes = plot.figure.axes[0]
    labels = [each.get_text() for each in axes.get_yticklabels()]
    assert labels[0] == "key 0: 2 tasks, n = 10"
    verdicts = [each.get_text() for each in axes.child_axes[0].get_yticklabels()]
    assert verdicts == [str(answer.effect.verdict) for answer in found.answers]


def effect_at(mean: float, half: float, *, level: float = 0.3, task: str = "rte") -> Comparison:
    """A comparison of five pairs with this mean and half an interval, points of percent."""
    made = config(f"task={task}", "model=debertav3", side=GateSide.both, level=level)
    run = _from_entries(Path("run"), asdict(record(made, [0.8 for _ in measures(made)])), POOL)
    estimate = Estimate(mean / 100, half / 100 / 2.7764451, 4)
    effect = Effect(Summary(5, mean / 100, 0.01), estimate=estimate, p=estimate.p())
    pairs = [Pair(run, run)] * 5
    return Comparison("m", {}, run.gate, run.task, run.task.primary, pairs, pairs, effect, None, {})


POOL = Pool()


def test_the_forest_has_the_margin_and_a_look_for_each_verdict():
    made = [effect_at(*each, level=level / 10) for level, each in enumerate([(3, 0.5), (-3, 0.5), (0, 0.2), (1, 9)])]
    rules = Rules(margin=0.0125)
    families.judge(made, rules)
    [part] = forest.parts(made, [], rules)
    with drawing.style():
        axes = forest.draw(part).figure.axes[0]
    assert [row.verdict for row in part.rows] == list(Verdict)
    looks = [each.lines[0] for each in axes.containers if isinstance(each, ErrorbarContainer)]
    assert len({look.get_marker() for look in looks}) == len({look.get_color() for look in looks}) == 4
    [band] = [each for each in axes.patches if isinstance(each, Rectangle)]
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((-1.25, 1.25))
    low, high = axes.get_xlim()
    assert low < -8
    assert high > 10


def test_primary_comparisons_come_first_in_the_forest():
    made = [effect_at(1, 2, level=level) for level in (0.1, 0.3, 0.9)]
    rules = Rules(primary=((("gi.level", "0.3"),),))
    families.judge(made, rules)
    [part] = forest.parts(made, [], rules)
    assert [row.label.rpartition(", ")[2] for row in part.rows] == ["n = 5 (primary)", "n = 5", "n = 5"]
    assert [row.change for row in part.rows] == ["both 0.3", "both 0.1", "both 0.9"]


def test_one_wide_interval_does_not_flatten_many_others():
    made = [effect_at(0.1, 1, level=level / 100) for level in range(30)] + [effect_at(0.1, 50, level=0.9)]
    families.judge(made, Rules())
    [part] = forest.parts(made, [], Rules())
    assert -2 < part.limits[0] < part.limits[1] < 2
    [few] = forest.parts(made[-5:], [], Rules())
    assert few.limits[1] > 50


def test_a_long_forest_is_several_figures_of_one_scale(tmp_path):
    gates: list[Gate] = [PLAIN, *(BOTH | {"level": level / 100} for level in range(50))]
    found = made(gather(sweep(tmp_path, helpful, gates=gates, seeds=(1, 2, 3))))
    forests = [plot for name, plot in found.items() if name.startswith("forest")]
    assert [plot.name for plot in forests] == ["forest-deberta-v3-large", "forest-deberta-v3-large-2"]
    assert [len(error_bars(plot.figure)) for plot in forests] == [45, 5]
    assert len({plot.figure.axes[0].get_xlim() for plot in forests}) == 1
    above = [plot.figure.axes[0].xaxis.get_tick_params()["labeltop"] for plot in forests]
    assert above == [True, False], "a long one has its scale at both ends"
    counts = re.fullmatch(r"Paired .*, 2 of 2: both 0.45 to both 0.49 \((.*)\)", forests[1].title)
    assert sum(map(int, re.findall(r"\d+", given(counts)[1]))) == 5


def test_each_seed_is_a_point(found, drawn):
    axes = drawn["seeds-rte-deberta-v3-large"].figure.axes[0]
    panel = panels.split(found.runs)[1]
    cells = [given(panel.baseline), *panel.gated.values()]
    points = [each for each in axes.collections if isinstance(each, PathCollection)]
    shown = np.sort(np.concatenate([np.asarray(each.get_offsets())[:, 0] for each in points]))
    assert shown == pytest.approx(sorted(100 * x for cell in cells for x in panel.score(cell).values.values()))
    assert len(points) == len(cells) + 1, "degenerate runs have a mark of their own"
    labels = [each.get_text() for each in axes.get_yticklabels()]
    assert labels[0] == "baseline (n = 6)"
    assert "both 0.3 (n = 6)" in labels
    assert axes.get_xlabel() == "accuracy (%)"


def test_curves_are_means_with_a_band_over_seeds(drawn):
    loss, metric = drawn["curves-rte-deberta-v3-large-both"].figure.axes
    assert (loss.get_ylabel(), metric.get_ylabel(), metric.get_xlabel()) == ("training loss", "accuracy (%)", "step")
    assert [line.get_label() for line in metric.lines] == ["baseline (n = 2)", "level 0.3 (n = 2)"]
    for line in metric.lines:
        assert np.asarray(line.get_xydata()) == pytest.approx(np.asarray([[10, 50], [20, 75], [30, 80]]))
    assert np.asarray(loss.lines[0].get_ydata()) == pytest.approx([0.7, 0.45])
    [band, _] = [each.get_paths()[0].get_extents() for each in metric.collections]
    assert (band.y0, band.y1) == pytest.approx((50, 75 + 100 * np.std([0.7, 0.8], ddof=1)))
    assert len(metric.collections) == 2


def test_curves_are_thinned_and_keep_their_ends():
    curve = given(curves.averaged([dict.fromkeys(range(10_000), 1.0), dict.fromkeys(range(5, 10_000), 2.0)]))
    assert (curve.n, len(curve.steps), curve.steps[0], curve.steps[-1]) == (2, 200, 5, 9_999)
    assert curves.averaged([]) is None
    assert curves.averaged([{1: 0.0}, {2: 0.0}]) is None


def test_curves_of_a_split_dev_are_of_the_half_that_chooses(tmp_path):
    root = tmp_path / "runs"
    made_one = config("task=rte", "model=debertav3", "evaluate.split_dev=true")
    entry = record(made_one, [])
    entry.metrics = {"rte/validation_report/accuracy": 0.8}
    folder = write(root, entry)
    add_curve(folder, "rte/validation_select/accuracy", {1: 0.5, 2: 0.6}, {})
    plot = made(gather(root))["curves-rte-deberta-v3-large"]
    [axes] = plot.figure.axes
    assert axes.lines[0].get_label() == "baseline (n = 1)"
    assert axes.get_ylabel() == "accuracy (%)"


def test_no_figure_without_something_to_show(tmp_path):
    assert made(gather(sweep(tmp_path / "a", helpful, gates=(PLAIN,), seeds=(1,)))) == {}
    assert made(gather(sweep(tmp_path / "b", helpful, seeds=(1,)))) == {}
    write(tmp_path / "c", record(config("task=rte", seed=1), [], Status.FAILED))
    assert made(gather(tmp_path / "c")) == {}
    assert set(made(gather(sweep(tmp_path / "d", helpful, seeds=(1, 2))))) == {
        "seeds-rte-deberta-v3-large",
        "forest-deberta-v3-large",
    }


def test_equal_scores_are_a_figure_as_well(tmp_path):
    root = sweep(tmp_path, lambda config: [0.5 for _ in measures(config)], gates=GRID)
    assert {name.partition("-")[0] for name in made(gather(root))} == {"heat", "levels", "seeds", "forest"}


def test_other_recipes_are_other_figures(tmp_path):
    for rate in ("1e-5", "2e-5"):
        sweep(tmp_path, helpful, overrides=[f"train.learning_rate={rate}"])
    found = made(gather(tmp_path))
    assert sorted(name for name in found if name.startswith("seeds")) == [
        "seeds-rte-deberta-v3-large",
        "seeds-rte-deberta-v3-large-2",
    ]
    assert "train.learning_rate=2e-05" in found["seeds-rte-deberta-v3-large-2"].title


def test_names_stay_text(tmp_path):
    for seed in (1, 2):
        for gate in GRID:
            made_one = config("task=rte", "model=debertav3", seed=seed, **gate)
            entry = record(made_one, helpful(made_one))
            entry.config["model"]["checkpoint"], entry.config["task"]["title"] = ODD, ODD
            write(tmp_path, entry)
    found = made(gather(tmp_path))
    assert len(found) == 4
    for name, plot in found.items():
        assert name.isascii()
        assert "/" not in name
        assert "a$b_c$<script>1</script>&語" in words(plot)
        assert "script>&語" in plot.title
        for form in plots.FORMATS:
            assert len(plots.written(plot, form)) > 1000


def test_long_names_leave_room_for_the_data(tmp_path):
    for seed, gate in itertools.product((1, 2), GRID):
        made_one = config("task=rte", "model=debertav3", seed=seed, **gate)
        entry = record(made_one, helpful(made_one))
        entry.config["model"]["checkpoint"], entry.config["task"]["title"] = "model " * 50, "task " * 50
        write(tmp_path, entry)
    for plot in made(gather(tmp_path)).values():
        plots.written(plot, "svg")  # lays out
        axes = plot.figure.axes[0]
        assert axes.get_position().width * plot.figure.get_figwidth() > 1, plot.name
        assert plot.title.count("model") == 50


def test_the_same_runs_are_the_same_bytes(found, drawn, monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "lines.linewidth", 9.0)
    again = made(found)
    kinds = {name.partition("-")[0]: name for name in drawn}
    for name, form in [*((name, "svg") for name in kinds.values()), *((kinds["heat"], form) for form in plots.FORMATS)]:
        first = plots.written(drawn[name], form)
        assert plots.written(again[name], form) == first, (name, form)
    assert matplotlib.rcParams["lines.linewidth"] == 9.0, "others' settings are put back"


@pytest.fixture(scope="module")
def alone(found) -> list[plots.Files]:
    """What one process makes where there is one core."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plots, "_FIGURES_A_PROCESS", 2)
        patched.setattr(limits, "cores", lambda: 1)
        patched.setattr(plots, "ProcessPoolExecutor", None)
        return list(plots.files(found))


@pytest.mark.long
@pytest.mark.integration
def test_several_processes_make_the_same_files(found, alone, monkeypatch):
    assert len(alone) == 12
    started = []

    class Watched(ProcessPoolExecutor):
        def __init__(self, processes: int, *args: Any) -> None:
            started.append(processes)
            super().__init__(processes, *args)

    monkeypatch.setattr(plots, "ProcessPoolExecutor", Watched)
    monkeypatch.setattr(plots, "_FIGURES_A_PROCESS", 2)
    monkeypatch.setattr(limits, "cores", lambda: 2)
    assert list(plots.files(found)) == alone
    assert started == [2]


def _dies_in_another_process() -> Plot | None:
    if multiprocessing.parent_process() is not None:
        os._exit(1)
    return None


@pytest.mark.long
@pytest.mark.integration
def test_what_a_process_that_died_has_not_drawn_is_drawn_here(found, alone, monkeypatch):
    work = [*plots._work(found)]
    monkeypatch.setattr(plots, "_work", lambda contents: [*work[:1], _dies_in_another_process, *work[1:]])
    monkeypatch.setattr(plots, "_FIGURES_A_PROCESS", 1)
    monkeypatch.setattr(limits, "cores", lambda: 2)
    assert list(plots.files(found)) == alone


def test_looks_differ():
    looks = [tuple(drawing.look(place).values()) for place in range(84)]
    assert len(set(looks)) == 84


def test_out_has_the_figures(tmp_path, caplog):
    root = sweep(tmp_path / "runs", helpful)
    assert report.main([str(root), "--out", str(tmp_path / "out"), "--no-predictions"]) == ExitCode.DONE
    assert "figures: 2" in caplog.text
    assert sorted(path.name for path in (tmp_path / "out" / "figures").iterdir()) == [
        f"{kind}-deberta-v3-large.{form}" for kind in ("forest", "seeds-rte") for form in ("pdf", "png", "svg")
    ]


@pytest.mark.parametrize(("options", "is_imported"), [([], False), (["--out", "out"], True)])
def test_matplotlib_is_imported_for_figures_only(tmp_path, options, is_imported):
    sweep(tmp_path / "runs", helpful, seeds=(1, 2))
    program = (
        "import sys\nfrom gifine.report.__main__ import main\nassert main() == 0\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        f"assert ('matplotlib' in sys.modules) is {is_imported}"
    )
    words = [sys.executable, "-W", "error", "-c", program, "runs", *options]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
