"""The seam of objectives: what trains and evaluates calls their functions, and knows none by name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import TINY_DEMO
from gifine import cli, evaluate, objectives
from gifine.errors import ExitCode
from gifine.inputs import demo
from gifine.inputs.dataset import Reader
from gifine.objectives import classification
from gifine.objectives.contract import Outcome

FUNCTIONS = (
    "prepare",
    "arrange",
    "learnable",
    "describe",
    "choose_loss",
    "build",
    "reload",
    "make_collator",
    "make_metrics",
    "score",
    "predict",
)


@pytest.fixture
def other(monkeypatch) -> SimpleNamespace:
    """An objective of the tests, which trains like classification and has scores of its own."""

    def score(trainer, evaluated, config, folder):
        return Outcome({f"demo/{split}/rows": float(len(rows)) for split, rows in evaluated.items()}, degenerate="so")

    functions = {name: getattr(classification, name) for name in FUNCTIONS}
    module = SimpleNamespace(LAYOUT=1000, **functions | {"score": score})
    monkeypatch.setattr(objectives, "choose", lambda task: module)
    return module


def test_a_run_and_its_evaluation_are_scored_by_their_objective(train, other, capsys):
    words = [*TINY_DEMO, "train.max_steps=1", "train.evaluate=end", "train.select_best=false", "train.save_model=true"]
    result = train(*words)
    assert result.record.metrics == {"demo/validation/rows": result.record.rows["validation"]}
    assert (result.record.status, result.record.error) == ("degenerate", "so")
    assert evaluate.main([str(result.folder)]) == ExitCode.DONE
    assert "demo/validation/rows" in capsys.readouterr().out


def test_another_layout_has_a_cache_of_its_own(other, tmp_path):
    config = cli.config_from(cli.compose([*TINY_DEMO, f"data.cache_dir={tmp_path}"]))
    for objective in (classification, other):
        Reader(config).load(demo.tokenizer(), objective)
    assert len(list((tmp_path / "tokenised").glob("demo-train-*[0-9a-f]"))) == 2


def test_who_calls_objectives_names_none():
    source = Path(objectives.__file__).parents[1]
    names = [path.stem for path in (source / "objectives").iterdir() if path.is_dir() and not path.name.startswith("_")]
    callers = [source / f"{name}.py" for name in ("train", "evaluate", "predict", "prefetch")]
    for path in [*callers, *(source / "training").glob("*.py"), *(source / "doctor").glob("*.py")]:
        assert not [name for name in names if f"objectives.{name}" in path.read_text()], path
        assert not [name for name in names if re.search(rf"(?<!models\.)\b{name}\.", path.read_text())], path
    assert "classification" in names


def test_tokenising_needs_no_torch():
    """`gifine.prefetch` and `gifine.doctor` do no more."""
    program = (
        "import sys\n"
        "from gifine import objectives\n"
        "from gifine.config import TaskConfig\n"
        "from gifine.inputs import dataset, tokenizers\n"
        "objectives.choose(TaskConfig())\n"
        "print('torch' in sys.modules, 'gifine.objectives.classification' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "False True\n"
