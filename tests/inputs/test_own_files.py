"""One's own csv, tsv, json and jsonl files."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gifine.choices import Quoting
from gifine.errors import DataError
from gifine.inputs import glue_tsv, own_files
from gifine.inputs.rows import Row
from support.tasks import load_task

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
    assert own_files.read(path, ["sentence"], labels=LABELS, quoting=Quoting.standard) == [
        Row((row["sentence"],), i, label_ids[row["label"]]) for i, row in enumerate(rows)
    ]


@each_format
def test_two_inputs_and_numbers(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pairs.{suffix}"
    WRITERS[suffix](path, [{"a": "It rains.", "b": "It is wet.", "score": 3.5}])
    assert own_files.read(path, ["b", "a"], label="score", labels=[]) == [Row(("It is wet.", "It rains."), 0, 3.5)]


@each_format
def test_labels_left_out(tmp_path: Path, suffix: str) -> None:
    """A test set has none, or such as mean nothing: -1 in those of the Hub."""
    path = tmp_path / f"test.{suffix}"
    for cells in ({"sentence": "It rains."}, {"sentence": "It rains.", "label": -1}):
        WRITERS[suffix](path, [cells])
        assert own_files.read(path, ["sentence"], labels=LABELS, labelled=False) == [Row(("It rains.",), 0)]
        with pytest.raises(DataError, match=r"no column 'label'; columns: sentence|label '?-1'? is none of"):
            own_files.read(path, ["sentence"], labels=LABELS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", 'sentence,label\n"two\nlines",1\nshort\n', "line 4: 1 columns where 2 are expected"),
        ("a.csv", 'sentence,label\n"two\nlines",maybe\n', "line 2: label 'maybe' is none of bad, good, 0, 1"),
        (
            "a.csv",
            'sentence,label\nfine,1\n"open,1\nfine,0\n',
            "line 3: unexpected end of data; a quote inside.*quoting=none",
        ),
        ("a.csv", "\nsentences,label\n\nfine,1\n", r"line 2: no column 'sentence' \(did you mean 'sentences'\?\)"),
        ("a.csv", "sentence,label\n", "has no rows"),
        ("a.csv", "sentence,label,sentence\nfine,1,also\n", "line 1: two columns have the name 'sentence'"),
        (
            "a.csv",
            'sentence,label\n"I left.,bad\nIt was.",good\n',
            "line 2: a quoted cell goes on over what reads as rows",
        ),
        ("a.csv", "sentence,label\na\rb,1\n", "line 2: a carriage return that ends no line"),
        ("a.tsv", 'sentence\tlabel\n"I left.\tbad\nIt was."\tgood\n', "line 2: a quoted cell goes on over what reads"),
        ("a.tsv", 'sentence\tlabel\n.\t0\n"I left."\tbad\n', "line 3: a cell begins with a quote: task.files.quoting"),
        ("a.tsv", 'sentence\tlabel\n"a ""b"""\t1\n"open\t1\n', "line 3: unexpected end of data.*quoting=none takes"),
        (
            "a.tsv",
            'sentence\tlabel\n"a\tb"\t1\n"open\t1\n',
            "line 3: unexpected end.*nor does .*=none read it: .*line 2",
        ),
        ("a.tsv", "sentence\tlabel\na\rb\t1\n", "line 2: a carriage return that ends no line: .*=standard"),
        ("a.tsv", "sentence\tlabel\nstray\ttab\t1\n", "line 2: 3 columns where 2 are expected"),
        ("a.json", "[\n{},\n{]\n", "line 3: not JSON"),
        ("a.json", '{"sentence": "fine", "label": 1}', "holds one dict, not a list of objects"),
        ("a.json", '[{"sentence": "fine", "label": 1}, "text"]', "object 2: 'text' is not an object"),
        (
            "a.json",
            '{"sentence": "fine", "label": 1}\n{"sentence": "so", "label": 0}',
            "line 2: .*: name the file .jsonl",
        ),
        ("a.json", '[{"sentence": "fine", "label": 1, "label": 0}]', "line 1: an object has the name 'label' twice"),
        ("a.jsonl", '[{"sentence": "fine",\n"label": 1}]', "line 1: not JSON.*: name the file .json"),
        (
            "a.jsonl",
            '[{"sentence": "fine", "label": 1}]',
            "line 1: .*is not an object; a list of objects is JSON: name",
        ),
        ("a.jsonl", "[" * 100_000, "line 1: JSON that cannot be read .maximum recursion"),
        ("a.jsonl", '{"sentence": "fine", "label": ' + "9" * 5000 + "}", "line 1: JSON that cannot be read .Exceeds"),
        ("a.json", '[{"sentence": null, "label": 1}]', "object 1: column 'sentence' holds null, not text"),
        ("a.json", r'[{"sentence": "cut \ud83d", "label": 1}]', r"object 1: column 'sentence' holds \\ud83d, half"),
        ("a.jsonl", '\n{"sentence": "cut', "line 2: not JSON"),
        ("a.jsonl", '{"sentence": "fine", "label": 1}\n{"sentence": "fine"}\n', "line 2: no column 'label'"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match=message) as error:
        own_files.read(path, ["sentence"], labels=LABELS)
    assert str(path) in str(error.value)


def test_quoting(tmp_path: Path) -> None:
    """What each value of task.files.quoting makes of the same bytes."""
    path = tmp_path / "a.tsv"
    header = "sentence\tlabel\n"
    cases = {
        '"a ""b"" c"\t1\n': {"none": ['"a ""b"" c"'], "standard": ['a "b" c'], "auto": None},
        '"two\nlines"\t1\n': {"none": None, "standard": ["two\nlines"], "auto": ["two\nlines"]},
        '"a\tb"\t1\n': {"none": None, "standard": ["a\tb"], "auto": ["a\tb"]},
        '"so" he said\t1\n': {"none": ['"so" he said'], "standard": None, "auto": ['"so" he said']},
        'a 3" pipe\t1\n': {"none": ['a 3" pipe'], "standard": ['a 3" pipe'], "auto": ['a 3" pipe']},
        '"open\t1\nshut"\t0\n': {"none": ['"open', 'shut"'], "standard": ["open\t1\nshut"], "auto": None},
        "a\rb\t1\n": {"none": ["a\rb"], "standard": None, "auto": None},
    }
    for rows, expected in cases.items():
        path.write_bytes((header + rows).encode())
        for quoting, texts in expected.items():
            if texts is None:
                with pytest.raises(DataError, match="line "):
                    own_files.read(path, ["sentence"], labels=LABELS, quoting=Quoting[quoting])
            else:
                found = own_files.read(path, ["sentence"], labels=LABELS, quoting=Quoting[quoting])
                assert [row.texts[0] for row in found] == texts, (rows, quoting)


def test_texts_of_several_lines_that_are_no_rows(tmp_path: Path) -> None:
    """As reviews have them, with delimiters in their lines."""
    path = tmp_path / "a.csv"
    texts = ["Dear all,\n\nwell, it was fine, I think,\nso long, thanks", 'a "b"\nc,d']
    for names in (["sentence", "label"], ["label", "sentence"]):
        write_delimited(path, [{name: {"sentence": text, "label": 1}[name] for name in names} for text in texts], ",")
        assert [row.texts[0] for row in own_files.read(path, ["sentence"], labels=LABELS)] == texts


def test_long_cells(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"sentence,label\n{'x' * 200_000},1\n")
    assert len(own_files.read(path, ["sentence"], labels=LABELS)[0].texts[0]) == 200_000


def test_an_empty_line_may_be_a_row_of_one_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("sentence\na\n\nb\n\n")
    with pytest.raises(
        DataError, match='line 3: an empty line between rows of one column; an empty text is written ""'
    ):
        own_files.read(path, ["sentence"], labels=LABELS, labelled=False)
    path.write_text('sentence\na\n""\nb\n\n')
    assert [row.texts[0] for row in own_files.read(path, ["sentence"], labels=LABELS, labelled=False)] == ["a", "", "b"]


@pytest.mark.parametrize("name", ["label", "labels", "idx", "input_ids", "length"])
def test_inputs_may_have_any_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{name},gold\nIt rains.,1\n")
    assert own_files.read(path, [name], labels=LABELS, label="gold") == [Row(("It rains.",), 0, 1)]


OFFICIAL = ["RTE/dev", "RTE/train", "QNLI/dev", "MNLI/dev_matched", "MRPC/dev", "MRPC/train", "STS-B/dev"]


@pytest.mark.shared
@pytest.mark.parametrize("name", OFFICIAL)
def test_official_files_as_ones_own(shared: Path, name: str) -> None:
    """The same texts and labels as data=glue_dir has, where their quotes tell that they are not quoted."""
    task = load_task(name.partition("/")[0].replace("-", "").lower())
    place = next(place for place in task.splits.values() if place.tsv == f"{name}.tsv")
    path = shared / "glue" / f"{name}.tsv"
    expected = glue_tsv.read(path, place.columns, inputs=task.inputs, labels=task.labels)
    inputs = [place.columns[column] for column in task.inputs]
    for quoting in (Quoting.auto, Quoting.none):
        assert (
            own_files.read(path, inputs, labels=task.labels, label=place.columns["label"], quoting=quoting) == expected
        )


def test_labels_in_some_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    write_jsonl(path, [{"sentence": "It rains."}, {"sentence": "It snows.", "label": 1}])
    with pytest.raises(DataError, match="line 1: no column 'label'"):
        own_files.read(path, ["sentence"], labels=LABELS)


def test_unknown_suffix_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"suffix '\.txt' is none of \.csv, \.tsv, \.json, \.jsonl"):
        own_files.read(tmp_path / "a.txt", ["sentence"], labels=LABELS)
    with pytest.raises(DataError, match=r"no file .*a\.csv"):
        own_files.read(tmp_path / "a.csv", ["sentence"], labels=LABELS)
