"""Values out of range and values that do not go together: what the schema cannot say. All at once.

No torch, but for a change of one's own, which is applied once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from gifine.choices import DataSource, Evaluate, GateSide, Objective, Parameters, Tracker
from gifine.compose import pretraining_checks, task_checks
from gifine.config import BALANCED, DEMO, DataConfig, GiConfig, ModelConfig, RunConfig, TaskConfig, TrainConfig
from gifine.errors import ConfigError, ModelError, PlanError, PrefetchError, did_you_mean
from gifine.inputs import change_files, offline
from gifine.inputs.architecture import SETTLED, architecture, longest_input
from gifine.inputs.change_files import FILE
from gifine.inputs.families import FAMILIES
from gifine.inputs.model_files import locate, saved_model, weight_files
from gifine.runs import preregistration
from gifine.runs.replicate import STREAMS
from gifine.tracking import wandb_server

MOST_THREADS = 1024  # of a process: far above any use, far below what a system refuses to start
SMALLEST_MAX_LENGTH = 8  # [CLS] a [SEP] b [SEP] and a few word pieces


def check(config: RunConfig) -> None:
    """Raise a ConfigError with every problem of `config`."""
    problems = [
        *_model(config.model),
        *(_gi(config.gi, config.model) if config.is_gi else _change(config)),
        *task_checks.of(config),
        *_data(config.data, config.task, is_prefetched=config.prefetch is not None),
        *_train(config.train, config.model),
        *_frozen(config.train, config.model),
        *_loss(config.train, config.task),
    ]
    if config.tracking.gate_steps is not None and config.tracking.gate_steps < 1:
        problems.append(f"tracking.gate_steps={config.tracking.gate_steps}: at least 1, or null for no statistics")
    if config.tracking.name is Tracker.wandb:
        problems += wandb_server.wrong(config.tracking)
    if config.evaluate.split_dev and not config.train.select_best:
        problems.append("evaluate.split_dev=true: needs train.select_best=true; else nothing is chosen on either half")
    problems += _first(config)
    try:
        offline.open_folder(config)
    except PrefetchError as error:
        problems.append(str(error))
    if config.plan is not None:
        try:
            preregistration.read(config.plan)
        except PlanError as error:
            problems.append(f"plan={error}")
    seeds = {"seed": config.seed, **{f"seeds.{name}": getattr(config.seeds, name) for name in STREAMS}}
    for key, seed in seeds.items():
        if seed is not None and not 0 <= seed < 2**32:
            problems.append(f"{key}={seed}: must be in 0 … 2^32 − 1")
    if config.threads is not None and not 1 <= config.threads <= MOST_THREADS:
        problems.append(
            f"threads={config.threads}: must be in 1 … {MOST_THREADS}, or null for one for each core that is granted"
        )
    if problems:
        raise ConfigError(*problems)


def _model(model: ModelConfig) -> Iterator[str]:
    if model.family not in FAMILIES:
        yield f"model.family={model.family}: no such family; valid: {', '.join(sorted(FAMILIES))}"
    if model.checkpoint is None and model.size not in model.sizes:
        yield (
            f"model.size={model.size}: model={model.name} has no such size{did_you_mean(model.size, model.sizes)}; "
            f"valid: {', '.join(model.sizes)}"
        )
    for key, source in (("checkpoint", model.checkpoint), ("tokenizer", model.tokenizer)):
        if source is None or (key == "tokenizer" and source == DEMO):
            continue
        try:
            place = locate(source)
            if key == "checkpoint" and isinstance(place, Path) and not model.random_init:
                weight_files(place)
        except ModelError as error:
            yield f"model.{key}={source}: {error}"
    if model.init_from is not None:
        for key, given in (("checkpoint", model.checkpoint), ("random_init", model.random_init)):
            if given:
                yield f"model.init_from={model.init_from}: excludes model.{key}={given}; the weights have one source"
        try:
            weight_files(saved_model(model.init_from))
        except ModelError as error:
            yield f"model.init_from={model.init_from}: {error}"
    if model.tokenizer == DEMO and not model.random_init:
        yield "model.tokenizer=demo: its vocabulary fits no published checkpoint; it goes with model.random_init=true"
    if model.classifier_dropout is not None and not 0 <= model.classifier_dropout < 1:
        yield f"model.classifier_dropout={model.classifier_dropout:g}: must be in 0 … 1, below 1"
    if model.drop_change and model.random_init:
        yield "model.drop_change=true: with model.random_init=true there are no weights whose change could be dropped"
    if model.resize_embeddings and model.random_init:
        yield "model.resize_embeddings=true: with model.random_init=true the model is as large as its tokenizer anyway"
    for key, instead in SETTLED.items():
        if key in model.config_overrides:
            yield f"model.config_overrides.{key}: {instead}"
    for key in ("classifier_dropout", "cls_dropout"):
        if key in model.config_overrides and model.classifier_dropout is not None:
            yield f"model.config_overrides.{key}: model.classifier_dropout={model.classifier_dropout:g} says it already"
    for key in ("num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size", "vocab_size"):
        value = model.config_overrides.get(key, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            yield f"model.config_overrides.{key}={value}: must be a whole number of at least 1"
            return
    known = architecture(model)
    hidden_size, heads = known.get("hidden_size", 1), known.get("num_attention_heads", 1)
    if isinstance(hidden_size, int) and isinstance(heads, int) and heads > 0 and hidden_size % heads:
        yield f"the model's hidden_size {hidden_size} is no multiple of its num_attention_heads {heads}"


def _first(config: RunConfig) -> Iterator[str]:
    first = config.first
    if first.run is not None:
        yield f"first.run={first.run}: gifine writes it; first.task says what is trained first"
    if first.task is not None and config.model.init_from is not None:
        yield f"first.task={first.task}: excludes model.init_from={config.model.init_from}; the weights have one source"
    for name, schema in (("train", TrainConfig), ("data", DataConfig)):
        valid = [key.name for key in fields(schema)]
        for key in getattr(first, name):
            if key not in valid:
                yield f"first.{name}.{key}: no such key{did_you_mean(key, valid)}; valid: {', '.join(valid)}"


def _gi(gi: GiConfig, model: ModelConfig) -> Iterator[str]:
    if not 0 <= gi.level <= 1:
        percent = f" (did you mean {gi.level / 100:g}?)" if 1 < gi.level <= 100 else ""
        yield f"gi.level={gi.level:g}: a fraction of the maximum, 0 … 1{percent}"
    if gi.layers is None:
        return
    depth = architecture(model).get("num_hidden_layers")
    if gi.layers < 1:
        yield f"gi.layers={gi.layers}: number of last layers that get gates, at least 1; null for all, gi=none for none"
    elif isinstance(depth, int) and gi.layers > depth and gi.side is not GateSide.none:
        yield f"gi.layers={gi.layers}: the model has {depth} layers"


def _change(config: RunConfig) -> Iterator[str]:
    """Of another change than GI. It has been loaded before: `change_keys.settle`."""
    sizes = change_files.sizes(architecture(config.model))
    try:
        problems = change_files.problems_of(config.change, sizes)
        if not problems and config.change.get(FILE) is not None:
            from gifine.inputs import change_trial  # it takes torch

            change_trial.check_entries(config.change, sizes)
        yield from problems
    except ModelError as error:
        yield from str(error).splitlines()


def _data(data: DataConfig, task: TaskConfig, *, is_prefetched: bool) -> Iterator[str]:
    own_files, asks = task.files.train is not None, task.objective is Objective.questions
    if task.objective.pretrains:
        yield from pretraining_checks.data(data, task)
    elif own_files:
        for split in ("train", "validation", "test"):
            path = getattr(task.files, split)
            if path and not Path(path).expanduser().is_file():
                yield f"task.files.{split}={path}: no such file"
    elif data.source is DataSource.files:
        yield "data.source=files: needs task.files.train and task.files.validation, which are enough"
    elif data.source is DataSource.demo and task.name != DEMO:
        yield f"data=demo: generates sentences for task=demo, not for task={task.name}"
    elif data.source is not DataSource.demo and task.name == DEMO:
        yield f"task=demo: goes with data=demo, not with data={data.source.value}"
    elif data.source is DataSource.hub and task.hub.path is None:
        yield f"data=hub: task={task.name} names no Hub dataset (task.hub.path); give task.files.train or data=glue_dir"
    elif (wanted := _official(task)) is not None and data.source.is_official and data.source is not wanted:
        yield f"data={data.source.value}: task={task.name} has no such files; data={wanted.value} has its official ones"
    elif data.source is not DataSource.hub and (data.source is DataSource.squad_dir) != asks:
        holds = "no questions" if asks else "questions alone"
        yield f"data={data.source.value}: holds {holds}; task={task.name} has task.objective={task.objective.value}"
    elif data.source.is_official and not is_prefetched:  # else its copies are read
        if data.dir is None:
            example = "train-v1.1.json, …" if data.source is DataSource.squad_dir else "CoLA/, MNLI/, …"
            yield f"data={data.source.value}: needs data.dir=FOLDER, the one that holds {example}"
        elif not Path(data.dir).expanduser().is_dir():
            yield f"data.dir={data.dir}: no such folder"
    for key in ("max_train_rows", "max_eval_rows", "demo_train_rows", "demo_eval_rows", "demo_text_rows"):
        rows = getattr(data, key)
        if rows is not None and rows < 1:
            yield f"data.{key}={rows}: at least 1"


def _official(task: TaskConfig) -> DataSource | None:
    """The source of a task's official files; None if it names none."""
    place = task.splits.get(task.train_split)
    if place is None or place.official is None:
        return None
    return DataSource.glue_dir if place.json is None else DataSource.squad_dir


def _train(train: TrainConfig, model: ModelConfig) -> Iterator[str]:
    for key in ("epochs", "batch_size", "eval_batch_size", "gradient_accumulation", "log_steps", "learning_rate"):
        value = getattr(train, key)
        if not value > 0:  # NaN too
            yield f"train.{key}={value:g}: must be above 0"
    for key in ("weight_decay", "warmup", "max_grad_norm", "adam_epsilon"):
        value = getattr(train, key)
        if not value >= 0:
            yield f"train.{key}={value:g}: must not be negative"
    for key in ("adam_beta1", "adam_beta2"):
        value = getattr(train, key)
        if not 0 <= value < 1:
            yield f"train.{key}={value:g}: must be in 0 … 1, below 1"
    if train.max_steps is not None and train.max_steps < 1:
        yield f"train.max_steps={train.max_steps}: at least 1, or null to train for train.epochs"
    if train.save_steps is not None and train.save_steps < 1:
        yield f"train.save_steps={train.save_steps}: at least 1, or null for checkpoints at evaluations only"
    if train.warmup > 1 and train.warmup != int(train.warmup):
        yield f"train.warmup={train.warmup:g}: a fraction below 1, or a whole number of steps"
    if train.evaluate is Evaluate.steps and (train.evaluate_steps is None or train.evaluate_steps < 1):
        yield "train.evaluate=steps: needs train.evaluate_steps=N, at least 1"
    if train.evaluate is Evaluate.end and train.select_best:
        yield "train.select_best=true: needs train.evaluate=epoch or steps, else there is one checkpoint to choose from"
    if train.patience is not None and train.patience < 1:
        yield f"train.patience={train.patience}: evaluations without a better score, at least 1; or null"
    elif train.patience is not None and not train.select_best:
        yield f"train.patience={train.patience}: needs train.select_best=true, which says what is better"
    longest = longest_input({"model_type": model.family} | architecture(model))
    if train.max_length < SMALLEST_MAX_LENGTH:
        yield f"train.max_length={train.max_length}: at least {SMALLEST_MAX_LENGTH} word pieces"
    elif longest is not None and train.max_length > longest:
        yield f"train.max_length={train.max_length}: the model takes at most {longest} word pieces"


def _frozen(train: TrainConfig, model: ModelConfig) -> Iterator[str]:
    if train.parameters is Parameters.all:
        return
    key = f"train.parameters={train.parameters.value}"
    if model.random_init:
        yield f"{key}: needs pretrained weights; with model.random_init=true the frozen ones would stay as drawn"
    if model.resize_embeddings:
        yield f"{key}: excludes model.resize_embeddings=true; the new rows would stay as drawn"


def _loss(train: TrainConfig, task: TaskConfig) -> Iterator[str]:
    weights, smoothing = train.class_weights, train.label_smoothing
    if not 0 <= smoothing < 1:
        yield f"train.label_smoothing={smoothing:g}: must be in 0 … 1, below 1"
    for key, value in (("class_weights", weights), ("label_smoothing", smoothing or None)):
        if value is not None and not task.labels:
            what = {Objective.questions: "is of questions", Objective.classification: "is a regression"}.get(
                task.objective, "pre-trains"
            )
            yield f"train.{key}={value}: is for classes; task={task.name} {what}"
    if weights is None or weights == BALANCED or not task.labels:
        return
    if not isinstance(weights, list) or not all(_is_weight(each) for each in weights):
        names = f"[{', '.join(task.labels)}]"
        yield f"train.class_weights={weights!r}: {BALANCED}, or numbers above 0, one for each of {names}; or null"
    elif len(weights) != len(task.labels):
        yield f"train.class_weights={weights}: {len(weights)} for the {len(task.labels)} labels of task={task.name}"


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
