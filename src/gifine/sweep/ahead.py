"""What `gifine sweep plan` decides ahead of the runs: how many seeds they take, and the plan that is written down.

The statistics are imported where they are asked for: other plans need not wait for scipy.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gifine import commands
from gifine.compose.grid import Cell
from gifine.errors import ArgumentError
from gifine.sweep import listing

if TYPE_CHECKING:
    from gifine.sweep.pilot import Needs


def add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--preregister", type=Path, metavar="FILE", help="write the plan down, for plan=FILE and report --plan FILE")
    commands.add_rules(
        parser, "the comparisons that the plan is about, as gi.side=both,gi.level=0.3; the others explore"
    )
    add("--late", action="store_true", help="preregister although runs are finished; the plan then says so")
    add("--power", action="store_true", help="how many seeds the margin takes, by the runs of --pilot")
    add("--pilot", type=Path, action="append", metavar="RUNS", help="finished runs, which the test must not count")
    add("--price", type=commands.positive, metavar="PER_HOUR", help="of a device, for the cost beside the hours")


def check(args: Namespace) -> None:
    """Raise an ArgumentError for options that do not go together."""
    is_written = args.preregister is not None
    for name, goes_with, is_there in (
        ("late", "--preregister FILE", is_written),
        ("pilot", "--power", args.power),
        ("price", "--power", args.power),
        ("margin", "--preregister FILE or --power", args.power or is_written),
        ("primary", "--preregister FILE or --power", args.power or is_written),
    ):
        if getattr(args, name) and not is_there:
            raise ArgumentError(f"--{name}: goes with {goes_with}")
    if args.power and not args.pilot:
        raise ArgumentError("--power: needs --pilot RUNS, finished runs of these models and tasks with other seeds")
    given = [word for word in args.overrides if word.lstrip("+").startswith("plan=")]
    if given and is_written:
        raise ArgumentError(f"{given[0]}: these runs name a plan already; leave it out to preregister another one")


def needs(args: Namespace, cells: Mapping[str, Cell], finished: Iterable[dict[str, Any]]) -> Needs:
    """The seeds that these runs, by run_id, take; `finished` records tell how long runs are.

    Raises:
        UserError: as `pilot.needs`.
    """
    from gifine.report.analysis import families
    from gifine.sweep import pilot

    configs = {run_id: cell.config for run_id, cell in cells.items()}
    return pilot.needs(configs, args.pilot, args.margin or families.MARGIN, args.primary, finished)


def show(args: Namespace, found: Needs) -> None:
    """Print them as a table, and what it means."""
    from gifine.sweep import pilot

    listing.show(pilot.rows(found, args.price), as_json=False)
    print("\n".join(pilot.notes(found, args.price)))


def preregister(args: Namespace, cells: Mapping[str, Cell], finished: Sequence[str]) -> None:
    """Write the plan of these runs, by run_id, some of which may have `finished`, and say how to go on.

    Raises:
        UserError: as `preregister.write`.
    """
    from gifine.report.analysis import families
    from gifine.sweep import preregister

    words = [*(["--config-dir", args.config_dir] if args.config_dir else []), *args.overrides]
    preregister.write(
        args.preregister,
        cells,
        command=["gifine", "--multirun", *words],
        margin=args.margin or families.MARGIN,
        primary=args.primary,
        finished=finished,
        is_late=args.late,
    )
