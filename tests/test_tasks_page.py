"""docs/tasks.md: the tasks that it shows are good, and train."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conftest import ROOT, TINY_DEMO
from support import asked

TEXT = (ROOT / "docs" / "tasks.md").read_text()
TASKS = {yaml.safe_load(block)["name"]: block for block in re.findall(r"```yaml\n(.+?)```", TEXT, re.DOTALL)}
ROWS: dict[str, list[dict[str, object]]] = {
    "reviews": [{"text": "the cake is dry", "stars": "no"}, {"text": "lovely", "stars": "yes"}],
    "alike": [{"first": "a b", "second": "a b", "score": 1}, {"first": "a b", "second": "c", "score": 0.25}],
    "questions": [{"q": "does he", "p": "he does", "answer": word} for word in ("yes", "no", "maybe")],
}
MODEL = [word for word in TINY_DEMO if not word.startswith(("task=", "data="))]


@pytest.fixture
def mine(tmp_path) -> Path:
    """A folder in which the page's commands are given."""
    for name, text in TASKS.items():
        place = tmp_path / "mine" / "task" / f"{name}.yaml"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return tmp_path


def gifine(folder: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
@pytest.mark.integration
@pytest.mark.parametrize("name", [*ROWS, "manuals"])
def test_tasks_train(name, mine):
    task = yaml.safe_load(TASKS[name])
    files = task.get("files") or {split: place["tsv"] for split, place in task["splits"].items()}
    for place in files.values():
        (mine / place).parent.mkdir(exist_ok=True)
        rows = ROWS.get(name)
        made = (
            json.dumps(asked.document(8, unanswerable=True)) if rows is None else as_file(rows * 4, Path(place).suffix)
        )
        (mine / place).write_text(made)
    source = [] if "files" in task else ["data=glue_dir", "data.dir=."]
    source += ["task.max_question_tokens=4", "task.stride=8"] if task.get("objective") == "questions" else []
    words = [*MODEL, f"task={name}", *source, "output_dir=run", "data.cache_dir=cache", "train.max_steps=2"]
    gifine(mine, "gifine", "--config-dir", "mine", *words)
    record = json.loads((mine / "run" / "record.json").read_text())
    assert record["status"] in ("done", "degenerate")
    assert record["metrics"].keys() == {f"{name}/validation/{metric}" for metric in task["metrics"]}


def as_file(rows: list[dict[str, object]], suffix: str) -> str:
    if suffix == ".jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows)
    delimiter = {".csv": ",", ".tsv": "\t"}[suffix]
    lines = [list(rows[0]), *(map(str, row.values()) for row in rows)]
    return "".join(delimiter.join(line) + "\n" for line in lines)
