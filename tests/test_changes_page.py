"""docs/changes.md: its tables are those of the files of changes, and its example is the one that is tested."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from conftest import ROOT
from gifine import changes, proof
from gifine.changes.contract import SITES, Sizes
from gifine.inputs import change_files

PAGE = (ROOT / "docs" / "changes.md").read_text()
EXAMPLE = ROOT / "docs" / "examples" / "change"
SIZES = Sizes(depth=3, hidden=32, heads=4, inner=48)
NUMBERS = {"D": 32, "H": 4, "E": 8, "I": 48}


def rows(heading: str) -> list[list[str]]:
    """Of the first table below a heading, without its head."""
    lines = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]


CHANGES = {row[0].strip("`"): row for row in rows("The changes that come with gifine")}


def blocks(language: str) -> list[str]:
    """The page's blocks of code, in their order."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def words(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def test_every_site_and_every_change_is_there() -> None:
    assert [site for row in rows("Sites") for site in words(row[0])] == [*SITES]
    assert sorted(CHANGES) == changes.names()


@pytest.mark.parametrize("name", CHANGES)
def test_sites_and_parameters_are_those_of_the_file(name: str) -> None:
    change = changes.load(name)
    entries = yaml.safe_load((ROOT / "conf" / "change" / f"{name}.yaml").read_text())
    settings = change_files.settings(change, entries)
    _, _, sites, formula, _, source = CHANGES[name]
    assert sorted(words(sites)) == sorted(change.find_sites(settings))
    last = change_files.parameters(change, settings, SIZES)
    first = change_files.parameters(change, settings, Sizes(2, 32, 4, 48))
    assert last is not None
    assert first is not None
    assert value(formula, getattr(settings, "rank", 0)) == last - first
    number = re.search(r"\d{4}\.\d{5}|10\.\d{4}/[\w.]+\w", source)
    assert "ours" in source or (number and (number.group() in (change_doc(name))))


def change_doc(name: str) -> str:
    return (ROOT / "src" / "gifine" / "changes" / f"{name}.py").read_text()


def value(formula: str, rank: int) -> int:
    """`4(D² + D)` and `2 r D` in numbers."""
    python = formula.replace("²", "**2")
    python = re.sub(r"(?<=[\w)]) ?(?=\()|(?<=\w) (?=[A-Za-z])", "*", python)
    return eval(python, {}, NUMBERS | {"r": rank})  # noqa: S307 - of a page of ours


def test_the_example_is_the_file_that_is_tested() -> None:
    for language, suffix in (("python", "py"), ("yaml", "yaml")):
        assert blocks(language)[0] == (EXAMPLE / f"temperature.{suffix}").read_text()


def test_the_mean_over_tokens_leaves_padding_out() -> None:
    defined: dict[str, Any] = {}
    exec(blocks("python")[1], defined)  # noqa: S102 - of a page of ours
    value_BTK = torch.tensor([[[1.0], [3.0], [100.0]], [[2.0], [4.0], [6.0]]])
    real_BT = torch.tensor([[True, True, False], [True, True, True]])
    assert defined["mean"](value_BTK, SimpleNamespace(real_BT=real_BT)).flatten().tolist() == [2, 4]
    assert defined["mean"](value_BTK[1:], SimpleNamespace(real_BT=None)).flatten().tolist() == [4]


def test_the_table_of_a_check_has_all_lines() -> None:
    block = next(block for block in blocks("text") if "change=temperature" in block)
    found = [line.partition("  ")[0] for line in block.splitlines()[3:] if line]
    assert found[: len(proof.CHECKS)] == [
        "start",
        "bfloat16",
        "gradients",
        "learns",
        "save and load",
        "resume",
        "random numbers",
        "gradient checkpointing",
        "last layer, one token",
        "fast attention",
        "batch",
        "padding",
    ]
    told = [
        name
        for row in re.findall(r"^\| (`start`|`bfl.*|`grad.*|`learns.*|`save.*|`rand.*|`batch.*)", PAGE, re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", row.partition(" | ")[0])
    ]
    assert sorted(told) == sorted(found[: len(proof.CHECKS)])
