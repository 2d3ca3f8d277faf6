"""docs/troubleshooting.md: what it quotes is what the code says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
QUOTED = [message for _, message in re.findall(r"^#### (`+)(.+)\1$", PAGE, re.MULTILINE)]
VARIES = "…"


def strings(path: Path) -> Iterator[str]:
    """The string constants of a file; what an f-string fills in is `…`, as on the page."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else VARIES for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value.replace("%s", VARIES).replace("%d", VARIES)


SAID = [*{said for path in (ROOT / "src").rglob("*.py") for said in strings(path)}, (ROOT / "Makefile").read_text()]


def test_there_are_many():
    assert len(QUOTED) >= 50
    assert len(set(QUOTED)) == len(QUOTED)


@pytest.mark.parametrize("message", QUOTED)
def test_messages_are_said(message):
    """Each run of words between two `…`, in this order, in one string of the code."""
    words = [re.escape(part) for part in message.split(VARIES) if part.strip(" :;,.'()")]
    pattern = re.compile(".*".join(words), re.DOTALL)
    assert sum(map(len, words)) > 10, "too little to be found by"
    assert any(pattern.search(said) for said in SAID)
