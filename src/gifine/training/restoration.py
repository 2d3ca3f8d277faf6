"""A finished run's model in a Trainer that evaluates it as the run did: the same batches, precision and algorithms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import transformers
from transformers import PreTrainedTokenizerFast, PrinterCallback
from transformers.utils import logging as transformers_logging

from gifine import models
from gifine.config import Evaluate
from gifine.errors import ModelError
from gifine.inputs import dataset, tokenizers
from gifine.models.speedups import last_layer as last_layer
from gifine.objectives import classification
from gifine.runs.finished import Run
from gifine.training import numerics
from gifine.training.arguments import training_arguments


def restore(run: Run, scratch: Path) -> tuple[transformers.Trainer, PreTrainedTokenizerFast]:
    """The Trainer, which may write to `scratch`, and the tokenizer.

    Raises:
        ModelError: for weights or a tokenizer that cannot be read, or that are not those of this run.
    """
    config = run.config
    transformers_logging.disable_progress_bar()  # of loading weights
    numerics.choose_algorithms(config)
    tokenizer = tokenizers.load(str(run.model))
    model = models.with_attention(models.from_pretrained(run.model, whole=True), config.model.attention)
    labels = [name for _, name in sorted((model.config.id2label or {}).items())]
    if config.task.labels and labels != config.task.labels:
        raise ModelError(f"{run.model}: its labels are {labels}, those of the run {config.task.labels}")
    last_layer.first_token(model)
    # There is nothing to choose from, and what several processes trained one can evaluate.
    untrained = replace(config.train, evaluate=Evaluate.end, select_best=False, fsdp=False)
    split = dataset.evaluation_splits(config.task)[0]
    trainer = transformers.Trainer(
        model=model,
        args=training_arguments(untrained, config.task, split, config.seed, scratch),
        data_collator=classification.collator(tokenizer, config),
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer, tokenizer
