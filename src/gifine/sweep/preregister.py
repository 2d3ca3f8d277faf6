"""What a grid compares, and the plan that says so before it is run (`runs/preregistration.py` has the file)."""

from __future__ import annotations

import logging
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gifine import __version__
from gifine.commands import counted
from gifine.compose.grid import Cell
from gifine.config import RunConfig
from gifine.errors import ArgumentError, PlanError, did_you_mean
from gifine.inputs import change_files, sources
from gifine.report import settings
from gifine.report.analysis.statistics import ALPHA
from gifine.report.pool import Pool
from gifine.report.settings import Settings, Task, Value
from gifine.runs import identity, origin, preregistration, selections
from gifine.runs.preregistration import Hypothesis, Preregistration
from gifine.runs.replicate import Replicate, Twin
from gifine.runs.selections import Selection

log = logging.getLogger(__name__)

_NAMED = 3  # runs in a message


@dataclass(slots=True)
class Arm:
    """Runs that differ by nothing but their seeds."""

    setup: Settings
    change: Settings
    task: Task
    configs: list[RunConfig] = field(default_factory=list)
    replicates: set[Replicate] = field(default_factory=set)

    @property
    def twins(self) -> set[Twin]:
        """What runs share with their twins in other arms: the seeds of all streams but the change's own."""
        return {each.twin for each in self.replicates}

    @property
    def model(self) -> str:
        return settings.model(self.setup)

    def get(self, key: str) -> Value:
        """The value of a config key, or of `model` and `task`."""
        named = {"model": self.model, "task": self.task.name}
        return named[key] if key in named else (self.change if key in self.change.keys() else self.setup).get(key)  # noqa: SIM118 - no dict


@dataclass(slots=True)
class Compared:
    """A hypothesis and the arms that it is about."""

    hypothesis: Hypothesis
    changed: Arm
    baseline: Arm


def compared(
    configs: Mapping[str, RunConfig], primary: Sequence[Selection] = (), pool: Pool | None = None
) -> list[Compared]:
    """What a grid of runs, by run_id, compares: each arm with a change that has a baseline of its settings and seeds.

    With the pool that other runs were read with, settings of both are the same objects.

    Raises:
        ArgumentError: if that is nothing, or a selection fits none of it.
    """
    arms = _arms(configs, pool or Pool())
    against = settings.find_baseline((arm.change for arm in arms), None)
    plain = {arm.setup: arm for arm in arms if settings.is_baseline(arm.change, against)}
    changed = [arm for arm in arms if not settings.is_baseline(arm.change, against)]
    pairs = [(arm, plain[arm.setup]) for arm in changed if arm.setup in plain and arm.twins & plain[arm.setup].twins]
    if not pairs:
        raise ArgumentError(
            "these runs compare nothing: none with a change has a baseline of its own settings and seed; "
            "gi.side=none,both gives both"
        )
    pairs = _with_trials_once(pairs)
    keys = _telling_apart([arm for arm, _ in pairs])
    found = []
    for arm, baseline in pairs:
        change = arm.change.values()
        is_primary = any(_fits(selection, arm) for selection in primary)
        others = {key: arm.setup.get(key) for key in keys}
        found.append(Compared(Hypothesis(arm.model, arm.task.name, change, others, is_primary), arm, baseline))
    for selection in primary:
        _check(selection, [each.changed for each in found])
    return found


def write(
    path: Path,
    cells: Mapping[str, Cell],
    *,
    command: list[str],
    margin: float,
    primary: Sequence[Selection],
    finished: Sequence[str],
    is_late: bool,
) -> None:
    """Write the plan of these runs down, and say how to go on.

    Raises:
        ArgumentError: as `compared` and `plan`.
        OutputError: if the file cannot be written, or is there already.
        PlanError: if runs are finished, unless that `is_late` is meant.
    """
    found = compared({run_id: cell.config for run_id, cell in cells.items()}, primary)
    if finished and not is_late:
        names = ", ".join(identity.slug(cells[run_id].config) for run_id in finished[:_NAMED])
        raise PlanError(
            f"{len(finished):,} of these runs {'is' if len(finished) == 1 else 'are'} finished already "
            f"({names}{', …' * (len(finished) > _NAMED)}): a plan is written before its runs; take other seeds, or "
            "--late, and the plan says which they are"
        )
    made = plan(found, cells, command=command, margin=margin, primary=primary, finished=finished)
    sha256 = preregistration.write(made, path)
    what = f"{counted(len(found), 'comparison')} on {counted(len(cells), 'run')}"
    log.info("%s: %s; sha256 %s", path, what, sha256)
    log.info("go on with: %s", shlex.join([*command, f"plan={path}"]))


def plan(
    found: Sequence[Compared],
    cells: Mapping[str, Cell],
    *,
    command: list[str],
    margin: float,  # a fraction
    primary: Sequence[Selection],
    finished: Sequence[str],
) -> Preregistration:
    """The plan of these runs, by run_id, of which some may have `finished`.

    Raises:
        ArgumentError: if a task is planned with two measures.
    """
    tasks: dict[str, str] = {}
    for each in found:
        task = each.changed.task
        measure = task.primary.removeprefix(f"{task.name}/")
        if tasks.setdefault(task.name, measure) != measure:
            raise ArgumentError(
                f"task={task.name} is planned with two measures, {tasks[task.name]} and {measure}: it takes one a task"
            )
    return Preregistration(
        written=datetime.now(UTC).replace(microsecond=0),
        gifine=__version__,
        command=command,
        margin=round(100 * margin, 6),
        alpha=ALPHA,
        primary=[dict(each) for each in primary],
        seeds=[each.name for each in sorted({one for each in found for one in _paired(each)})],
        tasks=tasks,
        hypotheses=[each.hypothesis for each in found],
        runs={run_id: identity.slug(cell.config) for run_id, cell in cells.items()},
        finished_before=sorted(finished),
    )


def _paired(compared: Compared) -> set[Replicate]:
    """The changed runs, by their seeds, that have a baseline of theirs."""
    return {each for each in compared.changed.replicates if each.twin in compared.baseline.twins}


def families(found: Sequence[Compared]) -> Counter[tuple[str, bool]]:
    """How many comparisons are corrected together, by model: of primary ones (True) these, of others all."""
    everything = Counter((each.hypothesis.model, False) for each in found)
    return everything + Counter((each.hypothesis.model, True) for each in found if each.hypothesis.is_primary)


def _arms(configs: Mapping[str, RunConfig], pool: Pool) -> list[Arm]:
    found: dict[tuple[Settings, Settings], Arm] = {}
    for config in configs.values():
        entries = identity.to_dict(config)
        start = pool.starts.find(Path(), {"config": entries, "provenance": {"init_from": _start(config, configs)}})
        defaults = change_files.own_defaults(config.change)
        setup, change, drawn, task = pool.take(entries, start, sources.contents(config), defaults)
        arm = found.setdefault((setup, change), Arm(setup, change, task))
        arm.configs.append(config)
        arm.replicates.add(drawn)
    return [*found.values()]


def _start(config: RunConfig, configs: Mapping[str, RunConfig]) -> dict[str, Any]:
    """What the record of a run will say of the run that it starts from, which may be one of the grid."""
    if config.first.run is None:
        return origin.made_by(config.model.init_from) if config.model.init_from is not None else {}
    earlier = configs.get(config.first.run)
    if earlier is None:
        return {"run_id": config.first.run}
    provenance = {"init_from": _start(earlier, configs)}
    entries = {"config": identity.to_dict(earlier), "contents": sources.contents(earlier), "provenance": provenance}
    return {"run_id": config.first.run, **origin.as_parent(entries)}


def _with_trials_once(pairs: Sequence[tuple[Arm, Arm]]) -> list[tuple[Arm, Arm]]:
    """Trials of a random search are one comparison, of what each arm will have chosen: the first one stands for all."""
    found: dict[object, tuple[Arm, Arm]] = {}
    for place, (arm, baseline) in enumerate(pairs):
        search = arm.configs[0].search
        key = (arm.model, arm.change, arm.task.name, search.seed, repr(search.space))
        found.setdefault(place if search.trial is None else key, (arm, baseline))
    return [*found.values()]


def _telling_apart(arms: Sequence[Arm]) -> list[str]:
    """Keys in which arms of one model, change and task differ."""
    groups: dict[tuple[str, Settings, str], list[Settings]] = {}
    for arm in arms:
        groups.setdefault((arm.model, arm.change, arm.task.name), []).append(arm.setup)
    return [*dict.fromkeys(key for group in groups.values() for other in group for key in group[0].differing(other))]


def _fits(selection: Selection, arm: Arm) -> bool:
    return selections.fits(selection, arm.get)


def _check(selection: Selection, arms: Sequence[Arm]) -> None:
    """Raise an ArgumentError for keys that no arm has, and for what fits none."""
    if any(_fits(selection, arm) for arm in arms):
        return
    words = ",".join(f"{key}={value}" for key, value in selection)
    known = {key for arm in arms for part in (arm.setup, arm.change) for key in part.keys()} | {"model", "task"}  # noqa: SIM118 - no dict
    for key, _ in selection:
        if key not in known:
            raise ArgumentError(f"--primary {words}: no run has a key {key}{did_you_mean(key, known)}")
    raise ArgumentError(f"--primary {words}: fits no comparison of these runs, of which there are {len(arms):,}")
