"""How a run's numbers are computed, by what is asked for and what the device has: number format, repeatable bits."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import PreTrainedModel

from gifine.choices import Attention, Device, Precision
from gifine.config import RunConfig, TrainConfig
from gifine.errors import ConfigError
from gifine.inputs.families import normalise_type
from gifine.machine import limits

log = logging.getLogger(__name__)

_UNITS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last is ARM's


def choose_algorithms(config: RunConfig) -> None:
    """Let torch compute the same bits again, or not: a process may make several runs, so both ways."""
    wanted = config.deterministic
    if wanted is None:
        wanted = config.train.device is Device.cpu or not torch.cuda.is_available()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS refuses without; read when it starts
    torch.use_deterministic_algorithms(wanted)


@contextmanager
def threads(wanted: int | None) -> Generator[None]:
    """Compute with so many threads in a `with` block (null: as many as there are): their number decides rounding."""
    before = torch.get_num_threads()
    if wanted is not None:
        if wanted > limits.cores():
            log.warning("threads=%d: this process has %d cores; the result is the same, later", wanted, limits.cores())
        torch.set_num_threads(wanted)
    try:
        yield
    finally:
        if wanted is not None:
            torch.set_num_threads(before)  # the next run of this process may want what the machine grants


def uses_bf16(train: TrainConfig) -> bool:
    """bf16 where asked for, else on a GPU that has it; what a CPU computes stays the same on every CPU."""
    if train.precision is Precision.auto:
        return _on_gpu(train) and torch.cuda.is_bf16_supported(including_emulation=False)
    return train.precision is Precision.bf16


def check_precision(train: TrainConfig) -> None:
    """
    Raises:
        ConfigError: for training in bf16 on a CPU that has no units for it, where it is tens of times slower than fp32.
    """
    flags = cpu_flags()
    if uses_bf16(train) and not _on_gpu(train) and flags and not flags & _UNITS:
        raise ConfigError(
            "train.precision=bf16: this CPU does not compute in bfloat16 (AVX512-BF16 or AMX do), where fp32 is many "
            "times faster; valid here: auto, fp32"
        )


def check_attention(model: PreTrainedModel, config: RunConfig) -> None:
    """
    Raises:
        ConfigError: where transformers' own code cannot be trained in bf16: its DeBERTa (v1) masks scores in bf16 with
            the lowest number of float32. Gated models and the fast attention have code of their own.
    """
    is_plain = normalise_type(model.config.model_type) == "deberta" and not getattr(model.config, "changed_layers", ())
    if is_plain and config.model.attention is Attention.hf and uses_bf16(config.train):
        raise ConfigError(
            "model.attention=hf: transformers' own DeBERTa cannot compute in bfloat16; model.attention=fast can, "
            "or give train.precision=fp32"
        )


def cpu_flags() -> set[str]:
    """What Linux says that this CPU has; empty where nobody says."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.lower().startswith(("flags", "features")) for flag in line.split()}


def _on_gpu(train: TrainConfig) -> bool:
    return train.device is Device.auto and torch.cuda.is_available()
