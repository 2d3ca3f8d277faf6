"""Errors that a user can mend, how they are told, and the exit codes of the commands."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator
from enum import IntEnum


class ExitCode(IntEnum):
    """What the commands answer to the shell; docs/reliability.md lists them."""

    DONE = 0
    FAILED = 1  # an exception that is ours or the machine's: the traceback is in the record
    DIFFERS = 1  # weights evaluated again do not give what the record says
    BAD_INPUT = 2  # config, data, checkpoint or folder that the user can mend
    DIVERGED = 3  # the loss became NaN or infinite
    INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: the run stopped early, run it again


class UserError(Exception):
    """Something that the user can mend: the message says what is wrong, where, and what is valid."""

    code = ExitCode.BAD_INPUT


class ConfigError(UserError):
    """One or several things wrong with the composed config."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class DataError(UserError):
    """Data that is missing, truncated or has other columns than the task says."""


class ModelError(UserError):
    """A checkpoint, tokenizer or model config that cannot be used."""


class PrefetchError(UserError):
    """A folder that is not prefetched, or lacks what a run needs; or a Hub out of reach when filling it."""


class OutputError(UserError):
    """A folder that cannot be written, or that holds another run."""


class MemoryExhaustedError(UserError):
    """More memory was needed than there is, on a GPU or a CPU."""


class ArgumentError(UserError):
    """Words on a command line that are missing, unknown, or do not go together."""


class RunError(UserError):
    """Folders that hold no finished run, or not what is asked of one."""


class PlanError(UserError):
    """A file that is no plan of runs, was altered, or is of other runs."""


class ClusterError(UserError):
    """SLURM that does not answer, or refuses what it is asked for."""


class EarlierRunError(UserError):
    """The run that this one starts from has not finished yet."""

    code = ExitCode.INTERRUPTED


class TrackingError(UserError):
    """Weights & Biases is not installed, has no key, or cannot be reached."""


class UnfinishedError(UserError):
    """A sweep has come to its end, and runs of it have not."""

    code = ExitCode.FAILED


def tell(error: UserError) -> ExitCode:
    """Print what is wrong: one problem on one line, several on a line each."""
    lines = str(error).splitlines()
    print("\n  ".join(["error:", *lines] if len(lines) > 1 else [f"error: {lines[0]}"]), file=sys.stderr)
    return error.code


def first_line(error: BaseException) -> str:
    """What an exception of another library says, as far as its first line; its class where it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and those that led to it, the last one first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the nearest of `valid`, or an empty string."""
    near = difflib.get_close_matches(word, list(valid), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""
