"""What a record says of threads, devices, numbers and attention."""

from __future__ import annotations

import hashlib
import subprocess
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from conftest import TINY_DEMO
from gifine import evaluate
from gifine.machine import limits
from gifine.runs import provenance, records
from gifine.runs.records import Status
from gifine.training import callbacks, circumstances


def test_a_run_on_a_cpu(train):
    record = train(*TINY_DEMO, "train.max_steps=1").record
    found = record.provenance
    assert found["cpu"] == provenance.cpu()
    assert found["threads"]["torch"] == torch.get_num_threads()
    assert (found["device"], found["processes"], found["gpus"]) == ("cpu", 1, [])
    assert [found[key] for key in ("cuda", "cudnn", "driver", "float32_products")] == [None] * 4
    assert (found["precision"], found["deterministic"]) == ("fp32", True)
    assert found["package"] is None


def test_threads_are_those_asked_for_and_then_again_those_of_before(train, monkeypatch, caplog):
    monkeypatch.setattr(limits, "cores", lambda: 1)
    before = torch.get_num_threads()
    words = [*TINY_DEMO, "train.max_steps=1", "train.save_model=true"]
    found = train(*words, f"threads={before + 1}")
    assert found.record.provenance["threads"]["torch"] == before + 1
    assert f"threads={before + 1}: this process has 1 cores" in caplog.text
    assert torch.get_num_threads() == before
    assert train(*words).record.provenance["threads"]["torch"] == before

    seen, describe = [], circumstances.describe

    def look(*given: Any) -> dict[str, Any]:
        seen.append(torch.get_num_threads())
        return describe(*given)

    monkeypatch.setattr(circumstances, "describe", look)
    assert evaluate.main([str(found.folder)]) == 0
    assert seen == [before + 1], "evaluated again as it was evaluated"
    assert torch.get_num_threads() == before


def test_predictions_are_told_by_their_hash(train):
    made = train(*TINY_DEMO, "train.max_steps=1")
    content = (made.folder / "predictions-validation.parquet").read_bytes()
    assert made.record.provenance["predictions"] == {"validation": hashlib.sha256(content).hexdigest()}
    without = train(*TINY_DEMO, "train.max_steps=1", "seed=7", "train.save_predictions=false")
    assert without.record.provenance["predictions"] == {}


def test_a_run_that_breaks_off_in_training_says_it_too(train, monkeypatch, tmp_path):
    def fail(*_: object, **__: object) -> None:
        raise ValueError("at once")

    monkeypatch.setattr(callbacks.Bar, "on_step_end", fail)
    with pytest.raises(ValueError, match="at once"):
        train(*TINY_DEMO)
    (path,) = tmp_path.glob("*/record.json")
    record = records.read(path.parent)
    assert record is not None
    assert (record.status, record.provenance["device"]) == (Status.FAILED, "cpu")


@pytest.mark.parametrize("attention", ["fast", "hf"])
@pytest.mark.parametrize("model", ["bert", "roberta", "deberta", "debertav3", "xlnet"])
def test_twins_compute_attention_the_same_way(train, model, attention):
    """Else every pair would be told to differ."""
    words = [*TINY_DEMO, f"model={model}", *TINY_DEMO[3:6], "train.max_steps=1", f"model.attention={attention}"]
    paths = {train(*words, f"gi.side={side}").record.provenance["attention"] for side in ("none", "both")}
    expected = f"{attention}/" if model.startswith(("deberta", "xlnet")) else "hf/"
    assert len(paths) == 1
    assert paths.pop().startswith(expected)


class Arguments(SimpleNamespace):
    """What `describe` reads of TrainingArguments, for a machine with GPUs."""


def arguments(**entries: Any) -> Any:
    return cast(
        "Any", Arguments(**{"device": torch.device("cuda", 0), "n_gpu": 1, "world_size": 1, "bf16": True} | entries)
    )


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs, a driver, and CUDA's libraries, as far as they are asked."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: ["NVIDIA H100", "NVIDIA A100"][number])
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    monkeypatch.setattr("gifine.models.attention_path", lambda *_: "fast/fused")
    said = subprocess.CompletedProcess([], 0, stdout="570.86.15\n570.86.15\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: said)


def test_a_run_on_a_gpu(gpus):
    found = circumstances.describe(arguments(), model())
    assert (found["device"], found["gpus"]) == ("cuda:0", ["NVIDIA H100"])
    assert (found["cuda"], found["cudnn"], found["driver"]) == ("12.8", 91002, "570.86.15")
    assert (found["precision"], found["float32_products"], found["attention"]) == ("bf16", "highest", "fast/fused")
    found = circumstances.describe(arguments(n_gpu=2), model())
    assert found["gpus"] == ["NVIDIA H100", "NVIDIA A100"]
    assert circumstances.describe(arguments(device=torch.device("cuda", 1)), model())["gpus"] == ["NVIDIA A100"]


def test_a_driver_that_nobody_names_is_null(gpus, monkeypatch):
    def absent(*_: object, **__: object) -> None:
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(subprocess, "run", absent)
    assert circumstances.describe(arguments(), model())["driver"] is None


def test_gpus_and_processors_of_all_processes_are_told(gpus, monkeypatch):
    def gather(found: list[Any], own: Any) -> None:
        found[:] = [own, ("Another CPU", ["NVIDIA B200"])]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    monkeypatch.setattr(provenance, "cpu", lambda: "One CPU")
    found = circumstances.describe(arguments(world_size=2), model())
    assert found["gpus"] == ["NVIDIA H100", "NVIDIA B200"]
    assert found["cpu"] == "Another CPU and One CPU"


def model() -> Any:
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return BertForSequenceClassification(BertConfig(vocab_size=10, **size))
