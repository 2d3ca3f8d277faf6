"""What runs say together: does a change help, where, by how much, and could it be chance?

    gifine report RUNS_OR_ROOT … [--rows KEY,…] [--columns KEY,…] [--format FORMAT] [--out DIR]

Reads records, and predictions for the tests on examples; torch is not needed.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from argparse import ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from gifine import commands
from gifine.errors import ArgumentError, ExitCode, OutputError, RunError, did_you_mean
from gifine.report import contents
from gifine.report.analysis import table
from gifine.report.analysis.families import MARGIN, Rules
from gifine.report.contents import Contents
from gifine.report.formats import flat, latex, markdown, output, page, sheets
from gifine.report.formats.output import Output
from gifine.report.formats.page import Picture
from gifine.report.reading import Reader, Reading
from gifine.runs import preregistration

log = logging.getLogger(__name__)

FORMATS = ("terminal", "markdown", "csv", "latex", "json")


def parser() -> commands.Parser:
    parser = commands.Parser(
        prog="gifine report",
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("runs", nargs="+", type=_path, metavar="RUNS_OR_ROOT", help="folders of runs, or folders that hold such")
    rows = f"config keys ({','.join(table.ROWS)}; where these do not tell changes apart, model,change)"
    add("--rows", type=_words, metavar="KEY,…", help=rows)
    add("--columns", type=_words, default=table.COLUMNS, metavar="KEY,…", help=f"({','.join(table.COLUMNS)})")
    add("--format", choices=FORMATS, help="terminal on a terminal, else markdown")
    add("--show", type=_sheets, metavar="NAME,…", help=f"only these: {','.join(sheets.NAMES)}; of csv one (table)")
    add("--no-predictions", action="store_true", help="do not read predictions: quicker, but given this dev set only")
    commands.add_rules(
        parser, "comparisons named before the runs, which are corrected among themselves; may be given several times"
    )
    against = "compare changes with this one (as tables call it), not with the plain model"
    add("--against", metavar="CHANGE", help=f"{against}: added, 'both 0.3', …")
    add("--plan", type=_path, metavar="FILE", help="what `gifine sweep plan --preregister FILE` said before the runs")
    add("--strict", action="store_true", help="no pairs of runs that were not computed alike: threads, code, GPU, …")
    add(
        "--out",
        type=_path,
        metavar="DIR",
        help="also write report.html, .md, .tex and .json, CSV files and figures/",
    )
    add("--watch", type=commands.seconds, metavar="SECONDS", help="look again so often, and print what has changed")
    return parser


def main(words: Sequence[str] | None = None) -> ExitCode:
    """Run the command line (null: the process's own) and return its exit code."""
    return commands.call(_report, parser(), words)


def _report(args: Namespace) -> ExitCode:
    style = args.format or ("terminal" if sys.stdout.isatty() else "markdown")
    if style == "csv" and args.show is not None and len(args.show) > 1:
        raise ArgumentError("--format csv is one table: --show one of them, or use --out")
    reader = Reader(args.runs)
    reading = reader.read()
    _tell(reading, args, style)
    with contextlib.suppress(KeyboardInterrupt):
        while args.watch is not None:
            sys.stdout.flush()
            time.sleep(args.watch)
            before = reading.runs
            with contextlib.suppress(RunError):  # all of it is gone, perhaps to come back
                reading = reader.read()
            if reading.runs != before:
                _tell(reading, args, style)
    return ExitCode.DONE


def _tell(reading: Reading, args: Namespace, style: str) -> None:
    found = contents.gather(
        reading,
        args.rows,
        args.columns,
        with_predictions=not args.no_predictions,
        rules=_rules(args),
        strict=args.strict,
    )
    _show(found, style, args.show, clear=args.watch is not None)
    if args.out is not None:
        _write(found, args.out)


def _rules(args: Namespace) -> Rules:
    """Of the options, or of a plan.

    Raises:
        ArgumentError: for options that a plan has decided.
        PlanError: for a file that is none.
    """
    if args.plan is None:
        return Rules(args.margin or MARGIN, tuple(args.primary), against=args.against)
    for name in ("margin", "primary", "against"):
        if getattr(args, name):
            raise ArgumentError(f"--{name}: {args.plan} has decided it, before the runs; leave it out")
    return Rules.of(preregistration.read(args.plan))


def _show(found: Contents, style: str, names: Sequence[str] | None, *, clear: bool) -> None:
    if style == "csv":
        print(flat.csv_text(flat.tables(found)[names[0] if names else sheets.CSV]), end="")
    elif style == "json":
        print(flat.json_text(found, names or sheets.NAMES), end="")
    elif style == "terminal":
        from gifine.report.formats import terminal  # rich: a fifth of a second

        terminal.show(sheets.make(found, names or sheets.NAMES), sheets.summary(found), clear=clear)
    else:
        setter = latex if style == "latex" else markdown
        print(setter.text(sheets.make(found, names or sheets.NAMES), sheets.summary(found)), end="")


def _write(found: Contents, folder: Path) -> None:
    """All formats of all tables."""
    made, summary = sheets.make(found), sheets.summary(found)
    texts = {
        "report.md": markdown.text(made, summary),
        "report.tex": latex.text(made, summary),
        "report.json": flat.json_text(found, sheets.NAMES),
        **{f"{name}.csv": flat.csv_text(rows) for name, rows in flat.tables(found).items()},
    }
    try:
        with output.into(folder) as out:
            for name, text in texts.items():
                out.write(name, [text])
            pictures = _draw(found, out)
            out.write("report.html", page.make(found, pictures))
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror}; give another --out") from error
    log.info("written to %s: %s; figures: %d", folder, ", ".join(["report.html", *texts]), len(pictures))


def _draw(found: Contents, out: Output) -> list[Picture]:
    """Write each figure in all formats."""
    from gifine.report import plots  # matplotlib: a second

    pictures = []
    for plot in plots.files(found):
        for form, content in plot.by_format.items():
            out.write(f"figures/{plot.name}.{form}", content)
        pictures.append(Picture(plot.name, plot.title, plot.caption, plot.by_format["svg"]))
    return pictures


def _path(word: str) -> Path:
    if not word:  # of a variable that is not set, and it would be the folder of now
        raise ArgumentTypeError("an empty word is no path")
    return Path(word).expanduser()


def _words(word: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in word.split(",") if each.strip())


def _sheets(word: str) -> tuple[str, ...]:
    names = _words(word)
    if not names:
        raise ArgumentTypeError(f"'{word}' names no part; {', '.join(sheets.NAMES)}")
    for name in names:
        if name not in sheets.NAMES:
            raise ArgumentTypeError(
                f"{name}: no such part{did_you_mean(name, sheets.NAMES)}; {', '.join(sheets.NAMES)}"
            )
    return names


if __name__ == "__main__":
    sys.exit(main())
