"""Memory that ran out, on a GPU or a CPU: told from what any library raises, with what to lower."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Generator

from gifine.config import TrainConfig
from gifine.errors import MemoryExhaustedError, UserError, chain

# What torch, CUDA, the C++ library and numpy say; their classes are RuntimeError or their own.
_WORDS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "ALLOC_FAILED",
    "bad_alloc",
    os.strerror(errno.ENOMEM),
)
_GPU = ("CUDA", "HIP", "CUBLAS", "CUDNN", "MPS", "XPU")
_LONGEST = 200  # characters of another library's words


def reason(error: BaseException) -> str | None:
    """What was said of the memory, if that is why `error` was raised, and on which device."""
    for each in chain(error):
        words = str(each)
        if isinstance(each, MemoryError) or any(word in words for word in _WORDS):
            place = "GPU" if any(word in words for word in _GPU) else "CPU"
            line = next((line.strip() for line in words.splitlines() if line.strip()), type(each).__name__)
            _, allocator, rest = line.partition("DefaultCPUAllocator")  # before it stands where in torch's code
            return f"{place}: {(allocator + rest or line)[:_LONGEST]}"
    return None


@contextlib.contextmanager
def explain(doing: str, advice: str) -> Generator[None]:
    """Say what to lower if memory runs out while `doing` this.

    Raises:
        MemoryExhaustedError: then. Other exceptions pass through.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        problem = reason(error)
        if problem is None:
            raise
        raise MemoryExhaustedError(f"out of memory while {doing}: {advice} ({problem})") from error


def training(train: TrainConfig) -> str:
    advice = [f"train.max_length={train.max_length}"]
    if train.batch_size > 1:
        accumulation = f"train.gradient_accumulation={train.gradient_accumulation}"
        advice.insert(0, f"train.batch_size={train.batch_size} (and raise {accumulation} by as much: the same step)")
    more = "" if train.gradient_checkpointing else ", or set train.gradient_checkpointing=true"
    return f"lower {' or '.join(advice)}{more}; else a smaller model, or train.fsdp=true on several devices"


def evaluation(batch_size: int) -> str:
    smaller = f"train.eval_batch_size={batch_size} or " if batch_size > 1 else ""
    return f"lower {smaller}train.max_length"


def again(train: TrainConfig) -> str:
    """Of a finished run, whose batches are what they were."""
    return (
        f"the batches are the run's own (train.eval_batch_size={train.eval_batch_size}), since they can decide its "
        "numbers; free memory, or take a machine with more (CUDA_VISIBLE_DEVICES= takes the CPU instead of a GPU)"
    )
