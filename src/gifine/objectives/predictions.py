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
        # Of small files threads are most of the time. Arrow's own `to_numpy` imports pandas, half a second and 45 MB.
        table = file.read(columns=[IDX, LABEL, LOGITS], use_threads=False).combine_chunks()
        columns = (table[IDX].chunk(0), table[LABEL].chunk(0), table[LOGITS].chunk(0).flatten())
        if any(column.null_count or not len(column) for column in columns):
            raise ValueError("there are no examples with labels and answers")
        idx, labels, flat = map(np.from_dlpack, columns)
        if not len(idx) or idx.dtype.kind not in "iu" or labels.dtype.kind not in "iuf" or np.isnan(labels).any():
            raise ValueError("there are no examples with labels")
        return idx, labels, flat.reshape(len(labels), -1)
    except (OSError, KeyError, AttributeError, TypeError, pyarrow.ArrowException) as error:
        raise ValueError(error) from error
