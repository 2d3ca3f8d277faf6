"""What is submitted: the launcher's keys as sbatch's directives, and what is refused before anything is."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from conftest import TINY_DEMO, needs
from gifine import cli
from gifine.errors import ExitCode
from gifine.sweep import script
from gifine.sweep.config import SlurmConfig, problems

# The method's own: four GPUs for three days, nine tasks in one job.
SEED = SlurmConfig(
    name="giDeBERTa30_Last6",
    timeout_min=72 * 60,
    gres="gpu:4",
    mem_per_gpu="32000",
    pack=9,
    setup=["ml PyTorch/1.10.0-foss-2021a-CUDA-11.3.1", "source EnvAMD/bin/activate"],
    python="python",
    additional_parameters={
        "mail-user": "someone@example.org",
        "mail-type": "ALL",
        "output": "giDeBERTa30_Last6.out",
        "error": "giDeBERTa30_Last6.err",
    },
)
SEED_HEADER = """
#SBATCH --time=72:00:00
#SBATCH --gres=gpu:4
#SBATCH --mem-per-gpu=32000
#SBATCH --job-name=giDeBERTa30_Last6
#SBATCH --error=giDeBERTa30_Last6.err
#SBATCH --output=giDeBERTa30_Last6.out
#SBATCH --mail-user=someone@example.org
#SBATCH --mail-type=ALL
"""
# What going on after the time limit needs, and what a submission is found by.
OURS = """
#SBATCH --open-mode=append
#SBATCH --signal=USR2@120
#SBATCH --requeue
#SBATCH --comment=batch
"""


def written(config: SlurmConfig, folder, tasks: int = 1, parallelism: int = 256) -> str:
    options = script.directives(config, folder=folder, comment="batch", tasks=tasks, parallelism=parallelism)
    return script.text(config, options, python=config.python or "python3", code=folder / "src", folder=folder)


def directives(text: str) -> set[str]:
    return {line for line in text.splitlines() if line.startswith("#SBATCH")}


def test_the_original_header_comes_out(tmp_path):
    assert problems(SEED) == []
    text = written(SEED, tmp_path)
    assert directives(text) == directives(SEED_HEADER) | directives(OURS)
    body = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert body[:3] == ["set -e", *SEED.setup]
    assert body[-1] == f"srun --kill-on-bad-exit=1 python -m gifine.sweep.job {tmp_path}"


def test_every_other_key_has_its_directive(tmp_path):
    config = SlurmConfig(
        partition="long",
        account="nlp",
        qos="low",
        gpus_per_node=2,
        mem_gb=1.5,
        cpus_per_task=3,
        nodes=2,
        tasks_per_node=2,
        constraint="a100|h100",
        exclude="node[7-9]",
        signal_delay_s=30,
        max_num_timeout=0,
        additional_parameters={"exclusive": True, "nice": 5, "reservation": "it's mine"},
    )
    text = written(config, tmp_path, tasks=7, parallelism=4)
    assert directives(text) == {
        "#SBATCH --job-name=gifine",
        "#SBATCH --time=1:00:00",
        "#SBATCH --partition=long",
        "#SBATCH --account=nlp",
        "#SBATCH --qos=low",
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=2",
        "#SBATCH --cpus-per-task=3",
        "#SBATCH --gpus-per-node=2",
        "#SBATCH --mem=1536M",
        "#SBATCH --constraint='a100|h100'",
        "#SBATCH --exclude='node[7-9]'",
        f"#SBATCH --output={tmp_path}/%A_%a.log",
        "#SBATCH --open-mode=append",
        "#SBATCH --signal=USR2@30",
        "#SBATCH --comment=batch",
        "#SBATCH --array=0-6%4",
        "#SBATCH --exclusive",
        "#SBATCH --nice=5",
        "#SBATCH --reservation=" + shlex.quote("it's mine"),
    }
    assert "srun --kill-on-bad-exit=1 --cpus-per-task=3 --label python3" in text


@pytest.mark.machine
@pytest.mark.parametrize(("line", "code"), [("false", 1), ("true", 0)])
def test_a_setup_line_that_fails_ends_the_job(tmp_path, line, code):
    (tmp_path / "srun").write_text("#!/bin/sh\necho started\n")
    (tmp_path / "srun").chmod(0o755)
    text = written(SlurmConfig(setup=[f'export PATH="{tmp_path}:$PATH"', line]), tmp_path)
    done = subprocess.run([needs("bash"), "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout == ("" if code else "started\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["partitoin=a"], "hydra.launcher.partitoin: no such key (did you mean 'partition'?); valid: wait, "),
        (["nodes=two"], "hydra.launcher.nodes=two: Value 'two' of type 'str' could not be converted to Integer"),
        (["nodes=0"], "hydra.launcher.nodes=0: must be above 0"),
        (["max_num_timeout=-1"], "hydra.launcher.max_num_timeout=-1: at least 0"),
        (["mem_gb=3", "mem_per_cpu=4G"], "hydra.launcher.mem_gb: excludes mem_per_cpu"),
        (["mem_per_gpu=32000"], "hydra.launcher.mem_per_gpu=32000: needs GPUs"),
        (["gres=gpu:4", "gpus_per_node=4"], "gpus_per_node=4: excludes gres=gpu:4"),
        (["signal_delay_s=3600"], "signal_delay_s=3600: must be shorter than timeout_min=60"),
        (["additional_parameters.time=3"], "additional_parameters.time: give hydra.launcher.timeout_min"),
        (["additional_parameters.array=1-3"], "additional_parameters.array: give hydra.launcher.array_parallelism"),
        (["additional_parameters={no-requeue: true}"], "no-requeue: excludes max_num_timeout=20"),
        (["additional_parameters={nice: [1]}"], "additional_parameters.nice=[1]: a string, a number, or true"),
        (["name=' '"], "hydra.launcher.name: is empty"),
    ],
)
def test_wrong_keys_are_one_message_and_nothing_is_submitted(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setenv("PATH", str(tmp_path))  # without sbatch
    launcher = ["hydra/launcher=slurm", *[f"hydra.launcher.{word}" for word in words]]
    monkeypatch.setattr(sys, "argv", ["gifine", "--multirun", *TINY_DEMO, *launcher, "output_root=sweep"])
    assert cli.main() == ExitCode.BAD_INPUT
    error = capsys.readouterr().err
    assert said in error
    assert error.splitlines()[-1].startswith(("error: ", "  ")), "the plan comes before"
    assert not (tmp_path / "sweep" / ".sweep").exists()


def test_without_slurm_the_message_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ["gifine", "--multirun", *TINY_DEMO, "hydra/launcher=slurm", f"output_root={tmp_path}/sweep"]
    monkeypatch.setattr(sys, "argv", words)
    assert cli.main() == ExitCode.BAD_INPUT
    assert "sbatch is not on the PATH: is this a login node of a SLURM cluster?" in capsys.readouterr().err
