"""What GLUE's server takes: one TSV a test set, with its own names and words, and all of them in one zip.

See https://gluebenchmark.com/faq. A task that is not GLUE's gets files of the same form.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from gifine.config import TaskConfig
from gifine.errors import DataError, OutputError
from gifine.machine import disk

FILES = (
    "CoLA.tsv",
    "SST-2.tsv",
    "MRPC.tsv",
    "STS-B.tsv",
    "QQP.tsv",
    "MNLI-m.tsv",
    "MNLI-mm.tsv",
    "QNLI.tsv",
    "RTE.tsv",
    "WNLI.tsv",
    "AX.tsv",
)
SUFFIX: str = ".tsv"
_HEADER = "index\tprediction\n"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # zip's first day: the same predictions, the same zip


def words(predicted: np.ndarray, task: TaskConfig) -> list[str]:
    """Class ids, or the numbers of a regression, as the server takes them; of one's own files, by the labels' names."""
    own = task.files.train is not None
    if task.labels:
        labels = task.labels if own or not task.submission_labels else task.submission_labels
        return [labels[label] for label in predicted]
    if own or not task.submission_range:
        return [str(number) for number in predicted]
    lowest, highest = task.submission_range
    return [f"{number:.3f}" for number in np.clip(predicted, lowest, highest)]


def write(path: Path, predicted: np.ndarray, task: TaskConfig, thresholds: Mapping[str, float]) -> dict[Path, str]:
    """One test set's file: class ids or numbers in the order of its rows, in `words`. What is in it, by its path.

    Raises:
        OutputError: if it cannot be written.
    """
    lines = [f"{index}\t{word}\n" for index, word in enumerate(words(predicted, task))]
    disk.write_text(path, _HEADER + "".join(lines))
    return {path: f"{len(lines)} predictions"}


def read_sample(path: Path, wanted: Sequence[str]) -> dict[str, bytes]:
    """The `wanted` files of a sample submission, a folder or a zip, that are there, wherever in it they lie.

    Raises:
        DataError: if it is neither, or cannot be read.
    """
    try:
        if path.is_dir():
            return {file.name: file.read_bytes() for file in sorted(path.rglob("*.tsv")) if file.name in wanted}
        with zipfile.ZipFile(path) as archive:
            inside = [(PurePosixPath(member).name, member) for member in archive.namelist()]
            return {name: archive.read(member) for name, member in inside if name in wanted}
    except FileNotFoundError as error:
        raise DataError(f"--fill {path}: no such file or folder") from error
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"--fill {path}: neither a folder nor a readable zip ({error})") from error


def rows(content: bytes) -> int:
    """Predictions in one of the files."""
    return len(content.splitlines()) - 1


def pack(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write the zip, the files at its top, so that it is whole or not there.

    Raises:
        OutputError: if it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(contents, key=FILES.index):
                entry = zipfile.ZipInfo(name, _LONG_AGO)
                entry.external_attr = 0o644 << 16  # else unpacked files may be read by nobody
                archive.writestr(entry, contents[name], zipfile.ZIP_DEFLATED)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
