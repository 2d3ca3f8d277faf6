"""From the characters of a gold answer to the tokens that a window is trained on, and back again, counted.

Of the tokens all that overlap the answer are taken. SentencePiece's "▁" may stand alone and have the very characters of
the piece after it, and DeBERTa's tokens begin with the space before their word: rules that look for the token which
begins where the answer does find the wrong one there, or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gifine.objectives.question_answering.decoding import Windows
from gifine.objectives.squad_scores import normalise


@dataclass
class RoundTrips:
    """How gold answers come back from the tokens that stand for them. The lists hold places of questions."""

    equal: int = 0  # letter by letter
    normalised: list[int] = field(default_factory=list)  # as SQuAD's scores compare them, and not letter by letter
    other: list[int] = field(default_factory=list)  # as another text: the answer begins or ends inside a token
    nowhere: list[int] = field(default_factory=list)  # no window has the whole of it


def label(windows: Windows, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last token (N,) of the answer in each of N windows; cls twice where not the whole of it is there.

    `begin` and `end` (N,) are the characters of the gold answer of the window's question, without outer white space;
    −1 where there is no answer. All windows of a question must be given.
    """
    overlap = (windows.starts >= 0) & (windows.starts < end[:, None]) & (windows.ends > begin[:, None])
    there = overlap.any(axis=1) & (begin >= 0)
    first, last = overlap.argmax(axis=1), overlap.shape[1] - 1 - overlap[:, ::-1].argmax(axis=1)
    rows = np.arange(len(overlap))
    starts, ends = windows.starts[rows, first], windows.ends[rows, last]
    # The tokens of the whole context are those of all windows: a window has all of the answer's if it goes as far.
    count = int(windows.question.max(initial=-1)) + 1
    lowest, highest = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
    np.minimum.at(lowest, windows.question[there], starts[there])
    np.maximum.at(highest, windows.question[there], ends[there])
    whole = there & (starts == lowest[windows.question]) & (ends == highest[windows.question])
    return np.where(whole, first, windows.cls), np.where(whole, last, windows.cls)


def round_trips(
    windows: Windows, first: np.ndarray, last: np.ndarray, contexts: Sequence[str], golds: Sequence[str | None]
) -> RoundTrips:
    """Of labels (N,) as `label` gives them, contexts (Q) and gold answers (Q; None: there is none)."""
    rows = np.arange(len(first))
    labelled = windows.starts[rows, first] >= 0  # and not cls
    texts: dict[int, str] = {}
    for row in rows[labelled].tolist():
        question = int(windows.question[row])
        start, end = windows.starts[row, first[row]], windows.ends[row, last[row]]
        texts.setdefault(question, contexts[question][start:end].strip())
    found = RoundTrips()
    for question, gold in enumerate(golds):
        if gold is None:
            continue
        text = texts.get(question)
        if text is None:
            found.nowhere.append(question)
        elif text == gold.strip():
            found.equal += 1
        else:
            same = normalise(text) == normalise(gold)
            (found.normalised if same else found.other).append(question)
    return found
