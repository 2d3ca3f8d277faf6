"""The table in docs/data.md: every line of it is what the readers do."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

import datasets
import pytest

from conftest import ROOT
from gifine.choices import Quoting
from gifine.errors import DataError
from gifine.inputs import glue_tsv, hub, own_files
from gifine.inputs.needs import HubSplit
from gifine.inputs.rows import Columns, Row

FILES = ["official", "csv", "tsv", "json", "jsonl"]
GROUPS = {"all": ["Hub", *FILES], "all files": FILES}
DELIMITERS = {"csv": ",", "tsv": "\t", "official": "\t"}
ABOUT = ["text", "missing text", "label", "missing label", "header", "rows", "quote", "line end", "encoding"]


@dataclass(frozen=True)
class Case:
    about: str
    source: str  # one of FILES, or Hub
    variant: str  # what stands after the source: `classes`, or the value of task.files.quoting
    is_test_set: bool
    labels: tuple[str, ...]
    given: str
    expected: str

    def __str__(self) -> str:
        return f"{self.about}, {self.source} {self.variant}: {self.given[:30]}"


def cases() -> list[Case]:
    lines = [line for line in (ROOT / "docs" / "data.md").read_text().splitlines() if line.startswith("| ")][1:]
    found = []
    for line in lines:
        about, source, labels, given, expected = (cell.strip() for cell in line.strip("|").split("|"))
        is_test_set = source.startswith("test set of ")
        names, _, variant = source.removeprefix("test set of ").replace("`", "").partition(" with ")
        task_labels = tuple(json.loads(code(labels))) if labels else ("bad", "good")
        sources = [each for name in names.split(", ") for each in GROUPS.get(name, [name])]
        found += [Case(about, each, variant, is_test_set, task_labels, code(given), expected) for each in sources]
    return found


def code(cell: str) -> str:
    return cell[1:-1] if cell.startswith("`") else cell


CASES = cases()


def test_the_table_is_whole():
    assert {case.about for case in CASES} == {*ABOUT}
    for about in ABOUT[:5]:
        assert {case.source for case in CASES if case.about == about} == {"Hub", *FILES}, about
    assert len(CASES) > 250


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_line_is_true(case, tmp_path):
    if case.expected.startswith("refused: "):
        wanted = re.escape(code(case.expected.removeprefix("refused: "))).replace("…", ".*")
        with pytest.raises(DataError, match=wanted) as error:
            read(case, tmp_path)
        assert len(str(error.value).splitlines()) == 1
        assert str(error.value).startswith("own/data/default/train" if case.source == "Hub" else str(tmp_path))
        return
    rows, expected = read(case, tmp_path), json.loads(code(case.expected))
    if case.about in ("text", "missing text", "encoding"):
        assert [row.texts for row in rows] == [(expected,)]
    elif case.about in ("label", "missing label"):
        assert [row.label for row in rows] == [expected]
        assert type(rows[0].label) is type(expected)
    else:
        assert rows == [Row((own(text, case),), n, label) for n, (text, label) in enumerate(expected)]


def read(case: Case, folder: Path) -> list[Row]:
    about = case.about.removeprefix("missing ")
    if case.source == "Hub":
        records = json.loads(case.given) if about == "header" else [record(about, json.loads(case.given))]
        return read_hub(case, records)
    if about in ("text", "label"):
        content = written(case.source, record(about, json.loads(case.given))).encode()
    elif about == "encoding":
        text = written(case.source, record("text", "süß"), in_ascii=False)
        content = gzip.compress(text.encode()) if case.given == "gzip" else text.encode(case.given)
    else:
        text = case.given.replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t")
        content = own(text, case).encode()
    path = folder / f"rows.{'tsv' if case.source == 'official' else case.source}"
    path.write_bytes(content)
    if case.source == "official":
        columns = {"sentence": "sentence", "label": "label"}
        label = None if case.is_test_set else "label"
        return glue_tsv.read(path, columns, inputs=["sentence"], labels=case.labels, label=label)
    quoting = Quoting(case.variant or "auto")
    return own_files.read(path, ["sentence"], labels=case.labels, labelled=not case.is_test_set, quoting=quoting)


def own(text: str, case: Case) -> str:
    """With the source's delimiter."""
    return text.replace("§", DELIMITERS.get(case.source, "§"))


def record(about: str, value: object) -> dict[str, object]:
    return {"sentence": "It rains.", "label": 1} | {"sentence" if about == "text" else "label": value}


def written(source: str, cells: dict[str, object], *, in_ascii: bool = True) -> str:
    """One row as a file of this kind."""
    if source in ("json", "jsonl"):
        text = json.dumps(cells, ensure_ascii=in_ascii)
        return f"[{text}]" if source == "json" else text + "\n"
    plain = ["" if cell is None else cell if isinstance(cell, str) else json.dumps(cell) for cell in cells.values()]
    file = io.StringIO()
    csv.writer(file, delimiter=DELIMITERS[source], lineterminator="\n").writerows([cells, plain])
    return file.getvalue()


def read_hub(case: Case, records: list[dict[str, object]]) -> list[Row]:
    examples = datasets.Dataset.from_list(records)
    if case.variant:
        names = list(case.labels or ("bad", "good"))
        names = names[::-1] if case.variant == "other classes" else names
        label = records[0]["label"]
        number = names.index(label) if isinstance(label, str) else label
        features = datasets.Features({"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
        examples = datasets.Dataset.from_dict({"sentence": ["It rains."], "label": [number]}, features=features)
    where = HubSplit("own/data", None, "train")
    columns = Columns(["sentence"], None if case.is_test_set else "label", case.labels)
    columns.check(examples.column_names, str(where))
    hub.check_classes(examples, columns, where)
    return hub.rows(examples, columns, where)
