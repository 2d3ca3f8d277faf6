"""What is submitted: the launcher's keys as sbatch's options, and what is refused before anything is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from conftest import TINY_DEMO, needs
from gifine import cli
from gifine.compose.launchers import LocalConfig, SlurmConfig, problems
from gifine.errors import ExitCode
from gifine.sweep import launch, script

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
--time=72:00:00
--gres=gpu:4
--mem-per-gpu=32000
--job-name=giDeBERTa30_Last6
--error=giDeBERTa30_Last6.err
--output=giDeBERTa30_Last6.out
--mail-user=someone@example.org
--mail-type=ALL
"""
# What does not hang on the environment of the command, what going on after the time limit needs, and the batch's name.
OURS = """
--nodes=1
--ntasks=1
--ntasks-per-node=1
--open-mode=append
--signal=USR2@120
--requeue
"""


def options(config: SlurmConfig, folder, tasks: int = 1, parallelism: int = 256) -> dict:
    return script.options(config, folder=folder, chdir=folder.parent, tasks=tasks, parallelism=parallelism)


def written(config: SlurmConfig, folder) -> str:
    python = config.python or "python3"
    return script.text(config, options(config, folder), python=python, code=folder / "src", folder=folder)


def test_the_original_header_comes_out(tmp_path):
    assert problems(SEED) == []
    ours = {f"--comment={tmp_path.name}", f"--chdir={tmp_path.parent}"}
    assert {*script.words(options(SEED, tmp_path))} == {*SEED_HEADER.split(), *OURS.split(), *ours}
    text = written(SEED, tmp_path)
    assert "#SBATCH" not in text, "it would give way to SBATCH_* in the environment"
    body = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert body[0] == "set -e"
    assert body[2:4] == SEED.setup
    assert body[-1] == f"srun --kill-on-bad-exit=1 --export=ALL --ntasks=1 python -m gifine.sweep.job {tmp_path}"


def test_every_other_key_has_its_option(tmp_path):
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
        additional_parameters={"exclusive": True, "nice": 5, "reservation": "it's mine", "comment": "paid by x"},
    )
    assert {*script.words(options(config, tmp_path, tasks=7, parallelism=4))} == {
        "--job-name=gifine",
        "--time=1:00:00",
        "--partition=long",
        "--account=nlp",
        "--qos=low",
        "--nodes=2",
        "--ntasks=4",
        "--ntasks-per-node=2",
        "--cpus-per-task=3",
        "--gpus-per-node=2",
        "--mem=1536M",
        "--constraint=a100|h100",
        "--exclude=node[7-9]",
        f"--chdir={tmp_path.parent}",
        f"--output={tmp_path}/%A_%a.log",
        "--open-mode=append",
        "--signal=USR2@30",
        "--array=0-6%4",
        "--exclusive",
        "--nice=5",
        "--reservation=it's mine",
        "--comment=paid by x",
    }
    assert "srun --kill-on-bad-exit=1 --export=ALL --ntasks=4 --cpus-per-task=3 --label python3" in written(
        config, tmp_path
    )


@pytest.mark.parametrize(("gb", "said"), [(0, "0"), (1e-9, "1M"), (0.5, "512M"), (None, None)])
def test_only_a_memory_of_0_is_all_of_the_node(tmp_path, gb, said):
    assert options(SlurmConfig(mem_gb=gb), tmp_path).get("mem") == said


def test_a_log_is_where_the_folder_says_whatever_its_name(tmp_path):
    folder = tmp_path / "50%j of 100%"
    found = options(SlurmConfig(), folder)
    assert found["output"] == f"{tmp_path}/50%%j of 100%%/%j.log"
    assert script.log(found, folder) == "%j.log"
    own = options(SlurmConfig(additional_parameters={"output": "logs/%x.out"}), tmp_path / "a%j" / "batch")
    assert script.log(own, tmp_path / "a%j" / "batch") == f"{tmp_path}/a%%j/logs/%x.out"


@pytest.mark.parametrize(("name", "said"), [("a\\b", "a backslash"), ("a\nb", "the character '\\n'")])
def test_folders_that_slurm_has_no_name_for_are_refused(tmp_path, name, said):
    (problem,) = launch.wrong(SlurmConfig(), sweep=tmp_path / name)
    assert problem.startswith("output_root: ")
    assert f"has {said}, which SLURM cannot have in the name of a log" in problem
    assert launch.wrong(LocalConfig(), sweep=tmp_path / name) == []
    assert launch.wrong(SlurmConfig(), sweep=tmp_path / "50 %j, 李 'x'") == []


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
        (["mem_gb=-4"], "hydra.launcher.mem_gb=-4: at least 0"),
        (["mem_gb=nan"], "hydra.launcher.mem_gb=nan: at least 0"),
        (["mem_gb=inf"], "hydra.launcher.mem_gb=inf: must be a number"),
        (["additional_parameters.ntasks=2"], "ntasks=2: nodes=1 and tasks_per_node=1 make 1"),
        (["additional_parameters.wait=true"], "additional_parameters.wait: give hydra.launcher.wait"),
        (
            ["signal_delay_s=4000", "resources=[{task: demo, timeout_min: 60}]"],
            "hydra.launcher.signal_delay_s=4000: must be shorter than timeout_min=60 (with resources[0])",
        ),
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
    assert sum("hydra.launcher." in line for line in error.splitlines()) == 1, "told once, under the key that was given"
    assert error.splitlines()[-1].startswith(("error: ", "  ")), "the plan comes before"
    assert not (tmp_path / "sweep" / ".sweep").exists()


@pytest.mark.parametrize(
    "settings",
    [
        SlurmConfig(mem_gb=0),
        SlurmConfig(mem_per_gpu="32G", additional_parameters={"gpus-per-task": 1}),
        SlurmConfig(mem_per_gpu="32G", additional_parameters={"gpus": 2}),
        SlurmConfig(nodes=2, tasks_per_node=2, additional_parameters={"ntasks": 4}),
        SlurmConfig(
            additional_parameters={"comment": "x", "clusters": "a,b", "nodelist": "node[1-2]", "reservation": "x"}
        ),
    ],
)
def test_what_a_site_may_require_can_be_said(settings):
    assert launch.wrong(settings) == []


def test_without_slurm_the_message_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ["gifine", "--multirun", *TINY_DEMO, "hydra/launcher=slurm", f"output_root={tmp_path}/sweep"]
    monkeypatch.setattr(sys, "argv", words)
    assert cli.main() == ExitCode.BAD_INPUT
    assert "sbatch is not on the PATH: is this a login node of a SLURM cluster?" in capsys.readouterr().err
