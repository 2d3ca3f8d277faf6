"""The doctor's findings in good and bad situations; only what lies outside (SLURM, servers, /sys) is made up."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from conftest import TINY_DEMO, tiny_bert
from gifine import prefetch
from gifine.doctor import __main__ as doctor
from gifine.doctor import cluster, contents, machine, network, software, storage
from gifine.doctor.finding import Finding, Level
from gifine.errors import ExitCode
from gifine.inputs import offline


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Call the doctor in this process; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # main sets it; monkeypatch puts it back

    def call(*words: str) -> tuple[int, str, str]:
        return doctor.main(words), *capsys.readouterr()

    return call


@pytest.fixture
def filled(monkeypatch, tmp_path, capsys) -> Path:
    """A prefetched folder with the demo's tokens and a tiny checkpoint."""
    monkeypatch.setenv("PATH", str(tmp_path))  # this machine's SLURM, which may be down, is another matter
    folder = tmp_path / "pre"
    assert prefetch.main([f"prefetch={folder}", *TINY_DEMO]) == 0
    capsys.readouterr()
    files = tiny_bert(folder / "hub" / "tiny", seed=0)
    manifest = offline.read(folder)
    sizes = {name: len(content) for name, content in files.items()}
    manifest.models["tiny/bert@main"] = offline.Snapshot("c0ffee", "hub/tiny", sizes, weights=True)
    offline.write(folder, manifest)
    return folder


def levels(findings) -> dict[str, Level]:
    return {finding.subject: finding.level for finding in findings}


def problems(folder: Path) -> list[str]:
    found = contents.check(folder, offline.read(folder))
    return [f"{finding.subject}: {finding.found}" for finding in found if finding.level is Level.PROBLEM]


def test_whole_folder_and_covered_config_are_fine(command, filled):
    code, out, _ = command("--json", f"prefetch={filled}", *TINY_DEMO, "seed=1,2", "gi.side=none,both")
    found = [Finding(**entry) for entry in json.loads(out)]
    assert code == ExitCode.DONE
    by_subject = {finding.subject: finding for finding in found}
    for subject in ("Python", "packages", "prefetch", "prefetch tiny/bert@main", "prefetch data", "output_root"):
        assert by_subject[subject].level != Level.PROBLEM
    assert by_subject["prefetch coverage"].found == "pairs of task and model asked for that are there: 1"
    assert by_subject["device cpu"].level == Level.OK
    assert not {"Hub", "data.cache_dir"} & set(by_subject), "a prefetched run uses neither"


def test_uncovered_config_is_a_problem_with_the_command_that_mends_it(command, filled):
    code, out, _ = command(f"prefetch={filled}", *TINY_DEMO, "train.max_length=24,32")
    assert code == ExitCode.FAILED
    assert "lacks the tokens of task=demo" in out
    assert f"→ python -m gifine.prefetch prefetch={filled} " in out
    assert "pairs of task and model asked for that are there: 1" in out
    assert out.splitlines()[-1].endswith("problem: 1")


def test_folder_that_is_none_is_a_problem(command, tmp_path):
    code, out, _ = command(f"prefetch={tmp_path / 'none'}")
    assert code == ExitCode.FAILED
    assert f"prefetch={tmp_path / 'none'}: no such folder" in out


@pytest.mark.parametrize("words", [["task=colla"], ["gi.level=30"], ["prefetch=a,b"], ["--config-dir", "/no/such"]])
def test_wrong_arguments_are_one_message(command, words):
    code, out, err = command(*words)
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert err.startswith("error: ")


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def spoil_header(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8:12] = b"\x00\x00\x00\x00"
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("pattern", "damage", "said"),
    [
        (
            "hub/tiny/model.safetensors",
            shorten,
            "prefetch tiny/bert@main: model.safetensors has 76022 bytes, not",
        ),
        (
            "hub/tiny/model.safetensors",
            spoil_header,
            "prefetch tiny/bert@main: model.safetensors: its header cannot",
        ),
        ("hub/tiny/config.json", Path.unlink, "prefetch tiny/bert@main: config.json is not there"),
        ("tokenised/demo-train-*/*.arrow", shorten, "prefetch data: the tokens demo-train-"),
        ("tokenised/demo-validation-*/state.json", Path.unlink, "prefetch data: the tokens demo-validation-"),
    ],
)
def test_damage_is_found(filled, pattern, damage, said):
    assert problems(filled) == []
    (path,) = filled.glob(pattern)
    damage(path)
    (found,) = problems(filled)
    assert found.startswith(said)


def test_weights_that_end_early_are_found_without_a_manifest(filled):
    path = filled / "hub" / "tiny" / "model.safetensors"
    assert contents.damage(path) is None
    shorten(path)
    assert contents.damage(path) == "76022 bytes, its header says 76032"
    path.write_bytes(path.read_bytes()[:100])
    assert contents.damage(path) == "it ends before its header does"


def test_packages_are_held_against_their_bounds():
    wanted = ["numpy>=1", "torch>=99", "no-such-package>=1", "not-for-us; extra == 'offline'"]
    found = [finding for finding in software.packages(wanted) if finding.level is Level.PROBLEM]
    assert [finding.found.split(" ")[0] for finding in found] == ["torch", "no-such-package"]
    assert found[0].mend == "pip install 'torch>=99'"
    assert software.python(">=3.99", "3.11.7").level is Level.PROBLEM
    assert software.python(">=3.11", "3.14.0rc1").level is Level.OK


def test_little_memory_is_a_warning():
    assert machine.memory({"machine": 64e9, "SLURM": 4e9}).level is Level.WARNING
    assert machine.memory({"machine": 64e9}).level is Level.OK


def test_more_threads_than_cpus_is_a_warning():
    assert machine.threads(2, 2).level is Level.OK
    assert "OMP_NUM_THREADS=1" in machine.threads(64, 1.5).mend


def test_folders_are_really_written_to(tmp_path):
    for place, needed, level in (
        (tmp_path / "runs" / "later", 0, Level.OK),
        (tmp_path, 1e18, Level.WARNING),
        (Path("/proc/runs"), 0, Level.PROBLEM),  # not even root can
    ):
        assert storage.folder("output_root", place, needed=needed, purpose="checkpoints").level is level
    assert list(tmp_path.iterdir()) == [], "nothing is left"


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Put programs of our own on the PATH, and no others of their names."""
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)

    def write(**texts: str) -> None:
        (tmp_path / "bin").mkdir()
        for name, text in texts.items():
            path = tmp_path / "bin" / name
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    return write


@pytest.mark.parametrize(
    ("texts", "level", "said"),
    [
        ({}, Level.OK, "not here"),
        ({"sinfo": "echo 'gpu*'; echo long", "sbatch": ""}, Level.OK, "partitions gpu*, long"),
        ({"sinfo": "echo gpu"}, Level.PROBLEM, "sbatch is not on the PATH"),
        ({"sinfo": "echo 'Unable to contact slurm controller' >&2; exit 1", "sbatch": ""}, Level.PROBLEM, "Unable to"),
        ({"sinfo": "exec /bin/sleep 20", "sbatch": ""}, Level.PROBLEM, "no answer within 0.3 s"),
    ],
)
def test_slurm(programs, monkeypatch, texts, level, said):
    monkeypatch.setattr(cluster, "_TIMEOUT_SECONDS", 0.3)
    programs(**texts)
    (found,) = cluster.check()
    assert found.level is level
    assert said in found.found


def test_a_job_is_seen(programs, monkeypatch):
    programs()
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    assert next(cluster.check()).found.startswith("inside job 4711")


@pytest.fixture
def port():
    """A port of this machine at which something listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def without_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_servers_are_reached_or_not(port, without_proxies):
    assert network.reach(f"http://127.0.0.1:{port}") == (f"127.0.0.1:{port}", None)
    assert network.reach("http://127.0.0.1:9") == ("127.0.0.1:9", "Connection refused")


def test_a_name_server_without_answer_is_given_up(without_proxies, monkeypatch):
    end = threading.Event()

    def getaddrinfo(*_: object) -> None:
        end.wait(30)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    clock = time.monotonic()
    assert network.reach("https://huggingface.co", 0.2) == ("huggingface.co:443", "no answer within 0.2 s")
    assert time.monotonic() - clock < 5
    end.set()


def test_a_proxy_stands_for_the_server_and_its_password_is_not_shown(port, without_proxies, monkeypatch):
    monkeypatch.setenv("https_proxy", f"http://me:secret@127.0.0.1:{port}")
    assert network.reach("https://huggingface.co") == (f"the proxy 127.0.0.1:{port}", None)


def test_the_hub_matters_where_something_comes_from_it(without_proxies, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert network.hub(0, is_offline=False).level is Level.OK
    assert network.hub(3, is_offline=True).level is Level.WARNING
    found = network.hub(3, is_offline=False)
    assert (found.level, found.found) == (Level.PROBLEM, "127.0.0.1:9: Connection refused")
    assert "gifine.prefetch" in found.mend


def test_wandb(without_proxies, tmp_path, monkeypatch, port):
    (tmp_path / "wandb.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("WANDB_BASE_URL", "http://me:secret@127.0.0.1:9")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    found = network.wandb()
    assert (found.level, "WANDB_MODE=offline" in found.mend) == (Level.WARNING, True)
    assert "secret" not in repr(found)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
    assert network.wandb().level is Level.OK
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert network.wandb().found == "WANDB_MODE=offline"


def test_one_failing_check_does_not_hide_the_others(command, filled, monkeypatch):
    def broken():
        raise RuntimeError("no /proc here")

    monkeypatch.setattr(machine, "check", broken)
    code, out, _ = command(f"prefetch={filled}")
    assert code == ExitCode.FAILED
    assert "the check itself failed: RuntimeError: no /proc here" in out
    assert "ok       prefetch data" in out


def test_help_is_light():
    program = (
        "import sys\n"
        "from gifine.doctor.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'transformers', 'datasets', 'huggingface_hub', 'wandb'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "prefetch=FOLDER" in done.stdout


@pytest.mark.integration
def test_without_a_network_the_answer_comes_quickly(tmp_path):
    """As a user starts it, with a Hub that is not there: imports are the most of it."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "NO_PROXY": "*"}
    done = subprocess.run(
        [sys.executable, "-m", "gifine.doctor"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == ExitCode.FAILED
    assert "problem  Hub" in done.stdout
    assert done.stderr == ""
