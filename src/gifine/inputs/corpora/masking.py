"""Which places of a row are hidden, and what stands there: a function of seed, epoch and row, and of nothing else.

Each row draws from a stream of its own (a counter-based generator, Philox: Salmon et al. 2011), so masks depend neither
on the batch nor on the model, the device or an interruption, and runs of one seed hide the same tokens.

The ways to mask are those of three publications; sources: microsoft/DeBERTa at 4d7fe0b, DeBERTa/apps/tasks/mlm_task.py
(NGramMaskGenerator) and rtd_task.py; google-research/electra at 8a46635, pretrain/pretrain_helpers.py (mask).

- How many: `share` of a row's tokens, [CLS] and [SEP] counted, rounded (half to even), at least one, at most `most`.
- Which: n-grams, n = 1 … `max_ngram` with p ∝ 1/n, of whole words if max_ngram > 1, as DeBERTa's, or with
  `whole_words`, else of tokens. Every place is as likely as any other:
  n-grams are drawn in a random order, at all places and as well where they only reach into the row from before its
  beginning, until the number is reached. (DeBERTa's code goes from left to right and stops at the number: it hides
  almost nothing of the last tenth of a full row. ELECTRA's draws places with replacement, and counts one that comes
  twice twice; here a place comes once.)
- Whole words are hidden whole: the last one may exceed the number, as DeBERTa's does.
- What stands there: [MASK] with probability `mask`, another token with `random` (any but the special ones, the hidden
  one included), else the token itself. All of these are scored.

Special tokens ([UNK] is one) are never hidden. N-grams run over the tokens of a row in their order, those after a [SEP]
next to those before it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerFast

from gifine.errors import ModelError
from gifine.inputs import tokenizers
from gifine.task_config import MaskingConfig

NOT_SCORED = -100  # as torch's cross entropy has it
_MASKS, _UNIFORMS = 0, 1  # streams
# An epoch that no training reaches: rows held out are hidden in the same way at every evaluation, for every run.
HELD_OUT = 2**32


def check_tokenizer(tokenizer: PreTrainedTokenizerFast) -> None:
    """
    Raises:
        ModelError: for a tokenizer that cannot make rows or hide tokens.
    """
    lacks = [name for name in ("cls", "sep", "mask") if getattr(tokenizer, f"{name}_token_id") is None]
    if lacks:
        raise ModelError(
            f"pre-training needs a tokenizer with {' and '.join(f'[{name.upper()}]' for name in lacks)}, and this one "
            "has none; name another with model.tokenizer"
        )


class Masker:
    def __init__(self, tokenizer: PreTrainedTokenizerFast, masking: MaskingConfig) -> None:
        """
        Raises:
            ModelError: as `check_tokenizer`; and for whole words where the vocabulary does not tell them.
        """
        check_tokenizer(tokenizer)
        size = tokenizers.size(tokenizer)
        self.masking, self.mask_id = masking, tokenizer.mask_token_id
        self.special = np.zeros(size, dtype=bool)
        self.special[tokenizer.all_special_ids] = True
        ids = np.array(sorted(tokenizer.get_vocab().values()), dtype=np.int64)  # there may be gaps
        self.others = ids[~self.special[ids]]
        self.inside = _inside_words(tokenizer, size) if masking.whole_words or masking.max_ngram > 1 else None
        if masking.whole_words and self.inside is None:
            raise ModelError(
                "task.masking.whole_words: the tokenizer's vocabulary does not tell words from their parts"
            )

    def __call__(
        self, input_ids: np.ndarray, attention_mask: np.ndarray, *, seed: int, epoch: int, idx: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """What the model reads, and what it is to find: (B, T) int64 each, `NOT_SCORED` where nothing is hidden.

        `input_ids` and `attention_mask` are (B, T); `idx` has the number of each row in its corpus. What is drawn for a
        token does not depend on how far the row is padded.
        """
        masking, real = self.masking, attention_mask.astype(bool)
        lead = masking.max_ngram - 1  # places before the row, from which n-grams reach into it
        orders, lengths, fates, others = _draws(lead + real.shape[1], 4, _MASKS, seed, epoch, idx)
        fates, others = fates[:, lead:], others[:, lead:]
        candidates = real & ~self.special[input_ids]
        numbers = np.maximum(1, np.rint(masking.share * real.sum(axis=1)).astype(np.int64))
        if masking.most is not None:
            numbers = np.minimum(numbers, masking.most)
        hidden = self._choose(input_ids, candidates, numbers, orders, lengths)
        masked = np.where(hidden & (fates < masking.mask), self.mask_id, input_ids)
        swapped = hidden & (fates >= masking.mask) & (fates < masking.mask + masking.random)
        masked = np.where(swapped, self.others[(others * len(self.others)).astype(np.int64)], masked)
        return masked.astype(np.int64), np.where(hidden, input_ids, NOT_SCORED).astype(np.int64)

    def _choose(
        self,
        input_ids: np.ndarray,
        candidates: np.ndarray,
        numbers: np.ndarray,
        orders: np.ndarray,
        lengths: np.ndarray,
    ) -> np.ndarray:
        """The places (B, T) to hide: about `numbers` (B) of `candidates` in each row."""
        units, sizes = self._units(input_ids, candidates)
        times = np.where(sizes > 0, _times(orders, lengths, self.masking.max_ngram), np.inf)
        # In the order of their times; those of one n-gram have one time and go from left to right.
        ranked = np.argsort(times, axis=1, kind="stable")
        counts = np.take_along_axis(sizes, ranked, axis=1)
        before = np.cumsum(counts, axis=1) - counts
        taken = np.zeros_like(sizes, dtype=bool)
        np.put_along_axis(taken, ranked, (before < numbers[:, None]) & (counts > 0), axis=1)
        return np.take_along_axis(taken, units, axis=1) & candidates

    def _units(self, input_ids: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each place the number of its token or word among those of its row, and of each of these its tokens."""
        starts = candidates
        if self.inside is not None:
            after = np.zeros_like(candidates)
            after[:, 1:] = candidates[:, :-1]  # what follows a special token begins a word
            starts = candidates & ~(self.inside[input_ids] & after)
        units = np.maximum(np.cumsum(starts, axis=1) - 1, 0)
        sizes = np.zeros(candidates.shape, dtype=np.int64)
        rows, places = np.nonzero(candidates)
        np.add.at(sizes, (rows, units[rows, places]), 1)
        return units, sizes


def uniforms(length: int, *, seed: int, epoch: int, idx: Sequence[int]) -> np.ndarray:
    """(B, T) float64 in [0, 1), for what a generator's samples are drawn with; from streams apart from the masks'."""
    return _draws(length, 1, _UNIFORMS, seed, epoch, idx)[0]


def _draws(length: int, kinds: int, stream: int, seed: int, epoch: int, idx: Sequence[int]) -> np.ndarray:
    """(kinds, B, T) uniform numbers. Those of a place are the same whatever `length` is."""
    found = np.empty((len(idx), length, kinds))
    for row, number in enumerate(idx):
        bits = np.random.Philox(key=[seed % 2**64, stream], counter=[0, 0, epoch, int(number)])
        np.random.Generator(bits).random(out=found[row])
    return np.moveaxis(found, 2, 0)


def _times(orders: np.ndarray, lengths: np.ndarray, max_ngram: int) -> np.ndarray:
    """When each unit is hidden: at the least of the times of the n-grams that have it.

    An n-gram begins at each unit, and at max_ngram - 1 places before the first, at a time of its own. From their times
    and the numbers that their lengths are drawn with, (B, max_ngram - 1 + U) each, to (B, U).
    """
    weights = 1 / np.arange(1, max_ngram + 1)
    sizes = 1 + np.searchsorted(np.cumsum(weights / weights.sum())[:-1], lengths, side="right")
    lead = max_ngram - 1
    times = orders[:, lead:]
    for back in range(1, max_ngram):
        begins = slice(lead - back, -back)
        times = np.minimum(times, np.where(sizes[:, begins] > back, orders[:, begins], np.inf))
    return times


def _inside_words(tokenizer: PreTrainedTokenizerFast, size: int) -> np.ndarray | None:
    """By id whether a token goes on with a word; None where the vocabulary has no marks of that.

    WordPiece marks these, the others the beginning of a word. A punctuation mark is a word, as in DeBERTa's code.
    """
    vocabulary = tokenizer.get_vocab()
    counts = {mark: sum(token.startswith(mark) for token in vocabulary) for mark in ("##", "Ġ", "▁")}
    mark = max(counts, key=lambda each: counts[each])
    if not counts[mark]:
        return None
    inside = np.zeros(size, dtype=bool)
    for token, number in vocabulary.items():
        inside[number] = token.startswith(mark) == (mark == "##") and not _is_punctuation(token)
    return inside


def _is_punctuation(token: str) -> bool:
    if len(token) > 1:
        return False
    return unicodedata.category(token).startswith("P") or (token.isascii() and not token.isalnum())
