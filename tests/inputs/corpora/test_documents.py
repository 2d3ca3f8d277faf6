"""Text files in pieces: where documents begin, what is read of long ones, what is refused."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from gifine.errors import DataError
from gifine.inputs import text_files
from gifine.inputs.corpora import documents
from gifine.inputs.corpora.documents import Piece


def read(tmp_path: Path, content: str | bytes, name: str = "a.txt") -> list[Piece]:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(documents.read(path, "text"))


def test_an_empty_line_ends_a_document_and_lines_are_joined(tmp_path):
    text = "\ufeffOne\r\n  two \n\n \t\nThree\n"
    assert read(tmp_path, text) == [Piece("One two", first=True), Piece("Three", first=True)]


def test_the_same_documents_in_jsonl_give_the_same_pieces(tmp_path):
    lines = [
        json.dumps({"text": "One\n\n two\n", "more": 1}),
        "",
        json.dumps({"text": ""}),
        json.dumps({"text": "Three"}),
    ]
    assert read(tmp_path, "\n".join(lines), "a.jsonl") == [Piece("One two", first=True), Piece("Three", first=True)]


@pytest.mark.parametrize("separator", ["\n", " "])
def test_a_long_document_comes_in_pieces_cut_between_words(tmp_path, monkeypatch, separator):
    monkeypatch.setattr(documents, "_PIECE_CHARACTERS", 40)
    monkeypatch.setattr(documents, "_LINE_BYTES", 100)
    words = [f"wörd{number}" for number in range(200)]
    pieces = read(tmp_path, separator.join(words))
    assert "".join(piece.text for piece in pieces) == " ".join(words)
    assert [piece.first for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    assert max(len(piece.text) for piece in pieces) <= 41  # with the space before


def test_a_line_without_spaces_is_cut_between_characters(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "_PIECE_CHARACTERS", 40)
    monkeypatch.setattr(documents, "_LINE_BYTES", 100)
    text = "漢😀é" * 150
    pieces = read(tmp_path, text)
    assert "".join(piece.text for piece in pieces).replace(" ", "") == text


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"good\nb\xe9d\n", "line 2: not UTF-8 (invalid continuation byte); save it as UTF-8"),
        ("a.txt", b"good\nbad \xe9", "line 2: not UTF-8 (unexpected end of data); save it as UTF-8"),
        ("a.txt", "text\n".encode("utf-16"), "line 1: not UTF-8 (it is UTF-16); save it as UTF-8"),
        (
            "a.txt",
            "text\n".encode("utf-16-le"),
            "line 1: has null characters, as UTF-16 read as UTF-8; save it as UTF-8",
        ),
        ("a.txt", b"", "a.txt has no text"),
        ("a.txt", b" \n\n", "a.txt has no text"),
        ("a.jsonl", b'{"text": " "}', "a.jsonl has no text"),
        (
            "a.jsonl",
            b'{"text": "a"}\n["b"]',
            "line 2: a list; in .jsonl each line is an object, with the text in 'text'",
        ),
        ("a.jsonl", b"[\n{}]", "line 1: a list"),
        ("a.jsonl", b"null", "line 1: null is not an object"),
        ("a.jsonl", b'{"txt": "a"}', "line 1: no column 'text' (did you mean 'txt'?); columns: txt"),
        ("a.jsonl", b'{"text": 3}', "line 1: column 'text' holds 3, not text"),
        ("a.jsonl", b'{"text": "a"}\n\n{', "line 3: not JSON"),
    ],
)
def test_what_is_no_text_is_refused_with_its_line(tmp_path, name, content, said):
    with pytest.raises(DataError) as refused:
        read(tmp_path, content, name)
    assert said in str(refused.value)


def test_names_and_patterns_are_files_each_once(tmp_path):
    for name in ("b.txt", "a.txt", "c.jsonl", "sub/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = text_files.expand([f"{tmp_path}/c.jsonl", f"{tmp_path}/**/*.txt", f"{tmp_path}/a.txt"])
    assert [path.name for path in found] == ["c.jsonl", "a.txt", "b.txt", "d.txt"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("*.text", "data.files: no file is like"),
        ("x.txt", "no file"),
        ("a.csv", "suffix '.csv' is none of .txt, .jsonl"),
        ("", "is a folder; give its files, as in"),
    ],
)
def test_names_of_no_file_are_refused(tmp_path, name, said):
    (tmp_path / "a.csv").touch()
    with pytest.raises(DataError, match=said.replace("*", r"\*")):
        text_files.expand([f"{tmp_path}/{name}"])


def test_a_file_that_is_named_twice_is_refused(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").touch()
    (tmp_path / "link.txt").symlink_to("a.txt")
    for again in ("a.txt", "sub/../a.txt", "link.txt"):
        with pytest.raises(DataError, match=f"{again} is named twice"):
            text_files.expand([f"{tmp_path}/a.txt", f"{tmp_path}/{again}"])
    assert text_files.expand([f"{tmp_path}/*.txt", f"{tmp_path}/link.txt"]) == [tmp_path / "a.txt"]
    with pytest.raises(DataError, match=r"data.files: '' names no file"):
        text_files.expand([""])


def test_a_long_line_takes_no_longer_than_many_short_ones(tmp_path):
    """20 MB in one line; a copy of what is left at each cut took a minute."""
    text = "word " * 4_000_000
    before = time.process_time()
    pieces = sum(1 for _ in documents.cut(text))
    assert pieces > 4000
    assert time.process_time() - before < 5
