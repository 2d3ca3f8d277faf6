"""What is in launchers/: scripts with the original's header and commands that compose, and presets for sites."""

from __future__ import annotations

import os
import shlex
import subprocess

import pytest

from conftest import ROOT, needs
from gifine import cli
from gifine.choices import TrackingMode
from gifine.compose.composition import compose
from gifine.compose.launchers import SlurmConfig
from gifine.sweep import launch
from hydra_plugins.gifine_launcher import SlurmLauncher

SCRIPT = ROOT / "launchers" / "original.sbatch"
HEADER = [
    "--time=72:00:00",
    "--gres=gpu:4",
    "--mem-per-gpu=32000",
    "--job-name=giDeBERTa30_Last6",
    "--error=giDeBERTa30_Last6.err",
    "--output=giDeBERTa30_Last6.out",
    "--mail-user=you@example.org",
    "--mail-type=ALL",
]
TASKS = ["CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI", "QNLI", "RTE", "WNLI"]


@pytest.mark.machine
@pytest.mark.parametrize("script", sorted(SCRIPT.parent.glob("*.sbatch")), ids=lambda path: path.name)
def test_scripts_are_bash(script):
    done = subprocess.run([needs("bash"), "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_header_is_the_original():
    lines = SCRIPT.read_text().splitlines()
    assert [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")] == HEADER
    first_command = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    assert all(not line.startswith("#SBATCH") for line in lines[first_command:]), "sbatch reads none after a command"


@pytest.fixture
def run(tmp_path):
    """Run the script; `ml`, its environment and `python`, which notes its words and does `body`, are stand-ins."""
    (tmp_path / "EnvAMD" / "bin").mkdir(parents=True)
    (tmp_path / "EnvAMD" / "bin" / "activate").write_text('PATH="$PWD/EnvAMD/bin:$PATH"\n')
    python, calls, bash = tmp_path / "EnvAMD" / "bin" / "python", tmp_path / "calls", needs("bash")

    def call(body: str, ml: str = "true") -> tuple[int, list[str]]:
        python.write_text(f'#!/bin/bash\necho "$@" >> calls\n{body}\n')
        python.chmod(0o755)
        environment = {**os.environ, "BASH_FUNC_ml%%": f"() {{ {ml}; }}"}
        done = subprocess.run([bash, str(SCRIPT)], cwd=tmp_path, env=environment, capture_output=True, check=False)
        return done.returncode, calls.read_text().splitlines() if calls.exists() else []

    return call


@pytest.mark.machine
def test_the_nine_tasks_compose_into_the_folders_of_the_original(run):
    code, calls = run("exit 0")
    configs = cli.configs([shlex.split(call.removeprefix("-m gifine ")) for call in calls])
    assert code == 0
    assert [config.output_dir for config in configs] == [f"output_final/DeBERTa_30_on_Last6/{task}" for task in TASKS]


@pytest.mark.machine
def test_a_task_that_fails_does_not_cost_the_others(run):
    code, calls = run("[[ $* != *=mrpc ]] || exit 3")
    assert (code, len(calls)) == (3, 9)


@pytest.mark.machine
def test_a_signal_is_meant_for_all_tasks(run):
    code, calls = run("[[ $* != *=mrpc ]] || exit 75")
    assert (code, len(calls)) == (75, 3)


@pytest.mark.machine
def test_nothing_runs_without_the_module(run):
    assert run("exit 0", ml="return 4") == (4, [])


@pytest.mark.parametrize("preset", sorted((SCRIPT.parent / "site").glob("*.yaml")), ids=lambda path: path.stem)
def test_presets_compose_and_their_keys_are_the_launcher_s(preset, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    cfg = compose([f"site={preset.stem}", "task=rte"], str(SCRIPT.parent), with_hydra=True)
    assert cfg.hydra.runtime.choices["hydra/launcher"] == "slurm"
    assert cfg.tracking.mode is TrackingMode.offline
    settings = SlurmLauncher(**cfg.hydra.launcher).settings
    assert launch.wrong(settings) == []
    assert isinstance(settings, SlurmConfig)
    assert settings.setup
    assert settings.resources
