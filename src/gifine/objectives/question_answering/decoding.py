"""From the logits of windows to the best answers of questions: the numbers alone, without a tokenizer or a model.

A long context is read in several windows, N in all for Q questions; T is the longest, in tokens. An answer is a span of
tokens within one window, scored by the logit of its first token as a start plus that of its last as an end (Devlin et
al. 2018, arXiv 1810.04805); "no answer" is the span that begins and ends at cls, wherever cls stands, and of several
windows the one that scores it lowest tells how likely it is, as BERT's run_squad.py has it. The spans are found
exactly: run_squad.py combines the 20 best starts with the 20 best ends alone, and may miss some.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_BLOCK = 1 << 22  # numbers that are looked at together
_NOWHERE = -1  # of a token that is not of the context, and of an answer that there is not


class NotFiniteError(ValueError):
    """A logit is NaN or infinite."""


@dataclass(frozen=True)
class Windows:
    """In any order. Characters count from 0 in their question's context; a token is `context[start:end]`."""

    question: np.ndarray  # (N,) the window's question, 0 … Q − 1; each has a window
    starts: np.ndarray  # (N, T) a token's first character; −1: not of the context (cls, question, separators, padding)
    ends: np.ndarray  # (N, T) the character after its last; −1 as in `starts`
    cls: np.ndarray  # (N,) where cls stands


@dataclass(frozen=True)
class Answers:
    """The K best of each question, best first, no two with the same characters."""

    starts: np.ndarray  # (Q, K) first character, outer white space left out; −1: there are no more answers
    ends: np.ndarray  # (Q, K) the character after the last
    scores: np.ndarray  # (Q, K) the sum of two logits; −inf where there is no answer
    nulls: np.ndarray  # (Q,) the same sum for "no answer"

    @cached_property
    def doubts(self) -> np.ndarray:
        """How much better "no answer" scores than the best answer, (Q,); inf where there is no answer at all."""
        return self.nulls - self.scores[:, 0]

    def texts(self, contexts: Sequence[str]) -> list[str]:
        """The best answer of each question in the words of its context; "" where there is none."""
        best = zip(contexts, self.starts[:, 0].tolist(), self.ends[:, 0].tolist(), strict=True)
        return [context[start:end] if start >= 0 else "" for context, start, end in best]


def pad(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """N lists as one array (N, T), filled up with −1."""
    return fill(np.asarray([len(row) for row in rows]), np.concatenate([np.asarray(row, np.int32) for row in rows]))


def fill(lengths: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """As `pad`, of lists that stand one after the other in `numbers`."""
    padded = np.full((len(lengths), int(lengths.max(initial=0))), _NOWHERE, dtype=np.int32)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = numbers
    return padded


def decode(
    start_logits: np.ndarray,
    end_logits: np.ndarray,
    windows: Windows,
    contexts: Sequence[str],
    *,
    max_tokens: int,
    best: int = 20,
) -> Answers:
    """The answers of Q questions, at most `best` each and at most `max_tokens` long, by logits (N, T or more columns).

    Column t is token t of `windows`; further columns are padding. Of the answers of one window the `best` token spans
    are looked at; two of the same characters, of two windows or by a token without characters of its own, are one, with
    the better score. Equal scores go by place in the context, so the order of windows changes nothing.

    Raises:
        NotFiniteError: for logits that are NaN or infinite where a token is.
    """
    width = windows.starts.shape[1]
    start_logits, end_logits = (np.asarray(each)[:, :width] for each in (start_logits, end_logits))
    real = windows.starts >= 0
    rows = np.arange(len(real))
    nulls = start_logits[rows, windows.cls].astype(float) + end_logits[rows, windows.cls]
    if not (np.isfinite(nulls).all() and all(np.isfinite(each[real]).all() for each in (start_logits, end_logits))):
        raise NotFiniteError("logits are NaN or infinite")
    lowest = np.full(len(contexts), np.inf)
    np.minimum.at(lowest, windows.question, nulls)

    found: list[tuple[np.ndarray, ...]] = []
    step = max(1, _BLOCK // max(width, best * min(max_tokens, width)))
    for begin in range(0, len(real), step):
        part = slice(begin, begin + step)
        first, last, score = _spans(start_logits[part], end_logits[part], real[part], max_tokens, best)
        row, place = np.nonzero(np.isfinite(score))
        starts, ends = windows.starts[part][row, first[row, place]], windows.ends[part][row, last[row, place]]
        found.append((windows.question[part][row], starts, ends, score[row, place]))
    question, starts, ends, scores = (np.concatenate(each) for each in zip(*found, strict=True))
    starts, ends = _stripped(question, starts, ends, contexts)
    return _ranked(question, starts, ends, scores, lowest, best)


def _spans(
    start_logits: np.ndarray, end_logits: np.ndarray, real: np.ndarray, longest: int, best: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First and last tokens and scores (n, K) of the best spans of n windows, in no order; −inf: there are fewer.

    The K best spans begin at the K tokens whose own best span is best. So for each token the best end within reach is
    found first, and spans are written out for K tokens alone.
    """
    starts, ends = (np.where(real, each, -np.inf).astype(float) for each in (start_logits, end_logits))
    width = starts.shape[1]
    reach = min(longest, width)
    after = np.pad(ends, ((0, 0), (0, reach - 1)), constant_values=-np.inf)
    within = after[:, :width].copy()
    for more in range(1, reach):
        np.maximum(within, after[:, more : more + width], out=within)
    first = _largest(starts + within, best)
    rows = np.arange(len(starts))[:, None]
    last = first[:, :, None] + np.arange(reach)
    scores = starts[rows, first][:, :, None] + after[rows[:, :, None], last]
    scores, last = scores.reshape(len(starts), -1), last.reshape(len(starts), -1)
    chosen = _largest(scores, best)
    return first[rows, chosen // reach], last[rows, chosen], scores[rows, chosen]


def _largest(numbers: np.ndarray, count: int) -> np.ndarray:
    """Columns (n, K) of the largest of each row, the first of equal ones."""
    return np.argsort(-numbers, axis=1, kind="stable")[:, :count]


def _stripped(
    question: np.ndarray, starts: np.ndarray, ends: np.ndarray, contexts: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Without the white space at their ends; tokens may hold the space before their word. Equal: nothing is left."""
    left, right = [], []
    for place, start, end in zip(question.tolist(), starts.tolist(), ends.tolist(), strict=True):
        text = contexts[place][start:end]
        left.append(start + len(text) - len(text.lstrip()))
        right.append(end - len(text) + len(text.rstrip()))
    return np.asarray(left, dtype=np.int64), np.asarray(right, dtype=np.int64)


def _ranked(
    question: np.ndarray, starts: np.ndarray, ends: np.ndarray, scores: np.ndarray, nulls: np.ndarray, best: int
) -> Answers:
    there = starts < ends
    question, starts, ends, scores = (each[there] for each in (question, starts, ends, scores))
    order = np.lexsort((-scores, ends, starts, question))
    question, starts, ends, scores = (each[order] for each in (question, starts, ends, scores))
    keys = np.stack([question, starts, ends])
    new = np.concatenate([[True], (keys[:, 1:] != keys[:, :-1]).any(axis=0)])[: len(question)]
    question, starts, ends, scores = (each[new] for each in (question, starts, ends, scores))
    order = np.lexsort((ends, starts, -scores, question))
    question, starts, ends, scores = (each[order] for each in (question, starts, ends, scores))
    rank = np.arange(len(question)) - np.searchsorted(question, question)
    kept = rank < best
    question, rank = question[kept], rank[kept]
    places = np.full((2, len(nulls), best), _NOWHERE, dtype=np.int64)
    sums = np.full((len(nulls), best), -np.inf)
    places[:, question, rank] = starts[kept], ends[kept]
    sums[question, rank] = scores[kept]
    return Answers(places[0], places[1], sums, nulls)
