"""Imports without the garbage collector, which afterwards leaves alone what was imported, and nothing else."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path

import pytest

from gifine.machine.imports import uncollected


class Knot:
    """In a cycle with itself: only the collector frees it."""

    def __init__(self) -> None:
        self.own = self


@pytest.fixture(autouse=True)
def _collected():
    yield
    gc.unfreeze()
    gc.collect()


def test_what_is_imported_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gifine_example_module.py").write_text("import gc\nenabled = gc.isenabled()\nlist_of_lists = [[]]\n")
    monkeypatch.syspath_prepend(tmp_path)
    with uncollected():
        import gifine_example_module as example  # pyrefly: ignore[missing-import] - written above
    assert not example.enabled
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
    assert not any(tracked is example.list_of_lists for tracked in gc.get_objects())
    del sys.modules["gifine_example_module"]


def test_where_nothing_is_imported_what_has_ended_is_collected() -> None:
    knot = Knot()
    ended = weakref.ref(knot)
    with uncollected():
        del knot
    gc.collect()
    assert ended() is None


def test_the_collector_comes_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModuleNotFoundError), uncollected():
        import gifine_there_is_no_such_module  # noqa: F401  # pyrefly: ignore[missing-import] - that is the point
    assert gc.isenabled()
