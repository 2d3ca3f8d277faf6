"""Runs as figures show them: one model, task and recipe at a time, with gates and without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gifine.report import settings
from gifine.report.analysis import cells
from gifine.report.analysis.cells import Cell, Groups, Key, Score
from gifine.report.reading import Run
from gifine.report.settings import Task, Value

# Side, level, layers (or cells.ALL); of another change than GI what it is called, None, cells.ALL.
Place = tuple[Value, Value, Value]

_KEYS = ("model", "task", "gi.side", "gi.level", "gi.layers")


@dataclass(slots=True)
class Panel:
    """Runs that differ in the gate's side, level and layers, or in the change, and in the seed; nothing else."""

    model: str
    task: Task
    extra: dict[str, Value]  # further keys that tell panels apart
    baseline: Cell | None = None
    gated: dict[Place, Cell] = field(default_factory=dict)  # in the order of tables

    @property
    def title(self) -> str:
        return ", ".join([self.task.title, self.model, *(f"{k}={settings.shown(v)}" for k, v in self.extra.items())])

    @property
    def measure(self) -> str:
        """The primary measure, as axes are labelled: `accuracy (%)`."""
        return f"{self.task.described(self.task.primary)} (%)"

    @property
    def sides(self) -> list[Value]:
        return list(dict.fromkeys(side for side, _, _ in self.gated))

    def score(self, cell: Cell) -> Score:
        """Of the primary measure."""
        return cell.scores[self.task.measures.index(self.task.primary)]

    def means(self) -> dict[Place, Score]:
        """Of the gated cells that have a number at all, by side, level and layers: other changes have none of these."""
        scores = {place: self.score(cell) for place, cell in self.gated.items() if place[1] is not None}
        return {place: score for place, score in scores.items() if score.summary.mean is not None}

    def distinct(self, axis: int) -> list[Value]:
        """What there is of sides (0), levels (1) or layers (2) where there are numbers; `all` layers come last."""
        return sorted({place[axis] for place in self.means()}, key=lambda value: settings.order([value]))


def split(runs: Sequence[Run]) -> list[Panel]:
    """A panel for all gates that share a baseline, and for baselines without gated runs."""
    groups = cells.group(runs, _KEYS)
    ordered = sorted(groups.runs.items(), key=lambda item: settings.order([*item[0][0], *item[0][1]]))
    baselines: dict[Key, Cell] = {}
    panels: dict[Key, Panel] = {}
    compared: set[Key] = set()
    for (names, extra), members in ordered:
        if settings.is_baseline(members[0].gate):
            baselines[_shared(groups, names, extra)] = cells.fill(members)
    for (names, extra), members in ordered:
        shared, task = _shared(groups, names, extra), members[0].task
        if not settings.is_baseline(members[0].gate):
            compared.add(shared)
            named = {
                key: value
                for key, value in zip(groups.extra, extra, strict=True)
                if not key.startswith(("change.", "train.parameters"))
            }
            own = Panel(str(names[0]), task, named, baselines.get(shared))
            panel = panels.setdefault((*names[:2], *named.values()), own)
            side, level, layers = names[2:]
            if not settings.is_gi(members[0].gate):
                side, level, layers = settings.gate(members[0].gate), None, cells.ALL
                if (side, level, layers) in panel.gated:  # another version of a file of one's own
                    side = f"{side}, {members[0].gate.get('change.file')}"
            panel.gated[side, level, layers] = cells.fill(members)
    recipe = [key for key in groups.extra if not key.startswith(settings.OF_ARMS)]
    alone = {shared: cell for shared, cell in baselines.items() if shared not in compared}
    return [
        *panels.values(),
        *(
            Panel(str(shared[0]), cell.runs[0].task, dict(zip(recipe, shared[2:], strict=True)), cell)
            for shared, cell in alone.items()
        ),
    ]


def _shared(groups: Groups, names: Key, extra: Key) -> Key:
    """What a gated cell and its baseline have in common: all keys but the change's."""
    recipe = [value for key, value in zip(groups.extra, extra, strict=True) if not key.startswith(settings.OF_ARMS)]
    return *names[:2], *recipe
