"""The file of a split's predictions in a run's folder: written at a run's end, read by the report. No torch.

Columns, by `idx`: idx (the example's row in its file), label, and logits (a list of one number a class). Of questions:
idx, id, text (the answer; "": none), start and end (characters in the context of the best answer, taken back or not;
-1: there is none), score (its two logits), null_score (the same of "no answer"), answerable (whether there is one),
exact and f1 (0 … 1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

IDX, LABEL, LOGITS = "idx", "label", "logits"
ID, ANSWERABLE, EXACT, F1 = "id", "answerable", "exact", "f1"


def locate(folder: Path, split: str) -> Path:
    return folder / f"predictions-{split}.parquet"


def write(path: Path, idx: np.ndarray, labels: np.ndarray, logits: np.ndarray) -> str:
    """Of examples in any order, so that the file is whole or not there; its sha256."""
    order = np.argsort(idx)
    return _write(path, {IDX: idx[order], LABEL: labels[order], LOGITS: list(logits[order].reshape(len(idx), -1))})


def write_answers(path: Path, idx: np.ndarray, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> str:
    """Of questions in any order, `columns` being the others by their names; otherwise as `write`."""
    order = np.argsort(idx)
    return _write(path, {IDX: idx[order]} | {name: [each[place] for place in order] for name, each in columns.items()})


def _write(path: Path, columns: dict[str, Any]) -> str:
    import pyarrow as pa
    import pyarrow.parquet  # 0.2 s, which who reads no predictions need not wait

    temporary = path.with_suffix(".tmp")
    pyarrow.parquet.write_table(pa.table(columns), temporary)
    with temporary.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    temporary.replace(path)
    return digest


def parse(content: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows in their file (N,), labels (N,) and logits (N, C), as the file has them.

    Raises:
        ValueError: if it is damaged, or not such a file.
    """
    import pyarrow

    idx, labels, logits = _columns(content, (IDX, LABEL, LOGITS))
    kinds = pyarrow.types
    if not kinds.is_integer(idx.type):
        raise ValueError(f"{IDX} is no column of whole numbers")
    if not (kinds.is_integer(labels.type) or kinds.is_floating(labels.type)):
        raise ValueError(f"{LABEL} is no column of numbers")
    is_list = any(each(logits.type) for each in (kinds.is_list, kinds.is_large_list, kinds.is_fixed_size_list))
    if not is_list or not kinds.is_floating(logits.type.value_type):
        raise ValueError(f"{LOGITS} is no column of lists of numbers")
    flat, sizes = logits.flatten(), logits.value_lengths()
    if any(column.null_count for column in (idx, labels, logits, flat)):
        raise ValueError("there are examples without a label or an answer")
    found, size = (np.from_dlpack(each) for each in (flat, sizes))
    if size[0] == 0 or (size != size[0]).any():
        raise ValueError(f"{LOGITS} are not as many for each example")
    numbers = np.from_dlpack(labels)
    if np.isnan(numbers).any():
        raise ValueError("there are examples without a label or an answer")
    return np.from_dlpack(idx), numbers, found.reshape(len(numbers), -1)


def parse_answers(content: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows in their file (Q,), whether there is an answer (Q,), exact match and F1 (Q, 2), as the file has them.

    Raises:
        ValueError: if it is damaged, or not such a file.
    """
    import pyarrow

    idx, answerable, exact, f1 = columns = _columns(content, (IDX, ANSWERABLE, EXACT, F1))
    kinds = pyarrow.types
    if not kinds.is_integer(idx.type):
        raise ValueError(f"{IDX} is no column of whole numbers")
    if not kinds.is_boolean(answerable.type):
        raise ValueError(f"{ANSWERABLE} is no column of truth values")
    if any(not kinds.is_float64(each.type) for each in (exact, f1)):
        raise ValueError(f"{EXACT} and {F1} are no columns of numbers")
    if any(column.null_count for column in columns):
        raise ValueError("there are questions without a score")
    scores = np.stack([np.from_dlpack(exact), np.from_dlpack(f1)], axis=1)
    return np.from_dlpack(idx), np.asarray(answerable.to_pylist()), scores


def _columns(content: bytes, names: Sequence[str]) -> list[Any]:
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content))
        missing = [name for name in names if name not in file.schema_arrow.names]
        if missing:
            raise ValueError(f"there is no column {', '.join(missing)}")
        # Of small files threads are most of the time. Arrow's own `to_numpy` imports pandas, half a second and 45 MB.
        table = file.read(columns=list(names), use_threads=False).combine_chunks()
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError("it is damaged, or no Parquet file") from error
    if not len(table):
        raise ValueError("there are no examples")
    return [table[name].chunk(0) for name in names]
