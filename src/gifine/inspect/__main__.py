"""See what a change does in a trained model: a page, and its pictures.

    gifine inspect RUN [--text "…"] [--out DIR] [--rows N] [--split NAME]

Nothing here imports torch before arguments and folders are known to be good.
"""

from __future__ import annotations

import argparse
import logging
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from gifine import commands
from gifine.errors import ArgumentError, ExitCode, OutputError, RunError
from gifine.inputs.model_files import weight_files
from gifine.inputs.run_folder import RECORD
from gifine.machine import out_of_memory
from gifine.machine.imports import uncollected
from gifine.runs import finished
from gifine.runs.finished import FinishedRun
from gifine.runs.tree import INSPECTION

log = logging.getLogger(__name__)

_ROWS, _SECONDS = 128, 300.0


def parser() -> commands.Parser:
    parser = commands.Parser(
        prog="gifine inspect",
        description="See what a change to attention (GI's gates or another) does in a trained model, layer by layer "
        "and head by head, on rows of its data or on texts; of a plain model, its attention. It writes inspect.html, "
        "which needs no network, and figures/. The page holds the rows that are shown: mind who may see it.",
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="the folder of a finished run, or of a saved model, which takes --text"
    )
    parser.add_argument(
        "--text",
        nargs="+",
        action="append",
        default=[],
        metavar="TEXT",
        help="look at this text, or pair of texts, instead of rows; may be given again",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"where files go (default: RUN/{INSPECTION}/)")
    parser.add_argument(
        "--rows", type=_count, default=_ROWS, metavar="N", help=f"look at the first N rows of the split ({_ROWS})"
    )
    parser.add_argument("--split", metavar="NAME", help="the split they are of (default: the first that is evaluated)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=_SECONDS,
        metavar="S",
        help="switch off layers and heads one by one for about so long, and score each (300; 0: not at all)",
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where the data lie now, as for gifine evaluate")
    finished.add_base(parser)
    return parser


def main(words: Sequence[str] | None = None) -> int:
    return commands.call(_inspect, parser(), words)


def _count(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word} is no whole number above 0")
    return int(word)


def _inspect(args: Namespace) -> ExitCode:
    folder = args.run.expanduser()
    if not args.seconds >= 0:
        raise ArgumentError(f"--seconds {args.seconds:g}: must be 0 or more")
    for texts in args.text:
        if not all(text.strip() for text in texts):
            raise ArgumentError("--text: an empty text; give some words")
        if len(texts) > 2:
            raise ArgumentError(f"--text takes one text or a pair, not {len(texts)}; give --text again for another")
    if args.text and args.split:
        raise ArgumentError("--split is of rows; it does not go with --text")
    run = _run(folder, args)
    out = args.out.expanduser() if args.out else folder / INSPECTION
    with uncollected():
        from gifine.inspect import looking  # torch: seconds
        from gifine.training import numerics
    limits = numerics.threads(run.config.threads if run else None)
    train = run.config.train if run else None
    advice = out_of_memory.again(train) if train else "--text with shorter texts takes less"
    with out_of_memory.explain(f"looking into {folder}", advice), limits, TemporaryDirectory() as scratch:
        found = looking.look(folder, run, args, Path(scratch))
    from gifine.inspect import output

    try:
        for line in output.write(found, out):
            print(line)
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror or error}") from error
    return ExitCode.DONE


def _run(folder: Path, args: Namespace) -> FinishedRun | None:
    """The run; None of a saved model.

    Raises:
        RunError: there is neither, or it is not finished, or its weights were not kept.
        ArgumentError: --split or --text do not go with it.
    """
    if (folder / RECORD).exists() or not (folder / "config.json").is_file():
        (run,) = finished.read([folder], args.data_dir, args.base, own_data=not args.text)
        _check(run, args)
        return run
    weight_files(folder)
    if not args.text:
        raise RunError(f"{folder}: a saved model, which has no rows: give --text, or the folder of the run")
    if args.data_dir:
        raise ArgumentError("--data-dir is where a run's data lie; a saved model has none")
    return None


def _check(run: FinishedRun, args: Namespace) -> None:
    task = run.config.task
    finished.check_answers(run)
    for texts in args.text:
        if len(texts) != len(task.inputs):
            raise ArgumentError(
                f"--text: task={task.name} takes {len(task.inputs)} ({', '.join(task.inputs)}), not {len(texts)}"
            )
    own = task.files.train is not None
    evaluated = ["validation"] if own else list(task.evaluation_splits)
    args.split = args.split or evaluated[0]
    valid = [*evaluated, task.train_split]
    if args.split not in valid:
        raise ArgumentError(f"--split {args.split}: the run has {', '.join(valid)}")


if __name__ == "__main__":
    sys.exit(main())
