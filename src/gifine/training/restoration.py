"""A finished run's model in a Trainer that evaluates it as the run did: the same batches, precision and algorithms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import transformers
from transformers import PreTrainedTokenizerFast, PrinterCallback
from transformers.utils import logging as transformers_logging

from gifine import objectives
from gifine.choices import Evaluate
from gifine.inputs import dataset, tokenizers
from gifine.runs.finished import FinishedRun
from gifine.training import numerics
from gifine.training.arguments import training_arguments


def restore(run: FinishedRun, scratch: Path) -> tuple[transformers.Trainer, PreTrainedTokenizerFast]:
    """The Trainer, which may write to `scratch`, and the tokenizer.

    Raises:
        ModelError: for weights or a tokenizer that cannot be read, or that are not those of this run.
    """
    config, objective = run.config, objectives.choose(run.config.task)
    transformers_logging.disable_progress_bar()  # of loading weights
    numerics.choose_algorithms(config)
    tokenizer = tokenizers.load(str(run.model))
    model = objective.reload(config, run.model)
    # There is nothing to choose from, and what several processes trained one can evaluate.
    untrained = replace(config.train, evaluate=Evaluate.end, select_best=False, fsdp=False)
    split = dataset.evaluation_splits(config.task)[0]
    trainer = transformers.Trainer(
        model=model,
        args=training_arguments(untrained, config.task, split, config.seed, scratch),
        data_collator=objective.make_collator(tokenizer, config),
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer, tokenizer
