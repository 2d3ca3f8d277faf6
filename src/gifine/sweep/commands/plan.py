"""How many runs a sweep has, which are finished, and what the others take.

    gifine sweep plan experiment=paper_grid model=debertav3

takes the overrides of `gifine --multirun`, and submits nothing. With --preregister FILE it writes down, before they are
run, what these runs will compare and by which margin.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gifine.commands import counted
from gifine.compose import grid
from gifine.compose.grid import Cell
from gifine.config import RunConfig
from gifine.errors import DataError, ExitCode, ModelError
from gifine.runs import identity, parent, preregistration, records, staleness
from gifine.runs.records import FINISHED, RECORD
from gifine.sweep import ahead, estimate, sizes
from gifine.sweep.estimate import Basis

_NAMED = 3  # runs in a sentence


@dataclass
class Plan:
    cells: int = 0  # combinations of values
    runs: int = 0  # different results among them, and the runs that they start from
    parents: int = 0  # how many of these are there because others start from them
    finished: int = 0
    to_do: int = 0
    device_hours: float = 0.0  # of what is to do
    runs_by_basis: dict[Basis, int] = field(default_factory=dict)  # how these hours are known
    measured_on: list[str] = field(default_factory=list)  # devices of the finished runs that they come from
    memory_gb: float | None = None  # a device, the largest run: all but activations; None: unknown
    disk_gb: float | None = None  # left behind by all runs
    scratch_gb: float | None = None  # besides, by the largest run while it trains
    models: dict[str, dict[str, float]] = field(default_factory=dict)  # runs to do, device hours of each
    needless: list[str] = field(default_factory=list)  # run_ids: to start from, but all that do so are finished
    weightless: list[str] = field(default_factory=list)  # what to do about runs to start from that have no weights
    changed: dict[str, list[str]] = field(default_factory=dict)  # by folder what a run was made of and is not there now
    outdated: dict[str, str] = field(default_factory=dict)  # of these the finished runs of the plan, and what differs
    deviating: list[str] = field(default_factory=list)  # slugs of runs that the preregistered plan does not have


def make(cells: Iterable[Cell]) -> Plan:
    """What these runs take that are not finished yet, by the records in the folders that they write to."""
    cells = list(cells)
    chosen = grid.distinct(cells)
    known = _read(cell.config for cell in chosen.values())
    places = {run_id: cell.folder for run_id, cell in chosen.items()} if known else {}
    finished = {
        run_id: known[place]
        for run_id, place in places.items()
        if not chosen[run_id].config.overwrite and _is_finished(run_id, known.get(place))
    }
    wanted = {cell.config.first.run for run_id, cell in chosen.items() if run_id not in finished}
    asked_for = {cell.run_id for cell in cells if not cell.is_parent}
    needless = chosen.keys() - asked_for - wanted - finished.keys()
    to_do = [cell.config for run_id, cell in chosen.items() if run_id not in {*finished, *needless}]
    plan = Plan(sum(not cell.is_parent for cell in cells), len(chosen) - len(needless))
    plan.finished, plan.to_do = plan.runs - len(to_do), len(to_do)
    plan.parents, plan.needless = len(chosen.keys() - asked_for - needless), sorted(needless)
    lacking = (parent.without_weights(places[run_id]) for run_id in finished if run_id in wanted)
    plan.weightless = [reason for reason in lacking if reason is not None]
    plan.changed = _changed({identity.slug(cell.config) for cell in chosen.values()}, known)
    plan.deviating = [
        identity.slug(cell.config)
        for run_id, cell in chosen.items()
        if cell.config.plan is not None and preregistration.read(cell.config.plan).deviation(run_id) is not None
    ]
    for run_id, record in finished.items():
        config, name = chosen[run_id].config, places[run_id].name
        then, now = _noted(record, "data"), staleness.fingerprints(config)
        if differing := staleness.differing(then, now):
            plan.changed.setdefault(name, differing)
            plan.outdated[name] = staleness.compare(config, then, now)
    estimates = estimate.learn(known.values())
    bases: Counter[Basis] = Counter()
    for config in to_do:
        seconds, basis = estimates.seconds(config)
        bases[basis] += 1
        model = plan.models.setdefault(config.model.checkpoint or f"{config.model.name}-{config.model.size}", {})
        model["runs"] = model.get("runs", 0) + 1
        model["device_hours"] = model.get("device_hours", 0.0) + seconds / 3600
        plan.device_hours += seconds / 3600
    plan.runs_by_basis = dict(bases)
    plan.measured_on = sorted(estimates.devices)
    taken = sizes.of(to_do)
    if taken is not None:
        plan.memory_gb, plan.disk_gb, plan.scratch_gb = taken.memory_gb, taken.disk_gb, taken.scratch_gb
    return plan


def check(plan: Plan) -> None:
    """Are finished runs of the official or prefetched data of now, and have those to start from their weights?

    Raises:
        DataError, ModelError: if not.
    """
    if plan.weightless:
        raise ModelError(*plan.weightless[:1])
    if plan.outdated:
        name, what = next(iter(plan.outdated.items()))
        count = len(plan.outdated)
        runs = "a finished run is" if count == 1 else f"{count:,} finished runs are"
        raise DataError(
            f"{runs} of other data than those there now, {'' if count == 1 else 'first '}{name}: {what}; put them "
            "back, or run it again: overwrite=true in its place, another output_root beside it"
        )


def describe(plan: Plan) -> str:
    """The plan as a short paragraph."""
    return " ".join(filter(None, [_describe_runs(plan), _describe_deviating(plan), _describe_changed(plan)]))


def _describe_runs(plan: Plan) -> str:
    same = plan.cells - (plan.runs - plan.parents)
    cells = f" ({plan.cells:,} cells, {same:,} of which ask for what another one does)" if same else ""
    runs = counted(plan.runs, "run")
    first = f", {plan.parents:,} of them for others to start from" if plan.parents else ""
    text = f"{runs}{cells}{first}: {plan.finished:,} finished, {plan.to_do:,} to do."
    if not plan.to_do:
        return text
    if plan.runs_by_basis.get(Basis.UNKNOWN) != plan.to_do:
        known_by = estimate.known_by(plan.runs_by_basis, plan.measured_on)
        text += f" About {_number(plan.device_hours)} device hours ({known_by})."
    else:
        text += " How long they take is not known before one has run: nor is how much text they read, or their model."
    if plan.memory_gb is not None and plan.disk_gb is not None and plan.scratch_gb is not None:
        text += f" Memory: up to {plan.memory_gb:.1f} GB a device and activations."
        text += f" Disk: {_number(plan.disk_gb)} GB stay, up to {plan.scratch_gb:.1f} GB more while a run trains."
    return text


def _describe_deviating(plan: Plan) -> str:
    if not plan.deviating:
        return ""
    count = len(plan.deviating)
    names = ", ".join(plan.deviating[:_NAMED]) + (", …" if count > _NAMED else "")
    return f"{count:,} deviate{'s' * (count == 1)} from the preregistered plan, which does not have {names}."


def _describe_changed(plan: Plan) -> str:
    if not plan.changed:
        return ""
    return (
        f"{staleness.describe(plan.changed)}. Where the plan has such a run as finished, overwrite=true makes it anew."
    )


def add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("overrides", nargs="*", metavar="OVERRIDE", help="those of `gifine --multirun`")
    add("--config-dir", metavar="FOLDER", help="a folder of configs of your own")
    add("--json", action="store_true", help="one object, for programs")
    ahead.add_arguments(parser)


def run(args: Namespace) -> ExitCode:
    """Print the plan, and a line for each model."""
    ahead.check(args)
    cells = grid.expand(args.overrides, args.config_dir)
    plan, chosen = make(cells), grid.distinct(cells)
    known = _read(cell.config for cell in chosen.values()) if args.power or args.preregister is not None else {}
    needs = ahead.needs(args, chosen, known.values()) if args.power else None
    if args.preregister is not None:
        is_there = [run_id for run_id, cell in chosen.items() if known and _is_finished(run_id, known.get(cell.folder))]
        ahead.preregister(args, chosen, is_there)
    if args.json:
        print(json.dumps(asdict(plan) | ({"power": asdict(needs)} if needs is not None else {}), indent=2))
        return ExitCode.DONE
    print(describe(plan))
    for name, each in plan.models.items():
        runs = f"{each['runs']:>8,.0f} {'run ' if each['runs'] == 1 else 'runs'}"
        print(f"  {name:<40} {runs} {_number(each['device_hours']):>10} device hours")
    if needs is not None:
        ahead.show(args, needs)
    return ExitCode.DONE


def _read(configs: Iterable[RunConfig]) -> dict[Path, dict[str, Any]]:
    """By folder the records where these runs write; what is none is left for the run to complain about."""
    places = {(config.output_root, config.output_dir) for config in configs}
    folders = [*{Path(folder).expanduser() for _, folder in places if folder is not None}]
    for root in {root for root, folder in places if folder is None}:
        folders += [path.parent for path in Path(root).expanduser().glob(f"*/{RECORD}")]
    read = {folder: records.entries(folder) for folder in folders}
    return {folder: found for folder, found in read.items() if {"run_id", "status", "config"} <= found.keys()}


def _is_finished(run_id: str, record: dict[str, Any] | None) -> bool:
    return record is not None and record["run_id"] == run_id and record["status"] in FINISHED


def _changed(slugs: set[str], known: dict[Path, dict[str, Any]]) -> dict[str, list[str]]:
    """Of the finished runs of these slugs, by folder: the files that they have read, and that are others now.

    With other contents of one's own files the plan has another run; its slug is the same.
    """
    read = {
        folder.name: _noted(record, "files")
        for folder, record in known.items()
        if record.get("slug") in slugs and record["status"] in FINISHED
    }
    return staleness.files(read)


def _noted(record: dict[str, Any], key: str) -> dict[str, str]:
    """An entry of the provenance; empty in records that do not have it, or are not ours."""
    provenance = record.get("provenance")
    found = provenance.get(key) if isinstance(provenance, dict) else None
    return found if isinstance(found, dict) else {}


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.2g}"
