"""Fixtures that several test modules use."""

from __future__ import annotations

import gc
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach for the Hub
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in a script's background: programs would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

from gifine import cli
from gifine.errors import ExitCode
from gifine.runs import identity, records
from gifine.runs.records import Record

# The same examples each time, so that a result is one of the code; `make search` looks for others.
COMMON = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", COMMON, derandomize=True, database=None, max_examples=100)
settings.register_profile("search", COMMON, print_blob=True, max_examples=1000)
settings.load_profile("same")  # unless --hypothesis-profile says otherwise

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("GIFINE_SHARED", ROOT.parent / "shared"))

TINY_MODEL = [
    "model.random_init=true",
    "model.config_overrides={hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 32}",
    "train.device=cpu",
]
TINY_DEMO = [
    "task=demo",
    "data=demo",
    "model=bert",
    *TINY_MODEL,
    "model.tokenizer=demo",
    "data.demo_train_rows=64",
    "data.demo_eval_rows=48",
    "train.epochs=2",
    "train.batch_size=16",
    "train.eval_batch_size=16",
    "train.learning_rate=1e-3",
    "train.max_length=32",
    "train.log_steps=1",
]


# What these fixtures are for is what their tests need.
MARKERS = {"shared": "shared", "cluster": "slurm", "disk": "machine"}


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name in MARKERS.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(MARKERS[name])


def pytest_collection_finish() -> None:
    """What is imported by now stays: no collection need look through it, half a second after each training."""
    gc.collect()
    gc.freeze()


def needs(*programs: str) -> str:
    """Where the first of these programs is; the test is skipped where there is none. It is marked `machine`."""
    for name in programs:
        if (path := shutil.which(name)) is not None:
            return path
    pytest.skip(f"needs {' or '.join(programs)}")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The developers' folder with golden numbers, GLUE files and tokenizers."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the developers' shared folder ({SHARED}); GIFINE_SHARED names another place")
    return SHARED


# For modules that use wandb. It leaves the handle of its process to the garbage collector, which complains.
WANDB = [
    pytest.mark.usefixtures("fresh_wandb"),
    pytest.mark.filterwarnings(
        "ignore:.*subprocess .* is still running", "ignore:Exception ignored in. <function Popen"
    ),
]


@pytest.fixture
def fresh_wandb():
    """wandb keeps the settings, key and process that it once had: none of another test's here, none of ours there."""
    import wandb

    wandb.teardown()
    yield
    wandb.teardown()
    gc.collect()


@pytest.fixture
def cluster():
    """SLURM takes jobs from here; those of the test are gone after it."""
    from support.sweeps import NAME  # which takes what is here

    if shutil.which("sinfo") is None or subprocess.run(["sinfo"], capture_output=True, check=False).returncode:
        pytest.skip("needs a SLURM cluster: tests/slurm/up starts one on this machine")
    yield
    subprocess.run(["scancel", f"--name={NAME}"], check=True)


@pytest.fixture
def float64(monkeypatch):
    """Models are built and trained in float64, where rounding is far below whatever a fault would do."""
    import torch

    torch.set_default_dtype(torch.float64)
    monkeypatch.setattr(torch, "FloatTensor", torch.DoubleTensor)  # by which transformers makes XLNet's parameters
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(autouse=True)
def _same_random_numbers():
    """Whichever tests ran before in this process."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def _no_handlers_left_behind():
    """The commands log to the stderr that they find, which pytest closes after the test."""
    before = [*logging.root.handlers]
    yield
    for handler in [*logging.root.handlers]:
        if handler not in before:
            logging.root.removeHandler(handler)


def tiny_bert(folder: Path, seed: int) -> dict[str, bytes]:
    """Save a checkpoint of our own, with the demo's tokenizer, in `folder`; its files."""
    from transformers import BertConfig, BertModel, set_seed

    from gifine.inputs import demo

    tokenizer = demo.tokenizer()
    set_seed(seed)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(tokenizer), **size)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@dataclass
class Result:
    code: ExitCode
    folder: Path
    record: Record


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """Tokenised data that the tests of one process share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def train(tmp_path, cache):
    """Run a config, composed as on the command line, below `tmp_path`."""

    def run(*overrides: str) -> Result:
        from gifine import train as module

        words = [f"output_root={tmp_path}", f"data.cache_dir={cache}", *overrides]
        config = cli.config_from(cli.compose(words))
        code = module.run(config)
        folder = identity.directory(config)
        record = records.read(folder)
        assert record is not None
        return Result(code, folder, record)

    return run


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Call the command line in this process; returns its exit code and what it said on stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["gifine", *words])
        code = cli.main()
        return code, capsys.readouterr().err

    return call
