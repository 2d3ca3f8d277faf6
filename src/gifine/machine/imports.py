"""Importing torch and transformers in less time."""

from __future__ import annotations

import gc
import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Generator[None]:
    """Import without the garbage collector, and have it leave alone for good what has been imported.

    These imports make millions of objects that stay. Looking through them again and again while they come is a quarter
    of the time, and each full collection later takes half a second: the Trainer asks for one when training starts.
    """
    was_enabled, before = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:  # else what is there now may be of a run that has ended
            gc.freeze()
        if was_enabled:
            gc.enable()
