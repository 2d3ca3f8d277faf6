"""The house: which folder may import which, no circles, and no module that has grown too long.

python tests/test_rooms.py         shows each room with the floor that it stands on and what it imports
"""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
PACKAGES = ("gifine", "hydra_plugins")
LONGEST = 300  # lines; above it a module has more than one subject
LONGER: dict[str, str] = {}  # a module and why it is longer all the same

# From the bottom to the top: a room imports from floors below its own, or its neighbours on one floor without a circle.
FLOORS = [
    (
        "gifine",
        "gifine.errors",
        "gifine.schema",
        "gifine.choices",
        "gifine.config",
        "gifine.task_config",
        "gifine.changes",
        "gifine.changes.autograd",
    ),
    ("gifine.machine",),
    ("gifine.inputs", "gifine.inputs.demo", "gifine.inputs.corpora"),
    ("gifine.runs",),
    (
        "gifine.models",
        "gifine.models.families",
        "gifine.models.attention",
        "gifine.models.pretraining",
        "gifine.models.speedups",
    ),
    (
        "gifine.training",
        "gifine.objectives",
        "gifine.objectives.classification",
        "gifine.objectives.pretraining",
        "gifine.objectives.question_answering",
        "gifine.tracking",
    ),
    ("gifine.compose", "gifine.proof"),
    ("gifine.train", "gifine.commands", "gifine.glue_submission", "gifine.squad_submission", "gifine.submissions"),
    (
        "gifine.execution",
        "gifine.evaluate",
        "gifine.predict",
        "gifine.export",
        "gifine.prefetch",
        "gifine.memory",
        "gifine.sync",
        "gifine.check_change",
    ),
    ("gifine.report", "gifine.report.analysis", "gifine.report.formats", "gifine.report.plots"),
    ("gifine.sweep", "gifine.sweep.commands", "gifine.dashboard", "gifine.doctor", "gifine.inspect"),
    ("hydra_plugins.gifine_launcher", "hydra_plugins.gifine_sweeper", "hydra_plugins.gifine_packages"),
    ("gifine.cli",),
    ("gifine.__main__",),
]
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in sorted((SOURCE / package).rglob("*.py")):
            name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()
FOLDERS = {name for name, path in MODULES.items() if path.name == "__init__.py"}


def room(name: str) -> str:
    """A folder, or one of the modules at the top, which are rooms of their own."""
    parent = name if name in FOLDERS else name.rpartition(".")[0]
    return name if parent == "gifine" else parent


@cache
def imports(name: str) -> set[str]:
    """The modules that one imports, wherever in its text: at its top or when it needs them."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        words = []
        if isinstance(node, ast.Import):
            words = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute here"
            words = [f"{node.module}.{alias.name}" for alias in node.names]
        for word in words:
            while word and word not in MODULES:
                word = word.rpartition(".")[0]
            found.add(word)
    return found - {"", name}


def arrows() -> dict[str, dict[str, list[str]]]:
    """By room the rooms that it imports from, each with the imports that say so."""
    found: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in MODULES:
        found[room(name)]  # also those that import nothing
        for other in imports(name):
            if room(other) != room(name):
                found[room(name)][room(other)].append(f"{name} imports {other}")
    return {name: dict(others) for name, others in found.items()}


def circle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_every_room_has_its_floor():
    assert set(arrows()) == set(FLOOR)


def test_no_arrow_runs_upward():
    upward = [
        f"{why[0]} (floor {FLOOR[above]} from floor {FLOOR[below]})"
        for below, others in arrows().items()
        for above, why in others.items()
        if FLOOR[above] > FLOOR[below]
    ]
    assert upward == []


def test_no_circle_of_modules():
    assert circle({name: imports(name) - FOLDERS for name in MODULES}) == []


def test_no_circle_of_rooms():
    """Of a folder that has folders, its own modules count one by one: they are what those share, or what joins them."""
    has_folders = {room(name).rpartition(".")[0] for name in MODULES if name in FOLDERS} - {"gifine"}

    def place(name: str) -> str:
        return name if room(name) in has_folders else room(name)

    graph: defaultdict[str, set[str]] = defaultdict(set)
    for name in MODULES:
        graph[place(name)] |= {place(other) for other in imports(name)} - {place(name)}
    assert circle(graph) == []


def test_a_circle_and_an_arrow_upward_would_be_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    assert not circle({"a": {"b", "c"}, "b": {"c"}})
    assert "gifine.runs" in arrows()["gifine.compose"]
    assert FLOOR["gifine.runs"] < FLOOR["gifine.compose"]


def test_modules_are_not_too_long():
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {
        name: lengths[name] for name in LONGER
    }


if __name__ == "__main__":
    for each, others in sorted(arrows().items(), key=lambda entry: FLOOR.get(entry[0], -1)):
        print(f"{FLOOR.get(each, '?'):>2}  {each} → {', '.join(sorted(others)) or 'nothing'}")
