"""What happens beside the training steps: the curve in metrics.jsonl, plain log lines or a bar, the NaN alarm."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import nn
from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gifine.config import GI
from gifine.machine.disk import write_text
from gifine.models.changed import at_work
from gifine.models.pretraining.pair import Pair
from gifine.training import budget

log = logging.getLogger(__name__)

_CURVE = ("loss", "learning_rate", "grad_norm")
_KEPT = 20  # points of a change's statistics that a run keeps


class Curve(TrainerCallback):
    """Appends every logged point to `metrics.jsonl`, says it in the log, and gives it to `track`.

    Lines are `{"step", "epoch", "loss", "learning_rate", "grad_norm"}` for training and `{"step", "epoch",
    "task/split/metric": …}` for evaluation; an undefined or non-finite number is null.
    """

    def __init__(self, path: Path, task: str, track: Callable[[dict[str, Any]], None]) -> None:
        self.path, self.task, self.track = path, task, track

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            _begin(self.path, state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not state.is_world_process_zero or logs is None:
            return
        values = {key: logs[key] for key in _CURVE if key in logs} if "loss" in logs else _metrics(logs, self.task)
        if values:
            self._append(state, values)

    def _append(self, state: TrainerState, values: dict[str, Any]) -> None:
        line = {"step": state.global_step, "epoch": round(state.epoch or 0, 4)}
        line |= {key: _finite(value) for key, value in values.items()}
        _append(self.path, line)
        self.track(line)
        told = "  ".join(f"{key} {_short(value)}" for key, value in values.items())
        where = budget.place(state.global_step, state.max_steps, "/")
        log.info("step %s  epoch %.2f  %s", where, state.epoch or 0, told)


class ChangeStatistics(TrainerCallback):
    """Every `steps` steps, if any, gives `track` what is told of the change as `change/<layer>/<site>/<statistic>`.

    Of GI it is `gates/<layer>/<side>/<statistic>`; of a pair it is the discriminator's, if that has a change. Layers
    count from 0; of accumulated batches, and of several processes, it is the last and the first. Of the first step and
    about `_KEPT` others, `path` (change.jsonl) has them as well, a line each, whether or not a run is tracked.
    """

    def __init__(
        self,
        model: nn.Module,
        steps: int | None,
        track: Callable[[dict[str, Any]], None],
        path: Path | None = None,
    ) -> None:
        self.sites, self.steps, self.track, self.path = _sites(model), steps, track, path

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero and self.sites and self.path is not None:
            _begin(self.path, state.global_step)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.watches(state):
            for site in self.sites:
                site.watched = {}

    def watches(self, state: TrainerState) -> bool:
        """Whether statistics are taken in the step that begins."""
        step = state.global_step + 1
        is_asked = self._is_tracked(step) or self._is_kept(step, state.max_steps)
        return state.is_world_process_zero and bool(self.sites) and is_asked

    def _is_tracked(self, step: int) -> bool:
        return self.steps is not None and step % self.steps == 0

    def _is_kept(self, step: int, planned: int) -> bool:
        if budget.known_end(planned) is None:  # nobody knows how many there will be: 1, 2, 4, 8 …
            return self.path is not None and step & (step - 1) == 0
        return self.path is not None and (step in (1, planned) or step % max(1, planned // _KEPT) == 0)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        point: dict[str, Any] = {}
        for site in self.sites:
            kind = "gates" if site.change.name == GI else "change"
            for name, value in (site.watched or {}).items():
                point[f"{kind}/{site.place.layer}/{site.place.site}/{name}"] = value.item()
            site.watched = None
        if not point:
            return
        line = {"step": state.global_step, **point}
        if self._is_tracked(state.global_step):
            self.track(line)
        if self.path is not None and self._is_kept(state.global_step, state.max_steps):
            _append(self.path, {key: _short_number(value) for key, value in line.items()})


class Plan(TrainerCallback):
    """Calls `tell` with the number of steps that training will have, when it begins, if that is known."""

    def __init__(self, tell: Callable[[int | None], None]) -> None:
        self.tell = tell

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            self.tell(budget.known_end(state.max_steps))


class StopWhenDiverged(TrainerCallback):
    """Ends training when a loss or gradient norm that is logged is NaN or infinite; `reason` then says which."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        for key, value in (logs or {}).items():
            if key.endswith(("loss", "grad_norm")) and not math.isfinite(value) and self.reason is None:
                self.reason = f"{key} was {value} at step {budget.place(state.global_step, state.max_steps)}"
                control.should_training_stop = True


class Bar(TrainerCallback):
    """A progress bar over the steps, on a terminal only."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero and sys.stderr.isatty():
            self.bar = tqdm(
                total=budget.known_end(state.max_steps), initial=state.global_step, unit="step", dynamic_ncols=True
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.bar is not None:
            self.bar.close()


def _sites(model: nn.Module) -> list[Any]:
    parts = (model.discriminator, model.generator) if isinstance(model, Pair) else (model,)
    return next((found for part in parts if (found := list(at_work(part)))), [])


def logged_key(split: str, metric: str) -> str:
    """What the Trainer calls the metric that `compute_metrics` names `/metric`, on the evaluation set `split`."""
    return f"eval_{split}_/{metric}"


def last_evaluation(state: TrainerState, key: str, metric: str) -> tuple[dict[str, Any], int]:
    """Step and metric of the last evaluation while it trained, and how many there were, of all attempts together.

    Empty and 0 where a run is evaluated at its end only. An undefined metric is None.
    """
    found = [entry for entry in state.log_history if key in entry]
    if not found:
        return {}, 0
    return {"step": found[-1]["step"], metric: _finite(found[-1][key])}, len(found)


def _begin(path: Path, step: int) -> None:
    """Leave the lines of an earlier attempt up to the step that this one goes on from: those after it come again."""
    write_text(path, "".join(_lines(path, step)))


def _lines(path: Path, last: int) -> Iterator[str]:
    if last == 0 or not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= last:
                yield f"{line}\n"
        except ValueError:  # cut off when the process was killed
            return


def _append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _metrics(logs: dict[str, Any], task: str) -> dict[str, float]:
    """`task/split/metric` of what an evaluation logged; the slash tells metrics from the Trainer's timings."""
    named = {}
    for key, value in logs.items():
        split, slash, metric = key.removeprefix("eval_").partition("_/")
        if slash:
            named[f"{task}/{split}/{metric}"] = value
        elif key.startswith("eval_") and key.endswith("_loss"):
            named[f"{task}/{split.removesuffix('_loss')}/loss"] = value
    return named


def _short_number(value: float) -> float | None:
    """Four digits of it: of 24 layers there are 200 numbers a line."""
    return value if isinstance(value, int) else _finite(float(f"{value:.4g}"))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _short(value: float) -> str:
    return f"{value:.2e}" if value and abs(value) < 1e-3 else f"{value:.4f}"
