"""The image: built by the Dockerfile on a bare Debian, without daemon and registry, and used as the docs say.

Nothing here can run Apptainer: its definition is held against the Dockerfile, and what it says is run in that image.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from conftest import ROOT, TINY_DEMO, needs
from gifine.compose import grid
from gifine.compose.launchers import SlurmConfig
from gifine.inputs import offline
from gifine.inputs.offline import Manifest
from gifine.sweep import launch
from hydra_plugins.gifine_launcher import SlurmLauncher
from support.outcomes import record_of
from support.sweeps import SLURM, submit

DOCKERFILE = (ROOT / "Dockerfile").read_text()
DEFINITION = (ROOT / "containers" / "gifine.def").read_text()
PAGE = (ROOT / "docs" / "containers.md").read_text()
USER, GROUP = 12345, 12346  # of nobody, here and in the image
COMMIT = "0123456789abcdef0123456789abcdef01234567"
_FREE_GB = 8  # what base, image and containers take, with some to spare

built = [pytest.mark.machine, pytest.mark.long, pytest.mark.integration, pytest.mark.xdist_group("slurm")]


def section(name: str) -> str:
    """What the definition has below `%name`."""
    found = re.search(rf"^%{name}\n(.*?)(?=^%|\Z)", DEFINITION, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found.group(1)


def steps(text: str) -> list[str]:
    return re.findall(r"containers/install\.sh (\w+)", text)


def test_both_images_have_the_same_arguments():
    docker = dict(re.findall(r"^ARG (\w+)=(.*)$", DOCKERFILE, re.MULTILINE))
    docker["BASE"] = docker["BASE"].removeprefix("docker.io/library/")  # which Apptainer says as docker://
    assert dict(line.strip().split("=", 1) for line in section("arguments").splitlines() if line.strip()) == docker
    in_the_definition = {*re.findall(r"{{ (\w+) }}", DEFINITION)}
    assert in_the_definition == {*docker}
    assert {*re.findall(r"--build-arg (\w+)=", PAGE)} == {*docker}, "all of them are explained"


def test_both_images_have_the_same_files_and_steps():
    copied: set[str] = set()
    for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE):
        *sources, target = line.split()
        copied |= {
            f"{name} {target}{Path(name).name}" if target.endswith("/") else f"{name} {target}" for name in sources
        }
    assert {line.strip() for line in section("files").splitlines() if line.strip()} == copied
    assert all((ROOT / line.split()[0]).exists() for line in copied)
    assert steps(section("post")) == steps(DOCKERFILE) == ["packages", "gifine"]


# What follows the image's name, as after `gifine`.
COMMANDS = sorted(
    {*re.findall(r"^(?:gifine|(?:docker|.*apptainer) run .*?(?: gifine|\.sif)) ([^(].*)$", PAGE, re.MULTILINE)}
)


@pytest.mark.long
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_page_compose(command, tmp_path):
    offline.write(tmp_path, Manifest())
    words = [word for word in shlex.split(command) if word not in ("prefetch", "doctor", "-m", "gifine", "--multirun")]
    words = [f"prefetch={tmp_path}" if word.startswith("prefetch=") else word for word in words]
    assert grid.expand([word for word in words if not word.startswith("--nproc-per-node")])


def test_the_page_s_preset_is_the_launcher_s():
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    settings = SlurmLauncher(**OmegaConf.create(text).hydra.launcher).settings
    assert launch.wrong(settings) == []
    assert isinstance(settings, SlurmConfig)
    assert settings.python is not None
    assert shlex.split(settings.python)[:2] == ["apptainer", "exec"]


@dataclass
class Image:
    """An image of buildah's, with the few things that `docker run` would do with it."""

    buildah: list[str]  # the command and its options
    name: str

    def call(self, *words: str | Path, timeout: float = 300) -> str:
        done = self.attempt(*words, timeout=timeout)
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def attempt(self, *words: str | Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        line = [*self.buildah, *map(str, words)]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=timeout)

    def run(
        self, *words: str, user: str | None = None, volumes: dict[Path, str], entrypoint: list[str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`docker run --rm [--user USER] --volume … IMAGE WORDS`."""
        if entrypoint is None:
            entrypoint = json.loads(self.call("inspect", self.name))["OCIv1"]["config"]["Entrypoint"]
        container = self.call("from", "--pull-never", self.name).strip()
        try:
            options = ["--isolation=chroot", *(f"--volume={here}:{there}" for here, there in volumes.items())]
            options += [f"--user={user}"] * (user is not None)
            return self.attempt("run", *options, "--", container, *entrypoint, *words)
        finally:
            self.call("rm", container)


def pip_settings(folder: Path) -> list[str]:
    """buildah's options for an image's build to find packages as pip does here: where, by which certificates."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    found = [line.partition("=") for line in listed.stdout.splitlines()]
    found.sort(key=lambda each: each[0].startswith(":env:"))  # the environment comes last, and holds
    settings = {name.rpartition(".")[2]: ast.literal_eval(value) for name, _, value in found}
    mounts: dict[Path, str] = {}

    def mounted(word: str) -> str:
        path = Path(word.removeprefix("file://"))
        if path.is_absolute() and path.is_dir():
            whole = path.parent if path.name == "simple" else path  # an index, whose pages link to what is beside it
            mounts[whole] = str(whole)
        elif path.is_absolute() and path.is_file():
            mounts[path.resolve()] = f"/pip/{path.name}"  # elsewhere: the base may have, and change, one of its own
            return mounts[path.resolve()]
        return word

    lines = [f"{key} = {' '.join(map(mounted, value.split()))}" for key, value in settings.items()]
    (folder / "pip.conf").write_text("\n".join(["[global]", *lines]) + "\n")
    volumes = [f"--volume={here}:{there}:ro" for here, there in mounts.items()]
    return [f"--secret=id=pip,src={folder / 'pip.conf'}", *volumes]


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Iterator[Image]:
    """The Dockerfile's image, on the distribution that it names; all of it is gone afterwards."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    debootstrap, buildah = needs("debootstrap"), needs("buildah")
    folder = tmp_path_factory.mktemp("image")
    if shutil.disk_usage(folder).free < _FREE_GB * 10**9:
        pytest.skip(f"needs {_FREE_GB} GB of disk in {folder}")
    store = [buildah, f"--root={folder / 'store'}", f"--runroot={folder / 'run'}"]
    drivers = ("overlay", "vfs")  # the second copies more, and works anywhere
    works = [
        each
        for each in drivers
        if subprocess.run([*store, "--storage-driver", each, "info"], check=False, capture_output=True).returncode == 0
    ]
    made = Image([*store, "--storage-driver", works[0]], "localhost/gifine")
    try:
        base = made.call("from", "scratch").strip()
        (suite,) = re.findall(r"^ARG BASE=\S+/debian:(\w+)-slim$", DOCKERFILE, re.MULTILINE)
        root = made.call("mount", base).strip()
        done = subprocess.run(
            [debootstrap, "--variant=minbase", suite, root], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-4000:]
        made.call("commit", "--rm", base, "localhost/base")
        arguments = ["--build-arg=BASE=localhost/base", f"--build-arg=COMMIT={COMMIT}"]
        options = ["--isolation=chroot", *arguments, *pip_settings(folder)]
        made.call("bud", *options, f"--tag={made.name}", ROOT, timeout=1800)
        yield made
    finally:
        made.attempt("rm", "--all")
        made.attempt("rmi", "--all", "--force")
        subprocess.run(["umount", folder / "store" / "overlay"], capture_output=True, check=False)
        shutil.rmtree(folder)


@pytest.fixture
def mine(tmp_path) -> Path:
    """A folder of somebody whom the image does not know."""
    folder = tmp_path / "mine"
    folder.mkdir()
    os.chown(folder, USER, GROUP)
    return folder


SHORT = ["experiment=demo", "train.epochs=1", "data.demo_train_rows=256", "data.demo_eval_rows=64"]


class TestImage:
    pytestmark = built

    def test_whoever_runs_it_owns_what_it_writes(self, image, mine):
        (mine / "cache").mkdir()
        os.chown(mine / "cache", USER, GROUP)
        volumes = {mine: "/workspace", mine / "cache": "/cache"}
        done = image.run(*SHORT, user=f"{USER}:{GROUP}", volumes=volumes)
        assert done.returncode == 0, done.stderr
        assert "tokenising" in done.stderr
        record = record_of(mine / Path(done.stdout.splitlines()[-1].removeprefix("record: ")).parent)
        assert record is not None
        assert record["status"] in ("done", "degenerate")
        assert record["provenance"]["git"] == {"commit": COMMIT, "dirty": False}
        assert {(path.lstat().st_uid, path.lstat().st_gid) for path in mine.rglob("*")} == {(USER, GROUP)}
        # The next container finds the caches.
        done = image.run(*SHORT, "seed=1", user=f"{USER}:{GROUP}", volumes=volumes)
        assert (done.returncode, "tokenising" in done.stderr) == (0, False), done.stderr

    def test_the_image_s_own_user_is_told_what_it_may_not_write(self, image, mine):
        done = image.run(*SHORT, volumes={mine: "/workspace"})
        assert done.returncode == 2
        assert re.search(r"^error: cannot make the folder runs/\S+: Permission denied", done.stderr)
        assert "Traceback" not in done.stderr
        assert [*mine.iterdir()] == []

    def test_a_sweep_goes_on_in_another_container(self, image, mine):
        words = ["--multirun", *TINY_DEMO, "hydra/launcher=local", "output_root=sweep"]
        for seeds, to_submit in (("1,2", 2), ("1,2,3", 1)):
            done = image.run(*words, f"seed={seeds}", user=f"{USER}:{GROUP}", volumes={mine: "/workspace"})
            assert done.returncode == 0, done.stderr
            assert f"{to_submit} to submit" in done.stderr
        records = [record_of(path.parent) for path in mine.glob("sweep/*/record.json")]
        assert sorted(record["config"]["seed"] for record in records if record) == [1, 2, 3]
        assert [record["attempts"] for record in records if record] == [1, 1, 1]
        assert {(path.lstat().st_uid, path.lstat().st_gid) for path in mine.rglob("*")} == {(USER, GROUP)}

    def test_nothing_of_the_build_is_left_in_it(self, image, mine):
        """No secrets, no caches, and no more of the checkout than the Dockerfile copies."""
        look = "ls -A /opt/gifine /root /cache; ls /etc/pip.conf /var/lib/apt/lists; id -u; id -g"
        done = image.run(look, volumes={}, entrypoint=["sh", "-c"])
        assert "/etc/pip.conf: No such file" not in done.stdout
        assert "cannot access '/etc/pip.conf'" in done.stderr
        assert "tests" not in done.stdout.split()
        assert done.stdout.split()[-2:] == ["1000", "1000"]

    def test_an_extra_that_there_is_not_is_told(self, image):
        script = ["env", "EXTRAS=wandb,offlin", "/opt/gifine/containers/install.sh"]
        done = image.run("packages", user="0:0", volumes={}, entrypoint=script)
        assert done.returncode == 2
        assert done.stderr.startswith("error: EXTRAS: no such extra: offlin; valid: wandb, offline\n")

    def test_what_the_definition_runs_runs_in_it(self, image, mine):
        """Apptainer gives the user's own environment and home, and what `%environment` adds."""
        bare = ["env", "-i", f"HOME={mine}", "PATH=/usr/bin:/bin", "sh", "-ec"]
        script = "\n".join([section("environment"), section("test"), section("runscript")])
        volumes = {mine: str(mine)}
        done = image.run(
            script, "gifine", *SHORT, f"output_root={mine}", user=f"{USER}:{GROUP}", volumes=volumes, entrypoint=bare
        )
        assert done.returncode == 0, done.stderr
        assert len([*mine.glob("*/record.json")]) == 1

    @pytest.mark.slurm
    @pytest.mark.usefixtures("cluster")
    def test_slurm_s_jobs_run_in_it(self, image, tmp_path, monkeypatch):
        """`hydra.launcher.python` as the page has it; what enters the image does what `apptainer exec` would."""
        container = image.call("from", "--pull-never", image.name).strip()
        root = image.call("mount", container).strip()
        enter = tmp_path / "enter"
        enter.write_text(ENTER.format(root=root, folder=tmp_path))
        enter.chmod(0o755)
        monkeypatch.chdir(tmp_path)
        folder = tmp_path / "sweep"
        try:
            submit(folder, *SLURM, "seed=1,2", f"hydra.launcher.python='{enter} python'", launcher="slurm")
        finally:
            image.call("rm", container)
        records = [record_of(path.parent) for path in folder.glob("*/record.json")]
        version = image.run("-V", volumes={}, entrypoint=["python"]).stdout.split()[1]
        assert [record["provenance"]["python"] for record in records if record] == [version] * 2
        assert (tmp_path / "entered").read_text() == "no scontrol\n" * 2


# The process, user and environment of the job, in another root, with the folder at the same place.
ENTER = """#!/bin/sh
set -e
if [ "$1" != inside ]; then exec unshare --mount "$0" inside "$@"; fi
shift
mkdir -p {root}{folder}
mount --bind {folder} {root}{folder}
for name in /proc /dev; do mount --rbind $name {root}$name; done
export PATH=/opt/venv/bin:/usr/sbin:/usr/bin:/bin
chroot {root} sh -c 'command -v scontrol || echo no scontrol' >> {folder}/entered
exec chroot {root} "$@"
"""
