"""Scores over all tasks, with a change and without: the interquartile mean, and how many runs are above each score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from gifine.report import settings
from gifine.report.analysis import profiles
from gifine.report.analysis.answers import Answer
from gifine.report.plots import drawing
from gifine.report.plots.drawing import Plot
from gifine.runs.replicate import Replicate

_MOST_CHANGES = 5  # a figure: more lines nobody can tell apart
_LEVELS = 201  # of a profile


@dataclass(slots=True)
class Part:
    """Changes of one model that were tried on the same tasks with the same seeds."""

    title: str
    model: str
    arms: list[tuple[str, np.ndarray]]  # the baseline first; scores (S, K) by seed and task, in percent


def parts(answers: Sequence[Answer]) -> list[Part]:
    """Of answers over two tasks and more, with the seeds that all their tasks have, if these are two or more."""
    found: list[Part] = []
    latest: dict[tuple[object, ...], Part] = {}
    for each in answers:
        seeds = sorted(set.intersection(*({pair.gated.replicate for pair in task.pairs} for task in each.comparisons)))
        if len(each.comparisons) < 2 or len(seeds) < 2:
            continue
        baseline, gated = _scores(each, seeds)
        tasks = tuple(task.task.name for task in each.comparisons)
        key = (each.model, *each.extra.values(), tasks, baseline.tobytes())  # so the baseline is one for all
        if key not in latest or len(latest[key].arms) > _MOST_CHANGES:
            title = ", ".join([each.model, *(f"{name}={settings.shown(value)}" for name, value in each.extra.items())])
            latest[key] = Part(title, each.model, [("baseline", baseline)])
            found.append(latest[key])
        latest[key].arms.append((settings.gate(each.gate), gated))
    return found


def _scores(answer: Answer, seeds: Sequence[Replicate]) -> tuple[np.ndarray, np.ndarray]:
    """Of baseline and changed runs, (S, K) each, in percent."""
    columns = []
    for task in answer.comparisons:
        pairs = {pair.gated.replicate: pair for pair in task.pairs}
        chosen = [pairs[seed] for seed in seeds]
        columns.append([[run.score(task.measure) for run in (pair.baseline, pair.gated)] for pair in chosen])
    both = 100 * np.asarray(columns, dtype=float).T  # (2, S, K)
    return both[0], both[1]


def draw(part: Part) -> Plot:
    runs, tasks = part.arms[0][1].shape
    labels = [drawing.shortened(name, 30) for name, _ in part.arms]
    figure = Figure(figsize=(8.2, 0.25 * len(labels) + 2.6), layout="constrained")
    means, above = figure.subplots(1, 2)
    levels = np.linspace(min(each.min() for _, each in part.arms), max(each.max() for _, each in part.arms), _LEVELS)
    for row, (label, (_, scores)) in enumerate(zip(labels, part.arms, strict=True)):
        middle, (low, high) = float(profiles.interquartile_mean(scores)), profiles.interval(scores)
        look = drawing.look(row, with_line=False)
        means.errorbar([middle], [row], xerr=[[middle - low], [high - middle]], capsize=3, linewidth=1.2, **look)
        line = drawing.look(row)
        above.step(
            levels,
            100 * profiles.profile(scores, levels),
            where="post",
            linewidth=1.2,
            label=label,
            **line,
            markevery=40,
        )
    means.set_yticks(range(len(labels)), labels)
    means.set(xlabel="interquartile mean, %", ylim=(len(labels) - 0.5, -0.5))
    above.set(xlabel="score, %", ylabel="runs above it, %")
    above.legend()
    caption = (
        f"{part.title}: scores of {tasks} tasks and {runs} seeds that all of them have, in percent of each task's main "
        "measure. Left: the mean of the middle half of all runs, with the 95 % interval of a bootstrap of each task's "
        "runs, which is too narrow of few. Right: the performance profile, the share of runs that are above a score. "
        "Neither is a test: runs are not paired here, and tasks differ more than changes do."
    )
    names = [name for name, _ in part.arms[1:]]
    title = f"Over all tasks, {part.title}: {names[0]}{f' to {names[-1]}' if len(names) > 1 else ''}"
    return drawing.finished(figure, ["over-tasks", part.model], title, caption)
