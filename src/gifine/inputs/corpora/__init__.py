"""Text to pre-train on, in rows of tokens: files, a data set of the Hub, the texts of tasks, the demo grammar's.

    origins.py     where documents come from, and what that is known by
    documents.py   text files in pieces
    sentences.py   the texts of GLUE's and SQuAD's training sets, without those of any dev or test set
    packing.py     rows of tokens, written as they come
    masking.py     which places of a row are hidden, in which epoch

`load` reads all text once, tokenises it in parallel and writes rows below data.cache_dir, under a lock. Rows are
memory-mapped when read. No more of a corpus than a few hundred kilobytes of text is in memory at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from transformers import PreTrainedTokenizerFast

from gifine.config import RunConfig
from gifine.errors import DataError
from gifine.inputs import token_cache
from gifine.inputs.corpora import origins
from gifine.inputs.corpora.documents import Piece
from gifine.inputs.corpora.masking import check_tokenizer
from gifine.inputs.corpora.packing import Packer, Writer
from gifine.inputs.offline import TOKENISED, Folder
from gifine.inputs.token_cache import Split

log = logging.getLogger(__name__)

TRAIN, HELD_OUT = "train", "validation"
_LAYOUT = 1  # raise it when other rows come out of the same text
_CHARACTERS = 2**18  # tokenised at a time
_TOKENS_TOLD = 50_000_000  # at each such step a line says how far it is
_TOLD = "corpus.json"


def load(config: RunConfig, tokenizer: PreTrainedTokenizerFast, prefetched: Folder | None = None) -> dict[str, Split]:
    """Rows to train on, and rows held out, by name.

    Columns: input_ids with [CLS] and [SEP], idx (0, 1, …) and length. All tokens of a row are real, of type 0.

    Raises:
        DataError: for text that is missing, too little, or cannot be read.
        ModelError: for a tokenizer without what rows or masks need.
        OutputError: where the cache cannot be written.
        PrefetchError: where the prefetched folder lacks the rows.
    """
    check_tokenizer(tokenizer)
    data, max_length = config.data, config.train.max_length
    origin = origins.find(config, prefetched)
    parts = [_LAYOUT, origin.fingerprint, data.held_out, data.across_documents, max_length]
    key = hashlib.sha256(json.dumps([*parts, token_cache.tokenizer_fingerprint(tokenizer)]).encode()).hexdigest()[:32]
    folder = token_cache.cache_dir(data) / TOKENISED / f"{config.task.name}-{key}"
    if prefetched and not prefetched.filling and not folder.is_dir():
        raise prefetched.lacks(f"the rows of task={config.task.name} for this tokenizer and train.max_length")

    def fill(place: Path) -> None:
        log.info("tokenising text for %s", folder.name)
        told = _write(origin, tokenizer, config, place)
        (place / _TOLD).write_text(json.dumps(told), encoding="utf-8")

    token_cache.make_once(folder, fill)
    told = json.loads((folder / _TOLD).read_text(encoding="utf-8"))
    limits = {TRAIN: data.max_train_rows, HELD_OUT: data.max_eval_rows}
    found = {}
    for name, entries in told.items():
        rows = datasets.Dataset.from_file(str(folder / f"{name}.arrow"))
        limit = limits[name]
        if limit is not None:
            rows = rows.select(range(min(limit, len(rows))))
            assert isinstance(rows, datasets.Dataset)
        found[name] = Split(rows, origin.fingerprint, entries)
    return found


def fingerprint(config: RunConfig, prefetched: Folder | None = None) -> str:
    """Of the text: the same text, the same fingerprint. Found and hashed, but not tokenised.

    Raises:
        DataError: for text that is missing.
    """
    return origins.find(config, prefetched).fingerprint


def _write(
    origin: origins.Origin, tokenizer: PreTrainedTokenizerFast, config: RunConfig, place: Path
) -> dict[str, dict[str, Any]]:
    """Rows of both splits in `place`; what is to be told of each."""
    share, max_length = config.data.held_out, config.train.max_length
    ends = tokenizer.cls_token_id, tokenizer.sep_token_id
    if config.data.files:
        _check_both_sides(origin, share)
    packers = {
        name: Packer(Writer(place / f"{name}.arrow"), max_length, *ends, config.data.across_documents)
        for name in (TRAIN, HELD_OUT)
    }
    packer, unknown, heard = packers[TRAIN], 0, 0
    for piece, ids in _tokenise(origin.read(), tokenizer):
        if piece.first:
            packer = packers[HELD_OUT if _held_out(piece, share) else TRAIN]
        unknown += int(np.count_nonzero(ids == tokenizer.unk_token_id))
        packer.add(ids, first=piece.first)
        tokens = sum(each.tokens for each in packers.values())
        if tokens // _TOKENS_TOLD > heard:
            heard = tokens // _TOKENS_TOLD
            log.info("%d million tokens", tokens // 1_000_000)
    for each in packers.values():
        each.close()
    if not all(each.tokens for each in packers.values()):
        raise _too_little(share, sum(each.documents for each in packers.values()))
    told = {name: {"documents": each.documents, "tokens": each.tokens} for name, each in packers.items()}
    told[TRAIN] |= {"unknown": unknown} if unknown else {}
    told[TRAIN] |= origin.told
    return told


def _check_both_sides(origin: origins.Origin, share: float) -> None:
    """A file without empty lines is one document, which is said before gigabytes are tokenised.

    Raises:
        DataError: if no document is held out, or all are.
    """
    sides, documents = set[bool](), 0
    for piece in origin.read():
        if piece.first:
            documents += 1
            sides.add(_held_out(piece, share))
        if len(sides) == 2:
            return
    raise _too_little(share, documents)


def _too_little(share: float, documents: int) -> DataError:
    return DataError(
        f"data.held_out={share:g}: of {documents} documents either none is left to train on or none is held out (those "
        "that begin alike go together); give more text, another share, or in .txt an empty line between documents"
    )


def _tokenise(pieces: Iterator[Piece], tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[Piece, np.ndarray]]:
    """Pieces with their ids, int32, without special tokens. `tokenizers` takes all cores."""
    backend, batch, characters = tokenizer.backend_tokenizer, list[Piece](), 0

    def tokenised() -> Iterator[tuple[Piece, np.ndarray]]:
        found = backend.encode_batch_fast([piece.text for piece in batch], add_special_tokens=False)
        for piece, encoding in zip(batch, found, strict=True):
            yield piece, np.array(encoding.ids, dtype=np.int32)

    for piece in pieces:
        batch.append(piece)
        characters += len(piece.text)
        if characters >= _CHARACTERS:
            yield from tokenised()
            batch, characters = [], 0
    yield from tokenised()


def _held_out(piece: Piece, share: float) -> bool:
    """By the hash of a document's beginning: a document that comes twice is on one side, whatever the others are."""
    number = int.from_bytes(hashlib.blake2b(piece.text.encode(), digest_size=8).digest(), "big")
    return number < share * 2**64
