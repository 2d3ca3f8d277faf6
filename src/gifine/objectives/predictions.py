"""The file of a split's predictions in a run's folder: written at a run's end, read by the report. No torch.

Columns, by `idx`: idx (the example's row in its file), label, and logits (a list of one number a class).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

IDX, LABEL, LOGITS = "idx", "label", "logits"


def locate(folder: Path, split: str) -> Path:
    return folder / f"predictions-{split}.parquet"


def write(path: Path, idx: np.ndarray, labels: np.ndarray, logits: np.ndarray) -> str:
    """Of examples in any order, so that the file is whole or not there; its sha256."""
    import pyarrow as pa
    import pyarrow.parquet  # 0.2 s, which who reads no predictions need not wait

    order = np.argsort(idx)
    columns = {IDX: idx[order], LABEL: labels[order], LOGITS: list(logits[order].reshape(len(idx), -1))}
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
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content))
        missing = [name for name in (IDX, LABEL, LOGITS) if name not in file.schema_arrow.names]
        if missing:
            raise ValueError(f"there is no column {', '.join(missing)}")
        # Of small files threads are most of the time. Arrow's own `to_numpy` imports pandas, half a second and 45 MB.
        table = file.read(columns=[IDX, LABEL, LOGITS], use_threads=False).combine_chunks()
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError("it is damaged, or no Parquet file") from error
    if not len(table):
        raise ValueError("there are no examples")
    idx, labels, logits = (table[name].chunk(0) for name in (IDX, LABEL, LOGITS))
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
