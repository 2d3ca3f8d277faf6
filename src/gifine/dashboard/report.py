"""The report: baseline and changed runs beside each other, task by task, with what wandb cannot tell said first."""

from __future__ import annotations

from collections.abc import Sequence

import wandb_workspaces.reports.v2 as wr
from wandb_workspaces.reports.v2.interface import BlockTypes

from gifine.config import TaskConfig
from gifine.dashboard import panels
from gifine.dashboard.panels import Arms
from gifine.dashboard.selection import Selection

_CELL = ("task.name", *panels.CELL)


def build(selection: Selection) -> wr.Report:
    """The report, with all that is sent to the server in it; that takes no network.

    Runs are those of the report's own project: for another one, wandb's library would have to ask for its number.
    """
    return wr.Report(
        entity=selection.entity,
        project=selection.project,
        title=selection.title,
        description="Changes to attention beside the baseline; python -m gifine.dashboard writes it anew.",
        width="fluid",
        blocks=[
            *_introduction(selection),
            wr.TableOfContents(),
            wr.H1("How runs ended"),
            wr.P("The number beside each outcome is how many runs had it."),
            _grid("outcomes", [_runset("Outcomes", selection, by=["summary.outcome"])], []),
            wr.H1("Baseline against changed runs"),
            wr.P("A bar is a mean over the seeds of a cell, with its standard deviation."),
            _grid(
                "baseline",
                _sides(selection),
                [panels.score(task, selection.headline(task)) for task in selection.tasks],
            ),
            *(block for task in selection.tasks for block in _task(selection, task)),
            *(_gates(selection) if selection.has_gi else []),
            *(_changes(selection) if selection.has_others else []),
        ],
    )


def _introduction(selection: Selection) -> list[BlockTypes]:
    cell = ", ".join(panels.CELL)
    shown = [
        f"Tasks: {', '.join(panels.title(task) for task in selection.tasks)}.",
        f"Groups: {', '.join(selection.groups) or 'all'}.",
        f"Models: {', '.join(selection.models) or 'all'}.",
        f"Changes: {', '.join(selection.changes) or 'all'}.",
        f"A cell is all runs with the same {cell}: lines and bars are means over its runs, bands and whiskers their "
        "standard deviation. Runs that differ in anything else than these and the seed are averaged as well.",
        "arm is the change with its keys, of GI side, level and layers, and what trains if not all does; plain is the "
        "baseline, head-only and biases-only are plain models that train in part. What gi says is GI's alone: of other "
        "changes and of plain models it means nothing. gi.layers is empty where all layers are gated: such runs are "
        "not in the plots with an axis for it.",
        "Runs of an older gifine have no arm: they are told apart by the keys of gi.",
        "Metrics are the record's: of the best checkpoint where train.select_best is on, and of dev sets.",
    ]
    return [
        wr.H1("What is shown"),
        wr.UnorderedList(items=list(shown)),
        wr.CalloutBlock(
            "What is not: whether a difference could be chance. wandb draws means and standard deviations, but pairs "
            "no runs of the same seed, tests nothing and leaves nothing out for having failed. For verdicts, and the "
            "number of seeds that would settle one: python -m gifine.report RUNS"
        ),
    ]


def _task(selection: Selection, task: TaskConfig) -> list[BlockTypes]:
    place, name, key = f"task/{task.name}", panels.title(task), selection.headline(task)
    found: list[BlockTypes] = [
        wr.H1(name),
        _grid(
            place,
            _sides(selection, task),
            [*panels.scores(selection, task), *panels.curves(selection, task), panels.loss()],
        ),
    ]
    # Not grouped: each run is to be seen, and the bars have groups of their own.
    if selection.has_others:
        found += [
            wr.H2(f"{name}: changes"),
            wr.P("The bars take all runs with the same change, whatever else differs."),
            _grid(
                f"{place}/changes",
                [_runset("Changed", selection, task, Arms.all_changed)],
                [panels.score_by(task, key, "change.name")],
            ),
        ]
    if not selection.has_gi:
        return found
    by = [panels.score_by(task, key, by) for by in panels.OF_GI]
    return [
        *found,
        wr.H2(f"{name}: level × layers"),
        wr.P("A dot or a line is a run. The bars take all runs with the same value, whatever else differs."),
        _grid(
            f"{place}/grid",
            [_runset("Gated", selection, task, Arms.gated)],
            [*panels.level_by_layers(selection, task), *by],
        ),
    ]


def _gates(selection: Selection) -> list[BlockTypes]:
    return [
        wr.H1("Gates"),
        wr.P(
            "A line is a layer of a cell, layers counted from 0. A gate is never below 0.83; one within 1 % of 1 is "
            "saturated: it does nothing, and hardly learns."
        ),
        _grid("gates", [_runset("Gated", selection, None, Arms.gated, _CELL)], panels.gates()),
    ]


def _changes(selection: Selection) -> list[BlockTypes]:
    return [
        wr.H1("Other changes"),
        wr.P("A line is a layer of a cell and, where several are in a panel, a site; layers count from 0."),
        _grid(
            "other-changes",
            [_runset("Changed", selection, None, Arms.all_changed, _CELL)],
            panels.changes(selection),
        ),
    ]


def _sides(selection: Selection, task: TaskConfig | None = None) -> list[wr.Runset]:
    by = ["task.name"] if task is None else []
    # A baseline has level and layers in its config as well, without an effect.
    plain = [key for key in panels.CELL if key not in ("gi.level", "gi.layers")]
    return [
        _runset("Baseline", selection, task, Arms.baselines, [*by, *plain]),
        _runset("Plain, trained in part", selection, task, Arms.partly, [*by, *plain]),
        _runset("Changed", selection, task, Arms.all_changed, [*by, *panels.CELL]),
    ]


def _runset(
    name: str,
    selection: Selection,
    task: TaskConfig | None = None,
    arms: Arms = Arms.all,
    by: Sequence[str] = (),
) -> wr.Runset:
    """Runs with a tab of their own in a grid's table, grouped by keys of our config or `summary.KEY`."""
    tasks = [task] if task is not None else selection.tasks
    runset = wr.Runset(
        name=name,
        groupby=[key if key.startswith("summary.") else f"config.{key}" for key in by],
        visible_columns=[
            "summary:outcome",
            *(panels.column(key) for key in panels.KEYS),
            *(f"summary:{selection.headline(each)}" for each in tasks),
        ],
    )
    panels.set_filter(runset, panels.runs(selection, task, arms))
    return runset


def _grid(place: str, runsets: Sequence[wr.Runset], shown: Sequence[panels.Panel]) -> wr.PanelGrid:
    for index, runset in enumerate(runsets):
        runset._id = panels.identifier(f"report/{place}/runs/{index}")
    laid_out = panels.laid_out(panels.identified(shown, f"report/{place}"))
    return wr.PanelGrid(runsets=list(runsets), panels=[*laid_out])
