"""From our `train` config to transformers' TrainingArguments: the one place that knows both vocabularies."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from accelerate.utils import DistributedType
from transformers import TrainingArguments

from gifine.choices import Device, Evaluate, Objective
from gifine.config import TaskConfig, TrainConfig
from gifine.errors import ConfigError
from gifine.machine.footprint import KEPT_CHECKPOINTS
from gifine.training import numerics
from gifine.training.budget import NO_END
from gifine.training.callbacks import logged_key

_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def training_arguments(
    train: TrainConfig, task: TaskConfig, split: str, seed: int, folder: Path, layer: str = ""
) -> TrainingArguments:
    """`split` is the evaluation split that chooses the best checkpoint, `seed` that of dropout, `folder` is where
    checkpoints go, and `layer` is the class of the encoder's layers, which FSDP shards one by one; without train.fsdp
    nobody asks for it.

    Raises:
        ConfigError: for `train.fsdp` in a process that was not started as one of N; N may be 1, which tries it out.
    """
    if train.fsdp and "WORLD_SIZE" not in os.environ:
        raise ConfigError("train.fsdp=true: shards over processes, and this is the only one; start N with torchrun")
    # A checkpoint is what a resume needs: where nothing is evaluated before the end, one an epoch all the same.
    interval = "steps" if train.evaluate is Evaluate.steps else "epoch"
    every = train.evaluate_steps or 1
    recompute = train.gradient_checkpointing
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=train.epochs if train.max_seconds is None else NO_END,
        max_steps=train.max_steps or -1,
        per_device_train_batch_size=train.batch_size,
        per_device_eval_batch_size=train.eval_batch_size,
        gradient_accumulation_steps=train.gradient_accumulation,
        activation_checkpointing=recompute,
        activation_checkpointing_kwargs={"use_reentrant": False} if recompute else None,
        learning_rate=train.learning_rate,
        weight_decay=train.weight_decay,
        warmup_steps=train.warmup,
        lr_scheduler_type=_SCHEDULES[train.schedule.value],
        adam_beta1=train.adam_beta1,
        adam_beta2=train.adam_beta2,
        adam_epsilon=train.adam_epsilon,
        max_grad_norm=train.max_grad_norm,
        eval_strategy="no" if train.evaluate is Evaluate.end else interval,
        eval_steps=every,
        save_strategy=interval,
        save_steps=every,
        save_total_limit=KEPT_CHECKPOINTS,
        remove_unused_columns=not task.objective.pretrains,  # masks are by a row's number
        load_best_model_at_end=train.select_best,
        metric_for_best_model=logged_key(split, task.select_by) if train.select_best else None,
        greater_is_better=True if train.select_best else None,
        logging_steps=train.log_steps,
        logging_nan_inf_filter=False,  # else a NaN loss is shown as the last good one
        report_to=[],
        disable_tqdm=True,  # Bar and Curve say it
        bf16=numerics.uses_bf16(train),
        dataloader_pin_memory=torch.cuda.is_available(),
        use_cpu=train.device is Device.cpu or not torch.accelerator.is_available(),
        # It keeps DDP from laying out gradients anew after a process's first step. From three processes on, the layout
        # decides in what order a gradient is summed up: a run that goes on would round its first step differently.
        # A pair is asked for one part at a time.
        ddp_find_unused_parameters=torch.are_deterministic_algorithms_enabled() or task.objective is Objective.rtd,
        fsdp=train.fsdp,  # pyrefly: ignore[bad-argument-type] - declared as text for the command line only
        # Without its own gradient checkpointing: accelerate's draws other dropout in the second pass, and does not go
        # with what our layers keep between passes. transformers' gathers a layer's weights once more.
        fsdp_config={"transformer_layer_cls_to_wrap": [layer]} if train.fsdp else None,
        seed=seed,
        data_seed=seed,
    )
    state = arguments.distributed_state
    if train.fsdp and state is not None and state.distributed_type is DistributedType.MULTI_CPU:
        # On CPUs accelerate would copy the model to each process without a word; told so, it shards there, too.
        state.distributed_type = DistributedType.MULTI_GPU
    return arguments
