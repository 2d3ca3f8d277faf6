"""Labels by name, id and number; files that cannot be read."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gifine.errors import DataError
from gifine.rows import label_id, missing_file, read_text


@given(st.lists(st.from_regex(r"[a-z_]+", fullmatch=True), min_size=1, max_size=5, unique=True))
def test_label_names_and_ids_are_the_same_labels(labels: list[str]) -> None:
    for i, name in enumerate(labels):
        assert label_id(name, labels, "here") == label_id(f" {i}\n", labels, "here") == label_id(i, labels, "here") == i


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_regression_labels_are_numbers(number: float) -> None:
    assert label_id(repr(number), [], "here") == label_id(number, [], "here") == number


def test_labels_that_look_like_numbers_are_names() -> None:
    assert label_id("1", ["1", "2"], "here") == 0
    with pytest.raises(DataError, match="label '0' is none of 1, 2"):
        label_id("0", ["1", "2"], "here")


@pytest.mark.parametrize("value", ["yess", "2", "-1", "", None, "1.5"])
def test_other_labels_are_refused(value: object) -> None:
    with pytest.raises(DataError, match=r"^here: label '.*' is none of no, yes, 0, 1"):
        label_id(value, ["no", "yes"], "here")


@pytest.mark.parametrize("value", ["high", "nan", "-inf", "", None])
def test_other_numbers_are_refused(value: object) -> None:
    with pytest.raises(DataError, match=r"^here: label '.*' is not a finite number"):
        label_id(value, [], "here")


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "CoLA").mkdir()
    for name in ("dev.tsv", "test.tsv"):
        (tmp_path / "CoLA" / name).touch()
    assert "holds: test.tsv, dev.tsv" in str(missing_file(tmp_path / "CoLA" / "tests.tsv"))
    assert f"{tmp_path} holds: CoLA" in str(missing_file(tmp_path / "COLA" / "raw" / "dev.tsv"))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"\xef\xbb\xbf\n", "is empty"), ("label\nsüß\n".encode("latin-1"), "line 2: not UTF-8")],
)
def test_unreadable_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "dev.tsv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_text(path)
