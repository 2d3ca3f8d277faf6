"""Runs in Weights & Biases: a view of what metrics.jsonl and record.json hold, never more important than the run.

`tracked` opens a wandb run beside ours and closes it with the summary of the record. A thread of its own talks to
wandb, whose server may be dead and whose process may be gone or hang: the log says so, and training goes on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import psutil

from gifine.choices import TRAINED, GateSide, Parameters, Tracker, TrackingMode
from gifine.config import RunConfig
from gifine.errors import first_line
from gifine.runs import identity
from gifine.runs.records import Record
from gifine.runs.tree import TRACKED
from gifine.tracking import wandb_server

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)

UNSENT = Path(TRACKED, "unsent")  # in a run's folder: its last online attempt did not upload everything
_START_SECONDS = 20
_FINISH_SECONDS = 15  # to upload what is left; the rest stays in the run's folder, for `python -m gifine.sync`
_PATIENCE_SECONDS = 5  # on top of the above, for wandb's process to answer at all

# Takes one logged point: {"step", "epoch", "loss", …, "task/split/metric"}.
Log = Callable[[dict[str, Any]], None]


@contextmanager
def tracked(config: RunConfig, folder: Path, record: Record, *, writes: bool) -> Generator[Log]:
    """Follow a run: gives what to call with every logged point. Of several processes, one `writes`."""
    if config.tracking.name is Tracker.off or not writes:
        yield lambda point: None
        return
    if config.tracking.mode is TrackingMode.disabled or wandb_server.is_disabled():
        log.info("tracking: disabled (tracking.mode, WANDB_MODE or WANDB_DISABLED): wandb is sent and writes nothing")
        yield lambda point: None
        return
    view = _View(config, folder, record)
    try:
        yield view.points.put
    finally:
        view.close()


class _View(threading.Thread):
    def __init__(self, config: RunConfig, folder: Path, record: Record) -> None:
        super().__init__(name="tracking", daemon=True)
        self.config, self.folder, self.record = config, folder, record
        self.points: SimpleQueue[dict[str, Any] | None] = SimpleQueue()  # None: the last one has been
        self.start()

    def run(self) -> None:
        try:
            run = _open(self.config, self.folder, self.record)
            while (point := self.points.get()) is not None:
                # The step is a value and not wandb's own, which must grow: a killed run makes some steps again.
                run.log(point)
            _finish(run, self.record)
        except Exception as error:  # whatever wandb, its process and its server raise
            reason = f"{type(error).__name__}: {first_line(error)}"
            log.warning("tracking: wandb failed (%s); the run goes on without it", reason)
            self._note()
            _forget()

    def close(self) -> None:
        self.points.put(None)
        self.join(_FINISH_SECONDS + _PATIENCE_SECONDS)
        if self.is_alive():
            log.warning("tracking: wandb's process does not answer and is ended; see `python -m gifine.sync`")
            self._note()
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    if "wandb-core" in " ".join(process.cmdline()):
                        process.kill()
            self.join(_PATIENCE_SECONDS)

    def _note(self) -> None:
        with suppress(OSError):
            (self.folder / UNSENT).touch()


def conclude(config: RunConfig, folder: Path, record: Record) -> None:
    """Set a run's summary and state on the server to what its record says."""
    run = _init(config, folder, record, TrackingMode.online)
    _finish(run, record)


def _open(config: RunConfig, folder: Path, record: Record) -> wandb.Run:
    mode = config.tracking.mode
    if mode is TrackingMode.online and (reason := wandb_server.unreachable()):
        log.warning("tracking: %s; offline, for `python -m gifine.sync`", reason)
        mode = TrackingMode.offline
    try:
        return _init(config, folder, record, mode)
    except Exception as error:  # no key, a server that does not answer
        if mode is not TrackingMode.online:
            raise
        reason = f"not taken by {wandb_server.address()} ({type(error).__name__}: {first_line(error)})"
        log.warning("tracking: %s; offline, for `python -m gifine.sync`", reason)
        _forget()  # else the run's id counts as in use
        return _init(config, folder, record, TrackingMode.offline)


def _init(config: RunConfig, folder: Path, record: Record, mode: TrackingMode) -> wandb.Run:
    import wandb  # half a second, and a process of its own: only where it is asked for

    tracking = config.tracking
    run = wandb.init(
        id=record.run_id,  # a run that is gone on with is the same one there
        resume="allow",
        name=identity.title(config)[: wandb_server.NAME],
        project=tracking.project,
        entity=tracking.entity,
        group=tracking.group or Path(config.output_root).expanduser().resolve().name[: wandb_server.NAME] or None,
        job_type="train",
        tags=[*_tags(config), *tracking.tags],
        config=_settings(config),
        dir=str(folder),
        mode=mode.value,  # pyrefly: ignore[bad-argument-type] - one of the words that it takes
        settings=wandb.Settings(
            console="off",  # run.log has it
            silent=True,
            init_timeout=_START_SECONDS,
            finish_timeout=_FINISH_SECONDS,
            finish_timeout_raises=True,
            disable_git=True,  # the record has commit, packages and machine
            save_code=False,
            x_save_requirements=False,
            x_disable_stats=not tracking.system_metrics,
            x_disable_meta=True,
        ),
    )
    run.define_metric("*", step_metric="step")
    return run


def _finish(run: wandb.Run, record: Record) -> None:
    run.summary.update(_summary(record))
    run.finish(exit_code=0 if record.metrics else 1)


def _forget() -> None:
    """End wandb's process, and what the library would do with it at exit."""
    with suppress(Exception):  # it may be what failed
        import wandb

        wandb.teardown()


def _summary(record: Record) -> dict[str, Any]:
    return {"outcome": str(record.status), "run_id": record.run_id, "attempt": record.attempts, **record.metrics}


def _tags(config: RunConfig) -> list[str]:
    if config.is_plain:
        change = plain_tag(config.train.parameters)
    else:
        change = gi_tag(config.gi.side) if config.is_gi else change_tag(config.change["name"])
    tags = [config.task.name, config.model.name, change, f"seed-{config.seed}"]
    return [tag[: wandb_server.TAG] for tag in tags if tag]


def gi_tag(side: GateSide) -> str:
    """Of runs with GI and of baselines: what dashboards find them by, since an older run has no `change` there."""
    return f"gi-{side.value}"


def plain_tag(parameters: Parameters) -> str:
    """Of runs in which nothing is done to attention: the baseline's, or the arm of those that train in part."""
    if parameters is Parameters.all:
        return gi_tag(GateSide.none)
    return TRAINED[parameters][0].replace(" ", "-")


def change_tag(name: str) -> str:
    """Of runs with another change."""
    return f"change-{name}"[: wandb_server.TAG]


def _settings(config: RunConfig) -> dict[str, Any]:
    """Our config under its own names, and `arm`, the change with its keys as folders have it.

    Where things lie says nothing about a run.
    """
    entries = identity.to_dict(config)
    for key in ("tracking", "output_root", "output_dir", "plan", "prefetch", "resume", "overwrite"):
        del entries[key]
    for key in ("dir", "cache_dir"):
        del entries["data"][key]
    entries["change"].pop("file", None)
    entries["arm"] = identity.arm(config)
    return entries
