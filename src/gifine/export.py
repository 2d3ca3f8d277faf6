"""Write a run's weights as a whole model: `gifine export RUN --out DIR --full`, or `--merged`.

    --full      all weights in one folder: what was trained, and the base that it was trained over
    --merged    a plain model of transformers', which needs no gifine: the change is multiplied into its weights

Merging is possible where a change is a linear function of what a linear layer takes or gives, as LoRA is; a gate that
depends on its input is none. What is written gives the logits of the run's model: that is tried before it is there.

Nothing here imports torch before arguments and folders are known to be good.
"""

from __future__ import annotations

import logging
import shutil
import sys
from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gifine.commands import Parser, call
from gifine.errors import ExitCode, ModelError, OutputError
from gifine.inputs.families import TOKENIZER_FILES
from gifine.inputs.model_files import CONFIG
from gifine.machine import disk
from gifine.machine.imports import uncollected
from gifine.runs import finished
from gifine.runs.finished import FinishedRun

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)


def parser() -> Parser:
    parser = Parser(prog="gifine export", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a finished run")
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help="the folder to write, not there yet")
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--full", action="store_true", help="all weights, the change as it is")
    form.add_argument("--merged", action="store_true", help="all weights, the change multiplied into them")
    finished.add_base(parser)
    return parser


def main(words: Sequence[str] | None = None) -> int:
    return call(_export, parser(), words)


def _export(args: Namespace) -> ExitCode:
    (run,) = finished.read([args.run], base=args.base, own_data=False)
    finished.check_answers(run)
    out: Path = args.out.expanduser()
    if out.exists():
        raise OutputError(f"--out {out}: is there already; name a folder that is not")
    with uncollected():
        from transformers.utils import logging as transformers_logging

        from gifine import objectives  # torch: seconds

    transformers_logging.disable_progress_bar()  # of loading and writing weights
    model = objectives.choose(run.config.task).reload(run.config, run.model)
    moved = write(model, run, out, merged=args.merged)
    kind = model.config.model_type if not args.merged else model.config.model_type.removeprefix("gi_")
    print(f"{out}: {kind}, logits within {moved:.1g} of the run's")
    return ExitCode.DONE


def write(model: PreTrainedModel, run: FinishedRun, out: Path, *, merged: bool) -> float:
    """Write a run's model, whole, and its tokenizer; how far its logits, in float32, are from the run's.

    Raises:
        ModelError: for a change that cannot be merged.
        OutputError: if the folder cannot be written.
    """
    from gifine.models import merging

    try:
        whole = merging.merge(model) if merged else merging.fill_in(model)
    except ModelError as error:
        raise ModelError(f"{run.folder}: {error}; --full writes the weights as they are") from error
    partial = out.with_name(f".{out.name}.partial")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {partial}: {error.strerror}") from error
    with disk.writing(out, partial):
        whole.save_pretrained(partial)
        for name in TOKENIZER_FILES:
            if name != CONFIG and (run.model / name).is_file():
                shutil.copyfile(run.model / name, partial / name)
        moved = merging.compare(model, partial)
        partial.rename(out)
    return moved


if __name__ == "__main__":
    sys.exit(main())
