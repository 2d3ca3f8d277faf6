"""What pre-training may be asked for: its task, its corpus and its budget. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from gifine.choices import DataSource, Objective, Parameters, Sharing
from gifine.config import DataConfig, RunConfig, TaskConfig, TrainConfig
from gifine.errors import ModelError, did_you_mean
from gifine.inputs import packaged
from gifine.inputs.model_files import locate, saved_model, weight_files
from gifine.objectives import pretraining_scores

_OF_RTD = ("changed", "rtd_weight", "decoupled")  # and `generator`
_SOURCES = (DataSource.demo, DataSource.glue_dir, DataSource.squad_dir, DataSource.hub)


def of(config: RunConfig) -> Iterator[str]:
    """Of a task that pre-trains."""
    task, name = config.task, f"task={config.task.name}"
    if config.model.family == "xlnet":
        yield (
            f"model={config.model.name}: {name} is not defined for XLNet, which learns the words of a text in changing "
            "orders, without masks (permutation language modelling, arXiv 1906.08237)"
        )
    if len(task.inputs) != 1:
        yield f"{name}: task.inputs={task.inputs}: one column, that of the text"
    if task.labels:
        yield f"{name}: task.labels={task.labels}: pre-training has no labels"
    valid = pretraining_scores.METRICS[task.objective]
    for metric in task.metrics:
        if metric not in valid:
            yield f"{name}: metric {metric}: no such metric{did_you_mean(metric, valid)}; valid: {', '.join(valid)}"
    if task.select_by in pretraining_scores.LOWER_IS_BETTER:
        better = [metric for metric in task.metrics if metric not in pretraining_scores.LOWER_IS_BETTER]
        yield f"{name}: task.select_by={task.select_by}: the highest chooses; of task.metrics: {', '.join(better)}"
    yield from _masking(task)
    if task.objective is Objective.rtd:
        yield from _generator(config)
    else:
        for key in ("generator", *_OF_RTD):
            if getattr(task, key) != getattr(TaskConfig(), key):
                yield f"task.{key}: is for task=rtd; {name} has no generator"
    if config.train.parameters is not Parameters.all:
        yield f"train.parameters={config.train.parameters.value}: {name} trains all parameters"
    for key in ("split_dev", "invariance"):
        if getattr(config.evaluate, key):
            yield f"evaluate.{key}=true: is for tasks with labels; {name} pre-trains"
    yield from _budget_of(config.train)


def data(data: DataConfig, task: TaskConfig) -> Iterator[str]:
    """Of a task that pre-trains: where its corpus is."""
    if task.files.train is not None:
        yield f"task.files.train={task.files.train}: task={task.name} reads texts, which data.files names"
    if not 0 < data.held_out < 1:
        yield f"data.held_out={data.held_out:g}: a share of the documents, above 0 and below 1"
    for name in data.sentences_of:
        if name not in (valid := _with_texts()):
            yield f"data.sentences_of: {name}: no such task{did_you_mean(name, valid)}; valid: {', '.join(valid)}"
    if data.sentences_of and data.files:
        yield "data.files, data.sentences_of: one of them; a corpus has one source"
    if data.sentences_of and data.source is DataSource.demo:
        yield "data.sentences_of: needs data=glue_dir, squad_dir or hub; data=demo has sentences of its own"
    if task.train_split != "train" or task.evaluation_splits != ["validation"]:
        yield f"task={task.name}: task.train_split, task.evaluation_splits: train and [validation], by data.held_out"
    if not data.files and data.source not in _SOURCES:
        yield f"data.source={data.source.value}: needs data.files=[A.txt,B.jsonl]"


def _with_texts() -> list[str]:
    """The tasks whose texts may be pre-trained on."""
    return [name for name in packaged.tasks() if packaged.task(name).hub.path is not None]


def misplaced(config: RunConfig) -> Iterator[str]:
    """Keys of pre-training that were set for another task."""
    task, first = config.task, config.first.task
    told = f"is for pre-training (task=mlm, task=rtd); task={task.name}"
    for key in ("files", "sentences_of"):
        if value := getattr(config.data, key):
            yield f"data.{key}={value}: {told} has other data: task.files.train{_of_first('data', key, first)}"
    for key in ("held_out", "across_documents", "demo_text_rows"):
        if (value := getattr(config.data, key)) != getattr(DataConfig, key):
            yield f"data.{key}={_plain(value)}: {told} has labelled rows{_of_first('data', key, first)}"
    for key in ("masking", *_OF_RTD, "generator"):
        if getattr(task, key) != getattr(TaskConfig(), key):
            yield f"task.{key}: {told} has labelled rows"
    for key in ("max_tokens", "max_seconds"):
        if (value := getattr(config.train, key)) is not None:
            instead = f"has train.epochs and max_steps{_of_first('train', key, first)}"
            yield f"train.{key}={value}: is for pre-training; task={task.name} {instead}"


def _of_first(group: str, key: str, first: str | None) -> str:
    return "" if first is None else f"; for first.task={first} give first.{group}.{key}"


def _plain(value: bool | float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"


def _masking(task: TaskConfig) -> Iterator[str]:
    masking = task.masking
    if not 0 < masking.share < 1:
        yield f"task.masking.share={masking.share:g}: above 0, below 1"
    for key in ("max_ngram", "most"):
        value = getattr(masking, key)
        if value is not None and value < 1:
            yield f"task.masking.{key}={value}: at least 1"
    if not (masking.mask >= 0 and masking.random >= 0 and masking.mask + masking.random <= 1):
        yield (
            f"task.masking.mask={masking.mask:g}, task.masking.random={masking.random:g}: shares of the tokens asked "
            "for; neither below 0, together at most 1"
        )


def _generator(config: RunConfig) -> Iterator[str]:
    generator, weight = config.task.generator, config.task.rtd_weight
    if generator.layers is not None and generator.layers < 1:
        yield f"task.generator.layers={generator.layers}: at least 1, or null: by task.generator.sharing"
    if (size := generator.config_overrides.get("vocab_size")) is not None:  # else it would be lost without a word
        yield (
            f"task.generator.config_overrides: vocab_size={size}: generator and discriminator read the same tokens; "
            "both have as many as the tokenizer, or as model.config_overrides says"
        )
    if generator.checkpoint is not None:
        try:
            if isinstance(place := locate(generator.checkpoint), Path):
                weight_files(saved_model(str(place)))
        except ModelError as error:
            yield f"task.generator.checkpoint={generator.checkpoint}: {error}"
    if generator.learning_rate is not None and not 0 < generator.learning_rate < math.inf:
        yield f"task.generator.learning_rate={generator.learning_rate:g}: must be above 0 and finite"
    if not 0 < weight < math.inf:
        yield f"task.rtd_weight={weight:g}: must be above 0 and finite"
    is_shared = config.task.sharing(config.model.family) is Sharing.shared
    if config.task.decoupled and is_shared:
        yield (
            "task.decoupled=true: excludes task.generator.sharing=shared, whose embeddings learn from both losses and "
            "would have two steps in one"
        )


def _budget_of(train: TrainConfig) -> Iterator[str]:
    given = [key for key in ("max_steps", "max_tokens", "max_seconds") if getattr(train, key) is not None]
    if len(given) > 1:
        yield f"{', '.join(f'train.{key}' for key in given)}: give one of them; training has one end"
    for key in ("max_tokens", "max_seconds"):
        value = getattr(train, key)
        if value is not None and not 0 < value < math.inf:
            yield f"train.{key}={value:g}: must be above 0 and finite"
    if train.max_seconds is not None and train.warmup >= 1:
        yield f"train.warmup={train.warmup:g}: with train.max_seconds a fraction of the time, below 1"
    if train.max_steps is not None and train.warmup >= train.max_steps:
        yield f"train.max_steps={train.max_steps}: ends before the {train.warmup:g} steps of train.warmup are over"
