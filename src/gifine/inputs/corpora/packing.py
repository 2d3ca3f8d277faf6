"""Rows for pre-training: tokens of documents cut to one length, written as they come.

A row is `[CLS] … [SEP]`. It is one document, or a part of one; or, across documents, as many as it holds, one after the
other with [SEP] between, and attention reaches from one to the next. No token is left out, and none comes twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

_ROWS = 1024  # written at a time
_SCHEMA = pa.schema([("input_ids", pa.list_(pa.int32())), ("idx", pa.int64()), ("length", pa.int32())])


@dataclass
class Writer:
    """An Arrow file of rows, written as they come. To be closed.

    Raises:
        OSError: where it cannot be written.
    """

    path: Path
    rows: int = 0
    _waiting: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._file = pa.OSFile(str(self.path), "wb")
        self._stream = pa.ipc.new_stream(self._file, _SCHEMA)

    def add(self, row: np.ndarray) -> None:
        self._waiting.append(row)
        if len(self._waiting) == _ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._stream.close()
        self._file.close()

    def _flush(self) -> None:
        if not self._waiting:
            return
        lengths = np.array([len(row) for row in self._waiting], dtype=np.int32)
        offsets = np.concatenate([np.zeros(1, dtype=np.int32), np.cumsum(lengths, dtype=np.int32)])
        ids = pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(self._waiting)))
        numbers = np.arange(self.rows, self.rows + len(lengths), dtype=np.int64)
        columns = [ids, pa.array(numbers), pa.array(lengths)]
        self._stream.write_batch(pa.record_batch(columns, schema=_SCHEMA))
        self.rows += len(lengths)
        self._waiting = []


@dataclass
class Packer:
    """Cuts the tokens of one split; it keeps less than two rows of them."""

    writer: Writer
    max_length: int  # of a row with its [CLS] and [SEP]
    cls: int
    sep: int
    across: bool  # a row may hold several documents
    documents: int = 0
    tokens: int = 0  # of the texts: without [CLS] and [SEP]
    _new: bool = False  # what comes is of another document
    _left: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int32))

    def add(self, ids: np.ndarray, *, first: bool) -> None:
        """The next tokens of a document, int32 (T,), which may be none; with `first` those of a new one."""
        self._new = self._new or first
        if not len(ids):
            return
        if self._new:
            self.documents += 1
            self._end_document()
            self._new = False
        self.tokens += len(ids)
        content, left = self.max_length - 2, np.concatenate([self._left, ids])
        for start in range(0, len(left) - content + 1, content):
            self._write(left[start : start + content])
        self._left = left[len(left) // content * content :]

    def close(self) -> None:
        if len(self._left):
            self._write(self._left)
        self.writer.close()

    def _end_document(self) -> None:
        if not len(self._left):  # nothing before it in this row
            return
        if not self.across:
            self._write(self._left)
            self._left = self._left[:0]
        elif len(self._left) + 1 < self.max_length - 2:
            self._left = np.append(self._left, np.int32(self.sep))
        else:  # the row would end with two
            self._write(self._left)
            self._left = self._left[:0]

    def _write(self, content: np.ndarray) -> None:
        row = np.empty(len(content) + 2, dtype=np.int32)
        row[0], row[1:-1], row[-1] = self.cls, content, self.sep
        self.writer.add(row)
