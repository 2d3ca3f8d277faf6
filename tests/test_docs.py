"""The documents: links lead somewhere, and the commands that they show compose."""

from __future__ import annotations

import re
import shlex

import pytest

from conftest import ROOT
from gifine import evaluate, predict
from gifine.compose import grid
from gifine.dashboard import __main__ as dashboard
from gifine.inputs import offline
from gifine.inputs.offline import Manifest
from gifine.report import __main__ as report

START = r"^(?:# +)?(?:\.venv/bin/)?(?:python|torchrun --nproc-per-node=4)"
COMMAND = START + r" -m gifine(?:\.prefetch|\.doctor|\.sweep plan)? (.+)$"
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("launchers/*.md")]
COMMANDS = sorted(
    {
        command.split("#")[0].strip()
        for path in [*DOCUMENTS, *(ROOT / "conf").rglob("*.yaml")]
        for command in re.findall(COMMAND, path.read_text(), re.MULTILINE)
    }
)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_to_files_exist(path):
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", path.read_text())
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_commands_are_found():
    assert "model=debertav3 gi.level=0.3 task=cola" in COMMANDS
    assert "prefetch=shared/glue model=debertav3,bert task=cola,rte" in COMMANDS
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("module", [evaluate, predict, report], ids=["evaluate", "predict", "report"])
def test_commands_after_a_run_have_arguments_that_there_are(module):
    name = module.__name__.removesuffix(".__main__")
    texts = [path.read_text() for path in DOCUMENTS]
    commands = [words for text in texts for words in re.findall(rf"^\S*python -m {name} (.+)$", text, re.MULTILINE)]
    assert commands
    for command in commands:
        assert module.parser().parse_args(shlex.split(command)).runs


def test_commands_on_dashboards_have_arguments_that_there_are():
    texts = [path.read_text() for path in DOCUMENTS]
    commands = [
        line for text in texts for line in re.findall(r"^\S*python -m gifine.dashboard (.+)$", text, re.MULTILINE)
    ]
    assert commands
    for command in commands:
        assert dashboard.parser().parse_args(shlex.split(command)).project == "gi"


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_compose(command, tmp_path):
    """With folders and files of the reader's own put in the place of the examples'."""
    rows = tmp_path / "rows.csv"
    rows.touch()
    words = shlex.split(command)
    offline.write(tmp_path, Manifest())
    for place, own in (
        ("data.dir=", tmp_path),
        ("prefetch=", tmp_path),
        ("task.files.train=", rows),
        ("task.files.validation=", rows),
    ):
        words = [f"{place}{own}" if word.startswith(place) else word for word in words]
    assert grid.expand([word for word in words if not word.startswith("--")])
