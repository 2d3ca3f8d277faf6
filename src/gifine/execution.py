"""One checked config, run in this process: what goes wrong is told, and what came of it is an exit code."""

from __future__ import annotations

import ctypes
import gc
import os
import traceback
from contextlib import suppress

from gifine.config import RunConfig
from gifine.errors import ExitCode, UserError, tell
from gifine.machine import limits, signals
from gifine.machine.imports import uncollected

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h


def execute(config: RunConfig, *, wants_traceback: bool = False) -> ExitCode:
    """Train and evaluate; errors are told on stderr.

    Raises:
        KeyboardInterrupt: on a signal outside of training, and on Ctrl-C.
        UserError: with `wants_traceback` only.
    """
    try:
        if config.prefetch is not None:
            # The folder has all that is read; this keeps whatever else might look for news off the network. The
            # libraries read it when they are imported.
            os.environ["HF_HUB_OFFLINE"] = "1"
        limits.limit_threads()
        hold()
        with signals.raised():
            with uncollected():
                from gifine import train  # torch and transformers: seconds that a config error should not cost

            return train.run(config)
    except UserError as error:
        if wants_traceback:
            raise
        return tell(error)
    except Exception:
        # In a sweep the other runs go on; the record tells the same as this traceback.
        traceback.print_exc()
        return ExitCode.FAILED
    finally:
        release()


def hold() -> None:
    """Keep freed memory in the process for the next step, rather than give it back and fault it in again.

    3 % of a training step on a quiet machine, 5 to 12 % on a loaded one: gradients are freed and made anew in each. By
    default glibc gives back what is free at the heap's end from 64 MB on. `release` does so after each run.
    """
    with suppress(AttributeError, OSError, TypeError):  # it is glibc's
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)
        mallopt(_M_TOP_PAD, 64 << 20)
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # its own limit; larger ones are mapped and unmapped each time


def release() -> None:
    """Give the memory of a run back to the system: the next one would find it in pieces, and take more.

    Without it five runs of MiniLM on RTE, with batches of 32 of many lengths, left 3 GB, then 4, in such pieces.
    """
    gc.collect()  # models are in cycles
    with suppress(AttributeError, OSError, TypeError):  # it is glibc's
        ctypes.CDLL(None).malloc_trim(0)
