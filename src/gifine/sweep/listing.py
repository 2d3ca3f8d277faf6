"""What the commands on a sweep share: which runs are meant, and rows shown to people and programs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gifine.errors import RunError
from gifine.sweep import ledger, states
from gifine.sweep.states import RunState, State

_COLOURS = {State.DONE: "green", State.RUNNING: "cyan", State.QUEUED: "dim", State.DEGENERATE: "yellow"}


def add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", metavar="SWEEP_FOLDER", help="where the runs are: output_root")


def folder(given: str) -> Path:
    return Path(given).expanduser().absolute()


def read(sweep: Path) -> list[RunState]:
    """The sweep's runs as they are now; where SLURM gives no answer, as their records say.

    Raises:
        RunError: if the folder is no sweep's.
    """
    return states.read(sweep, ledger.read_existing(sweep), needs_slurm=False)


def chosen(runs: Sequence[RunState], names: Sequence[str]) -> list[RunState]:
    """The runs that these words name: run_ids, their beginnings, or names of run folders; all if there are none.

    Raises:
        RunError: for a word that names no run.
    """
    if not names:
        return list(runs)
    found: list[RunState] = []
    for name in names:
        word = Path(name).name
        matching = [run for run in runs if word in (run.entry.slug, Path(run.entry.folder).name)]
        matching = matching or [run for run in runs if run.entry.run_id.startswith(word)]
        if not matching:
            raise RunError(f"{name}: no run of this sweep; status lists them")
        found += [run for run in matching if run not in found]
    return found


def show(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Rows as JSON, as a table on a terminal, or as lines with tabs in a pipe."""
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_text(row.get(column)) for column in columns] for row in rows]
    if not sys.stdout.isatty():
        for line in [columns, *cells]:
            print("\t".join(line))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, header_style="bold")
    for line in cells:
        table.add_row(*[Text(cell, style=_COLOURS.get(State(cell), "red") if cell in _STATES else "") for cell in line])
    Console().print(table)


_STATES = frozenset(State)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
