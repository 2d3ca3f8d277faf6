"""The official directory layout, and the task configs that describe it."""

import logging
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gifine.choices import Objective
from gifine.config import TaskConfig
from gifine.errors import DataError
from gifine.inputs import glue_tsv, needs
from gifine.inputs.rows import Row
from gifine.objectives.metrics import CLASSIFICATION_METRICS, REGRESSION_METRICS
from support.tasks import TASKS, load_task

INPUTS = ["sentence"]
COLUMNS = {"sentence": "text", "label": "label"}
LABELS = ["bad", "good"]

cells = st.text(st.characters(codec="utf-8", exclude_characters="\t\n"))


def read_split(data_dir: Path, task: TaskConfig, split: str, tsv_name: str | None = None) -> list[Row]:
    place = task.splits[split]
    return glue_tsv.read(
        data_dir / (tsv_name or place.tsv or ""),
        place.columns,
        inputs=task.inputs,
        labels=task.labels,
        label=None if split in task.test_splits else task.label,
        header=place.header,
        skip_short_rows=task.skip_short_rows,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dev.tsv"


@given(
    rows=st.lists(st.tuples(cells, cells, st.sampled_from(LABELS)), min_size=1), newline=st.sampled_from(["\n", "\r\n"])
)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], newline: str) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip.tsv"
    text = newline.join("\t".join(row) for row in [("a", "b", "gold"), *rows])
    path.write_bytes(text.encode("utf-8-sig"))
    columns = {"label": "gold", "left": "a", "right": "b"}
    assert glue_tsv.read(path, columns, inputs=["left", "right"], labels=LABELS) == [
        Row((a, b), i, LABELS.index(label)) for i, (a, b, label) in enumerate(rows)
    ]


def test_texts_are_taken_as_they_are(path: Path) -> None:
    texts = ['the " inch sign', '"quoted"', "line\u2028separator", "next\x85line", "lone\rreturn", " spaces ", ""]
    path.write_bytes("".join(f"{text}\t1\n" for text in ["text", *texts]).replace("\t1", "\tlabel", 1).encode())
    assert [row.texts[0] for row in glue_tsv.read(path, COLUMNS, inputs=INPUTS, labels=LABELS)] == texts


def test_columns_by_position(path: Path) -> None:
    path.write_text("src\t1\t\tIt rains.\nsrc\t0\t*\tRains it it.")
    rows = glue_tsv.read(path, {"sentence": "3", "label": "1"}, inputs=INPUTS, labels=LABELS, header=False)
    assert rows == [Row(("It rains.",), 0, 1), Row(("Rains it it.",), 1, 0)]


def test_test_files_have_no_label(path: Path) -> None:
    path.write_bytes(b"index\ttext\r\n0\tIt rains.\r\n1\tIt snows.\r\n")
    rows = glue_tsv.read(path, {"sentence": "text"}, inputs=INPUTS, labels=LABELS, label=None)
    assert rows == [Row(("It rains.",), 0), Row(("It snows.",), 1)]


def test_regression_labels_are_floats(path: Path) -> None:
    path.write_text("text\tlabel\nIt rains.\t3.250\n")
    assert glue_tsv.read(path, COLUMNS, inputs=INPUTS, labels=[]) == [Row(("It rains.",), 0, 3.25)]


def test_short_rows_are_skipped_and_counted(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text("text\tlabel\nfirst\t1\ntorn\nthird\t0\n")
    with caplog.at_level(logging.WARNING):
        rows = glue_tsv.read(path, COLUMNS, inputs=INPUTS, labels=LABELS, skip_short_rows=True)
    assert [(row.texts[0], row.idx) for row in rows] == [("first", 0), ("third", 2)]
    assert "skipped 1 of 3 rows" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text\tlabel\nfirst\t1\ntrunca", "line 3: 1 columns where 2 are expected"),
        ("text\tlabel\nstray\ttab\t1\n", "line 2: 3 columns where 2 are expected"),
        ("text\tlabel\n\nfirst\t1\n", "line 2: 1 columns where 2 are expected"),
        ("text\tlabel\nfirst\tgod\n", r"line 2: label 'god' is none of bad, good, 0, 1 \(did you mean 'good'\?\)"),
        ("texts\tlabel\nfirst\t1\n", r"line 1: no column 'text' \(did you mean 'texts'\?\); columns: texts, label"),
        ("text\tlabel\n", "has a header but no rows"),
        ("text\ttext\tlabel\nfirst\tsecond\t1\n", "line 1: two columns have the name 'text'"),
    ],
)
def test_errors_name_the_line(path: Path, content: str, message: str) -> None:
    path.write_text(content)
    with pytest.raises(DataError, match=message) as error:
        glue_tsv.read(path, COLUMNS, inputs=INPUTS, labels=LABELS)
    assert str(path) in str(error.value)


def test_surplus_columns_are_never_skipped(path: Path) -> None:
    path.write_text("text\tlabel\nstray\ttab\t1\n")
    with pytest.raises(DataError, match="3 columns"):
        glue_tsv.read(path, COLUMNS, inputs=INPUTS, labels=LABELS, skip_short_rows=True)


def test_positions_out_of_range(path: Path) -> None:
    path.write_text("It rains.\t1\n")
    with pytest.raises(DataError, match="no column '3'; columns: 0, 1"):
        glue_tsv.read(path, {"sentence": "3", "label": "1"}, inputs=INPUTS, labels=LABELS, header=False)


def test_find_prefers_the_full_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds: nothing"):
        needs.official_file(tmp_path, "CoLA/train.tsv", allow_partial=True)
    folder = tmp_path / "CoLA"
    folder.mkdir()
    (folder / "train.part.tsv").touch()
    with pytest.raises(DataError, match=r"only the partial train\.part\.tsv: data\.allow_partial=true"):
        needs.official_file(tmp_path, "CoLA/train.tsv", allow_partial=False)
    assert needs.official_file(tmp_path, "CoLA/train.tsv", allow_partial=True) == folder / "train.part.tsv"
    (folder / "train.tsv").touch()
    assert needs.official_file(tmp_path, "CoLA/train.tsv", allow_partial=True) == folder / "train.tsv"


@pytest.mark.parametrize("name", [name for name in TASKS if load_task(name).objective is Objective.classification])
def test_task_configs_fit_the_schema(name: str) -> None:
    task = load_task(name)
    assert task.name == name
    assert task.select_by in task.metrics
    assert set(task.metrics) <= (CLASSIFICATION_METRICS if task.labels else REGRESSION_METRICS).keys()
    if name == "demo":
        assert not task.splits
        return
    assert task.hub.name == name
    assert task.splits.keys() == {task.train_split, *task.evaluation_splits, *task.test_splits}
    for split, place in task.splits.items():
        assert (place.hub_name, place.hub) == (("ax", "test") if split == "ax" else (None, split))
        assert place.columns.keys() == {*task.inputs} | (set() if split in task.test_splits else {task.label})


# Rows of each split, and labels of the validation splits in the order of their ids: counted in the official files.
ROWS = {
    "cola": {"train": 8551, "validation": 1043, "test": 1063},
    "sst2": {"train": 67349, "validation": 872, "test": 1821},
    "mrpc": {"train": 3668, "validation": 408, "test": 1725},
    "stsb": {"train": 5749, "validation": 1500, "test": 1379},
    "qqp": {"train": 363846, "validation": 40430, "test": 390965},
    "mnli": {
        "train": 392702,
        "validation_matched": 9815,
        "validation_mismatched": 9832,
        "test_matched": 9796,
        "test_mismatched": 9847,
        "ax": 1104,
    },
    "qnli": {"train": 104743, "validation": 5463, "test": 5463},
    "rte": {"train": 2490, "validation": 277, "test": 3000},
    "wnli": {"train": 635, "validation": 71, "test": 146},
}
VALIDATION_LABELS = {
    "cola": [[322, 721]],
    "sst2": [[428, 444]],
    "mrpc": [[129, 279]],
    "qqp": [[25545, 14885]],
    "mnli": [[3479, 3123, 3213], [3463, 3129, 3240]],
    "qnli": [[2702, 2761]],
    "rte": [[146, 131]],
    "wnli": [[40, 31]],
}


@pytest.mark.shared
@pytest.mark.parametrize(("name", "split"), [(name, split) for name, splits in ROWS.items() for split in splits])
def test_official_files(shared: Path, name: str, split: str) -> None:
    task = load_task(name)
    official = task.splits[split].tsv
    assert official
    if not (shared / "glue" / official).is_file():
        pytest.skip(f"needs {official}")
    rows = read_split(shared / "glue", task, split)
    assert len(rows) == ROWS[name][split]
    assert [row.idx for row in rows] == list(range(len(rows)))
    if split in task.test_splits:
        assert all(row.label is None for row in rows)
    elif split in task.evaluation_splits and task.labels:
        count = Counter(row.label for row in rows)
        assert [count[i] for i in range(len(task.labels))] == VALIDATION_LABELS[name][
            task.evaluation_splits.index(split)
        ]
    elif not task.labels:
        scores = [row.label for row in rows if row.label is not None]
        assert min(scores) == 0
        assert max(scores) == 5


@pytest.mark.shared
@pytest.mark.parametrize(("name", "folder"), [("mnli", "MNLI"), ("qnli", "QNLI"), ("qqp", "QQP")])
def test_official_columns_of_large_tasks(shared: Path, name: str, folder: str) -> None:
    task = load_task(name)
    rows = read_split(shared / "glue", task, "train", f"{folder}/train.official_columns_sample.tsv")
    assert {row.label for row in rows} == set(range(len(task.labels)))
    assert all(text for row in rows for text in row.texts)
