"""Questions about sentences of the demo grammar's words, in SQuAD's JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

NOUNS, VERBS = ("cat", "dog", "boy", "girl", "man"), ("sleeps", "runs")


def document(questions: int, *, unanswerable: bool, seed: int = 0, sentences: int = 4) -> dict[str, Any]:
    """Who sleeps or runs? One paragraph a question; a third of the questions has no answer where some may have none."""
    rng = np.random.default_rng(seed)
    paragraphs = []
    for number in range(questions):
        nouns = rng.permutation(NOUNS)[:sentences].tolist()
        asked, other = VERBS if number % 2 else VERBS[::-1]
        which = number % sentences
        none = unanswerable and number % 3 == 2
        verbs = [asked if place == which and not none else other for place in range(sentences)]
        context = " ".join(f"the {noun} {verb}" for noun, verb in zip(nouns, verbs, strict=True))
        text = f"the {nouns[which]}"
        answers = [] if none else [{"text": text, "answer_start": context.index(text)}]
        question: dict[str, Any] = {"id": f"q{number}", "question": f"who {asked}", "answers": answers}
        if unanswerable:
            question["is_impossible"] = none
        paragraphs.append({"context": context, "qas": [question]})
    return {"version": "made", "data": [{"title": "made", "paragraphs": paragraphs}]}


def write(folder: Path, *, unanswerable: bool, train: int = 48, dev: int = 24) -> Path:
    """The official layout of one version; `folder` itself."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, questions, seed in (("train", train, 0), ("dev", dev, 1)):
        made = document(questions, unanswerable=unanswerable, seed=seed)
        path = folder / f"{name}-v{'2.0' if unanswerable else '1.1'}.json"
        path.write_text(json.dumps(made), encoding="utf-8")
    return folder
