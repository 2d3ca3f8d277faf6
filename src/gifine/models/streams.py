"""Random numbers of changes, apart from torch's: a baseline of the same seed has the same head, order and dropout."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, distributed
from transformers import initialization as init

from gifine.changes.contract import Constant, Normal, Parameter

# Of what changes draw, if it is not torch's: transformers calls `_init_weights`, and hands nothing on.
_SEED: ContextVar[int | None] = ContextVar("_SEED", default=None)


@contextmanager
def drawn_from(seed: int) -> Generator[None]:
    """In a `with` block what changes draw comes from this seed, not from torch's."""
    token = _SEED.set(seed)
    try:
        yield
    finally:
        _SEED.reset(token)


def seed() -> int:
    own = _SEED.get()
    return torch.initial_seed() if own is None else own


def generator(stream: str, of: int | None = None, device: torch.device | str = "cpu") -> torch.Generator:
    """Random numbers that depend on the seed (`of`, or today's) and on `stream`, not on how many were drawn before."""
    digest = hashlib.sha256(f"{seed() if of is None else of} {stream}".encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:8]))


def of_all_processes(count: int) -> int:
    """The number of a pass among those of all processes: batches that these train side by side have masks of their own.

    They are the masks that one process has which takes the same batches one after the other.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return count
    return count * distributed.get_world_size() + distributed.get_rank()


def start(tensor: Tensor, parameter: Parameter, stream: str, std: float) -> None:
    """The first values. Drawn on the CPU, so that a seed means the same numbers on every device."""
    how = parameter.start
    if isinstance(how, Constant):
        init.constant_(tensor, how.value)
        return
    values = torch.empty(tensor.shape, device="cpu")
    if isinstance(how, Normal):
        values.normal_(0.0, std if how.std is None else how.std, generator=generator(stream))
    else:
        values.uniform_(-how.bound, how.bound, generator=generator(stream))
    init.copy_(tensor, values)
