"""Rows of tokens: nothing is left out, nothing comes twice, whatever the pieces are."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gifine.inputs.corpora import packing
from gifine.inputs.corpora.packing import Packer, Writer

CLS, SEP = 1, 2
DOCUMENTS = st.lists(st.lists(st.lists(st.integers(3, 9), max_size=9), min_size=1, max_size=4), min_size=1, max_size=8)


def pack(documents: list[list[list[int]]], path: Path, *, length: int, across: bool) -> tuple[Packer, list[list[int]]]:
    """The packer at its end, and the rows of documents that come in pieces."""
    packer = Packer(Writer(path), length, CLS, SEP, across)
    for document in documents:
        for number, piece in enumerate(document):
            packer.add(np.array(piece, dtype=np.int32), first=number == 0)
    packer.close()
    rows = datasets.Dataset.from_file(str(path))
    assert rows["idx"][:] == list(range(len(rows)))
    assert rows["length"][:] == [len(row) for row in rows["input_ids"][:]]
    return packer, rows["input_ids"][:]


def whole(documents: list[list[list[int]]]) -> list[list[int]]:
    """Documents as lists of tokens, without empty ones."""
    return [joined for document in documents if (joined := [*chain.from_iterable(document)])]


@given(documents=DOCUMENTS, length=st.integers(3, 12))
def test_without_crossing_a_row_is_of_one_document(tmp_path_factory, documents, length):
    packer, rows = pack(documents, tmp_path_factory.mktemp("rows") / "a.arrow", length=length, across=False)
    size = length - 2
    expected = [joined[at : at + size] for joined in whole(documents) for at in range(0, len(joined), size)]
    assert rows == [[CLS, *part, SEP] for part in expected]
    assert (packer.documents, packer.tokens) == (len(whole(documents)), sum(map(len, whole(documents))))


@given(documents=DOCUMENTS, length=st.integers(4, 12))
def test_across_documents_rows_are_full_and_have_a_sep_between(tmp_path_factory, documents, length):
    _, rows = pack(documents, tmp_path_factory.mktemp("rows") / "a.arrow", length=length, across=True)
    contents = [row[1:-1] for row in rows]
    assert all(row[0] == CLS and row[-1] == SEP for row in rows)
    assert all(SEP not in (content[0], content[-1]) for content in contents)
    tokens = [token for token in chain.from_iterable(contents) if token != SEP]
    assert tokens == [*chain.from_iterable(whole(documents))]
    # One place is free at most: where a row would have ended with two [SEP].
    assert all(len(content) in (length - 2, length - 3) for content in contents[:-1])
    seps = sum(content.count(SEP) for content in contents)
    ends = len(whole(documents)) - 1  # of documents with another one after them: there is a [SEP], or a row ends
    assert not rows or 0 <= ends - seps < len(rows)


def test_documents_meet_in_a_row(tmp_path):
    _, rows = pack([[[5, 6]], [[7], [8, 9]], [[3]]], tmp_path / "a.arrow", length=8, across=True)
    assert rows == [[CLS, 5, 6, SEP, 7, 8, 9, SEP], [CLS, 3, SEP]]


def test_many_rows_are_written_in_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "_ROWS", 4)
    _, rows = pack([[[number]] for number in range(3, 14)], tmp_path / "a.arrow", length=5, across=False)
    assert rows == [[CLS, number, SEP] for number in range(3, 14)]


@pytest.mark.parametrize("across", [False, True])
def test_nothing_gives_no_rows(tmp_path, across):
    packer, rows = pack([[[]]], tmp_path / "a.arrow", length=8, across=across)
    assert (packer.documents, rows) == (0, [])
