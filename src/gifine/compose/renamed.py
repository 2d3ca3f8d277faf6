"""Choices that had other names once: the old words go on working, with a warning."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger(__name__)

# "seed" was the original's code; now it is nothing but what random numbers start from.
_NAMES = {
    "recipe": {"seed": "original"},
    "train": {"seed": "original"},
    "experiment": {"seed_sbatch": "original_sbatch"},
}


def current(words: Iterable[str], config_dir: str | None = None) -> list[str]:
    """The words of a command line, with choices as they are called now. A config of one's own keeps its name."""
    return [_current(word, config_dir) for word in words]


def hint(group: str, name: str) -> str:
    """` (it is called … now)` of a choice that a YAML file of one's own names so; of others an empty string."""
    new = _NAMES.get(group, {}).get(name)
    return "" if new is None else f" (it is called {group}={new} now)"


def _current(word: str, config_dir: str | None) -> str:
    group, equals, chosen = word.partition("=")
    names = _NAMES.get(group.lstrip("+"), {})
    found = chosen
    for old, new in names.items():  # of a list, too
        if config_dir is not None and (Path(config_dir) / group.lstrip("+") / f"{old}.yaml").is_file():
            continue
        found = re.sub(rf"(?<![\w-]){old}(?![\w-])", new, found)
    if found != chosen:
        log.warning("%s is called %s=%s now", word, group, found)
    return f"{group}{equals}{found}"
