"""Acceptability judgements in the manner of CoLA, written by a small grammar of English: real learning with no network.

`data=demo` trains on these rows. The label is 1 for an acceptable sentence and 0 for an unacceptable one; the two
halves of a minimal pair stand next to each other, the acceptable one first. Single words do not tell the label
(see grammar.py), so a model has to learn how words go together.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import string
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

from gifine.errors import DataError, did_you_mean
from gifine.inputs.demo import lexicon
from gifine.inputs.demo.grammar import PHENOMENA, Rule
from gifine.inputs.demo.phrases import Draw, Pair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_SPECIAL = {name: f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
CAPACITY = {"train": 60_000, "validation": 10_000, "test": 10_000}  # rows that every seed can give


def generate(split: str, rows: int, seed: int) -> list[dict[str, int | str]]:
    """The first `rows` rows of `split`: `idx`, `sentence`, `label` and `phenomenon`, the phenomena in turn.

    The rows depend on nothing but the arguments. A sentence belongs to one split whatever the sizes and seeds are, and
    comes once. Raises DataError for an unknown split and for more rows than CAPACITY.
    """
    if split not in CAPACITY:
        raise DataError(
            f"demo data has no split '{split}'{did_you_mean(split, CAPACITY)}; it has {', '.join(CAPACITY)}"
        )
    if rows > CAPACITY[split]:
        raise DataError(
            f"demo data: {rows} rows of '{split}' asked for, but its grammar gives {CAPACITY[split]} at most"
        )
    rng = Random(seed)
    result: list[dict[str, int | str]] = []
    seen: set[str] = set()
    phenomena = itertools.cycle(PHENOMENA.items())
    while len(result) < rows:
        phenomenon, rule = next(phenomena)
        pair = next(pair for pair in _pairs(rule, rng) if all(_split(s) == split and s not in seen for s in pair))
        seen.update(pair)
        for label, sentence in zip((1, 0), pair, strict=True):
            result.append({"idx": len(result), "sentence": sentence, "label": label, "phenomenon": phenomenon})
    return result[:rows]


def _pairs(rule: Rule, rng: Random) -> Iterator[Pair]:
    while True:
        acceptable, unacceptable = rule(Draw(rng))
        yield _sentence(acceptable), _sentence(unacceptable)


def _sentence(words: str) -> str:
    words = re.sub(r"\ba (?=[aeiou])", "an ", words)
    return f"{words[0].upper()}{words[1:]}."


def _split(sentence: str) -> str:
    """By a hash of the sentence alone, so that no sentence can be in two splits even as half of two pairs."""
    quarter = hashlib.blake2b(sentence.encode(), digest_size=1).digest()[0] % 4
    return ("train", "train", "validation", "test")[quarter]


def vocabulary() -> dict[str, int]:
    """The tokens that `tokenizer` knows, and their ids."""
    characters = string.ascii_lowercase + string.digits
    tokens = [*_SPECIAL.values(), *lexicon.words(), *string.punctuation, *characters, *(f"##{c}" for c in characters)]
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}


def tokenizer(*, cls_last: bool = False) -> PreTrainedTokenizerFast:
    """WordPiece with every word of the grammar as one token, in BERT's layout, `[CLS] a [SEP] b [SEP]`, or XLNet's.

    Other ASCII words fall into single characters.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors  # slow to import
    from transformers import PreTrainedTokenizerFast

    known = vocabulary()
    cls, sep = _SPECIAL["cls"], _SPECIAL["sep"]

    backend = Tokenizer(models.WordPiece(known, unk_token=_SPECIAL["unk"]))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    front, end = ("", f" {cls}:2") if cls_last else (f"{cls}:0 ", "")
    backend.post_processor = processors.TemplateProcessing(
        single=f"{front}$A:0 {sep}:0{end}",
        pair=f"{front}$A:0 {sep}:0 $B:1 {sep}:1{end}",
        special_tokens=[(cls, known[cls]), (sep, known[sep])],
    )
    backend.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        padding_side="left" if cls_last else "right",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{f"{name}_token": token for name, token in _SPECIAL.items()},
    )
