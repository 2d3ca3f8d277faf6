"""One run: a config in, a `record.json` out.

    gifine model=debertav3 gi.level=0.3 task=cola

`run` decides whether there is anything to do; `_fit` is the experiment, read top to bottom.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm
from transformers import PrinterCallback, ProgressCallback, TrainingArguments, set_seed
from transformers.utils import logging as transformers_logging

from gifine import models, objectives
from gifine.choices import EmbeddingRows, Parameters, Tracker
from gifine.config import GI, RunConfig
from gifine.errors import DataError, ExitCode, ModelError, OutputError
from gifine.inputs import architecture, change_files, dataset, own_changes, sources, tokenizers
from gifine.inputs.run_folder import MODEL
from gifine.machine import disk, out_of_memory
from gifine.models import bases, layouts, pairs, trained
from gifine.models.speedups import embedding_rows as rows
from gifine.objectives.contract import Outcome
from gifine.runs import identity, lifecycle, origin, parent, preregistration, records, replicate, verification
from gifine.runs.curves import CHANGE, CURVE
from gifine.runs.records import Record, Status
from gifine.runs.tree import CHECKPOINTS
from gifine.tracking import wandb_run
from gifine.training import assembly, budget, checkpointing, circumstances, numerics
from gifine.training.arguments import training_arguments
from gifine.training.callbacks import Bar, ChangeStatistics, Curve, Plan, StopWhenDiverged, last_evaluation, logged_key
from gifine.training.cost import Cost
from gifine.training.ending import Interruption
from gifine.training.trainer import Trainer

log = logging.getLogger(__name__)

_EXIT = {
    Status.DONE: ExitCode.DONE,
    Status.DEGENERATE: ExitCode.DONE,
    Status.DIVERGED: ExitCode.DIVERGED,
    Status.INTERRUPTED: ExitCode.INTERRUPTED,
}


def run(config: RunConfig) -> ExitCode:
    """Train and evaluate, unless a finished record is there already. The last line printed names the record.

    Raises:
        UserError: for data, checkpoints and folders that the user can mend; the record then says so, too.
    """
    folder = lifecycle.open_folder(config)
    with own_changes.held(), lifecycle.locked(folder) if _is_main_process() else contextlib.nullcontext():
        record = _run(config, folder)
    if _is_main_process():
        _show(record, folder)
    return _EXIT[record.status]


def _run(config: RunConfig, folder: Path) -> Record:
    record = records.read(folder)
    if record is None or record.status not in records.FINISHED or config.overwrite:
        parent.check_ended(config)
        attempts = 1 if record is None or config.overwrite else record.attempts + 1
        if _is_main_process():
            if record is None:
                verification.tell_others(config, folder)
            else:
                verification.remember(folder / CHECKPOINTS, record)
        earlier = record
        record = Record(identity.run_id(config), identity.slug(config), identity.to_dict(config), attempts=attempts)
        record.contents = sources.contents(config)
        if earlier is not None and not config.overwrite:
            record.cost = dict(earlier.cost)  # whoever goes on does not see the first step again
        deviation = preregistration.note(record, earlier, config.plan)
        if deviation is not None and _is_main_process():
            log.warning("this run deviates from the plan: %s", deviation)
        tracked = wandb_run.tracked(config, folder, record, writes=_is_main_process())
        with numerics.threads(config.threads), tracked as track:
            lifecycle.keep(record, folder, lambda: _fit(config, folder, record, track), writes=_is_main_process())
    else:
        verification.check_served(config, folder, record)
        log.info("this run is %s already (overwrite=true runs it again)", record.status)
        if config.train.save_model and not (folder / MODEL).is_dir():
            log.warning("its weights were not kept: train.save_model=true needs overwrite=true now")
    if record.status in records.FINISHED and _is_main_process() and not config.train.keep_checkpoints:
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)  # some may be left of a process killed while at this
    return record


def _fit(config: RunConfig, folder: Path, record: Record, track: wandb_run.Log) -> None:
    task, train = config.task, config.train
    numerics.check_precision(train)
    source = config.model.init_from or parent.folder_of(config)
    if source is not None:  # however this one ends, it is known whose twin it is
        record.provenance["init_from"] = origin.made_by(str(source))

    transformers_logging.disable_progress_bar()  # of loading weights; Bar shows the steps
    objective, reader = objectives.choose(task), dataset.open_reader(config)
    tokenizer = tokenizers.load_for(reader.config.model)
    places = parent.placed(config, reader.config)
    pairs.check(places, tokenizer)
    doubt = tokenizers.doubt(tokenizer)
    if doubt is not None:
        if _is_main_process():
            log.warning(doubt)
        record.provenance["warnings"] = [doubt]
    splits = reader.load(tokenizer, objective)
    described = {name: split.told | objective.describe(split.examples, name) for name, split in splits.items()}
    record.rows = {name: told.get("questions", len(splits[name].examples)) for name, told in described.items()}
    record.examples = {name: told for name, told in described.items() if told}
    record.provenance["data"] = {name: split.fingerprint for name, split in splits.items()}

    evaluated = objective.arrange(splits, config)
    examples = objective.learnable(splits[task.train_split].examples)
    loss = objective.choose_loss(config, examples)
    record.class_weights = {} if loss is None else loss.class_weights

    seeds = replicate.of(config)
    set_seed(seeds.head)
    numerics.choose_algorithms(config)
    with models.drawn_from(seeds.change):
        model = objective.build(places, tokenizer, record.provenance)
    numerics.check_attention(model, config)
    longest = architecture.longest_input(model.config.to_dict())
    if longest is not None and train.max_length > longest:
        raise ModelError(f"train.max_length={train.max_length}: the model takes at most {longest} word pieces")
    record.parameters = models.count_parameters(model)
    if (changed := models.describe_change(model)) is not None:
        learned, sha256 = record.parameters["gates"], record.contents.get("change.file")
        record.provenance["change"] = {**changed, "parameters": learned, "sha256": sha256}
        if (defaults := change_files.own_defaults(config.change)) is not None:
            record.provenance["change"]["defaults"] = defaults
        if model.config.changes_weights and _is_main_process():
            log.info("change=%s is of attention's weights: they are written out, which takes longer", changed["name"])
    if places.model.init_from is not None:
        record.provenance["init_from"] = origin.trace(places.model.init_from)
    record.provenance["checkpoint_commit"] = models.commit(places.model)
    record.provenance["weights"] = sources.checkpoint(places.model)
    record.provenance["package"] = origin.package(places.model)
    if train.parameters is not Parameters.all:
        named = config.model if config.first.run is None else places.model
        model.config.trained_over = bases.describe(named, places.model, models.frozen(model))
    record.provenance["tokenizer"] = dataset.tokenizer_fingerprint(tokenizer)
    record.provenance["files"] = sources.files(places)
    if sources.contents(config) != record.contents:
        raise DataError("files of this run were changed while it was starting: give the command again")
    disk.check_space(folder, record.parameters["trainable"])
    log.info("%s: %s", identity.slug(config), _described(record))
    if (said := trained.describe(model, train.parameters)) is not None and _is_main_process():
        log.info(said)

    trims = not (train.fsdp or task.objective.pretrains)  # of masked words all rows are scored
    if train.embedding_rows is EmbeddingRows.occurring and trims:
        rows.keep(model, dataset.tokens(splits))
    layer = type(layouts.layers(model)[0]).__name__
    arguments = training_arguments(train, task, next(iter(evaluated)), seeds.dropout, folder / CHECKPOINTS, layer)
    record.provenance |= circumstances.describe(arguments, model)
    batch = assembly.examples_of_a_step(arguments)

    def planned(steps: int | None) -> None:
        record.steps = {} if steps is None else {"planned": steps}
        records.write(folder, record)  # for whoever wants to see how far it is

    alarm, interruption = StopWhenDiverged(), Interruption(train.save_steps)
    trainer = assembly.make(
        config,
        objective,
        model,
        tokenizer,
        arguments,
        examples,
        evaluated,
        loss,
        callbacks=[Plan(planned), Curve(folder / CURVE, task.name, track), alarm, interruption, Bar()],
    )
    told_every = None if config.tracking.name is Tracker.off else config.tracking.gate_steps
    statistics = ChangeStatistics(model, told_every, track, folder / CHANGE)
    trainer.add_callback(statistics)
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)

    clock = time.monotonic()
    start = _start(config, folder / CHECKPOINTS, arguments, record)
    record.resumed_at = 0 if start is None else int(start.name.rpartition("-")[2])
    memory = out_of_memory.explain("training", out_of_memory.training(train))
    counted = None if train.fsdp else min(batch, len(examples)) / arguments.world_size
    cost = Cost(record.cost, counted, statistics.watches)
    trainer.add_callback(cost)
    with memory, cost, interruption.listening(), logging_redirect_tqdm():  # log lines go above the bar
        trainer.train(resume_from_checkpoint=None if start is None else str(start))
    record.seconds["train"] = round(time.monotonic() - clock, 3)
    state = trainer.state
    record.steps["done"] = state.global_step
    if state.best_global_step is not None and train.select_best:
        record.best = {"step": state.best_global_step, task.select_by: state.best_metric}
    reported = list(evaluated)[1 if config.evaluate.split_dev else 0]  # of two halves, the one that chooses nothing
    record.last, record.evaluations = last_evaluation(state, logged_key(reported, task.select_by), task.select_by)
    if task.objective.pretrains:
        tokens, seconds = budget.tokens_in(state.global_step, trainer.sampler), trainer.clock.seconds
        record.seen = {"tokens": tokens, "seconds": round(seconds, 3)}
    if alarm.reason is not None:
        record.status, record.error = Status.DIVERGED, alarm.reason
        return
    ends_early = state.global_step < state.max_steps
    if ends_early and trainer.ended is not None:
        record.stopped_early = {"step": state.global_step, "reason": trainer.ended}
        ends_early = False
    if ends_early or interruption.agreed(arguments):  # train() returns normally after a signal
        record.status = Status.INTERRUPTED
        record.error = f"stopped at step {budget.place(state.global_step, state.max_steps)}"
        return

    clock = time.monotonic()
    with out_of_memory.explain("evaluating", out_of_memory.evaluation(train.eval_batch_size)):
        outcome = objective.score(trainer, evaluated, config, folder)
    record.metrics, record.invariance, record.thresholds = outcome.metrics, outcome.invariance, outcome.thresholds
    record.provenance["predictions"] = outcome.predictions
    record.status, record.error = _judge(outcome)
    if record.best and record.metrics:
        _check_best(record, f"{task.name}/{next(iter(evaluated))}/{task.select_by}", record.best[task.select_by])
    record.seconds["evaluate"] = round(time.monotonic() - clock, 3)
    if train.save_model:
        rows.restore(model, trainer.decay(record.best.get("step", state.global_step)))
        _save(trainer, folder / MODEL)


def _start(config: RunConfig, checkpoints: Path, arguments: TrainingArguments, record: Record) -> Path | None:
    """The checkpoint to go on from, looked up now: whatever an earlier attempt believed may be gone or damaged."""
    with arguments.main_process_first():  # the others see the folder as the first has left it
        start = checkpointing.last_complete(checkpoints) if config.resume and not config.overwrite else None
        if start is not None and checkpointing.processes(start) != arguments.world_size:
            raise OutputError(
                f"{start} is of a run on {checkpointing.processes(start)} processes, this one has "
                f"{arguments.world_size}: a step would be made of other examples; go on with as many processes as "
                "before, or start anew with resume=false"
            )
        if start is not None:
            verification.check_resumed(config, start, record)
        if _is_main_process():
            checkpointing.clear(checkpoints, keep=start)
            if start is None:
                verification.begin(checkpoints, record)
    if start is not None:
        log.info("resuming from %s", start)
    return start


def _save(trainer: Trainer, folder: Path) -> None:
    """Weights and tokenizer, by one process of several: whole under their name, or not there."""
    partial = folder.with_name(f".{folder.name}.partial")
    if _is_main_process():
        shutil.rmtree(partial, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    with disk.writing(folder, partial):
        trainer.save_model(str(partial))
        if _is_main_process():
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)


def _judge(outcome: Outcome) -> tuple[Status, str | None]:
    if outcome.diverged is not None:
        return Status.DIVERGED, outcome.diverged
    return Status.DONE if outcome.degenerate is None else Status.DEGENERATE, outcome.degenerate


def _check_best(record: Record, key: str, best: float) -> None:
    """The reloaded best checkpoint must give the score that it was chosen for."""
    if record.metrics[key] != best:
        raise RuntimeError(f"the best checkpoint had {key} {best}, reloaded it has {record.metrics[key]}")


def _show(record: Record, folder: Path) -> None:
    """The result on stdout; the record's path is the last line."""
    for key, value in record.metrics.items():
        print(f"{key:<40} {'undefined' if value is None else f'{value:.4f}'}")
    print(f"{record.status}{f': {record.error}' if record.error else ''} after {record.seconds.get('total', 0):.0f} s")
    print(f"record: {folder / records.RECORD}")


def _described(record: Record) -> str:
    counts = record.parameters
    windows = {name: f" in {told['windows']} windows" for name, told in record.examples.items() if "windows" in told}
    rows = ", ".join(f"{split} {number}{windows.get(split, '')}" for split, number in record.rows.items())
    train = f", {counts['trainable']:,} train" if counts["trainable"] < counts["total"] else ""
    name = record.config["change"]["name"]
    learned = f"{counts['gates']:,} in {'gates' if name == GI else name}"
    return f"{counts['total']:,} parameters ({learned}{train}); examples: {rows}"


def _is_main_process() -> bool:
    return os.environ.get("RANK", "0") == "0"
