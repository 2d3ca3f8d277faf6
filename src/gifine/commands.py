"""What the commands beside training share: how arguments are read, and what goes wrong told in one message."""

from __future__ import annotations

import argparse
import contextlib
import errno
import logging
import math
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from gifine.errors import ArgumentError, ExitCode, OutputError, UserError, tell


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
    try:
        found = float(word)
    except ValueError:
        found = 0.0
    if not 0 < found <= threading.TIMEOUT_MAX:  # more cannot be slept: 292 years
        raise argparse.ArgumentTypeError(f"{word} is no number of seconds above 0 that can be waited")
    return found


def points(word: str) -> float:
    """The type of an argument that is a difference of scores in points of percent, and no fraction."""
    try:
        found = float(word)
    except ValueError:
        found = math.nan
    if not 0.05 <= found < 100:
        meant = f" (did you mean {100 * found:g}?)" if 0 < found < 0.05 else ""
        raise argparse.ArgumentTypeError(
            f"{word}: a difference in points of percent, from 0.05 on and below 100; 0.5 is half a point{meant}"
        )
    return found


def assignments(word: str) -> dict[str, str | int | float | bool | None]:
    """The type of an argument that is `KEY=VALUE,…`, values as the command line has them."""
    found: dict[str, str | int | float | bool | None] = {}
    for part in word.split(","):
        key, equals, value = part.strip().partition("=")
        if not key or not equals or not value:
            raise argparse.ArgumentTypeError(f"{word}: not of the form KEY=VALUE,KEY=VALUE")
        if key in found:
            raise argparse.ArgumentTypeError(f"{word}: has {key} twice")
        found[key] = _read(value)
    return found


def _read(value: str) -> str | int | float | bool | None:
    words = {"null": None, "true": True, "false": False}
    if value in words:
        return words[value]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(value)
    return value


def give_up_stdout() -> None:
    """Nobody reads it any more: what Python flushes at its end goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def call(command: Callable[[argparse.Namespace], ExitCode], parser: Parser, words: Sequence[str] | None) -> ExitCode:
    """Run a command with its arguments (null: the process's own) and return its exit code."""
    logging.basicConfig(format="%(message)s")  # plain lines on stderr, as a run's
    for name in ("gifine", "__main__"):  # what `python -m` calls a command's own module
        logging.getLogger(name).setLevel(logging.INFO)
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
