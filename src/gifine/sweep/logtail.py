"""The end of a job's log, in a line."""

from __future__ import annotations

import re
from pathlib import Path

_BYTES = 16_384  # from the end
_LETTERS = 300
# What srun says after the job's own last words: that there was an exit code.
_OF_SRUN = re.compile(
    r"srun: (error: .*([Ee]xited with exit code|task.*: Killed|task.*: Terminated)|(launch/slurm: \w+: )?Terminating )"
)


def last_line(path: Path) -> str | None:
    """The last line that says something; null for a log that is empty, or cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return None
    lines = ["".join(filter(str.isprintable, line)).strip() for line in re.split(r"[\r\n]+", text)]
    lines = [line for line in lines if line]
    own = [line for line in lines if not _OF_SRUN.search(line)] or lines
    return own[-1][:_LETTERS] if own else None
