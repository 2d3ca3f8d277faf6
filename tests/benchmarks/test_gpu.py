"""The check of a GPU works as far as a CPU can show: every step on tiny shapes, faults, and packages from a pack."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import check, measure
from benchmarks.gpu.steps import Step

pytestmark = [pytest.mark.integration, pytest.mark.long]

NO_GPU = {"check.synchronisation", "check.out_of_memory", "measure.trials"}
NO_SHARED = {"check.golden"}


def read(out: Path) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    return {line["step"]: line for line in lines if line["status"] != "began"}


def test_every_step_runs_on_a_cpu(tmp_path, capsys):
    out = tmp_path / "found.jsonl"
    code = gpu.main(["--device", "cpu", "--out", str(out), "--pack", str(tmp_path / "none"), "--seconds", "1500"])
    found = read(out)
    assert code == 0, capsys.readouterr().out
    assert {*found} == {step.name for step in (*check.STEPS, *measure.STEPS)}
    skipped = {name for name, line in found.items() if line["status"] == "skipped"}
    assert skipped - NO_SHARED == NO_GPU
    for name in found.keys() - skipped:
        assert found[name]["rows"], name


def test_a_step_that_is_wrong_hangs_or_dies_ends_alone(tmp_path, monkeypatch, capsys):
    """Steps of a module beside the others, in real workers."""
    (tmp_path / "hostile.py").write_text(
        "import os, time\n"
        "from benchmarks.gpu.steps import Skipped, Step, Wrong\n"
        "def good(setting):\n    return [{'what': 'x'}]\n"
        "def wrong(setting):\n    raise Wrong('off', [{'what': 'y'}])\n"
        "def dies(setting):\n    os._exit(9)\n"
        "def hangs(setting):\n    time.sleep(600)\n"
        "def late(setting):\n    return [{'what': 'z'}]\n"
        "STEPS = (Step(good, 5), Step(wrong, 5), Step(dies, 5), Step(hangs, -4), Step(late, 5))\n",
        encoding="utf-8",
    )
    import benchmarks.gpu

    monkeypatch.setitem(gpu.SECONDS, "hostile", 60)
    environment = gpu._environment(tmp_path / "none", tmp_path)
    # The folder of benchmarks.gpu has another part for the workers' time: a package may lie in several folders.
    (tmp_path / "sitecustomize.py").write_text(
        f"import benchmarks.gpu\nbenchmarks.gpu.__path__.append({str(tmp_path)!r})\n", encoding="utf-8"
    )
    assert benchmarks.gpu.__path__
    environment["PYTHONPATH"] = f"{tmp_path}:{environment['PYTHONPATH']}"
    out = tmp_path / "found.jsonl"
    out.touch()
    gpu._work(["hostile"], "cpu", tmp_path, out, tmp_path, environment, time.monotonic() + 120)
    assert gpu._summary(out) == 1
    found = {name.partition(".")[2]: line for name, line in read(out).items()}
    assert [found[name]["status"] for name in ("good", "wrong", "dies", "hangs", "late")] == [
        "passed",
        "failed",
        "failed",
        "failed",
        "passed",
    ]
    assert found["wrong"]["rows"] == [{"what": "y"}]
    assert found["dies"]["error"] == "ended with 9"
    assert "not in time" in found["hangs"]["error"]
    assert "3 failed: hostile.wrong, hostile.dies, hostile.hangs" in capsys.readouterr().out


def test_unknown_parts_are_refused(capsys):
    with pytest.raises(SystemExit):
        gpu.main(["chekc"])
    assert "no part chekc; valid: check, measure" in capsys.readouterr().err


def test_names_are_of_parts_and_functions():
    assert Step(check.golden, 1).name == "check.golden"


def test_packages_come_from_the_pack(tmp_path):
    """As on a machine without network: wheels for this Python, installed into an empty folder, come first."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    pack = tmp_path / "pack"
    command = [sys.executable, "-m", "benchmarks.gpu.pack", "--out", str(pack), "--python", version]
    made = subprocess.run(command, cwd=gpu.ROOT, capture_output=True, text=True, check=False)
    if "Could not find a version" in made.stderr or "No matching distribution" in made.stderr:
        pytest.skip("needs a package index")
    assert made.returncode == 0, made.stdout + made.stderr
    environment = gpu._environment(pack, tmp_path)
    where = "import transformers, datasets, hydra, gifine; print(transformers.__file__, gifine.__file__)"
    said = subprocess.run([sys.executable, "-c", where], env=environment, capture_output=True, text=True, check=True)
    assert str(tmp_path / "site") in said.stdout
    out = tmp_path / "found.jsonl"
    assert gpu.main(["check.machine", "check.dropout", "--device", "cpu", "--pack", str(pack), "--out", str(out)]) == 0
