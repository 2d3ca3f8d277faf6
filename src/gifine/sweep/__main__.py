"""`gifine sweep COMMAND …`: what can be asked of many runs. A command is a file in commands/."""

from __future__ import annotations

import importlib
import sys
from argparse import REMAINDER, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from gifine.commands import Parser, call
from gifine.errors import ArgumentError, ExitCode, did_you_mean


def commands() -> dict[str, str]:
    """Each command with what it does, the first line of its file; read, since importing them all takes longer."""
    files = sorted((Path(__file__).parent / "commands").glob("[!_]*.py"))
    return {path.stem: path.read_text(encoding="utf-8").partition("\n")[0].strip('"') for path in files}


def main(words: Sequence[str] | None = None) -> ExitCode:
    """Run the command line (null: the process's own) and return its exit code."""
    known = commands()
    parser = Parser(
        prog="gifine sweep",
        description="\n  ".join(
            ["What can be asked of many runs:", *(f"{name:<9} {does}" for name, does in known.items())]
        ),
        epilog="COMMAND --help lists the arguments of one.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", metavar="COMMAND")
    parser.add_argument("words", nargs=REMAINDER, metavar="…", help="of the command")

    def dispatch(args: Namespace) -> ExitCode:
        if args.command not in known:
            valid = ", ".join(known)
            raise ArgumentError(f"{args.command}: no such command{did_you_mean(args.command, known)}; valid: {valid}")
        module = importlib.import_module(f"gifine.sweep.commands.{args.command}")
        own = Parser(
            prog=f"{parser.prog} {args.command}",
            description=module.__doc__,
            formatter_class=RawDescriptionHelpFormatter,
        )
        module.add_arguments(own)
        return module.run(own.parse_args(args.words))

    return call(dispatch, parser, words)


if __name__ == "__main__":
    sys.exit(main())
