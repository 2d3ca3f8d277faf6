"""The workspace: the project's page with a section for each task, its runs grouped so that seeds are averaged."""

from __future__ import annotations

import math
from collections.abc import Sequence

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr
from wandb_workspaces.workspaces import internal

from gifine.dashboard import panels
from gifine.dashboard.selection import Selection

_ABOUT = """\
Lines and bars are means over the runs of a row of the table on the left, with their standard deviation: rows differ in
{cell}. Runs that differ in anything else than these and the seed are averaged as well. `arm` is the change with its
keys, of GI side, level and layers, and what trains if not all does: `plain` is the baseline, `head-only` and
`biases-only` are plain models that train in part. What `gi` says is GI's alone: of other changes and of plain models it
means nothing. `gi.layers` is empty where all layers are gated; such runs are not in the plots with an axis for it.

Whether a difference could be chance is not shown here: `python -m gifine.report RUNS` compares runs of the same seed.
"""


def build(selection: Selection) -> ws.Workspace:
    """The workspace, with all that is sent to the server in it; that takes no network."""
    sections = [_section("Overview", _overview(selection))]
    sections += [
        _section(
            panels.title(task),
            [
                *panels.curves(selection, task),
                *panels.scores(selection, task),
                *(panels.level_by_layers(selection, task) if selection.has_gi else []),
            ],
        )
        for task in selection.tasks
    ]
    # Many lines: slow to draw.
    sections += [_section("Gates", panels.gates(), is_open=False)] if selection.has_gi else []
    sections += [_section("Other changes", panels.changes(selection), is_open=False)] if selection.has_others else []
    headlines = [selection.headline(task) for task in selection.tasks]
    workspace = ws.Workspace(
        entity=selection.entity,
        project=selection.project,
        name=selection.title,
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis="step", max_runs=100),
        runset_settings=ws.RunsetSettings(
            groupby=[expr.Config(key) for key in ("task.name", *panels.CELL)],
            pinned_columns=[
                "run:displayName",
                "summary:outcome",
                *(panels.column(key) for key in panels.KEYS),
                *(f"summary:{key}" for key in headlines),
            ],
        ),
    )
    panels.set_filter(workspace, panels.runs(selection))
    workspace._internal_runset_id = panels.identifier("workspace")
    # The same name each time, so that saving finds the workspace that it made; of the form that wandb's own have.
    workspace._internal_name = internal._url_query_str_to_internal_name(panels.identifier(selection.title)[:11])
    return workspace


def _overview(selection: Selection) -> list[panels.Panel]:
    about = wr.MarkdownPanel(markdown=_ABOUT.format(cell=", ".join(panels.CELL)))
    headlines = [panels.score(task, selection.headline(task)) for task in selection.tasks]
    return [about, *headlines, panels.loss()]


def _section(name: str, shown: Sequence[panels.Panel], *, is_open: bool = True) -> ws.Section:
    rows = math.ceil(len(shown) / panels.COLUMNS)  # all on one page
    return ws.Section(
        name=name,
        panels=[*panels.identified(shown, f"workspace/{name}")],
        is_open=is_open,
        layout_settings=ws.SectionLayoutSettings(columns=panels.COLUMNS, rows=rows),
        panel_settings=ws.SectionPanelSettings(x_axis="step"),
    )
