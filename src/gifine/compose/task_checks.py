"""What a task may say, by its objective, and what does not go with it. No torch."""

from __future__ import annotations

from collections.abc import Iterator

from gifine.choices import Objective
from gifine.compose import pretraining_checks
from gifine.config import DEMO, RunConfig, TaskConfig
from gifine.errors import did_you_mean
from gifine.inputs.rows import as_number
from gifine.objectives import squad_scores
from gifine.objectives.metrics import METRICS, REGRESSION_METRICS

SPECIALS = 4  # tokens around a question and its context, at most: RoBERTa's <s> </s> </s> </s>


def of(config: RunConfig) -> Iterator[str]:
    if config.task.objective.pretrains:
        yield from pretraining_checks.of(config)
    else:
        yield from pretraining_checks.misplaced(config)
    if config.task.objective is Objective.questions:
        yield from _questions(config.task)
        yield from _questions_in(config)
    elif not config.task.objective.pretrains:
        yield from _classification(config.task)
    yield from _splits(config.task)


def _questions(task: TaskConfig) -> Iterator[str]:
    name = f"task={task.name}"
    if len(task.inputs) != 2:
        yield f"{name}: task.inputs={task.inputs}: two columns, that of the question and that of the context"
    yield from _columns(task)
    if task.labels:
        yield f"{name}: task.labels={task.labels}: answers are parts of contexts; they have no labels"
    valid = squad_scores.V2 if task.unanswerable else squad_scores.V1
    for metric in task.metrics:
        if metric not in valid:
            near, names = did_you_mean(metric, valid), ", ".join(valid)
            key = f"task.unanswerable={str(task.unanswerable).lower()}"
            yield f"{name}: metric {metric}: no such metric{near}; valid with {key}: {names}"
    for key in ("stride", "max_question_tokens", "max_answer_tokens"):
        if getattr(task, key) < 1:
            yield f"{name}: task.{key}={getattr(task, key)}: at least 1"
    for key in ("submission_labels", "submission_range"):
        if getattr(task, key):
            yield f"{name}: task.{key}={getattr(task, key)}: of questions the answers themselves are handed in"


def _questions_in(config: RunConfig) -> Iterator[str]:
    task, train = config.task, config.train
    room = train.max_length - task.max_question_tokens - SPECIALS
    if task.stride > room:  # between two windows there would be tokens that no window has
        yield (
            f"train.max_length={train.max_length}: beside task.max_question_tokens={task.max_question_tokens} it has "
            f"room for {max(0, room)} tokens of a context, and windows start task.stride={task.stride} apart; "
            "raise the first, or lower one of the others"
        )
    if config.evaluate.invariance:
        yield f"evaluate.invariance=true: is for classification; task={task.name} is of questions"


def _classification(task: TaskConfig) -> Iterator[str]:
    name = f"task={task.name}"
    if len(task.inputs) not in (1, 2):
        yield f"{name}: task.inputs={task.inputs}: one or two text columns"
    if len(task.labels) == 1 or len(set(task.labels)) < len(task.labels):
        yield f"{name}: task.labels={task.labels}: two or more different names, or none for regression"
    yield from _columns(task)
    yield from _label_names(task.labels)
    for metric in task.metrics:
        if metric not in METRICS:
            yield f"{name}: metric {metric}: no such metric{did_you_mean(metric, METRICS)}; valid: {', '.join(METRICS)}"
        elif not task.labels and metric not in REGRESSION_METRICS:
            yield f"{name}: metric {metric} needs classes; for regression: {', '.join(REGRESSION_METRICS)}"
        elif task.labels and metric in REGRESSION_METRICS:
            yield f"{name}: metric {metric} is for regression (task.labels=[])"
        elif metric == "f1" and len(task.labels) != 2:
            yield f"{name}: metric f1 is for two classes; f1_macro is for any number"
    if _has_own_files(task):
        return
    if task.submission_labels and len(task.submission_labels) != len(task.labels):
        yield f"{name}: task.submission_labels={task.submission_labels}: one for each of task.labels={task.labels}"
    if task.submission_range and (len(task.submission_range) != 2 or task.labels):
        yield f"{name}: task.submission_range={task.submission_range}: a regression's lowest and highest number"


def _columns(task: TaskConfig) -> Iterator[str]:
    columns = [*task.inputs, task.label]
    if twice := [column for column in dict.fromkeys(columns) if columns.count(column) > 1]:
        yield f"task={task.name}: task.inputs={task.inputs}, task.label={task.label}: '{twice[0]}' is there twice"


def _has_own_files(task: TaskConfig) -> bool:
    return bool(task.files.train or task.files.validation or task.files.test)


def _splits(task: TaskConfig) -> Iterator[str]:
    name = f"task={task.name}"
    if task.select_by not in task.metrics:
        yield f"{name}: task.select_by={task.select_by}: must be one of task.metrics={task.metrics}"
    if _has_own_files(task):
        for split in ("train", "validation"):
            if getattr(task.files, split) is None:
                yield f"task.files.{split}: missing; one's own files need train and validation"
        return
    if task.name == DEMO or task.objective.pretrains:
        return  # generated, or a corpus, whose documents are split by their hash: no splits to name
    for key, splits in (
        ("train_split", [task.train_split]),
        ("evaluation_splits", task.evaluation_splits),
    ):
        if not splits:
            yield f"{name}: task.{key} is empty"
        for split in splits:
            if split not in task.splits:
                yield f"{name}: task.{key}={split}: no such split; task.splits has: {', '.join(task.splits)}"


def _label_names(labels: list[str]) -> Iterator[str]:
    """Names that the data's labels cannot be told apart by."""
    seen: dict[float, str] = {}
    for label in labels:
        if label != label.strip() or not label:
            yield f"task.labels: '{label}': a name is not empty and has no blanks at its ends"
        number = as_number(label)
        if number is not None and seen.setdefault(number, label) != label:
            yield f"task.labels: '{seen[number]}' and '{label}' are the same number"
