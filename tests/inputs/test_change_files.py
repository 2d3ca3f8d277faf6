"""Files of changes: what one's own has to have, and what is said of one that has not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gifine import changes
from gifine.changes import Settings, Sizes
from gifine.errors import ModelError
from gifine.inputs import change_files

SIZES = Sizes(depth=3, hidden=8, heads=2, inner=16)
HEAD = "from dataclasses import dataclass\nfrom gifine.changes import Parameter, Settings as Shared\n"
SETTINGS = "@dataclass\nclass Settings(Shared):\n    rank: int = 2\n"
FIND = "def find_parameters(settings, place):\n    return {'a.weight': Parameter((settings.rank, place.given))}\n"
APPLY = "def apply(settings, parameters, value, at):\n    return value\n"
SITES = "SITES = ('query', 'ffn')\n"
GOOD = HEAD + SETTINGS + SITES + FIND + APPLY


def write(folder: Path, source: str) -> dict[str, str]:
    path = folder / "mine.py"
    path.write_text(source)
    return {"name": "mine", "file": str(path)}


def told(entries: dict[str, str], **keys: object) -> str:
    """What is said of a file, or else of keys of its."""
    try:
        change = change_files.load(entries)
        chosen = change_files.settings(change, entries | keys)
        return "\n".join(change_files.problems(change, chosen, SIZES))
    except ModelError as error:
        return str(error)


def test_a_file_of_ones_own_is_a_change_with_typed_keys(tmp_path: Path) -> None:
    entries = write(tmp_path, GOOD)
    change = change_files.load(entries)
    assert (change.name, change.file) == ("mine", entries["file"])
    chosen = change_files.settings(change, entries | {"rank": "3", "layers": 2})
    assert (vars(chosen), [*change_files.problems(change, chosen, SIZES)]) == ({"layers": 2, "rank": 3}, [])
    places = change_files.places(change, chosen, SIZES)
    assert [(place.layer, place.site, place.taken, place.given) for place in places] == [
        (1, "query", 8, 8),
        (1, "ffn", 8, 16),
        (2, "query", 8, 8),
        (2, "ffn", 8, 16),
    ]
    assert change_files.parameters(change, chosen, SIZES) == 2 * 3 * (8 + 16)
    assert change_files.parameters(change, chosen, Sizes(depth=3)) is None
    assert [*tmp_path.iterdir()] == [tmp_path / "mine.py"]  # no bytecode beside it
    assert "torch" not in change_files.__dict__


def test_an_edited_file_is_read_anew(tmp_path: Path) -> None:
    entries = write(tmp_path, GOOD)
    assert change_files.load(entries) is change_files.load(entries)
    write(tmp_path, GOOD.replace("rank: int = 2", "rank: int = 5"))
    assert change_files.defaults(change_files.load(entries)) == {"layers": None, "rank": 5}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = (1\n", ", line 1: SyntaxError: '(' was never closed"),
        ("x = 1\n\0", ": SyntaxError: source code string cannot contain null bytes"),
        ("x = 1\ny = x / 0\n", ", line 2: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", ", line 2: SystemExit: 3"),
        ("import nothing_of_the_kind\n", ", line 1: ModuleNotFoundError: No module named 'nothing_of_the_kind'"),
        (HEAD + SITES + FIND, ": has no apply(settings, parameters, value, at); a change has SITES or find_sites, "),
        (HEAD + SITES + APPLY, ": has no find_parameters(settings, place); "),
        (HEAD + FIND + APPLY, ": has neither SITES nor find_sites(settings); "),
        (GOOD.replace(", at", ""), ", line 9: apply is no function of (settings, parameters, value, at)"),
        (GOOD.replace("'query'", "'querry'"), ", line 6: 'querry': no such site (did you mean 'query'?); valid: "),
        (GOOD.replace("('query', 'ffn')", "'query'"), ", line 6: SITES is 'query': a tuple of sites"),
        (GOOD.replace("(Shared)", ""), ", line 4: Settings is no dataclass that inherits gifine.changes.Settings"),
        (GOOD.replace("@dataclass\n", ""), ", line 3: Settings lacks @dataclass, so its keys are none"),
        (GOOD.replace("rank:", "name:"), ", line 4: Settings.name: another name: "),
        (GOOD.replace("int = 2", "'list[nothing]' = 2"), ", line 4: Settings: "),
    ],
)
def test_an_error_in_a_file_has_its_name_and_the_line(tmp_path: Path, source: str, said: str) -> None:
    entries = write(tmp_path, source)
    before = {*sys.modules}
    assert told(entries).startswith(f"{entries['file']}{said}")
    assert not [name for name in {*sys.modules} - before if name.startswith("_change_")]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (GOOD.replace("return {", "return 1 / 0, {"), "{file}, line 8: ZeroDivisionError: division by zero"),
        (GOOD + "def check(settings, sizes):\n    yield settings.rang\n", "{file}, line 12: AttributeError: "),
        (
            GOOD + "def find_layers(settings, depth):\n    return [depth]\n",
            "change=mine: its layers are [3]: the model",
        ),
        (GOOD + "def find_sites(settings):\n    return ['keys']\n", "change=mine: 'keys': no such site ("),
        (GOOD + "def find_sites(settings):\n    return ['key'] * 2\n", "change=mine: its sites are key, key: "),
        (GOOD.replace("a.weight", "a b"), "change=mine: find_parameters: 'a b' is no name: NAME or GROUP.NAME"),
        (GOOD.replace("settings.rank,", "'2',"), "change=mine: find_parameters: a.weight is Parameter("),
        (GOOD.replace("(settings.rank, place.given)", "7"), "change=mine: find_parameters: a.weight is Parameter("),
        (GOOD.replace("place.given)", "place.given), 0.5"), "change=mine: find_parameters: a.weight starts from 0.5: "),
        (GOOD.replace("'a.weight'", "3"), "change=mine: find_parameters: '3' is no name: NAME or GROUP.NAME"),
        (GOOD.replace("return {", "return [1] or {"), "change=mine: find_parameters: gives [1]: a Parameter by each"),
        (GOOD + "def check(settings, sizes):\n    return 'rank=2: bad'\n", "change=mine: check: gives a text: it"),
    ],
)
def test_errors_that_its_functions_make(tmp_path: Path, source: str, said: str) -> None:
    entries = write(tmp_path, source)
    assert told(entries).startswith(said.format(file=entries["file"]))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"rnak": 3}, "change.rnak: change=mine has no such key (did you mean 'rank'?); valid: layers, rank, scale, "),
        ({"rank": "x"}, "change.rank=x: Value 'x' of type 'str' could not be converted to Integer"),
        ({"rank": None}, "change.rank=null: Incompatible value 'None' for field of type 'int'"),
        ({"scale": float("nan")}, "change.scale=nan: must be a finite number"),
        ({"scale": float("inf")}, "change.scale=inf: must be a finite number"),
        ({"words": "x"}, "change.words=x: must be a list, as [a, b]"),
        ({"layers": 0}, "change.layers=0: number of last layers that are changed, at least 1; null for all"),
        ({"layers": 4}, "change.layers=4: the model has 3 layers"),
    ],
)
def test_wrong_keys(tmp_path: Path, keys: dict[str, object], said: str) -> None:
    more = "    scale: float = 1.0\n    words: list[str] = field(default_factory=lambda: ['a', 'b'])\n"
    source = "from dataclasses import field\n" + GOOD.replace(SETTINGS, SETTINGS + more)
    assert told(write(tmp_path, source), **keys).startswith(said)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert told({"name": "mine", "file": str(tmp_path / "mine.py")}) == (
        f"change.file={tmp_path / 'mine.py'}: no such file"
    )
    assert told({"name": "mine", "file": str(tmp_path)}).endswith(": cannot be read: Is a directory")
    assert told({"name": "lroa"}).startswith("change=lroa: no such change (did you mean 'lora'?); valid: added, ")


@pytest.mark.parametrize("name", sorted({*changes.names()} - {"gi"}))
def test_those_that_come_with_gifine_pass_the_same_checks(name: str) -> None:
    change = changes.load(name)
    chosen = change_files.settings(change, {"name": name})
    assert isinstance(chosen, Settings)
    assert [*change_files.problems(change, chosen, Sizes(4, 64, 4, 256))] == []


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, []),
        ({"rank": 8, "layers": None}, []),
        ({"rank": 4, "layers": 6}, ["rank4", "last6"]),
        (
            {"positions": False, "alpha": 0.5, "sites": ["query", "key"]},
            ["positions-false", "alpha0.5", "sites-query-key"],
        ),
    ],
)
def test_names_show_what_is_not_the_default(keys: dict[str, object], words: list[str]) -> None:
    assert [*change_files.unusual({"name": "lora", **keys}).values()] == words


@pytest.mark.parametrize(
    ("keys", "model", "positions"),
    [
        ({"name": "lora"}, {"share_att_key": True}, "positions"),
        ({"name": "lora", "positions": False}, {"share_att_key": True}, "content"),
        ({"name": "lora"}, {"share_att_key": False}, None),
        ({"name": "lora"}, {"share_att_key": True, "model_type": "gi_bert"}, None),
        ({"name": "lora", "sites": ["value"]}, {"share_att_key": True}, None),
    ],
)
def test_a_record_says_where_a_change_sits(
    keys: dict[str, object], model: dict[str, object], positions: object
) -> None:
    known = {"num_hidden_layers": 3, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
    known |= {"model_type": "gi_deberta-v2", "relative_attention": True} | model
    change = change_files.load(keys)
    said = change_files.describe(change, change_files.settings(change, keys | {"layers": 2}), known)
    sites = keys.get("sites", ["query", "value"])
    assert said == {"name": "lora", "sites": sites, "layers": [1, 2], "positions": positions}
