"""SIGTERM, SIGUSR1 and SIGUSR2, by which a cluster announces the end of a job.

They end a run as Ctrl-C does, wherever it is, but for training, which finishes its step first (`ending.Interruption`).
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

STOP = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


@contextmanager
def handled(
    handler: Callable[[int, FrameType | None], None], numbers: tuple[signal.Signals, ...] = STOP
) -> Generator[None]:
    """Take the handlers of these signals for the time of a `with` block."""
    earlier = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in earlier.items():
            signal.signal(number, previous)


@contextmanager
def raised() -> Generator[None]:
    """The first of them raises KeyboardInterrupt with its name; those after it find the process ending already."""

    def end(number: int, frame: FrameType | None) -> None:
        for each in STOP:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt(signal.Signals(number).name)

    with handled(end):
        yield


@contextmanager
def held() -> Generator[None]:
    """Let them, and Ctrl-C, wait until what must be written whole is written.

    A mask would not do: it is one thread's, and another thread would take the signal for Python to handle in this one.
    """
    pending: list[int] = []
    with handled(lambda number, frame: pending.append(number), (*STOP, signal.SIGINT)):
        yield
    for number in pending[:1]:
        signal.raise_signal(number)
