"""Predict the test sets of finished runs, as the files that GLUE's server or SQuAD's script takes.

    gifine predict RUN [RUN …] [--out DIR] [--zip FILE [--fill SAMPLE | --incomplete]] [--data-dir DIR]
    gifine predict RUN [RUN …] --file FILE [--out DIR]

Nothing here imports torch before arguments, folders and data are known to be good.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from argparse import Namespace
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from gifine import commands, glue_submission, objectives, submissions
from gifine.choices import DataSource, Quoting
from gifine.errors import ArgumentError, DataError, ExitCode, ModelError, OutputError, RunError
from gifine.inputs import needs
from gifine.machine import out_of_memory
from gifine.machine.imports import uncollected
from gifine.runs import finished, lifecycle
from gifine.runs.finished import FinishedRun
from gifine.runs.tree import SUBMISSION
from gifine.task_config import FilesConfig

log = logging.getLogger(__name__)


def parser() -> commands.Parser:
    parser = commands.Parser(
        prog="gifine predict",
        description="Predict the test sets of finished runs, in the batches of the run's own evaluation, as the files "
        f"that GLUE's server takes: {', '.join(glue_submission.FILES)}; of questions, as those of SQuAD's script.",
    )
    finished.add_arguments(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"where the files go (default: RUN/{SUBMISSION}/)")
    parser.add_argument(
        "--file",
        type=Path,
        metavar="FILE",
        help="predict this csv, tsv, json or jsonl file instead of the test sets; its columns are named as task.inputs "
        "(of questions: in SQuAD's JSON)",
    )
    parser.add_argument(
        "--quoting",
        choices=[each.value for each in Quoting],
        help="of --file, which is then a csv or tsv: as task.files.quoting, and by default the run's",
    )
    parser.add_argument("--zip", type=Path, metavar="FILE", help="put the files of all runs into one zip to submit")
    missing = parser.add_mutually_exclusive_group()
    missing.add_argument(
        "--fill", type=Path, metavar="SAMPLE", help="take what the zip lacks from this zip or folder: GLUE's sample"
    )
    missing.add_argument("--incomplete", action="store_true", help="make a zip that lacks tasks")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    return commands.call(_predict_all, parser(), words)


def _predict_all(args: Namespace) -> ExitCode:
    if args.zip is None and (args.fill is not None or args.incomplete):
        raise ArgumentError("--fill and --incomplete say what a zip may lack; they go with --zip FILE")
    if args.file is not None and (args.zip is not None or args.data_dir is not None):
        raise ArgumentError("--file is read instead of the test sets; it goes with neither --zip nor --data-dir")
    if args.quoting is not None and args.file is None:
        raise ArgumentError("--quoting is that of --file FILE")
    if args.quoting is not None and args.file.suffix.lower() not in (".csv", ".tsv"):
        raise ArgumentError(f"--quoting is of a csv or tsv file; {args.file} is neither")
    if args.file:
        found = _with_file(args)
    else:
        found = [_with_tests(run) for run in finished.read(args.runs, args.data_dir, args.base)]
    if args.zip is not None or args.out is not None:
        _check_distinct(found)
    filling = {} if args.zip is None else _filling(args, found)
    for run, names in found:
        _check_tests(run, names)
    for folder in [*([args.out] if args.out else []), *([args.zip.parent] if args.zip else [])]:
        _make(folder)

    written: dict[str, Path] = {}
    for run, names in found:
        out = args.out or run.folder / SUBMISSION
        with contextlib.nullcontext() if args.out else lifecycle.locked(run.folder):
            _make(out)
            written |= _predict(run, names, out)
    if args.zip is not None:
        _pack(args.zip, written, filling)
    return ExitCode.DONE


def _with_tests(run: FinishedRun) -> tuple[FinishedRun, dict[str, str]]:
    """A run and the file for each of its test splits; of several, those whose data are there."""
    finished.check_answers(run)
    names = submissions.names(run.config.task)
    absent = {} if len(names) == 1 else {split: why for split in names if (why := _absent(run, split)) is not None}
    if len(absent) == len(names):
        return run, names  # and reading them says what is wrong
    for split, why in absent.items():
        log.warning("%s: no %s: %s", run.folder, names[split], why)
    return run, {split: name for split, name in names.items() if split not in absent}


def _absent(run: FinishedRun, split: str) -> str | None:
    """Where a test split was looked for, if it is not there: in the official files, a prefetched folder or the Hub."""
    task, data = run.config.task, run.config.data
    if run.prefetched is not None:
        return None if run.prefetched.has_split(task, data, split) else f"{run.prefetched.path} lacks {split}"
    if data.source.is_official and data.dir is not None:
        places = [Path(data.dir).expanduser() / name for name in needs.official_names(task, split, allow_partial=True)]
        return None if not places or any(place.is_file() for place in places) else f"no file {places[0]}"
    where = needs.hub_split(task, split) if data.source is DataSource.hub else None
    if where is None:
        return None
    from gifine.inputs import hub  # datasets: seconds

    try:
        hub.load_split(where)
    except DataError as error:
        return str(error)
    return None


def _with_file(args: Namespace) -> list[tuple[FinishedRun, dict[str, str]]]:
    """The runs with --file for their test set, which they can read."""
    from gifine.inputs import origins  # datasets: seconds

    path, found = args.file.expanduser(), []
    for run in finished.read(args.runs, base=args.base, own_data=False):
        finished.check_answers(run)
        task = run.config.task
        quoting = task.files.quoting if args.quoting is None else Quoting(args.quoting)
        place = FilesConfig(train=str(path), validation=str(path), test=str(path), quoting=quoting)
        config = replace(run.config, task=replace(task, files=place))
        origins.find(config.task, config.data, "test", None, labelled=False).read_rows()
        found.append((replace(run, config=config), {"test": submissions.own_name(f"{task.name}-{path.stem}", task)}))
    return found


def _check_distinct(found: Sequence[tuple[FinishedRun, dict[str, str]]]) -> None:
    """Each file comes from one run."""
    sources: dict[str, list[str]] = defaultdict(list)
    for run, names in found:
        for name in names.values():
            sources[name].append(str(run.folder))
    problems = [f"{name} would come from {' and '.join(folders)}" for name, folders in sources.items() if folders[1:]]
    if problems:
        raise RunError("\n".join(problems))


def _filling(args: Namespace, found: Sequence[tuple[FinishedRun, dict[str, str]]]) -> dict[str, bytes]:
    """The sample's files by name, if there is a sample.

    Raises:
        RunError: for files that the zip would lack, or that have no place in it.
    """
    if args.zip.is_dir():
        raise OutputError(f"--zip {args.zip}: a folder; give the name of a file")
    ours = {name: run for run, names in found for name in names.values()}
    for name, run in ours.items():
        if name not in glue_submission.FILES:
            raise RunError(f"{run.folder}: GLUE takes no {name}, so task={run.config.task.name} goes into no zip")
    sample = {} if args.fill is None else glue_submission.read_sample(args.fill.expanduser(), glue_submission.FILES)
    missing = [name for name in glue_submission.FILES if name not in ours and name not in sample]
    if missing and not args.incomplete:
        advice = "--fill SAMPLE takes them from GLUE's sample submission, --incomplete does without"
        raise RunError(
            f"--zip {args.zip}: the runs give no {', '.join(missing)}; "
            + (f"nor does --fill {args.fill}" if args.fill else advice)
        )
    return sample


def _check_tests(run: FinishedRun, names: dict[str, str]) -> None:
    from gifine.inputs import dataset  # transformers: a second

    dataset.Reader(run.config, run.prefetched).fingerprints(names, labelled=False)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}") from error


def _predict(run: FinishedRun, names: dict[str, str], out: Path) -> dict[str, Path]:
    """Write the files of one run; each by its name."""
    with uncollected():
        from gifine.inputs import dataset
        from gifine.training import numerics, restoration  # torch: seconds

    task, objective, written = run.config.task, objectives.choose(run.config.task), {}
    memory = out_of_memory.explain(f"predicting with {run.folder}", out_of_memory.again(run.config.train))
    with memory, numerics.threads(run.config.threads), TemporaryDirectory() as scratch:
        trainer, tokenizer = restoration.restore(run, Path(scratch))
        tests = dataset.Reader(run.config, run.prefetched).load_tests(names, tokenizer, objective)
        for split, test in tests.items():
            log.info("%s: predicting %d examples of %s", run.folder, len(test.examples), split)
            predicted = objective.predict(trainer, test.examples, run.config)
            if predicted is None:
                raise ModelError(f"{run.folder}: {split}: logits are NaN or infinite")
            path = out / names[split]
            for file, words in submissions.choose(task).write(path, predicted, task, run.record.thresholds).items():
                print(f"{file}: {words}")
            written[names[split]] = path
    return written


def _pack(path: Path, written: dict[str, Path], filling: dict[str, bytes]) -> None:
    contents = {name: file.read_bytes() for name, file in written.items()}
    for name, content in contents.items():
        ours, theirs = glue_submission.rows(content), glue_submission.rows(filling.get(name, content))
        if ours != theirs:
            raise DataError(f"{written[name]} has {ours} predictions, the sample's {theirs}: not the same test set")
    filled = [name for name in glue_submission.FILES if name in filling and name not in contents]
    glue_submission.pack(path, filling | contents)
    if filled:
        print(f"from the sample, not from a run: {', '.join(filled)}")
    lacking = [name for name in glue_submission.FILES if name not in filling | contents]
    if lacking:
        print(f"not in the zip: {', '.join(lacking)}")
    print(f"{path}: {len(filling | contents)} files")


if __name__ == "__main__":
    sys.exit(main())
