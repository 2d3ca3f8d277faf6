"""Labels by name, id and number; files that cannot be read."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gifine.errors import DataError
from gifine.inputs.rows import label_id, missing_file, read_text


@given(st.lists(st.from_regex(r"label[a-z_]*", fullmatch=True), min_size=1, max_size=5, unique=True))
def test_label_names_and_ids_are_the_same_labels(labels: list[str]) -> None:
    for i, name in enumerate(labels):
        assert label_id(name, labels, "here") == label_id(f" {i}\n", labels, "here") == label_id(i, labels, "here") == i


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_regression_labels_are_numbers(number: float) -> None:
    assert label_id(repr(number), [], "here") == label_id(number, [], "here") == number


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["1", "2"], {"1": 0, 2: 1, "2.0": 1, 1.0: 0, "0": None, 0: None}),
        (["1.0", "0.0"], {"1": 0, "0": 1, 1: 0, 0.0: 1, "1.0": 0, "-0": 1, "2": None}),
        (["1.0", "2.0", "3.0"], {"1": 0, 2: 1, "3.000": 2, "0": None}),
        (["1 star", "2 stars"], {"1": None, 0: None, "2": None, "2 stars": 1}),
        (["LABEL_0", "LABEL_1"], {"0": 0, 1: 1, "LABEL_1": 1, "2": None}),
        (["class-1", "class-2"], {"1": None, "0": None, "class-1": 0}),
        (["yes", "no"], {"1": None, 0: None, "yes": 0, True: None}),
        (["no", "yes"], {"1": 1, 0: 0, "yes": 1, True: None}),
        (["True", "False"], {"1": None, "True": 0, "true": None, True: 0, False: 1}),
        (["one", "two"], {"1": None, 2: None, "one": 0}),
        (["0", "-1"], {"1": None, "-1": 1, -1: 1, "0": 0}),
        (["nan", "1e0"], {"1": 1, "0": 0, "nan": 0}),
    ],
    ids=str,
)
def test_a_name_that_holds_a_number_is_never_mixed_up_with_an_id(labels, expected):
    for value, wanted in expected.items():
        if wanted is None:
            with pytest.raises(DataError, match=f"is none of {labels[0]}"):
                label_id(value, labels, "here")
        else:
            assert label_id(value, labels, "here") == wanted, value


@pytest.mark.parametrize("labels", [["None", "nan"], ["no", "yes"], []])
@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_missing_label_is_never_a_name(labels, value):
    with pytest.raises(DataError, match=r"^here: no label \((null|nan)\)"):
        label_id(value, labels, "here")


@pytest.mark.parametrize("value", ["yess", "2", "-1", "", True, 1.0, "1.5", [1]])
def test_other_labels_are_refused(value: object) -> None:
    with pytest.raises(DataError, match=r"^here: label .* is none of no, yes, 0, 1"):
        label_id(value, ["no", "yes"], "here")


@pytest.mark.parametrize("value", ["high", "nan", "-inf", "", True, 1e400, "1e400", "1_0", "0x1", "1,5", [1]])
def test_other_numbers_are_refused(value: object) -> None:
    with pytest.raises(DataError, match=r"^here: label .* is not a finite number"):
        label_id(value, [], "here")


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "CoLA").mkdir()
    for name in ("dev.tsv", "test.tsv"):
        (tmp_path / "CoLA" / name).touch()
    assert "holds: test.tsv, dev.tsv" in str(missing_file(tmp_path / "CoLA" / "tests.tsv"))
    assert f"{tmp_path} holds: CoLA" in str(missing_file(tmp_path / "COLA" / "raw" / "dev.tsv"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\n", "is empty"),
        ("label\nsüß\n".encode("latin-1"), "line 2: not UTF-8"),
        ("label\n".encode("utf-16"), "line 1: not UTF-8 .it is UTF-16.; save it as UTF-8"),
        ("label\n".encode("utf-16-le"), "line 1: has null characters, as UTF-16"),
    ],
)
def test_unreadable_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "dev.tsv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_text(path)
