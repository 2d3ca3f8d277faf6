"""Gold answers of SQuAD 1.1's dev set through the published vocabularies, and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gifine.inputs import tokenizers
from gifine.objectives.question_answering import gold, windows
from gifine.objectives.question_answering.decoding import Windows

SPANS = 17_166
# How many come back letter by letter, and as scores compare them. Other code counted one more of each, with a start
# that has been mended since.
EXPECTED = {
    "bert-base-uncased": (17_106, 17_106),
    "roberta-base": (16_939, 17_111),
    "deberta-base": (16_939, 17_111),
    "deberta-v3-base": (17_097, 17_097),
    "xlnet-base-cased": (17_091, 17_111),  # with pieces "▁" that have the characters of the piece after them
}


@pytest.fixture(scope="module")
def spans(shared: Path) -> list[tuple[str, list[tuple[int, str]]]]:
    """Contexts, each with the distinct answers of its questions whose place is certain."""
    full = shared / "squad" / "full"
    uncertain = {*json.loads((full / "answer_start_uncertain.json").read_text())["v1.1"]}
    return [
        (
            paragraph["context"],
            [
                each
                for question in paragraph["qas"]
                if question["id"] not in uncertain
                for each in sorted({(answer["answer_start"], answer["text"]) for answer in question["answers"]})
            ],
        )
        for article in json.loads((full / "dev-v1.1.json").read_text())["data"]
        for paragraph in article["paragraphs"]
    ]


@pytest.mark.shared
@pytest.mark.parametrize("name", EXPECTED)
def test_how_many_come_back(name: str, shared: Path, spans: list[tuple[str, list[tuple[int, str]]]]) -> None:
    contexts = [context for context, _ in spans]
    made = windows._tokens(tokenizers.load(str(shared / "tokenizers" / name)), contexts)
    counts = np.zeros(4, dtype=int)
    for (context, golds), (_, tokens) in zip(spans, made, strict=True):
        cls = np.full((1, 1), -1, dtype=np.int32)
        starts, ends = (np.repeat(np.hstack([cls, column[None]]), len(golds), axis=0) for column in tokens.T)
        one = Windows(np.arange(len(golds)), starts, ends, np.zeros(len(golds), dtype=int))
        begin = np.asarray([start for start, _ in golds])
        first, last = gold.label(one, begin, begin + [len(text) for _, text in golds])
        found = gold.round_trips(one, first, last, [context] * len(golds), [text for _, text in golds])
        counts += [found.equal, len(found.normalised), len(found.other), len(found.nowhere)]
    equal, normalised, other, nowhere = counts.tolist()
    assert (equal + normalised + other, nowhere) == (SPANS, 0)
    assert (equal, equal + normalised) == EXPECTED[name]
    assert other == SPANS - EXPECTED[name][1], "they begin or end inside a token"
