"""The commands beside training: how they are called, and what they share."""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT
from gifine import __main__ as program
from gifine import commands
from gifine.compose import usage
from gifine.errors import ExitCode


@pytest.fixture
def gifine(monkeypatch, capfd):
    """`gifine …` in this process: its exit code, and what it says on stdout and stderr."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gifine", *words])
        try:
            code = program.main()
        except SystemExit as ended:  # argparse, after --help
            code = int(ended.code or 0)
        return int(code), *capfd.readouterr()

    return call


def test_every_module_that_runs_as_a_command_is_listed():
    package = ROOT / "src" / "gifine"
    modules = {path.stem for path in package.glob("[!_]*.py") if "__name__ ==" in path.read_text()}
    packages = {path.parent.name for path in package.glob("*/__main__.py")}
    assert modules | packages == {name.replace("-", "_") for name in usage.COMMANDS}


@pytest.mark.parametrize("name", usage.COMMANDS)
def test_a_command_by_its_name_is_the_module(gifine, name, capfd):
    code, out, err = gifine(name, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: gifine {name} ")
    with pytest.raises(SystemExit):
        importlib.import_module(usage.module(name)).main(["--help"])
    assert capfd.readouterr().out == out


def test_help_has_a_line_for_each_command(gifine):
    code, out, _ = gifine("--help")
    lines = out.splitlines()
    assert code == ExitCode.DONE
    width = max(map(len, usage.COMMANDS)) + 2
    assert all(f"  {name:<{width}}{does}" in lines for name, does in usage.COMMANDS.items())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["REPRT", "runs"], "error: REPRT: no such command (did you mean 'report'?); valid: report, evaluate, "),
        (["Sweep", "status"], "error: Sweep: no such command (did you mean 'sweep'?); "),
        (["help"], "error: help: no such command (did you mean '--help'?); valid: "),
        (["demo"], "error: demo: no such command (did you mean 'experiment=demo'?); valid: "),
        (["status", "runs"], "error: status: no such command (did you mean 'sweep status'?); valid: "),
        (["expirement=demo"], "error: expirement: no such key (did you mean 'experiment'?); valid: "),
        (["nothing-like-it"], "error: nothing-like-it: no such command; valid: report, "),
        (["task=demo", "data=demo", "report"], "error: report: a command stands first, as in `gifine"),
        (["sweep", "stauts", "x"], "error: stauts: no such command (did you mean 'status'?); valid: cancel, logs, "),
    ],
)
def test_a_word_that_is_no_command_is_told(gifine, words, said):
    code, out, err = gifine(*words)
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert err.startswith(said)
    assert err.count("\n") == 1


def test_what_nobody_can_read_any_more_ends_without_a_traceback():
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "gifine.memory", "model=bert"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == ExitCode.BAD_INPUT
    assert done.stderr == "error: what the command prints cannot be written: the disk is full\n"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "gifine", "--help"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_both_forms_end_with_the_commands_exit_code():
    for words in (["-m", "gifine", "report"], ["-m", "gifine.report"]):
        done = subprocess.run([sys.executable, *words, "/no/such"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (ExitCode.BAD_INPUT, ""), done.stderr
        assert done.stderr.startswith("error: /no/such")


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
