"""XLNet's tokenizer: the ids, segments, padding and truncation of its authors' code, with SentencePiece itself.

Source: zihangdai/xlnet at bbaa3a6, prepro_utils.py, data_utils.py and classifier_utils.py.

    text      white space is one space; `` and '' become "; NFKD without combining marks; case is kept
    pieces    SentencePiece's; one that ends in a digit and a comma is cut again, without the comma
    layout    A <sep> <cls> with segments 0 0 2, or A <sep> B <sep> <cls> with 0 0 1 1 2; padding on the left, segment 4
    too long  the longer text loses its last piece, B if both are equal; a B without pieces is no B

What tokenizer.json can say is not enough for it: no part of it cuts pieces again. So texts are cut by
`spiece.model`, from inside of a pipeline of `tokenizers`, which knows the offsets. In the tokenizer.json that is saved
for others, pieces that end in a digit and a comma are never chosen, as in the published one: a few texts in ten
thousand get other ids there.
"""

from __future__ import annotations

import json
import threading
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2, sentencepiece_pb2
from tokenizers import Encoding, Regex, Token, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram, WordLevel
from transformers import PreTrainedTokenizerFast

MODEL = "spiece.model"
SPECIAL = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "<sep>",
    "pad_token": "<pad>",
    "cls_token": "<cls>",
    "mask_token": "<mask>",
}
CLS_SEGMENT, PAD_SEGMENT = 2, 4
_SPACE = "▁"  # how pieces write it
_NEVER = 100.0  # what the published tokenizer.json takes from the scores of pieces that are not to be chosen
# What str.split takes for white space.
_WHITE = r"[\x{9}-\x{d}\x{1c}-\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]+"


# While texts are encoded a tokenizer's backend is another one, and holds how long they may be.
_ENCODING = threading.RLock()


class XLNetTokenizer(PreTrainedTokenizerFast):
    """Under the name of transformers' own class, which is what reads the saved files without gifine."""

    vocab_files_names = {"vocab_file": MODEL, "tokenizer_file": "tokenizer.json"}  # noqa: RUF012 - transformers' own

    def __init__(self, model: bytes, *, lowercase: bool = False) -> None:
        """`model` is a spiece.model; `lowercase` as its authors' `uncased`.

        Raises:
            ValueError: for a model without one of the special tokens.
        """
        self._model, self._lowercase = model, lowercase
        super().__init__(
            tokenizer_object=_for_others(model, lowercase),
            do_lower_case=lowercase,
            padding_side="left",
            model_input_names=["input_ids", "token_type_ids", "attention_mask"],
            split_special_tokens=True,  # "<cls>" in a text is text
            **SPECIAL,
        )
        self._pad_token_type_id = PAD_SEGMENT
        self._cutting: Tokenizer | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_cutting": None}  # a step in Python cannot be pickled

    def _save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> tuple[str, ...]:
        path = Path(save_directory, MODEL)
        path.write_bytes(self._model)
        return (*super()._save_pretrained(save_directory, *args, **kwargs), str(path))

    def _encode_plus(self, *args: Any, **kwargs: Any) -> Any:
        with _ENCODING:
            if self._cutting is None:
                self._cutting = _cutting(self._model, self._lowercase)
            own: Any = self._tokenizer
            self._tokenizer = _Backend(own, self._cutting)
            try:
                found = super()._encode_plus(*args, **kwargs)
            finally:
                self._tokenizer = own
        if kwargs.get("return_overflowing_tokens") and "token_type_ids" in found:
            # Of several windows, `tokenizers` gives all but the first segment 0.
            found["token_type_ids"] = [_segments(each) for each in found.encodings or []]
        return found


def load(folder: Path) -> XLNetTokenizer:
    """The tokenizer of a folder with a spiece.model.

    Raises:
        OSError, ValueError, RuntimeError: for files that cannot be read, or are not XLNet's.
    """
    config = folder / "tokenizer_config.json"
    settings = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    return XLNetTokenizer((folder / MODEL).read_bytes(), lowercase=bool(settings.get("do_lower_case")))


class _Backend:
    """Stands for the backend while transformers encodes: what it does not have, the backend does."""

    def __init__(self, own: Tokenizer, cutting: Tokenizer) -> None:
        self.own, self.cutting = own, cutting

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)

    def encode_batch(
        self, inputs: Sequence[Any], add_special_tokens: bool = True, is_pretokenized: bool = False
    ) -> list[Encoding]:
        """Of texts and pairs of texts.

        Raises:
            ValueError: if a text that is not to be cut is too long, and of texts that are cut into words already.
        """
        if is_pretokenized:
            raise ValueError("XLNet's texts are cut whole, not word by word: is_split_into_words is not for them")
        pairs = [each if isinstance(each, tuple | list) else (each, "") for each in inputs]
        firsts, seconds = (
            self.cutting.encode_batch([pair[place] for pair in pairs], add_special_tokens=False) for place in (0, 1)
        )
        made = [self._join(*pair, add_special_tokens) for pair in zip(firsts, seconds, strict=True)]
        self._pad(made)
        return made

    def _join(self, first: Encoding, second: Encoding, add_special_tokens: bool) -> Encoding:
        truncation: Mapping[str, Any] | None = self.own.truncation
        if truncation is not None:
            special = (3 if len(second) else 2) if add_special_tokens else 0
            lengths = _lengths(len(first), len(second), truncation["max_length"] - special, truncation["strategy"])
            for each, length in zip((first, second), lengths, strict=True):
                each.truncate(length, stride=truncation["stride"] if length else 0, direction=truncation["direction"])
        return self.own.post_process(first, second if len(second) else None, add_special_tokens)

    def _pad(self, made: Sequence[Encoding]) -> None:
        if (padding := self.own.padding) is None:
            return
        length = padding["length"] or max(len(each) for each in made)
        multiple = padding["pad_to_multiple_of"] or 1
        kept = {key: padding[key] for key in ("direction", "pad_id", "pad_type_id", "pad_token")}
        for each in made:
            each.pad(-(-length // multiple) * multiple, **kept)


def _segments(encoding: Encoding) -> list[int]:
    """By which text each piece is of; <sep> is of the text before it."""
    segments, before = [], 0
    for token, text in zip(encoding.tokens, encoding.sequence_ids, strict=True):
        before = before if text is None else text
        segments.append({SPECIAL["cls_token"]: CLS_SEGMENT, SPECIAL["pad_token"]: PAD_SEGMENT}.get(token, before))
    return segments


def _lengths(first: int, second: int, room: int, strategy: str) -> tuple[int, int]:
    """How many pieces are kept of each text."""
    room = max(0, room)
    if strategy == "longest_first":
        if not second:
            return min(first, room), 0
        half = room // 2
        return min(first, max(room - second, room - half)), min(second, max(room - first, half))
    kept, other = (first, second) if strategy == "only_second" else (second, first)
    if kept > room:
        raise ValueError(f"{kept} pieces that are not to be cut, and room for {room}")
    cut = min(other, room - kept)
    return (kept, cut) if strategy == "only_second" else (cut, kept)


class _Cut:
    """A step of a pipeline of `tokenizers`: gives a normalised text its pieces."""

    def __init__(self, model: bytes) -> None:
        self.processor = SentencePieceProcessor(model_proto=model)
        self.again: dict[str, list[str]] = {}  # pieces that end in a digit and a comma

    def pre_tokenize(self, text: Any) -> None:
        text.tokenize(self.cut)

    def cut(self, text: str) -> list[Token]:
        """The tokens of a text; offsets are bytes, as SentencePiece and `tokenizers` count them."""
        tokens = []
        proto = self.processor.encode(text, out_type="serialized_proto")
        # pyrefly: ignore [missing-attribute] - protobuf makes the class at import
        for each in sentencepiece_pb2.SentencePieceText.FromString(proto).pieces:
            if _is_cut_again(each.piece):
                tokens += self._cut_again(each)
            else:
                tokens.append(Token(each.id, each.piece, (each.begin, each.end)))
        return tokens

    def _cut_again(self, old: Any) -> list[Token]:
        pieces = self.again.get(old.piece)
        if pieces is None:
            pieces = self.processor.encode(old.piece[:-1].replace(_SPACE, ""), out_type=str)
            if old.piece[0] != _SPACE and pieces[0][0] == _SPACE:
                pieces[0] = pieces[0][1:]
            self.again[old.piece] = pieces = [piece for piece in [*pieces, ","] if piece]
        # Where normalising has moved characters, nothing tells which are whose: all of them are everyone's.
        surface, place, tokens = old.surface, 0, []
        for piece in pieces:
            begin, end = place, place + len(piece)
            place = end
            span = (old.begin, old.end)
            if len(surface) == len(old.piece):
                span = tuple(old.begin + len(surface[:part].encode()) for part in (begin, end))
            tokens.append(Token(self.processor.piece_to_id(piece), piece, span))
        return tokens


def _cutting(model: bytes, lowercase: bool) -> Tokenizer:
    """From a text to its pieces, without special tokens."""
    made = Tokenizer(WordLevel({SPECIAL["unk_token"]: 0}, unk_token=SPECIAL["unk_token"]))  # has nothing left to do
    made.normalizer = normalizers.Sequence(_normalizers(lowercase))
    made.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(_Cut(model))
    return made


def _for_others(model: bytes, lowercase: bool) -> Tokenizer:
    """What tokenizer.json can hold of it."""
    # pyrefly: ignore [missing-attribute] - protobuf makes the class at import
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    pieces = [(each.piece, each.score - _NEVER * _is_cut_again(each.piece)) for each in proto.pieces]
    ids = {piece: place for place, (piece, _) in enumerate(pieces)}
    missing = [token for token in SPECIAL.values() if token not in ids]
    if missing:
        raise ValueError(f"its vocabulary has no {', '.join(missing)}: it is not XLNet's")
    made = Tokenizer(Unigram(pieces, proto.trainer_spec.unk_id, byte_fallback=False))
    charsmap = normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)
    made.normalizer = normalizers.Sequence([*_normalizers(lowercase), charsmap])
    space = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always")
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), space])
    made.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme="always")
    sep, cls = SPECIAL["sep_token"], SPECIAL["cls_token"]
    made.post_processor = processors.TemplateProcessing(
        single=f"$A:0 {sep}:0 {cls}:{CLS_SEGMENT}",
        pair=f"$A:0 {sep}:0 $B:1 {sep}:1 {cls}:{CLS_SEGMENT}",
        special_tokens=[(token, ids[token]) for token in (sep, cls)],
    )
    return made


def _is_cut_again(piece: str) -> bool:
    return len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit()


def _normalizers(lowercase: bool) -> list[Any]:
    """What comes before SentencePiece."""
    return [
        normalizers.Replace(Regex(_WHITE), " "),
        normalizers.Replace("``", '"'),
        normalizers.Replace("''", '"'),
        normalizers.NFKD(),
        normalizers.Replace(Regex(_combining()), ""),
        *([normalizers.Lowercase()] if lowercase else []),
    ]


@cache
def _combining() -> str:
    """A pattern for the characters that have a combining class; Unicode's marks are more."""
    marks = [code for code in range(0x110000) if unicodedata.combining(chr(code))]
    first = [code for before, code in zip([-1, *marks], marks, strict=False) if code != before + 1]
    last = [code for code, after in zip(marks, [*marks[1:], -1], strict=True) if after != code + 1]
    ranges = [rf"\x{{{a:x}}}-\x{{{b:x}}}" for a, b in zip(first, last, strict=True)]
    return f"[{''.join(ranges)}]"
