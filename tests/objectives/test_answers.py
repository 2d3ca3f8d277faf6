"""From logits of windows to answers, by hand and against a search of all spans."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gifine.objectives.question_answering import decoding, gold
from gifine.objectives.question_answering.decoding import Windows, decode

TEXT = "The cat sleeps on a red mat , and the dog eats  an old bone ."
WORDS: list[tuple[int, int]] = []
for word in TEXT.split():
    begin = TEXT.index(word, WORDS[-1][1] if WORDS else 0)
    WORDS.append((begin, begin + len(word)))
LOW = -5.0


def windows(*tokens: list[tuple[int, int] | None], question: list[int] | None = None, cls: int = 0) -> Windows:
    """A window for each list of tokens: characters, or None where a token is not of the context."""
    of = question or [0] * len(tokens)
    return Windows(
        np.asarray(of),
        decoding.pad([[-1 if token is None else token[0] for token in each] for each in tokens]),
        decoding.pad([[-1 if token is None else token[1] for token in each] for each in tokens]),
        np.asarray([cls % len(each) for each in tokens]),
    )


def four() -> Windows:
    """[CLS] question [SEP], six of the context's words with two in common, [SEP]."""
    return windows(*[[None, None, None, *WORDS[begin : begin + 6], None] for begin in (0, 4, 8, 12)])


def logits(shape: tuple[int, int], **places: dict[tuple[int, int], float]) -> list[np.ndarray]:
    made = [np.full(shape, LOW, dtype=np.float32) for _ in range(2)]
    for array, name in zip(made, ("start", "end"), strict=True):
        for place, value in places.get(name, {}).items():
            array[place] = value
    return made


def test_four_windows() -> None:
    """ "red mat" is in the second window whole; "mat" begins a span that ends in the next window, and is none."""
    start, end = logits(
        (4, 10),
        start={(0, 8): 3.0, (1, 4): 4.0, (2, 3): 1.0, (0, 0): 2.0, (1, 0): -1.0, (2, 0): 0.5, (3, 0): 6.0},
        end={(1, 5): 2.5, (2, 4): 5.0, (0, 0): 2.0, (1, 0): 1.0, (2, 0): 0.5, (3, 0): 6.0},
    )
    found = decode(start, end, four(), [TEXT], max_tokens=30, best=3)
    assert WORDS[5] == (20, 23)
    assert WORDS[8:10] == [(30, 33), (34, 37)]
    assert found.scores[0].tolist() == [6.5, 6.0, 0.0]  # 4 + 2.5 in the second, 1 + 5 in the third window
    spans = list(zip(found.starts[0].tolist(), found.ends[0].tolist(), strict=True))
    assert [TEXT[first:last] for first, last in spans][:2] == ["red mat", "and the"]
    assert found.texts([TEXT]) == ["red mat"]
    assert found.nulls.tolist() == [0.0]  # −1 + 1 of the second window is the lowest of 4, 0, 1 and 12
    assert found.doubts.tolist() == [-6.5]


def test_cls_at_the_end_and_no_answer() -> None:
    """As XLNet has it: context, question, cls. The first question is answered, the second is not."""
    made = windows([*WORDS[:3], None, None, None], [*WORDS[1:3], None, None, None], question=[0, 1], cls=-1)
    places = {(0, 1): 2.0, (0, 5): 1.0, (1, 1): 1.5, (1, 4): 3.0}
    start, end = logits((2, 6), start=places, end=places)
    start[:, 0] += 0.25  # the place where other models have cls says nothing
    found = decode(start, end, made, [TEXT, TEXT], max_tokens=3)
    assert found.texts([TEXT, TEXT]) == ["cat", "sleeps"]
    assert found.scores[:, 0].tolist() == [4.0, 3.0]
    assert found.nulls.tolist() == [2.0, 6.0]
    assert found.doubts.tolist() == [-2.0, 3.0]


def test_the_same_characters_of_two_windows_are_one_answer() -> None:
    made = windows([None, *WORDS[:3], None], [None, *WORDS[1:4], None])
    start, end = logits((2, 5), start={(0, 2): 1.0, (1, 1): 2.0}, end={(0, 2): 1.0, (1, 1): 1.0})
    found = decode(start, end, made, [TEXT], max_tokens=1)
    assert found.scores[0, :4].tolist() == [3.0, -10.0, -10.0, -10.0]
    assert found.starts[0, :5].tolist() == [4, 0, 8, 15, -1]  # of equal scores the first in the context comes first
    assert np.isneginf(found.scores[0, 4:]).all()


def test_spaces_that_tokens_hold_are_no_part_of_an_answer() -> None:
    """DeBERTa's tokens begin with the space before their word; "dog eats  an" has two."""
    tokens = [(33, 37), (37, 41), (41, 46), (46, 47), (47, 50)]
    assert [TEXT[first:last] for first, last in tokens] == [" the", " dog", " eats", " ", " an"]
    start, end = logits((1, 6), start={(0, 2): 3.0}, end={(0, 4): 3.0})
    found = decode(start, end, windows([None, *tokens]), [TEXT], max_tokens=30)
    assert found.texts([TEXT]) == ["dog eats"]
    start, end = logits((1, 6), start={(0, 4): 3.0}, end={(0, 4): 3.0})
    found = decode(start, end, windows([None, *tokens]), [TEXT], max_tokens=1)
    assert found.scores[0, 0] == 2 * LOW, "white space alone is no answer"


def test_without_any_token_of_the_context_there_is_no_answer() -> None:
    start, end = logits((2, 3), start={(1, 1): 1.0}, end={(1, 1): 1.0})
    found = decode(
        start, end, windows([None, None, None], [None, WORDS[0], None], question=[0, 1]), ["", TEXT], max_tokens=5
    )
    assert found.texts(["", TEXT]) == ["", "The"]
    assert found.doubts[0] == np.inf


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_none_are_refused(value: float) -> None:
    start, end = logits((4, 12))
    start[:, 11] = value  # beyond the tokens
    decode(start, end, four(), [TEXT], max_tokens=5)
    end[2, 4] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        decode(start, end, four(), [TEXT], max_tokens=5)


def search(
    start: np.ndarray, end: np.ndarray, made: Windows, contexts: list[str], longest: int
) -> list[dict[Any, float]]:
    """The best score of each (first, last) character, by trying every span of every window."""
    found: list[dict[Any, float]] = [{} for _ in contexts]
    for row, question in enumerate(made.question.tolist()):
        for first in range(made.starts.shape[1]):
            for last in range(first, min(first + longest, made.starts.shape[1])):
                if made.starts[row, first] < 0 or made.starts[row, last] < 0:
                    continue
                left, right = int(made.starts[row, first]), int(made.ends[row, last])
                text = contexts[question][left:right]
                if not text.strip():
                    continue
                key = left + len(text) - len(text.lstrip()), right - len(text) + len(text.rstrip())
                score = float(start[row, first]) + float(end[row, last])
                found[question][key] = max(found[question].get(key, -np.inf), score)
    return found


@st.composite
def cases(draw: st.DrawFn) -> tuple[Windows, np.ndarray, np.ndarray, list[str], int, int]:
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    contexts, tokens, question = [], [], []
    for number in range(draw(st.integers(1, 3))):
        text = "".join(random.choice(list("ab é "), size=12))
        cuts = np.sort(random.choice(np.arange(13), size=draw(st.integers(2, 8)), replace=False)).tolist()
        pieces = list(itertools.pairwise(cuts))
        contexts.append(text)
        for _ in range(draw(st.integers(1, 3))):
            begin = int(random.integers(len(pieces)))
            tokens.append([None, *pieces[begin : begin + 4], None])
            question.append(number)
    order = random.permutation(len(tokens))
    made = windows(*[tokens[place] for place in order], question=[question[place] for place in order])
    start, end = random.integers(-3, 4, size=(2, *made.starts.shape)).astype(np.float32)
    return made, start, end, contexts, draw(st.integers(1, 6)), draw(st.integers(1, 30))


@settings(max_examples=60)
@given(cases())
def test_every_span_is_looked_at(case: tuple[Windows, np.ndarray, np.ndarray, list[str], int, int]) -> None:
    made, start, end, contexts, longest, best = case
    found = decode(start, end, made, contexts, max_tokens=longest, best=100)
    few = decode(start, end, made, contexts, max_tokens=longest, best=best)
    for question, wanted in enumerate(search(start, end, made, contexts, longest)):
        ranked = sorted(wanted.items(), key=lambda each: (-each[1], each[0]))
        spans = zip(found.starts[question].tolist(), found.ends[question].tolist(), strict=True)
        listed = [(span, score) for span, score in zip(spans, found.scores[question].tolist()) if span[0] >= 0]
        assert listed == ranked
        nulls = [start[row, 0] + end[row, 0] for row in np.flatnonzero(made.question == question)]
        assert found.nulls[question] == min(nulls)
        if ranked:
            assert few.scores[question, 0] == ranked[0][1]


@given(cases(), st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_the_order_of_windows_changes_nothing(
    case: tuple[Windows, np.ndarray, np.ndarray, list[str], int, int], random: Any
) -> None:
    made, start, end, contexts, longest, best = case
    order = list(range(len(start)))
    random.shuffle(order)
    other = Windows(*(each[order] for each in (made.question, made.starts, made.ends, made.cls)))
    one = decode(start, end, made, contexts, max_tokens=longest, best=best)
    two = decode(start[order], end[order], other, contexts, max_tokens=longest, best=best)
    for name in ("starts", "ends", "scores", "nulls"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_gold_answers_of_windows_and_without_an_answer() -> None:
    """ "red mat" is cut by the first window; where the whole of it is not there, and without one, the label is cls."""
    made = four()
    begin, end = np.full(4, WORDS[5][0]), np.full(4, WORDS[6][1])
    first, last = gold.label(made, begin, end)
    assert first.tolist() == [0, 4, 0, 0]
    assert last.tolist() == [0, 5, 0, 0]
    none = gold.label(made, np.full(4, -1), np.full(4, -1))
    assert [each.tolist() for each in none] == [[0] * 4, [0] * 4]
    at_end = windows([*WORDS[:3], None, None], [*WORDS[2:5], None, None], cls=-1)
    first, last = gold.label(at_end, np.full(2, WORDS[3][0]), np.full(2, WORDS[4][1]))
    assert (first.tolist(), last.tolist()) == ([4, 1], [4, 2])


def test_a_gold_answer_takes_all_tokens_that_overlap_it() -> None:
    """A "▁" with the characters of the piece after it; a gold inside a token; characters that no token has."""
    made = windows([None, (0, 3), (4, 5), (4, 5), (5, 7), None], [None, (0, 3), (4, 7), (9, 12), None], question=[0, 1])
    first, last = gold.label(made, np.asarray([4, 5]), np.asarray([5, 12]))
    assert (first.tolist(), last.tolist()) == ([2, 2], [3, 3])
    first, last = gold.label(made, np.asarray([3, 7]), np.asarray([4, 9]))
    assert (first.tolist(), last.tolist()) == ([0, 0], [0, 0])


def test_round_trips_are_counted() -> None:
    made = windows(*[[None, *WORDS[begin : begin + 4]] for begin in (0, 4, 0, 0, 0)], question=[0, 0, 1, 2, 3])
    golds = ["red mat", "The cat,", "at", None]
    begin = np.asarray([20, 20, 0, 5, -1])
    end = np.asarray([27, 27, 7, 7, -1])
    found = gold.round_trips(made, *gold.label(made, begin, end), [TEXT] * 4, golds)
    assert (found.equal, found.normalised, found.other, found.nowhere) == (1, [1], [2], [])
    cut = windows([None, *WORDS[:3]], [None, *WORDS[3:6]])
    labels = gold.label(cut, np.full(2, 8), np.full(2, 17))  # "sleeps on"
    assert gold.round_trips(cut, *labels, [TEXT], ["sleeps on"]).nowhere == [0]
