"""docs/architecture.md: the files that it names are there, and it names every room."""

from __future__ import annotations

import re

from conftest import ROOT
from test_rooms import FLOOR

PACKAGE = ROOT / "src" / "gifine"
TEXT = (ROOT / "docs" / "architecture.md").read_text()
ROOMS = re.findall(r"^\| (`[^|]+) \|", TEXT.partition("## Rooms")[2].partition("A room imports")[0], re.MULTILINE)
PLACES = [
    ROOT,
    PACKAGE,
    *(path for path in PACKAGE.rglob("*") if path.is_dir()),
]  # a line says `report/formats/`: `x.py`


def test_files_that_are_named_are_there():
    named = {word for word in re.findall(r"`([\w./-]+)`", TEXT) if "/" in word or word.endswith(".py")}
    named -= {word for word in named if "NAME" in word} | {"task/split/metric"}
    assert len(named) > 80
    assert [word for word in sorted(named) if not any((place / word).exists() for place in PLACES)] == []


def test_every_room_is_in_the_table_in_the_order_of_floors():
    table = [
        [f"gifine.{word.strip('/').removesuffix('.py')}" for word in re.findall(r"`([\w./]+)`", row)] for row in ROOMS
    ]
    named = [name for row in table for name in row]
    at_the_top = {name for name in FLOOR if name.count(".") == 1 and name.startswith("gifine.")}
    assert sorted(named) == sorted(at_the_top - {"gifine.__main__"})
    floors = [{FLOOR[name] for name in row} for row in table]
    assert all(len(floor) == 1 for floor in floors)
    assert floors == sorted(floors, key=min)
