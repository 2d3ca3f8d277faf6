"""`python -m gifine.sweep COMMAND SWEEP_FOLDER`: each command is the module of its name."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from gifine import commands
from gifine.errors import ExitCode
from gifine.sweep import cancel, logs, retry, status, table

COMMANDS = {module.__name__.rpartition(".")[2]: module for module in (status, retry, cancel, logs, table)}


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return commands.call(_call, parser(), words)


def parser() -> commands.Parser:
    """The commands with their arguments."""
    top = commands.Parser(prog="python -m gifine.sweep", description="Look at a sweep's runs, and act on them.")
    choices = top.add_subparsers(required=True, metavar="COMMAND", parser_class=commands.Parser)
    for name, module in COMMANDS.items():
        says = (module.__doc__ or "").splitlines()[0]
        own = choices.add_parser(name, help=says, description=says)
        own.add_argument("sweep", metavar="SWEEP_FOLDER", help="where the runs are: output_root")
        module.add_arguments(own)
        own.set_defaults(command=module.run)
    return top


def _call(args: argparse.Namespace) -> ExitCode:
    return args.command(args)


if __name__ == "__main__":
    sys.exit(main())
