"""docs/architecture.md: the files that it names are there, and it names every room."""

from __future__ import annotations

import re

from conftest import ROOT

PACKAGE = ROOT / "src" / "gifine"
TEXT = (ROOT / "docs" / "architecture.md").read_text()
ROOMS = re.findall(r"^\| (`[^|]+) \|", TEXT.partition("## Rooms")[2].partition("Imports run")[0], re.MULTILINE)
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


def test_every_room_is_in_the_table_once():
    named = [word.strip("/") for row in ROOMS for word in re.findall(r"`([\w./]+)`", row)]
    there = {
        path.name
        for path in PACKAGE.iterdir()
        if not path.name.startswith("_") and (path.suffix == ".py" or (path / "__init__.py").exists())
    }
    assert sorted(named) == sorted(there)
