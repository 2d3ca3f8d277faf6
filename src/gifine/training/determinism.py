"""Whether torch computes the same bits again, as `deterministic` and the device say."""

from __future__ import annotations

import os

import torch

from gifine.config import Device, RunConfig


def choose(config: RunConfig) -> None:
    """Choose torch's algorithms: a process may make several runs, so both ways."""
    wanted = config.deterministic
    if wanted is None:
        wanted = config.train.device is Device.cpu or not torch.cuda.is_available()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS refuses without; read when it starts
    torch.use_deterministic_algorithms(wanted)
