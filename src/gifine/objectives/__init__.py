"""What is learned and how it is scored: a module or folder for each objective, all with the same functions.

    LAYOUT, prepare       rows as token ids; LAYOUT, in the key of the cache, is another for other columns
    arrange               which examples are evaluated, and in which order
    choose_loss           what replaces the model's own loss, if anything does
    build, reload         the model with its head: for a new run, and as a run has saved it
    make_collator         how examples become a batch
    make_metrics          what the Trainer is to know of an evaluation while it trains
    score                 the end of a run: metrics and predictions of every split, as an `Outcome`
    predict               what the model answers for a test set

train.py, evaluate.py and predict.py call them and know no objective by name. A new objective is a module here, a way
for `choose` to know its tasks, and its metrics in metrics.py. Nothing here but `loss` imports torch before it is
wanted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the report reads metrics.py, and has no need of these
    from gifine.config import TaskConfig
    from gifine.objectives.contract import Objective


def choose(task: TaskConfig) -> Objective:
    """The objective of a task. Classification, with regression for a task without labels, is what there is so far."""
    from gifine.objectives import classification  # datasets and transformers: seconds

    return classification
