"""Tokens are made once and kept: of rows, and of text to pre-train on. dataset.py and corpora/ say of what.

Whatever is kept lies below data.cache_dir in a folder that is named by a hash of everything that changes it, made once
under a lock and renamed into place, so that any number of processes may start at the same time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
from filelock import FileLock
from transformers import PreTrainedTokenizerFast

from gifine.config import DataConfig
from gifine.errors import OutputError
from gifine.machine import disk


@dataclass
class Split:
    """Tokenised examples, with the columns that the objective's `prepare` gives."""

    examples: datasets.Dataset
    fingerprint: str  # of the source, before tokenisation: the same data, the same fingerprint
    told: dict[str, Any] = field(default_factory=dict)  # of text to pre-train on, for the record: tokens, documents …


def cache_dir(data: DataConfig) -> Path:
    if data.cache_dir is not None:
        return Path(data.cache_dir).expanduser()
    return disk.user_cache()


def make_once(folder: Path, fill: Callable[[Path], None]) -> None:
    """By one process of all that want it, and under another name first: a folder of the right name is always whole.

    `fill` writes into the empty folder that it gets.

    Raises:
        OutputError: where it cannot be written.
    """
    try:
        if folder.is_dir():
            return
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if folder.is_dir():
                return
            for left in folder.parent.glob(f".{folder.name}.*"):  # by a process that was killed: gigabytes, perhaps
                shutil.rmtree(left, ignore_errors=True)
            temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
            temporary.mkdir()
            try:
                fill(temporary)
                temporary.rename(folder)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
    except OSError as error:
        raise OutputError(
            f"cannot cache tokenised data in {folder.parent}: {error.strerror or error}; "
            "give another data.cache_dir, or another XDG_CACHE_HOME where data.cache_dir is null"
        ) from error


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerFast) -> str:
    """Of all that decides the ids which it makes of a text."""
    forget_last_call(tokenizer)
    return hashlib.sha256(
        (tokenizer.backend_tokenizer.to_str() + repr(tokenizer.model_input_names)).encode()
    ).hexdigest()


def forget_last_call(tokenizer: PreTrainedTokenizerFast) -> None:
    """Else a saved tokenizer would say whether the cache had its examples already."""
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
