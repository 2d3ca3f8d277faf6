"""Errors that a user can mend, and the exit codes of `python -m gifine`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What `python -m gifine` answers to the shell; README lists them."""

    DONE = 0
    FAILED = 1  # an exception that is ours or the machine's: the traceback is in the record
    BAD_INPUT = 2  # config, data, checkpoint or folder that the user can mend
    DIVERGED = 3  # the loss became NaN or infinite
    INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: the run stopped early, run it again


class UserError(Exception):
    """Something that the user can mend: the message says what is wrong, where, and what is valid."""


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


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the nearest of `valid`, or an empty string."""
    near = difflib.get_close_matches(word, list(valid), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""
