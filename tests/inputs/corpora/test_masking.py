"""Masks: what is drawn for a row, how much and where, and that nothing else than seed, epoch and row decides it."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from gifine.errors import ModelError
from gifine.inputs import demo
from gifine.inputs.corpora import masking
from gifine.inputs.corpora.masking import HELD_OUT, NOT_SCORED, Masker
from gifine.task_config import MaskingConfig

TOKENIZER = demo.tokenizer()
CLS, SEP, MASK, PAD, UNK = (getattr(TOKENIZER, f"{name}_token_id") for name in ("cls", "sep", "mask", "pad", "unk"))
FIRST = max(TOKENIZER.all_special_ids) + 1
SIZE = len(TOKENIZER)
WAYS = [
    MaskingConfig(),
    MaskingConfig(max_ngram=3, most=80),
    MaskingConfig(whole_words=True),
    MaskingConfig(mask=1.0, random=0.0),
    MaskingConfig(max_ngram=6, share=0.4),
]


def rows(lengths: list[int], width: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Rows of random tokens, some of them special or parts of words; and their attention mask."""
    rng, width = np.random.default_rng(0), width or max(lengths)
    ids = rng.integers(FIRST, SIZE, (len(lengths), max(lengths)))
    ids[:, 0] = CLS
    ids = np.pad(ids, ((0, 0), (0, width - ids.shape[1])), constant_values=PAD)
    for row, length in zip(ids, lengths, strict=True):
        row[[length // 3, length // 2]] = UNK, SEP
        row[length - 1] = SEP
        row[length:] = PAD
    return ids, (np.arange(width) < np.array(lengths)[:, None]).astype(np.int64)


def mask(way: MaskingConfig, ids: np.ndarray, real: np.ndarray, seed: int = 1, epoch: int = 0, first: int = 0):
    return Masker(TOKENIZER, way)(ids, real, seed=seed, epoch=epoch, idx=range(first, first + len(ids)))


def written_out(way: MaskingConfig, ids: np.ndarray, length: int, idx: int) -> set[int]:
    """The places hidden in one row, by the definition: n-grams one after the other until the number is reached."""
    words: list[list[int]] = []
    whole = way.whole_words or way.max_ngram > 1
    for place in range(length):
        if ids[place] in TOKENIZER.all_special_ids:
            continue
        token = str(TOKENIZER.convert_ids_to_tokens(int(ids[place])))
        if whole and token.startswith("##") and ids[place - 1] not in TOKENIZER.all_special_ids:
            words[-1].append(place)
        else:
            words.append([place])
    lead = way.max_ngram - 1
    orders, lengths, _, _ = masking._draws(lead + len(ids), 4, 0, 1, 0, [idx])[:, 0]
    weights = [1 / n for n in range(1, way.max_ngram + 1)]
    number, hidden = min(max(1, round(way.share * length)), way.most or 10**6), set[int]()
    for begin in np.argsort(orders[: lead + len(words)]):
        size = 1 + sum(lengths[begin] >= sum(weights[:n]) / sum(weights) for n in range(1, way.max_ngram))
        for word in range(begin - lead, begin - lead + size):
            if 0 <= word < len(words) and len(hidden) < number:
                hidden |= set(words[word])
    return hidden


@pytest.mark.parametrize("way", WAYS)
def test_places_are_those_of_the_definition(way):
    lengths = [40, 128, 7, 3, 64, 100]
    ids, real = rows(lengths)
    _, labels = mask(way, ids, real)
    for idx, length in enumerate(lengths):
        assert set(np.flatnonzero(labels[idx] != NOT_SCORED)) == written_out(way, ids[idx], length, idx)


@pytest.mark.parametrize("way", WAYS)
def test_seed_epoch_and_row_decide_and_nothing_else(way):
    ids, real = rows([60, 40, 50, 60])
    masked, labels = mask(way, ids, real)
    for again in (mask(way, ids, real), mask(way, ids[1:], real[1:], first=1), mask(way, ids[:, :70], real[:, :70])):
        assert np.array_equal(again[0], masked[-len(again[0]) :])
        assert np.array_equal(again[1], labels[-len(again[1]) :])
    wide = np.pad(ids, ((0, 0), (0, 9)), constant_values=PAD), np.pad(real, ((0, 0), (0, 9)))
    assert np.array_equal(mask(way, *wide)[0][:, :-9], masked)
    others = [mask(way, ids, real, **other) for other in ({"seed": 2}, {"epoch": 1}, {"epoch": HELD_OUT}, {"first": 9})]
    for other, _ in others:
        assert not np.array_equal(other, masked)


@pytest.mark.parametrize("way", WAYS)
def test_labels_are_the_hidden_tokens_and_no_special_one_is_hidden(way):
    ids, real = rows([60, 3, 33])
    masked, labels = mask(way, ids, real)
    hidden = labels != NOT_SCORED
    assert np.array_equal(labels[hidden], ids[hidden])
    assert np.array_equal(masked[~hidden], ids[~hidden])
    assert not np.isin(ids[hidden], TOKENIZER.all_special_ids).any()
    assert not np.isin(masked[hidden & (masked != MASK)], TOKENIZER.all_special_ids).any()


def test_as_many_as_share_says_at_least_one_and_at_most_the_most():
    ids, real = rows([100, 5, 30, 3])

    def counts(way: MaskingConfig) -> list[int]:
        return (mask(way, ids, real)[1] != NOT_SCORED).sum(axis=1).tolist()

    assert counts(MaskingConfig()) == [15, 1, 4, 0]  # of 30 tokens 4.5, to even; of the last none is a token of text
    assert counts(MaskingConfig(most=9)) == [9, 1, 4, 0]
    assert counts(MaskingConfig(share=0.04)) == [4, 1, 1, 0]


def within(count: int, of: int, share: float) -> bool:
    """Within five standard deviations of a binomial: by chance outside once in 1.7 million."""
    return abs(count - of * share) < 5 * np.sqrt(of * share * (1 - share))


@pytest.mark.parametrize("way", WAYS[:2])
def test_shares_of_mask_other_token_and_own_token(way):
    ids, real = rows([128] * 300)
    masked, labels = mask(way, ids, real)
    hidden = labels != NOT_SCORED
    total, own = int(hidden.sum()), int((masked == ids)[hidden].sum())
    assert within(int((masked == MASK).sum()), total, 0.8)
    assert within(own, total, 0.1 + 0.1 / (SIZE - FIRST))  # another token may be the same one
    # Any token may stand there: each as often as any other.
    others = masked[hidden & (masked != MASK) & (masked != ids)]
    counts = np.bincount(others, minlength=SIZE)[FIRST:]
    assert within(int(counts[: len(counts) // 2].sum()), len(others), (len(counts) // 2) / len(counts))


@pytest.mark.parametrize("way", [WAYS[0], WAYS[1]])
def test_every_place_is_as_likely(way):
    """The last tenth of a full row, of which a walk from the left hides almost nothing, as much as the rest."""
    number = 3000
    ids = np.full((number, 64), FIRST)
    ids[:, 0], ids[:, -1] = CLS, SEP
    hidden = mask(way, ids, np.ones_like(ids))[1] != NOT_SCORED
    share = round(0.15 * 64) / 62
    assert all(within(int(count), number, share) for count in hidden.sum(axis=0)[1:-1])


@pytest.mark.parametrize("way", [MaskingConfig(whole_words=True), MaskingConfig(max_ngram=3)])
def test_a_word_is_hidden_whole_or_not_at_all(way):
    first, inside = FIRST, TOKENIZER.convert_tokens_to_ids("##a")
    ids = np.array([[CLS, *([first, inside, inside] * 20), SEP]] * 50)
    hidden = mask(way, ids, np.ones_like(ids))[1][:, 1:-1].reshape(50, 20, 3) != NOT_SCORED
    assert (hidden.all(axis=2) == hidden.any(axis=2)).all()
    assert (hidden.sum(axis=(1, 2)) == 9).all()  # of 62 tokens
    alone = mask(MaskingConfig(), ids, np.ones_like(ids))[1][:, 1:-1].reshape(50, 20, 3) != NOT_SCORED
    assert (alone.all(axis=2) != alone.any(axis=2)).any()


def test_punctuation_is_a_word_in_vocabularies_that_mark_beginnings():
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "▁don": 1, "'": 2, "t": 3, ",": 4, "▁a": 5}))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    found = masking._inside_words(tokenizer, 6)
    assert found is not None
    assert found.tolist() == [True, False, False, True, False, False]


def plain_tokenizer(*names: str) -> PreTrainedTokenizerFast:
    """Of a vocabulary without marks of words."""
    special = {f"{name}_token": f"[{name.upper()}]" for name in names}
    vocabulary = dict.fromkeys([*special.values(), "a", "b"])
    backend = Tokenizer(models.WordLevel({token: i for i, token in enumerate(vocabulary)}))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def test_tokenizers_that_cannot_be_masked_are_refused():
    with pytest.raises(ModelError, match=r"a tokenizer with \[MASK\], and this one has none"):
        Masker(plain_tokenizer("cls", "sep"), MaskingConfig())
    tokenizer = plain_tokenizer("cls", "sep", "mask")
    with pytest.raises(ModelError, match="does not tell words from their parts"):
        Masker(tokenizer, MaskingConfig(whole_words=True))
    assert Masker(tokenizer, MaskingConfig(max_ngram=3)).inside is None  # each token is a word


def test_uniforms_are_of_seed_epoch_and_row_and_apart_from_masks():
    found = masking.uniforms(50, seed=3, epoch=1, idx=[4, 5])
    assert found.shape == (2, 50)
    assert np.array_equal(masking.uniforms(20, seed=3, epoch=1, idx=[5])[0], found[1, :20])
    assert not np.isclose(masking.uniforms(50, seed=3, epoch=2, idx=[4]), found).any()
    assert not np.isclose(masking._draws(50, 1, 0, 3, 1, [4])[0], found[0]).any()
    many = masking.uniforms(1000, seed=0, epoch=0, idx=range(100))
    assert (many >= 0).all()
    assert (many < 1).all()
    assert all(within(int((many < bound).sum()), many.size, bound) for bound in (0.1, 0.5, 0.9))
