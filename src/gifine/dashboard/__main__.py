"""Build the workspace and the report of a wandb project that runs have logged to.

    gifine dashboard PROJECT|ENTITY/PROJECT [--group GROUP] [--tasks NAME,…] [--dry-run FILE]

Saving needs the login of `wandb login` or WANDB_API_KEY; `--dry-run` writes what would be saved to a file, and needs
neither login nor network.
"""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from gifine import commands
from gifine.compose import grid
from gifine.dashboard import selection
from gifine.dashboard.selection import Selection
from gifine.errors import ArgumentError, ExitCode
from gifine.tracking import wandb_server

_PARTS = ("workspace", "report")


def parser() -> commands.Parser:
    parser = commands.Parser(
        prog="gifine dashboard",
        description=(__doc__ or "").partition("\n")[0],
        epilog="Saving again replaces what was saved for the same groups, models, changes and tasks.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("project", metavar="PROJECT|ENTITY/PROJECT", help="tracking.project of the runs; the entity is the login's")
    add("--group", action="append", default=[], metavar="GROUP", help="only runs of this tracking.group; repeatable")
    add("--tasks", type=_words, metavar="NAME,…", help="only these tasks (default: all but the demo)")
    add("--models", type=_words, default=(), metavar="NAME,…", help="only runs of these models (model.name)")
    add("--changes", type=_words, default=(), metavar="NAME,…", help="only these changes, beside plain models")
    add("--split-dev", action="store_true", help="the runs had evaluate.split_dev=true: metrics of the reported half")
    add("--only", choices=_PARTS, help="one of the two")
    add("--dry-run", type=_path, metavar="FILE", help="write what would be saved to this file, as JSON")
    add("--config-dir", metavar="FOLDER", help="a folder of configs of your own, with tasks, models and changes")
    return parser


def main(words: Sequence[str] | None = None) -> ExitCode:
    """Run the command line (null: the process's own) and return its exit code."""
    return commands.call(_dashboard, parser(), words)


def _dashboard(args: Namespace) -> ExitCode:
    grid.check_config_dir(args.config_dir)
    entity, project = _split(args.project)
    chosen = Selection(
        entity=entity,
        project=project,
        tasks=selection.tasks(args.tasks, args.config_dir),
        groups=tuple(dict.fromkeys(args.group)),
        models=selection.models(args.models, args.config_dir),
        changes=selection.changes(args.changes, args.config_dir),
        narrowed=args.tasks is not None,
        split_dev=args.split_dev,
    )
    wandb_server.check_installed("wandb", "wandb_workspaces")
    from gifine.dashboard import report, saving, workspace  # wandb: half a second, and only where it is asked for

    built_workspace = workspace.build(chosen) if args.only != "report" else None
    built_report = report.build(chosen) if args.only != "workspace" else None
    if args.dry_run is not None:
        saving.write(args.dry_run, built_workspace, built_report)
        print(f"written to {args.dry_run}; nothing was sent")
        return ExitCode.DONE
    with saving.server() as server:
        if built_workspace is not None:
            _tell("workspace", *server.save_workspace(built_workspace))
        if built_report is not None:
            _tell("report", *server.save_report(built_report))
    return ExitCode.DONE


def _tell(what: str, url: str, replaced: bool) -> None:
    print(f"{what} {'replaced' if replaced else 'saved'}: {url}", flush=True)  # the next one may fail


def _split(word: str) -> tuple[str, str]:
    entity, slash, project = word.rpartition("/")
    if not project or (slash and not entity) or "/" in entity:
        raise ArgumentError(f"{word}: give PROJECT or ENTITY/PROJECT")
    return entity, project


def _words(word: str) -> tuple[str, ...]:
    words = tuple(each.strip() for each in word.split(",") if each.strip())
    if not words:
        raise ArgumentTypeError(f"{word}: no names")
    return words


def _path(word: str) -> Path:
    return Path(word).expanduser()


if __name__ == "__main__":
    sys.exit(main())
