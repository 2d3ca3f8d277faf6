"""Choices that had other names once: the old words go on working, with a warning."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

log = logging.getLogger(__name__)

# "seed" was the original's code; now it is nothing but what random numbers start from.
_NAMES = {
    "recipe": {"seed": "original"},
    "train": {"seed": "original"},
    "experiment": {"seed_sbatch": "original_sbatch"},
}


def current(words: Iterable[str]) -> list[str]:
    """The words of a command line, with choices as they are called now."""
    return [_current(word) for word in words]


def _current(word: str) -> str:
    group, equals, chosen = word.partition("=")
    names = _NAMES.get(group.lstrip("+"), {})
    found = chosen
    for old, new in names.items():  # of a list, too
        found = re.sub(rf"(?<![\w-]){old}(?![\w-])", new, found)
    if found != chosen:
        log.warning("%s is called %s=%s now", word, group, found)
    return f"{group}{equals}{found}"
