"""The panels that workspace and report are made of, and how our names are wandb's.

A cell is what differs in nothing but the seed, as far as `CELL` tells: where the runs are grouped by it, lines and bars
are means over seeds with their standard deviation. `arm` is the change with its keys, of GI side, level and layers, and
what trains; runs of an older gifine have none, and are told apart by these keys alone. wandb keeps a nested key of the
config, `gi.side`, as `gi.value.side`: its library writes that itself for panels and grouping, but not for filters and
columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import Enum
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr

from gifine import changes as shipped
from gifine.changes.contract import SITES
from gifine.choices import TRAINED, GateSide, Parameters
from gifine.config import GI, TaskConfig
from gifine.dashboard.selection import Selection
from gifine.tracking import wandb_run

OF_GI = ("gi.side", "gi.level", "gi.layers")
CELL = ("model.name", "model.size", "arm", *OF_GI)
KEYS = ("seed", "change.name", *CELL)  # columns of a table of runs
COLUMNS = 3  # panels beside each other
GATES = ("key", "query")
_MOVED = {"moved": "how far values are moved, as a fraction of their size"}
# What tracking logs as gates/<layer>/<side>/<name>, and what it is.
STATISTICS = {
    "mean": "mean of the gate",
    "below_one": "fraction of gates below 1",
    "saturated": "fraction of gates within 1 % of 1",
    "threshold": "threshold",
    **_MOVED,
}
# The same of other changes: change/<layer>/<site>/<name>, of which `moved` is there for each.
OF_CHANGES = {
    "mean": "mean of the gate, or of what is learned",
    "below_one": "fraction of gates below 1",
    "saturated": "fraction of gates within 1 % of their ends",
    "least": "least of what is learned",
    "most": "most of what is learned",
    "factor": "factor of a layer's own values",
    "zero": "fraction of attention weights clipped to 0",
    "one": "fraction of attention weights clipped to 1",
}


class Arms(Enum):
    """Which runs of a selection."""

    all = "all"
    baselines = "baselines"
    partly = "partly"  # plain models of which the head or the biases alone train
    all_changed = "all changed"
    gated = "gated"  # with GI


Panel = wr.LinePlot | wr.BarPlot | wr.ScatterPlot | wr.ParallelCoordinatesPlot | wr.MarkdownPanel

_MOST = 100  # lines or bars in a panel; wandb's default is 10, fewer than a grid's cells

_WIDTH, _HEIGHT = 24, 6  # of a report's grid, and of a panel in it, in wandb's units


def runs(selection: Selection, task: TaskConfig | None = None, arms: Arms = Arms.all) -> dict[str, Any]:
    """The filter for runs of the selection, of one task (null: all of its tasks).

    As wandb's app keeps it: `in` for single values as well, since `==` was seen to match nothing in reports
    (wandb-workspaces issue 34).
    """
    tasks = [task] if task is not None else selection.tasks
    conditions = [_config("task.name").isin([task.name for task in tasks])]
    if selection.groups:
        conditions.append(expr.Metric("Group").isin(list(selection.groups)))
    if selection.models:
        conditions.append(_config("model.name").isin(list(selection.models)))
    if selection.changes or arms is not Arms.all:
        conditions.append(_of_arms(selection, arms))
    return expr.filters_tree_to_v2(expr.And(*conditions).to_model())


def _of_arms(selection: Selection, arms: Arms) -> expr.FilterExpr:
    """By tags: a run with another change has gi.side none in its config, as a baseline."""
    plain, partly = wandb_run.plain_tag(Parameters.all), [*map(wandb_run.plain_tag, TRAINED)]
    gated = [wandb_run.gi_tag(side) for side in GateSide if side is not GateSide.none]
    if arms is Arms.all_changed and not selection.changes:  # those of one's own as well, whatever they are called
        return expr.Tags().notin([plain, *partly])
    chosen = [wandb_run.change_tag(name) for name in selection.changes if name != GI]
    gi = gated if selection.has_gi else []
    tags = {
        Arms.all: [plain, *partly, *gi, *chosen],
        Arms.baselines: [plain],
        Arms.partly: partly,
        Arms.gated: gated,
        Arms.all_changed: [*gi, *chosen],
    }
    return expr.Tags().isin(tags[arms])


def set_filter(owner: wr.Runset | ws.Workspace, conditions: dict[str, Any]) -> None:
    """Filter the runs by exactly these conditions.

    wandb's library takes a filter through words that it parses again, and there it does not read `=`, `<` or a quote in
    a group's name as part of the name. What it has loaded from a server, it keeps; this says so of the conditions.
    """
    words = expr.filters_v2_to_string(conditions)
    (owner if isinstance(owner, wr.Runset) else owner.runset_settings).filters = words
    owner._stashed_filters_v2 = conditions
    owner._stashed_filter_string = words


def column(key: str) -> str:
    """A column of the table of runs, for a key of our config."""
    return f"config:{_stored(key)}"


def identified(panels: Sequence[Panel], place: str) -> list[Panel]:
    """The panels with ids that are the same each time; wandb's library draws them at random."""
    for index, panel in enumerate(panels):
        panel._id = identifier(f"{place}/{index}")
    return list(panels)


def identifier(place: str) -> str:
    return hashlib.sha256(place.encode()).hexdigest()[:12]


def laid_out(panels: Sequence[Panel]) -> list[Panel]:
    """The panels in rows, as a report's grid wants to be told."""
    width = _WIDTH // COLUMNS
    for index, panel in enumerate(panels):
        row, place = divmod(index, COLUMNS)
        panel.layout = wr.Layout(x=place * width, y=row * _HEIGHT, w=width, h=_HEIGHT)
    return list(panels)


def curves(selection: Selection, task: TaskConfig) -> list[Panel]:
    """Metrics and loss against the training step, for runs that are grouped by cell."""
    keys = [*selection.metrics(task), *(f"{task.name}/{split}/loss" for split in selection.splits(task))]
    return [_line(f"{_name(task, key)}: mean and standard deviation over seeds", key) for key in keys]


def scores(selection: Selection, task: TaskConfig) -> list[Panel]:
    """The final metrics as bars, for runs that are grouped by cell."""
    return [score(task, key) for key in selection.metrics(task)]


def score(task: TaskConfig, key: str) -> Panel:
    return wr.BarPlot(
        title=f"{_name(task, key)}: final",
        metrics=[key],
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        max_runs_to_show=_MOST,
        max_bars_to_show=_MOST,
    )


def score_by(task: TaskConfig, key: str, by: str) -> Panel:
    """Bars of all runs with the same value of a config key, whatever else differs: for runs that are not grouped."""
    return wr.BarPlot(
        title=f"{_name(task, key)}: by {by}",
        metrics=[key],
        groupby=wr.Config(by),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        max_runs_to_show=_MOST,
        max_bars_to_show=_MOST,
    )


def level_by_layers(selection: Selection, task: TaskConfig) -> list[Panel]:
    """The headline metric over the grid of level and layers; wandb has no heat map of it, so dots have colours."""
    key = selection.headline(task)
    level, layers, found = wr.Config("gi.level"), wr.Config("gi.layers"), wr.SummaryMetric(key)
    name = _name(task, key)
    axes = [wr.ParallelCoordinatesPlotColumn(wr.Config(each), display_name=each) for each in OF_GI]
    last = [wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(each), each) for each in selection.metrics(task)]
    return [
        wr.ScatterPlot(title=f"{name}: level × layers", x=level, y=layers, z=found),
        wr.ScatterPlot(title=f"{name} against the level, by layers", x=level, y=found, z=layers),
        wr.ParallelCoordinatesPlot(title=f"{name}: side, level and layers", columns=[*axes, *last]),
    ]


def loss() -> Panel:
    return _line("training loss", "loss")


def gates() -> list[Panel]:
    """A panel for each statistic of each side, with a line for each layer, of which models have different numbers."""
    return [
        _lines(f"{side}: {title}", f"^gates/[0-9]+/{side}/{name}$")
        for name, title in STATISTICS.items()
        for side in GATES
    ]


def changes(selection: Selection) -> list[Panel]:
    """As `gates`, of other changes: how far each site is moved, then what some tell, with a line for layer and site.

    What one's own tells has names of its own: a panel with all lines, where one was chosen.
    """
    found = [
        *(_lines(f"{site}: {_MOVED['moved']}", f"^change/[0-9]+/{site}/moved$") for site in SITES),
        *(_lines(title, f"^change/[0-9]+/[a-z_]+/{name}$") for name, title in OF_CHANGES.items()),
    ]
    if not {*selection.changes} <= {*shipped.names()}:
        found.append(_lines("all that a change tells", "^change/"))
    return found


def _lines(title: str, metrics: str) -> Panel:
    """Of all metrics that a regular expression takes."""
    return wr.LinePlot(
        title=title,
        x="step",
        metric_regex=metrics,
        groupby_aggfunc="mean",
        groupby_rangefunc="none",  # bands of a dozen layers hide each other
        max_runs_to_show=_MOST,
    )


def _line(title: str, key: str) -> Panel:
    return wr.LinePlot(
        title=title,
        x="step",
        y=[key],
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        max_runs_to_show=_MOST,
    )


def _name(task: TaskConfig, key: str) -> str:
    """`CoLA matthews`; of several splits, with the split."""
    _, split, metric = key.split("/")
    return " ".join([title(task), *([split] if len(task.evaluation_splits) > 1 else []), metric])


def title(task: TaskConfig) -> str:
    return task.title or task.name


def _config(key: str) -> expr.Config:
    return expr.Config(_stored(key))


def _stored(key: str) -> str:
    first, dot, rest = key.partition(".")
    return f"{first}.value{dot}{rest}"
