"""Comparisons that are named by config keys with values, as `--primary gi.side=both,gi.level=0.3` and plans do; and the
smallest margin that either takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

Selection = tuple[tuple[str, str], ...]  # config keys, with values as on the command line

SMALLEST_MARGIN = 0.05  # points of percent: what is below is a fraction that somebody took for percent
ALL = "all"  # what a report calls gi.layers=null


def fits(selection: Iterable[tuple[str, str]], value: Callable[[str], object]) -> bool:
    """Whether all keys have the values that are named; `value` gives that of a key."""
    return all(says("null" if (key, word) == ("gi.layers", ALL) else word, value(key)) for key, word in selection)


def says(word: str, value: object) -> bool:
    """Whether a word of a command line is this value: `0.30` and `3e-1` are 0.3, `null` is none.

    So is what a table shows of a number, which has six digits at most.
    """
    if value is None or isinstance(value, bool):
        return word.lower() == ("null" if value is None else str(value).lower())
    if isinstance(value, (int, float)):
        try:
            return float(word) == value or word == f"{value:g}"
        except ValueError:
            return False
    return word == value
