"""Evaluate finished runs again from their saved weights: do these give what the records say?

    gifine evaluate RUN [RUN …] [--invariance] [--data-dir DIR]

Nothing here imports torch before arguments, folders and data are known to be good.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from gifine import commands, objectives
from gifine.choices import Objective
from gifine.errors import ArgumentError, DataError, ExitCode, RunError
from gifine.machine import out_of_memory
from gifine.machine.imports import uncollected
from gifine.objectives.contract import Outcome
from gifine.runs import finished, lifecycle, provenance, records, staleness
from gifine.runs.finished import FinishedRun
from gifine.runs.records import Record

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)


def parser() -> commands.Parser:
    parser = commands.Parser(
        prog="gifine evaluate",
        description="Evaluate finished runs again from their saved weights and compare with their records. "
        f"Exit code {ExitCode.DONE:d}: every metric is exactly the record's; {ExitCode.DIFFERS:d}: one is not; "
        f"{ExitCode.BAD_INPUT:d}: not possible.",
    )
    finished.add_arguments(parser)
    parser.add_argument(
        "--invariance",
        action="store_true",
        help="evaluate in other batches, too, and record how many predictions depend on theirs",
    )
    return parser


def main(words: Sequence[str] | None = None) -> int:
    logging.getLogger("gifine.objectives").setLevel(logging.WARNING)  # what they log is printed in the end
    return commands.call(_evaluate_all, parser(), words)


def _evaluate_all(args: Namespace) -> ExitCode:
    found = finished.read(args.runs, args.data_dir, args.base)
    for run in found:
        if args.invariance and run.config.task.objective is not Objective.classification:
            raise ArgumentError(f"--invariance is for classification; {run.folder} is of task={run.config.task.name}")
        _check_data(run)
    codes = [_evaluate(run, invariance=args.invariance) for run in found]
    return max(codes)


def _check_data(run: FinishedRun) -> None:
    from gifine.inputs import dataset  # transformers: a second

    config, then = run.config, run.record.provenance.get("data", {})
    now = dataset.Reader(config, run.prefetched).fingerprints(dataset.evaluation_splits(config.task))
    changed = [
        f"{split} ({staleness.short(then[split]) if split in then else 'none'}, now {staleness.short(now[split])})"
        for split in now
        if now[split] != then.get(split)
    ]
    if changed:
        raise DataError(
            f"{run.folder}: not the data that the run was evaluated on (the record has another fingerprint): "
            f"{', '.join(changed)}; --data-dir names another folder"
        )
    others = staleness.files({str(run.folder): run.record.provenance.get("files", {})})
    if others:  # the weights that training began with, or what it was trained on: nothing of it is read here
        log.warning("%s", staleness.describe(others))


def _evaluate(run: FinishedRun, *, invariance: bool) -> ExitCode:
    with lifecycle.locked(run.folder) if invariance else contextlib.nullcontext():
        if invariance and records.read(run.folder) != run.record:
            raise RunError(f"{run.folder}: another process has just written to this run; give the command again")
        outcome, now = _score(run, invariance=invariance)
        print(f"{run.folder}:")
        same = _compare(run.record, outcome)
        for entry in outcome.invariance:
            print(_in_words(entry))
        if invariance and same:
            run.record.invariance = outcome.invariance
            records.write(run.folder, run.record)
    if same:
        return ExitCode.DONE
    print(_disagreement(run, outcome, now, invariance=invariance), file=sys.stderr)
    return ExitCode.DIFFERS


def _score(run: FinishedRun, *, invariance: bool) -> tuple[Outcome, dict[str, Any]]:
    """What the weights give now, and with what: entries as in a record's provenance."""
    with uncollected():
        from gifine.inputs import dataset
        from gifine.training import circumstances, numerics, restoration  # torch: seconds

    config = replace(
        run.config,
        train=replace(run.config.train, save_predictions=False),
        evaluate=replace(run.config.evaluate, invariance=invariance),
    )
    objective, now = objectives.choose(config.task), provenance.collect()
    memory = out_of_memory.explain(f"evaluating {run.folder}", out_of_memory.again(config.train))
    with memory, numerics.threads(config.threads), TemporaryDirectory() as scratch:
        trainer, tokenizer = restoration.restore(run, Path(scratch))
        now |= circumstances.describe(trainer.args, cast("PreTrainedModel", trainer.model))
        splits = dataset.Reader(config, run.prefetched).load_evaluation(tokenizer, objective)
        outcome = objective.score(trainer, objective.arrange(splits, config), config, Path(scratch))
    return outcome, now


def _compare(record: Record, outcome: Outcome) -> bool:
    """Print a line a metric; are all of them exactly those of the record?"""
    same = True
    for key in dict.fromkeys([*record.metrics, *outcome.metrics]):
        ours, theirs = (metrics.get(key, "missing") for metrics in (outcome.metrics, record.metrics))
        if ours == theirs:
            print(f"{key:<40} {_shown(ours)}  same as the record")
        else:
            same = False
            print(f"{key:<40} {_shown(ours, exactly=True)}  the record has {_shown(theirs, exactly=True)}")
    return same and bool(record.metrics)


def _shown(value: float | str | None, *, exactly: bool = False) -> str:
    if value is None:
        return "undefined"
    return str(value) if exactly or isinstance(value, str) else f"{value:.4f}"


def _in_words(entry: dict[str, Any]) -> str:
    """One of an outcome's `invariance`."""
    named = next(f"{key} {entry[key]}" for key in ("batch_size", "order", "padding") if key in entry)
    moved = ", ".join(f"{name} {'undefined' if by is None else f'{by:+.4f}'}" for name, by in entry["metrics"].items())
    return (
        f"{entry['split']} with {named}: {entry['changed']} of {entry['examples']} predictions change "
        f"(logits by up to {entry['largest_logit_change']:.2g}; {moved})"
    )


def _disagreement(run: FinishedRun, outcome: Outcome, now: dict[str, Any], *, invariance: bool) -> str:
    """That metrics differ, what of the circumstances differs as well, and that the record is as it was."""
    lines = [f"{run.folder}: the weights in {finished.MODEL}/ do not give the metrics of the record"]
    if outcome.diverged is not None:
        lines[0] += f" ({outcome.diverged})"
    then = run.record.provenance
    # Older records do not say all of it. Of the code nothing is said here: the weights are those of then.
    keys = [key for key in now if key in then and key not in ("gifine", "code", "git", "packages", "cpus")]
    changes = [f"{key} {then[key]}, now {now[key]}" for key in keys if then[key] != now[key]]
    packages = (then.get("packages", {}), now["packages"])
    names = [name for name in packages[1] if packages[0].get(name) != packages[1][name]]
    changes += [f"{name} {packages[0].get(name)}, now {packages[1][name]}" for name in names]
    if changes:
        lines.append(f"it was evaluated elsewhere, which may change the last bits: {'; '.join(changes)}")
    if invariance:
        lines.append("what --invariance found is not recorded")
    return "\n  ".join(lines)


if __name__ == "__main__":
    sys.exit(main())
