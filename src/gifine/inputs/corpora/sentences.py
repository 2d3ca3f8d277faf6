"""The texts of tasks' training sets, to pre-train on what a task is about: each once, in the order of the files.

A text that occurs in the dev or test set of any task of the same source is left out, whichever tasks are named: a
model must not have read what it is scored on. Texts are the same if their words are, whatever spaces and capitals.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from gifine.config import RunConfig
from gifine.inputs import origins
from gifine.inputs.corpora.documents import Piece, cut
from gifine.inputs.needs import texts_scored, texts_trained
from gifine.inputs.offline import Folder
from gifine.inputs.origins import Origin


@dataclass(frozen=True)
class Texts:
    """Training sets, and what models are scored on."""

    trained: list[Origin]
    scored: list[Origin]

    @property
    def fingerprints(self) -> list[list[str]]:
        return [[each.fingerprint for each in split] for split in (self.trained, self.scored)]


def find(config: RunConfig, prefetched: Folder | None) -> Texts:
    """Found and, if it is files, hashed, but not read.

    Raises:
        DataError: for data that is missing or unreachable.
    """
    data = config.data
    trained = [origins.find(task, data, split, prefetched, True) for task, split in texts_trained(config)]
    scored = [
        origins.find(task, data, split, prefetched, split in task.evaluation_splits)
        for task, split in texts_scored(config)
    ]
    return Texts(trained, scored)


def read(texts: Texts, told: dict[str, int]) -> Iterator[Piece]:
    """The distinct texts; in `told` afterwards how many were left out, and how many came again."""
    scored = {_known(text) for origin in texts.scored for row in origin.read_rows() for text in row.texts}
    seen: set[bytes] = set()
    dropped: set[bytes] = set()
    repeated = 0
    for origin in texts.trained:
        for row in origin.read_rows():
            for text in row.texts:
                known = _known(text)
                if known in scored:
                    dropped.add(known)
                elif known in seen:
                    repeated += 1
                else:
                    seen.add(known)
                    yield from cut(text)
    told |= {"distinct_texts": len(seen), "repeated_texts": repeated, "texts_of_dev_or_test": len(dropped)}


def _known(text: str) -> bytes:
    return hashlib.blake2b(" ".join(text.split()).casefold().encode(), digest_size=16).digest()
