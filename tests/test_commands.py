"""What the commands beside training share."""

from __future__ import annotations

import logging

import pytest

from gifine import commands
from gifine.errors import ExitCode


@pytest.mark.parametrize("name", ["gifine.sync", "__main__"])
def test_a_command_says_what_it_did_also_as_a_module(name, monkeypatch):
    """`python -m gifine.sync` is called `__main__`, which is not below `gifine`."""
    monkeypatch.setattr(logging.root, "level", logging.WARNING)
    logging.getLogger(name).setLevel(logging.NOTSET)
    heard = []

    def command(args: object) -> ExitCode:
        heard.append(logging.getLogger(name).isEnabledFor(logging.INFO))
        return ExitCode.DONE

    assert commands.call(command, commands.Parser(), []) == ExitCode.DONE
    assert heard == [True]


def test_options_may_stand_between_words():
    parser = commands.Parser()
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--out")
    args = parser.parse_args(["a", "--out", "c", "b"])
    assert (args.runs, args.out) == (["a", "b"], "c")
