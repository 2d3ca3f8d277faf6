"""A random search for rows that are read otherwise than other libraries read them, and for tracebacks.

How many files it tries is the Hypothesis profile's: `--hypothesis-profile`.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest
import yaml
from hypothesis import event, given, settings
from hypothesis import strategies as st

from gifine import cli
from gifine.choices import Quoting
from gifine.errors import DataError, ExitCode
from gifine.inputs import glue_tsv, own_files
from gifine.inputs.rows import Row

PLACE = r"(, line \d+: |, object \d+: |is empty$|has no rows$|has a header but no rows$|: holds one )"

letters = st.sampled_from([*'ab1 "",,\t\t\n\n\r\'\\#;|éü', "😀", "\u2028", "\x0b", "\x85", "\ufeff"])
words = st.sampled_from(["NA", "nan", "null", "None", "", "1", "true", "2020-01-01", '"', '""', '"a"', "a, b", "a\nb"])
texts = st.one_of(st.text(letters, max_size=8), st.text("ab ", max_size=8), words)
columns = st.sampled_from(["sentence", "text", "label", "idx", "my text", 'a "b"', "a,b", "a\tb", "ü", "1", "length"])

STYLES: list[Literal[0, 1, 2]] = [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]

# Of a task's labels each value with the id that it stands for, or None where it has to be refused.
LABELS: dict[tuple[str, ...], list[tuple[Any, float | None]]] = {
    ("bad", "good"): [("bad", 0), ("good", 1), (0, 0), (1, 1), ("1", 1), (" good ", 1)]
    + [(value, None) for value in (2, -1, 1.0, True, False, None, math.nan, "Good", "", "goo")],
    ("1.0", "0.0"): [(1, 0), (0, 1), (1.0, 0), ("0", 1), ("1.0", 0), (2, None), (True, None), (None, None)],
    ("1 star", "2 stars"): [("1 star", 0), ("2 stars", 1), (1, None), (0, None), ("2", None)],
    ("no", "yes"): [("no", 0), ("yes", 1), (0, 0), (1, 1), (True, None), ("True", None)],
    (): [(value, value) for value in (0, 1.5, -3, 1e-7, 12345678.125)]
    + [("2.5", 2.5), ("1_0", None), (math.nan, None), (math.inf, None), (True, None), (None, None), ("high", None)],
}


@dataclass
class File:
    content: bytes
    suffix: str
    quoting: Quoting  # how it was written
    input: str
    label: str
    labels: tuple[str, ...]
    ids: list[float | None]
    encoding: str


@st.composite
def written_files(draw: st.DrawFn) -> File:
    """Rows of any texts and labels, as one of several libraries writes them."""
    names = draw(st.lists(columns, min_size=2, max_size=4, unique=True))
    labels = draw(st.sampled_from(list(LABELS)))
    size = draw(st.integers(1, 5))
    good = [pair for pair in LABELS[labels] if pair[1] is not None]
    pairs = st.sampled_from(good if draw(st.booleans()) else LABELS[labels])
    chosen = [draw(pairs) for _ in range(size)]
    cells: dict[str, list[Any]] = {name: [draw(texts) for _ in range(size)] for name in names}
    cells[names[1]] = [value for value, _ in chosen]
    order = draw(st.permutations(names))
    cells = {name: cells[name] for name in order}
    suffix = draw(st.sampled_from([".csv", ".tsv", ".json", ".jsonl"]))
    encoding = draw(st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "latin-1"]))
    if suffix in (".csv", ".tsv"):
        text, quoting = draw(delimited(cells, "," if suffix == ".csv" else "\t"))
    else:
        text, quoting = draw(as_json(cells, lines=suffix == ".jsonl")), Quoting.auto
    content = text.encode(encoding, errors="replace")
    return File(content, suffix, quoting, names[0], names[1], labels, [each for _, each in chosen], encoding)


@st.composite
def delimited(draw: st.DrawFn, cells: dict[str, list[Any]], delimiter: str) -> tuple[str, Quoting]:
    writer = draw(st.sampled_from(["pandas", "pyarrow", "csv", "plain"]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    style = draw(st.sampled_from(STYLES))
    event(f"{writer} {delimiter!r}")
    rows = list(zip(*cells.values(), strict=True))
    if writer == "plain":
        lines = [delimiter.join(str(cell) for cell in row) for row in [tuple(cells), *rows]]
        return end.join([*lines, ""]), Quoting.none
    if writer == "pandas":
        frame = pd.DataFrame(rows, columns=list(cells))
        text = frame.to_csv(index=False, sep=delimiter, lineterminator=end, quoting=style)
        return str(text), Quoting.standard
    if writer == "pyarrow":
        table = pa.table({name: [None if cell is None else str(cell) for cell in cells[name]] for name in cells})
        sink = pa.BufferOutputStream()
        quoting = draw(st.sampled_from(["needed", "all_valid"]))
        pyarrow.csv.write_csv(table, sink, pyarrow.csv.WriteOptions(delimiter=delimiter, quoting_style=quoting))
        return sink.getvalue().to_pybytes().decode(), Quoting.standard
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=style).writerows([tuple(cells), *rows])
    return file.getvalue(), Quoting.standard


@st.composite
def as_json(draw: st.DrawFn, cells: dict[str, list[Any]], *, lines: bool) -> str:
    records = [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]
    if draw(st.booleans()):
        event("pandas json")
        text = pd.DataFrame(records, dtype=object).to_json(
            orient="records", lines=lines, force_ascii=draw(st.booleans())
        )
        return str(text)
    event("json")
    ascii_only = draw(st.booleans())
    if lines:
        return "".join(json.dumps(record, ensure_ascii=ascii_only) + "\n" for record in records)
    return json.dumps(records, ensure_ascii=ascii_only, indent=draw(st.sampled_from([None, 1])))


def read(file: File, path: Path, quoting: Quoting) -> list[Row] | DataError:
    path.write_bytes(file.content)
    try:
        return own_files.read(path, [file.input], labels=file.labels, label=file.label, quoting=quoting)
    except DataError as error:
        return error


def as_pandas_reads_it(file: File, path: Path, quoting: Quoting) -> list[str] | None:
    """The texts, or None where pandas cannot read the file."""
    try:
        if file.suffix in (".csv", ".tsv"):
            frame = pd.read_csv(
                path,
                sep="," if file.suffix == ".csv" else "\t",
                quoting=csv.QUOTE_NONE if quoting is Quoting.none else csv.QUOTE_MINIMAL,
                dtype=str,
                keep_default_na=False,
                index_col=False,
                encoding="utf-8-sig",
            )
        else:
            frame = pd.read_json(path, lines=file.suffix == ".jsonl", dtype=False, convert_axes=False)
    except (ValueError, pd.errors.ParserError):
        return None
    return list(frame[file.input]) if file.input in frame else None


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("search")


@settings(deadline=None)
@given(file=written_files())
@pytest.mark.filterwarnings("ignore::pandas.errors.ParserWarning")
def test_rows_are_those_that_pandas_reads_or_refused_with_their_line(folder, file):
    path = folder / f"rows{file.suffix}"
    found, told = read(file, path, Quoting.auto), read(file, path, file.quoting)
    theirs = as_pandas_reads_it(file, path, file.quoting)
    is_whole = theirs is not None and len(theirs) == len(file.ids) and file.encoding.startswith("utf-8")
    for ours in (found, told):
        event(f"refused {file.suffix}" if isinstance(ours, DataError) else f"read {file.suffix}")
        if isinstance(ours, DataError):
            assert str(ours).startswith(str(path))
            assert re.search(PLACE, str(ours)), str(ours)
            assert "\n" not in str(ours)
        elif theirs is not None and (is_whole or file.quoting is not Quoting.none):
            assert [row.texts[0] for row in ours] == theirs
            assert [row.label for row in ours] == file.ids
    if is_whole and None not in file.ids and file.quoting is not Quoting.none:
        assert not isinstance(told, DataError), "nothing is wrong with it"


@st.composite
def broken(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file that was cut, garbled, or has a part twice."""
    file = draw(written_files())
    content = file.content
    for _ in range(draw(st.integers(1, 3))):
        start, stop = sorted(draw(st.tuples(*[st.integers(0, len(content))] * 2)))
        part = draw(st.sampled_from(["cut", "drop", "twice", "bytes", "marks"]))
        inserted = {
            "twice": content[start:stop] * 2,
            "bytes": draw(st.binary(max_size=4)),
            "marks": draw(
                st.sampled_from([b'"', b"\0", b"[" * 3000, b"{", b"\\u", b"9" * 5000, b"NaN", b"\r", b"\xff"])
            ),
        }.get(part, b"")
        content = content[:start] + inserted + (b"" if part == "cut" else content[stop:])
    return draw(st.sampled_from([file.suffix, file.suffix, ".csv", ".tsv", ".json", ".jsonl"])), content


@settings(deadline=None)
@given(
    case=broken(),
    labels=st.sampled_from(list(LABELS)),
    quoting=st.sampled_from(Quoting),
    labelled=st.booleans(),
    official=st.booleans(),
)
def test_broken_files_end_without_a_traceback(folder, case, labels, quoting, labelled, official):
    suffix, content = case
    path = folder / f"broken{suffix}"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        if official:
            columns, label = {"sentence": "sentence", "label": "label"}, "label" if labelled else None
            rows = glue_tsv.read(path, columns, inputs=["sentence"], labels=labels, label=label, skip_short_rows=True)
        else:
            rows = own_files.read(path, ["sentence"], labels=labels, labelled=labelled, quoting=quoting)
        assert all(isinstance(row.texts[0], str) and (row.label is not None) is labelled for row in rows)


YAML = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-2, 5),
        st.floats(),
        st.dates(),
        st.sampled_from(["bad", "good", "accuracy", "label", "sentence", "no", "???", "", " "]),
        st.sampled_from(["${seed}", "${nope}", "${task.name}", "${task.hub}", "${data}"]),
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=4),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["train", "hub", "columns"]), inner, max_size=2)
    ),
    max_leaves=4,
)
TASK = {
    "name": "own",
    "inputs": ["sentence"],
    "labels": ["bad", "good"],
    "metrics": ["accuracy"],
    "select_by": "accuracy",
    "hub": {"path": "own/data", "name": None},
    "splits": {"train": {"hub": "train", "columns": {"sentence": "3"}}, "validation": {"hub": "validation"}},
}


@settings(max_examples=max(settings().max_examples // 20, 5), deadline=None)
@given(
    changes=st.dictionaries(
        st.sampled_from([*TASK, "label", "files", "test_splits", "submission_labels"]), YAML, min_size=1
    )
)
def test_broken_tasks_end_without_a_traceback(folder, changes):
    (folder / "task").mkdir(exist_ok=True)
    (folder / "task" / "own.yaml").write_text(yaml.safe_dump(TASK | changes, allow_unicode=True), encoding="utf-8")
    started, err = mock.Mock(return_value=ExitCode.DONE), io.StringIO()
    with (
        mock.patch.dict("os.environ", {"HYDRA_FULL_ERROR": "0"}),
        mock.patch.object(sys, "argv", ["gifine", "--config-dir", str(folder), "task=own"]),
        mock.patch("gifine.train.run", started),
        contextlib.redirect_stderr(err),
    ):
        code = cli.main()
    assert "Traceback" not in err.getvalue()
    if code == ExitCode.BAD_INPUT:
        assert err.getvalue().startswith("error:")
        assert not started.called
    else:
        assert started.called
        task = started.call_args[0][0].task
        assert all(
            isinstance(text, str) for text in [*task.inputs, *task.labels, *task.metrics, *task.submission_labels]
        )
