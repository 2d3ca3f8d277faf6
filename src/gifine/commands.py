"""What the commands beside training share: how arguments are read, and what goes wrong told in one message."""

from __future__ import annotations

import argparse
import errno
import io
import logging
import math
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from gifine.errors import ArgumentError, ExitCode, OutputError, UserError, tell
from gifine.runs.selections import SMALLEST_MARGIN, Selection


class Parser(argparse.ArgumentParser):
    """Wrong arguments are told as everything else that a user can mend."""

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        """As argparse does it, with options between positional words as well."""
        if any(action.nargs == argparse.REMAINDER for action in self._actions):  # which takes them as they are
            return super().parse_args(*args, **kwargs)
        return self.parse_intermixed_args(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise ArgumentError(f"{message}; --help lists the arguments")


def seconds(word: str) -> float:
    """The type of an argument that says how long to wait."""
    found = _number(word)
    if not 0 < found <= threading.TIMEOUT_MAX:  # more cannot be slept: 292 years
        raise argparse.ArgumentTypeError(f"{word} is no number of seconds above 0 that can be waited")
    return found


def add_rules(parser: argparse.ArgumentParser, primary: str) -> None:
    """--margin and --primary, by which comparisons are judged; `primary` is the help of the latter."""
    parser.add_argument("--margin", type=margin, metavar="POINTS", help="a smaller difference is none (0.5)")
    parser.add_argument("--primary", type=selection, action="append", default=[], metavar="KEY=VALUE,…", help=primary)


def positive(word: str) -> float:
    """The type of an argument that is a number above 0."""
    found = _number(word)
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"{word} is no number above 0")
    return found


def margin(word: str) -> float:
    """The type of an argument that is a difference of scores in points of percent; as a fraction."""
    points = _number(word)
    if not 0 < points < 100:
        raise argparse.ArgumentTypeError(f"{word} is no margin: points of percent above 0 and below 100, such as 0.5")
    if points < SMALLEST_MARGIN:
        said = f"{word} points of percent: at least {SMALLEST_MARGIN:g}"
        raise argparse.ArgumentTypeError(f"{said}; for the fraction {word} write {100 * points:g}")
    return points / 100


def selection(word: str) -> Selection:
    """The type of an argument that names comparisons by config keys with values as on the command line."""
    pairs = [each.strip().partition("=") for each in word.split(",") if each.strip()]
    if not pairs or any(not (key and sign and value) for key, sign, value in pairs):
        raise argparse.ArgumentTypeError(f"{word}: not KEY=VALUE,KEY=VALUE, such as gi.side=both,gi.level=0.3")
    if len({key for key, _, _ in pairs}) < len(pairs):
        raise argparse.ArgumentTypeError(f"{word}: a key more than once; give --primary again for other comparisons")
    return tuple((key, value) for key, _, value in pairs)


def counted(number: int, thing: str) -> str:
    """`1 run`, `1,200 runs`."""
    return f"{number:,} {thing}{'s' * (number != 1)}"


def give_up_stdout() -> None:
    """Nobody reads it any more: what Python flushes at its end goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def call(command: Callable[[argparse.Namespace], ExitCode], parser: Parser, words: Sequence[str] | None) -> ExitCode:
    """Run a command with its arguments (null: the process's own) and return its exit code."""
    logging.basicConfig(format="%(message)s")  # plain lines on stderr, as a run's
    for name in ("gifine", "__main__"):  # what `python -m` calls a command's own module
        logging.getLogger(name).setLevel(logging.INFO)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a terminal has no character for, such as odd names
    try:
        code = command(parser.parse_args(words))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read it, such as head, has seen enough
        give_up_stdout()
        return ExitCode.DONE
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        give_up_stdout()
        return tell(OutputError("what the command prints cannot be written: the disk is full"))
    except UserError as error:
        return tell(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED


def _number(word: str) -> float:
    """NaN, which is in no range, for what is none."""
    try:
        return float(word)
    except ValueError:
        return math.nan
