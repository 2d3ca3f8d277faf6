"""What a run is computed with: entries of its record's provenance that only torch knows.

Two runs that differ in one of them may differ in their results though their configs agree; `report/circumstances.py`
reads them.
"""

from __future__ import annotations

import os
import subprocess
from typing import Any

import torch
from transformers import PreTrainedModel, TrainingArguments

from gifine import models
from gifine.runs import provenance


def describe(arguments: TrainingArguments, model: PreTrainedModel) -> dict[str, Any]:
    """Of the process that calls it, and the processors and GPUs of all. Every process of a run has to call it.

    Null is what does not apply: CUDA and its libraries on a CPU.
    """
    device = arguments.device
    is_cuda = device.type == "cuda"
    cpus, gpus = _hardware(arguments)
    precision = torch.bfloat16 if arguments.bf16 else torch.float32
    return {
        "device": str(device),
        "processes": arguments.world_size,
        "cpu": " and ".join(cpus) or None,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),  # of its vector units what torch uses
        "threads": {
            "torch": torch.get_num_threads(),
            "interop": torch.get_num_interop_threads(),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        },
        "gpus": gpus,
        "cuda": torch.version.cuda if is_cuda else None,
        "cudnn": torch.backends.cudnn.version() if is_cuda else None,
        "driver": _driver() if is_cuda else None,
        "precision": "bf16" if arguments.bf16 else "fp32",
        "float32_products": torch.get_float32_matmul_precision() if is_cuda else None,  # highest: no TF32
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "attention": models.attention_path(model, device, precision),
    }


def _hardware(arguments: TrainingArguments) -> tuple[list[str], list[str]]:
    """The different processors, and the GPUs, each as often as there are of it, of all processes of the run."""
    own: tuple[str | None, list[str]] = (provenance.cpu(), _gpus(arguments))
    everybody: list[Any] = [own]
    if arguments.world_size > 1:
        everybody = [None] * arguments.world_size
        torch.distributed.all_gather_object(everybody, own)
    cpus = sorted({cpu for cpu, _ in everybody if cpu is not None})
    return cpus, [gpu for _, gpus in everybody for gpu in gpus]


def _gpus(arguments: TrainingArguments) -> list[str]:
    """The names of those that this process computes on."""
    if arguments.device.type != "cuda":
        return []
    numbers = range(arguments.n_gpu) if arguments.n_gpu > 1 else [arguments.device.index or 0]
    return [torch.cuda.get_device_name(number) for number in numbers]


def _driver() -> str | None:
    """The version of NVIDIA's driver; None where its own program is not there to say it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603 - fixed words
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.split()), None)
