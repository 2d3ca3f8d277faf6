"""What is learned and how it is scored: a module or folder for each objective, all with the same functions.

    LAYOUT, prepare       rows as token ids; LAYOUT, in the key of the cache, is another for other columns; a corpus is
                          no table of rows: inputs/corpora makes its examples
    learnable             which examples are trained on
    arrange               which are evaluated, and in which order
    describe              what a record is to say of a split, beside the number of its examples
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

from gifine.choices import Objective as Kind

if TYPE_CHECKING:  # the report reads metrics.py, and has no need of these
    from gifine.config import TaskConfig
    from gifine.objectives.contract import Objective


def choose(task: TaskConfig) -> Objective:
    """The objective of a task. That of classification has regression, too, for a task without labels."""
    if task.objective is Kind.questions:
        from gifine.objectives import question_answering  # datasets and transformers: seconds

        return question_answering
    if task.objective.pretrains:
        from gifine.objectives import pretraining

        return pretraining
    from gifine.objectives import classification

    return classification
