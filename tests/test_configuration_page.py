"""docs/configuration.md: its tables are those of the schema, and the completion that it tells of works in bash."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest
from docs import configuration

from conftest import ROOT, needs
from gifine import changes
from gifine.choices import GateThreshold
from gifine.config import RunConfig
from hydra_plugins.gifine_launcher import SlurmLauncher

PAGE = (ROOT / "docs" / "configuration.md").read_text()


def test_the_page_is_as_the_schema_and_the_groups_are():
    assert configuration.filled(PAGE) == PAGE, "stale: python docs/configuration.py"


def test_keys_of_changes_say_whose_they_are():
    table = PAGE.partition("<!-- generated: change -->")[2].partition("<!-- end -->")[0]
    found = re.findall(r"^\| `change\.(\w+)`(?: of `(\w+)`)? \|", table, re.MULTILINE)
    assert ("layers", "") in found
    for name in {*changes.names()} - {"gi"}:
        own = {field.name for field in dataclasses.fields(changes.load(name).Settings)} - {"layers"}
        assert own == {key for key, of in found if of == name}


def test_every_key_is_on_the_page_once():
    keys = re.findall(r"^\| `([\w./]+)` \| [^|]+ \|", PAGE.partition("## The run")[2], re.MULTILINE)
    assert sorted(keys) == sorted([*leaves(RunConfig), "change.layers", *launcher_keys()])


def leaves(schema: Any, prefix: str = "") -> list[str]:
    hints = typing.get_type_hints(schema)
    found = []
    for field in dataclasses.fields(schema):
        hint, key = hints[field.name], f"{prefix}{field.name}"
        named = [each for each in typing.get_args(hint) if dataclasses.is_dataclass(each)]
        if dataclasses.is_dataclass(hint):
            found += leaves(hint, f"{key}.")
        elif named:
            found += leaves(named[0], f"{key}.NAME.")
        else:
            found.append(key)
    return found


def launcher_keys() -> list[str]:
    names = [field.name for field in dataclasses.fields(SlurmLauncher.schema) if not field.name.startswith("_")]
    return [f"hydra.launcher.{name}" for name in [*names, "parallelism"]]


@pytest.mark.parametrize("section", configuration.sections())
def test_every_key_has_a_text(section):
    lines = list(configuration.rows(section))
    assert lines
    assert [key for key, _, _, meaning in lines if not meaning] == []


def test_every_section_has_its_table():
    assert [*configuration.BLOCK.findall(PAGE)] == ["groups", *configuration.sections()]


@pytest.mark.parametrize(
    "there", ["λ, 0 … 1", "`1e-05`", "`batch`, `sequence`, `token`", "`model=debertav3` (default)"]
)
def test_what_is_stale_is_written_anew(there):
    stale = PAGE.replace(there, "old")
    assert stale != PAGE
    assert configuration.filled(stale) == PAGE


def test_texts_are_the_comments_beside_a_field_or_above_it(tmp_path, monkeypatch):
    assert configuration.comments(GateThreshold)["sequence"] == "one an example"
    (tmp_path / "written_for_this_test.py").write_text(
        "from dataclasses import dataclass\n\n\n@dataclass\nclass Schema:\n"
        "    # long\n    # text\n    a: int = 1\n    b: int = 2  # beside  # noqa: E501\n    c: int = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    schema = __import__("written_for_this_test").Schema
    assert configuration.comments(schema) == {"a": "long text", "b": "beside", "c": ""}


def test_no_angle_bracket_is_read_as_html():
    outside = re.sub(r"<!-- .+? -->|```.+?```|`[^`]+`", "", PAGE, flags=re.DOTALL)
    assert "<" not in outside


@pytest.mark.machine
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gifine model=debertav", {"model=debertav2", "model=debertav3"}),
        ("gifine gi.th", {"gi.threshold="}),
        ("gifine task=rte hydra/launcher=sl", {"hydra/launcher=slurm"}),
    ],
)
def test_completion_in_bash(line, expected, tmp_path):
    """With the script that pip installs for `gifine`."""
    bash = needs("bash")
    script = tmp_path / "gifine"
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom gifine.__main__ import main\nsys.exit(main())\n")
    script.chmod(0o755)
    (command,) = re.findall(r"^eval .+$", PAGE, re.MULTILINE)
    typed = f"COMP_LINE='{line}'; COMP_POINT={len(line)}; COMP_CWORD={len(line.split()) - 1}"
    asked = f'{command}\ncomplete -p gifine >&2\n{typed}\nhydra_bash_completion\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [bash, "--norc", "-c", asked], capture_output=True, text=True, env=environment, cwd=Path(tmp_path), check=True
    )
    assert "hydra_bash_completion gifine" in done.stderr
    assert set(done.stdout.split()) == expected
