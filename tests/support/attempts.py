"""Attempts at a run, each a process of its own, that can be hit at a chosen event of its work.

Python, torch and transformers take seconds to start. Here a process forks, in milliseconds, from one that has imported
them and computed nothing; what it then runs is the command line. Events are counted, not timed: the same blow falls at
the same point of the work on any machine.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "gifine.cli",
        "gifine.train",
        "torch.optim.adamw",
        "transformers.models.bert.modeling_bert",
        "transformers.models.deberta_v2.modeling_deberta_v2",
    ]
)
_BLOW = b"!"  # in an attempt's trail: it is to be hit now, from outside
_SECONDS = 120  # an attempt takes less than one


class Place(StrEnum):
    """Where an attempt is: what it began last. The values are single letters, written to a pipe one by one."""

    STEP = "s"  # a training batch, of one or more that make a step
    EVALUATION = "e"  # a batch, in training or at the end
    CHECKPOINT = "c"  # written
    DELETION = "d"  # of a checkpoint
    RECORD = "r"  # record.json and run.log
    CURVE = "m"  # metrics.jsonl
    PREDICTIONS = "p"
    MODEL = "w"
    DATA = "t"  # tokenised and cached


@dataclass(frozen=True)
class Blow:
    """Falls on an attempt at its `nth` event at `place`, at once or `seconds` later.

    With `limit` the system ends the process (SIGXFSZ) where it writes beyond that many bytes of one file: in the middle
    of a write of C++ or Rust, which no event of Python's shows. SIGSTOP pauses it.
    """

    place: Place
    nth: int
    signal: signal.Signals
    seconds: float | None = None
    limit: int | None = None


@dataclass
class Ended:
    code: int  # an exit code, or −signal
    trail: str  # a Place's letter for each event
    output: str

    @property
    def place(self) -> Place | None:
        return Place(self.trail[-1]) if self.trail else None

    @property
    def checkpoints(self) -> int:
        return self.trail.count(Place.CHECKPOINT)


class Attempt:
    """A process that runs `python -m gifine WORDS`, with its output in the file `log`."""

    def __init__(self, words: list[str], log: Path, blow: Blow | None = None) -> None:
        self.log, self.blow = log, blow
        self.trail = b""
        self._events, writer = _CONTEXT.Pipe(duplex=False)
        self._process: Any = _CONTEXT.Process(target=_attempt, args=(words, log, blow, writer))
        self._process.start()
        writer.close()

    def wait(self) -> Ended:
        """Hit it when its time comes; how it ended."""
        while self._read():
            if _BLOW in self.trail and self.blow is not None and self.blow.seconds is not None:
                self.trail = self.trail.replace(_BLOW, b"")
                time.sleep(self.blow.seconds)
                with contextlib.suppress(ProcessLookupError):  # it was at its last event, and has ended
                    self.send(self.blow.signal)
        self._process.join(_SECONDS)
        code = self._process.exitcode
        assert code is not None, "the process is still there"
        self._events.close()
        self._process.close()
        return Ended(code, self.trail.replace(_BLOW, b"").decode(), self.log.read_text(encoding="utf-8"))

    def until_paused(self) -> None:
        """Wait until a blow of SIGSTOP has fallen; `send(SIGCONT)` lets it go on."""
        while _BLOW not in self.trail:
            assert self._read(), f"it ended before it could be paused: {self.log.read_text(encoding='utf-8')}"
        state = Path(f"/proc/{self._process.pid}/stat")
        deadline = time.monotonic() + _SECONDS
        while state.read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < deadline, "not paused"
            time.sleep(0.001)

    def send(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    def _read(self) -> bool:
        assert self._events.poll(_SECONDS), "nothing happens any more"
        read = os.read(self._events.fileno(), 65536)
        self.trail += read
        return bool(read)


def run(words: list[str], log: Path, blow: Blow | None = None) -> Ended:
    return Attempt(words, log, blow).wait()


def _attempt(words: list[str], log: Path, blow: Blow | None, events: Connection) -> None:
    """What the new process does."""
    import tqdm.std

    from gifine import cli

    gc.freeze()  # a collection would copy all memory that is shared with the process it was forked from
    std: Any = tqdm.std
    for stream in (sys.stdout, sys.stderr):
        with log.open("ab") as file:
            os.dup2(file.fileno(), stream.fileno())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    std.TqdmDefaultWriteLock.mp_lock = (
        None  # a semaphore, which those that are killed would leave to the server, and it to complain of
    )
    _watch(_Watch(blow, events.fileno()))
    sys.argv = ["gifine", *words]
    sys.exit(cli.main())


class _Watch:
    def __init__(self, blow: Blow | None, events: int) -> None:
        self.blow, self.events = blow, events
        self.seen: Counter[Place] = Counter()

    def tick(self, place: Place) -> None:
        os.write(self.events, place.value.encode())
        self.seen[place] += 1
        if self.blow is not None and place is self.blow.place and self.seen[place] == self.blow.nth:
            self._hit(self.blow)

    def _hit(self, blow: Blow) -> None:
        if blow.limit is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it; the write would fail instead
            resource.setrlimit(resource.RLIMIT_FSIZE, (blow.limit, resource.RLIM_INFINITY))
        elif blow.seconds is not None or blow.signal is signal.SIGSTOP:
            os.write(self.events, _BLOW)
        if blow.limit is None and blow.seconds is None:
            os.kill(os.getpid(), blow.signal)


def _watch(watch: _Watch) -> None:
    """Count what is done to the files of a run, and the batches that go through the model."""
    import transformers

    def on_event(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            place = _place(path) if flags & (os.O_WRONLY | os.O_RDWR) else None
        elif event in ("os.mkdir", "os.rename"):
            place = _place(args[0])
        elif event in ("os.remove", "os.rmdir", "shutil.rmtree"):
            path, folder = args[0], args[-1]
            if isinstance(folder, int) and folder >= 0:
                path = f"{Path(f'/proc/self/fd/{folder}').readlink()}/{path}"
            place = _place(path)
            place = Place.DELETION if place is Place.CHECKPOINT else place
        else:
            return
        if place is not None:
            watch.tick(place)

    def counted(method: Any, place: Place) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            watch.tick(place)
            return method(*args, **kwargs)

        return call

    trainer: Any = transformers.Trainer
    trainer.training_step = counted(trainer.training_step, Place.STEP)
    trainer.prediction_step = counted(trainer.prediction_step, Place.EVALUATION)
    sys.addaudithook(on_event)


def _place(path: object) -> Place | None:
    """Of a file or folder of a run: the names are those that docs/first-hour.md lists."""
    for part in reversed(os.fsdecode(path).split("/") if isinstance(path, str | bytes | os.PathLike) else []):
        name = part.removeprefix(".")
        if name.startswith("begun_with.json"):  # small, and whole or not there: before all checkpoints
            return None
        if name == "tokenised":
            return Place.DATA
        if name == "checkpoints":
            return Place.CHECKPOINT
        if name in ("model", "model.partial"):
            return Place.MODEL
        if name.startswith("metrics.jsonl"):
            return Place.CURVE
        if name.startswith(("record.json", "run.log")):
            return Place.RECORD
        if name.startswith("predictions-"):
            return Place.PREDICTIONS
    return None
