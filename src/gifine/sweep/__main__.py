"""`python -m gifine.sweep COMMAND …`: finds the commands in this folder, and calls `main(words)` of the one named."""

from __future__ import annotations

import ast
import importlib
import sys
from argparse import REMAINDER, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from gifine.commands import Parser, call
from gifine.errors import ArgumentError, ExitCode, did_you_mean


def commands() -> dict[str, str]:
    """Each command with what it does: the first line of its file."""
    paths = sorted(Path(__file__).parent.glob("[!_]*.py"))
    return {
        path.stem: (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]
        for path in paths
    }


def main() -> int:
    """Run the command line and return its exit code."""
    known = commands()
    parser = Parser(
        prog="python -m gifine.sweep",
        description="What can be asked of many runs:\n"
        + "".join(f"\n  {name:<9} {does}" for name, does in known.items()),
        epilog="COMMAND --help lists the arguments of one.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", metavar="COMMAND")
    parser.add_argument("words", nargs=REMAINDER, metavar="…", help="of the command")

    def dispatch(args: Namespace) -> ExitCode:
        if args.command not in known:
            valid = ", ".join(known)
            raise ArgumentError(f"{args.command}: no such command{did_you_mean(args.command, known)}; valid: {valid}")
        return importlib.import_module(f"gifine.sweep.{args.command}").main(args.words)

    return call(dispatch, parser, None)


if __name__ == "__main__":
    sys.exit(main())
