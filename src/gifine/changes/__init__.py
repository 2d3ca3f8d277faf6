"""What is done to attention: a change is one file, its maths and where it sits; `contract.py` says what it has.

`models/changed.py` puts it into every family; a change never knows the family. Nothing else of gifine is imported here.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path

from gifine.changes import contract
from gifine.changes.contract import At, Constant, Normal, Parameter, Place, Settings, Sizes, Uniform

__all__ = ["At", "Constant", "Normal", "Parameter", "Place", "Settings", "Sizes", "Uniform", "load", "names"]


def names() -> list[str]:
    """The changes that come with gifine: the files of this folder."""
    return [*_files()]


@cache  # a report asks for each of its runs
def _files() -> tuple[str, ...]:
    files = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return tuple(sorted(name for name in files if name not in ("__init__", "contract")))


@cache
def load(name: str) -> contract.Change:
    """The change of this name, which is one of `names`."""
    return contract.from_module(name, import_module(f"gifine.changes.{name}"))
