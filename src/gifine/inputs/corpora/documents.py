"""Documents of text files, in pieces, so that neither a file nor a document has to fit into memory.

In .txt an empty line ends a document; in .jsonl a line is an object that holds one. The lines of a document are joined
by spaces: a line's end is layout, and byte-level vocabularies would make a token of it.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gifine.errors import DataError
from gifine.inputs.own_files import parse_json
from gifine.inputs.rows import as_text, missing_column, shown

_PIECE_CHARACTERS = 4096
_LINE_BYTES = 2**20  # a longer line of .txt is read in parts: a file may be one line
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a document, cut between two words. All but the first begin with a space, as words within texts do."""

    text: str
    first: bool  # of its document


def read(path: Path, column: str) -> Iterator[Piece]:
    """The documents of one file; `column` is the key of the text in .jsonl.

    Raises:
        DataError: with the line, for what is not UTF-8 or, in .jsonl, no object with such a text; for a file without
            any text.
    """
    if path.suffix.lower() == ".jsonl":
        documents = (cut(text) for text in _objects(path, column))
        pieces = (piece for document in documents for piece in document)
    else:
        pieces = _joined(line for _, line in _lines(path))
    empty = True
    for piece in pieces:
        empty = False
        yield piece
    if empty:
        raise DataError(f"{path} has no text")


def cut(document: str) -> Iterator[Piece]:
    """The pieces of one document; none of an empty one. Its own empty lines are no ends of documents."""
    return _joined(line for line in document.split("\n") if line.strip())


def _joined(lines: Iterable[str]) -> Iterator[Piece]:
    """Pieces of lines, of which an empty one ends a document."""
    waiting: list[str] = []
    length, first = 0, True
    for line in lines:
        text = line.strip()
        if not text:
            if waiting:
                yield _piece(waiting, first)
            waiting, length, first = [], 0, True
            continue
        for part in _parts(text):
            if waiting and length + len(part) > _PIECE_CHARACTERS:
                yield _piece(waiting, first)
                waiting, length, first = [], 0, False
            waiting.append(part)
            length += len(part) + 1
    if waiting:
        yield _piece(waiting, first)


def _piece(lines: list[str], first: bool) -> Piece:
    text = " ".join(lines)
    return Piece(text if first else f" {text}", first)


def _parts(text: str) -> Iterator[str]:
    """A line in parts of at most `_PIECE_CHARACTERS`, cut at spaces where there are any."""
    begin = 0
    while len(text) - begin > _PIECE_CHARACTERS:
        end = text.rfind(" ", begin + 1, begin + _PIECE_CHARACTERS + 1)
        end = begin + _PIECE_CHARACTERS if end < 0 else end
        yield text[begin:end]
        begin = end
        while text[begin].isspace():  # the line does not end with one
            begin += 1
    yield text[begin:]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their numbers from 1; a long one in parts, which have the same number."""
    for number, content in _binary_lines(path, _LINE_BYTES):
        yield number, _decode(content, path, number)


def _objects(path: Path, column: str) -> Iterator[str]:
    for number, content in _binary_lines(path, None):
        line = _decode(content, path, number)
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        if line.lstrip().startswith("["):
            raise DataError(f"{where}: a list; in .jsonl each line is an object, with the text in '{column}'")
        cells = parse_json(line, path, line=number)
        if not isinstance(cells, dict):
            raise DataError(f"{where}: {shown(cells)} is not an object")
        if column not in cells:
            raise missing_column(where, column, list(cells))
        yield as_text(cells[column], column, where)


def _binary_lines(path: Path, limit: int | None) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            number, rest = 1, b""
            while block := file.readline(-1 if limit is None else limit):
                content, rest = rest + block, b""
                if not block.endswith(b"\n") and len(block) == limit:
                    content, rest = _cut_bytes(content)
                    yield number, content
                    continue
                yield number, content
                number += 1
            if rest:
                yield number, rest
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _cut_bytes(content: bytes) -> tuple[bytes, bytes]:
    """What may be decoded of the beginning of a line, and the rest: at the last space, else between two characters."""
    place = content.rfind(b" ")
    if place <= 0:
        # The first byte of a character is none of 10xxxxxx.
        place = next(at for at in range(len(content) - 1, 0, -1) if content[at] & 0xC0 != 0x80 or len(content) - at > 4)
    return content[:place], content[place:]


def _decode(content: bytes, path: Path, number: int) -> str:
    if number == 1 and content.startswith(_UTF_16):
        raise DataError(f"{path}, line 1: not UTF-8 (it is UTF-16); save it as UTF-8")
    try:
        text = content.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {number}: not UTF-8 ({error.reason}); save it as UTF-8") from None
    if number == 1 and "\0" in text:
        raise DataError(f"{path}, line 1: has null characters, as UTF-16 read as UTF-8; save it as UTF-8")
    return text
