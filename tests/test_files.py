"""One's own csv, tsv, json and jsonl files."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gifine import files
from gifine.errors import DataError

LABELS = ["bad", "good"]

texts = st.text(st.characters(codec="utf-8"))
records = st.fixed_dictionaries({"sentence": texts, "label": st.sampled_from([*LABELS, "0", "1"]), "note": texts})


def write_delimited(path: Path, rows: list[dict[str, Any]], delimiter: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], object]] = {
    "csv": lambda path, rows: write_delimited(path, rows, ","),
    "tsv": lambda path, rows: write_delimited(path, rows, "\t"),
    "json": lambda path, rows: path.write_text(json.dumps(rows), encoding="utf-8"),
    "JSONL": write_jsonl,
}
each_format = pytest.mark.parametrize("suffix", WRITERS)


@each_format
@given(rows=st.lists(records, min_size=1, max_size=5))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, suffix: str, rows: list[dict[str, str]]) -> None:
    path = tmp_path_factory.getbasetemp() / f"round_trip.{suffix}"
    WRITERS[suffix](path, rows)
    label_ids = {"bad": 0, "good": 1, "0": 0, "1": 1}
    assert files.read(path, ["sentence"], labels=LABELS) == [
        {"sentence": row["sentence"], "label": label_ids[row["label"]], "idx": i} for i, row in enumerate(rows)
    ]


@each_format
def test_two_inputs_and_numbers(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pairs.{suffix}"
    WRITERS[suffix](path, [{"a": "It rains.", "b": "It is wet.", "score": 3.5}])
    assert files.read(path, ["b", "a"], label="score", labels=[]) == [
        {"a": "It rains.", "b": "It is wet.", "label": 3.5, "idx": 0}
    ]


@each_format
def test_labels_left_out(tmp_path: Path, suffix: str) -> None:
    """A test set has none, or such as mean nothing: -1 in those of the Hub."""
    path = tmp_path / f"test.{suffix}"
    for cells in ({"sentence": "It rains."}, {"sentence": "It rains.", "label": -1}):
        WRITERS[suffix](path, [cells])
        assert files.read(path, ["sentence"], labels=LABELS, labelled=False) == [{"sentence": "It rains.", "idx": 0}]
        with pytest.raises(DataError, match=r"no column 'label'; columns: sentence|label '-1' is none of"):
            files.read(path, ["sentence"], labels=LABELS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", 'sentence,label\n"two\nlines",1\nshort\n', "line 4: 1 columns where 2 are expected"),
        ("a.csv", 'sentence,label\n"two\nlines",maybe\n', "line 2: label 'maybe' is none of bad, good, 0, 1"),
        ("a.csv", 'sentence,label\nfine,1\n"open,1\nfine,0\n', "line 3: unexpected end of data; a quote inside"),
        ("a.csv", "\nsentences,label\n\nfine,1\n", r"line 4: no column 'sentence' \(did you mean 'sentences'\?\)"),
        ("a.csv", "sentence,label\n", "has no rows"),
        ("a.tsv", "sentence\tlabel\nstray\ttab\t1\n", "line 2: 3 columns where 2 are expected"),
        ("a.json", "[\n{},\n{]\n", "line 3: not JSON"),
        ("a.json", '{"sentence": "fine", "label": 1}', "holds one dict, not a list of objects"),
        ("a.json", '[{"sentence": "fine", "label": 1}, "text"]', "object 2: 'text' is not an object"),
        ("a.json", '[{"sentence": null, "label": 1}]', "object 1: column 'sentence' holds None, not text"),
        ("a.json", r'[{"sentence": "cut \ud83d", "label": 1}]', r"object 1: column 'sentence' holds \\ud83d, half"),
        ("a.jsonl", '\n{"sentence": "cut', "line 2: not JSON"),
        ("a.jsonl", '{"sentence": "fine", "label": 1}\n{"sentence": "fine"}\n', "line 2: no column 'label'"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match=message) as error:
        files.read(path, ["sentence"], labels=LABELS)
    assert str(path) in str(error.value)


def test_labels_in_some_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    write_jsonl(path, [{"sentence": "It rains."}, {"sentence": "It snows.", "label": 1}])
    with pytest.raises(DataError, match="line 1: no column 'label'"):
        files.read(path, ["sentence"], labels=LABELS)


def test_unknown_suffix_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"suffix '\.txt' is none of \.csv, \.tsv, \.json, \.jsonl"):
        files.read(tmp_path / "a.txt", ["sentence"], labels=LABELS)
    with pytest.raises(DataError, match=r"no file .*a\.csv"):
        files.read(tmp_path / "a.csv", ["sentence"], labels=LABELS)
