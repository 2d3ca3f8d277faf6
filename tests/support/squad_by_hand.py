"""SQuAD's scores once more, by other code than gifine's: for what it says of its own predictions.

Written from what the official scripts do: characters one by one, words crossed off a list, and for the best threshold
each one tried on all questions. Slow, and nothing in it comes from gifine.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import fmean

import pyarrow.parquet


def judge(text: str, golds: list[str], *, no_answers: bool) -> tuple[float, float]:
    """Exact match and F1 of one answer; of several golds each takes its own best."""

    def words(raw: str) -> list[str]:
        kept = "".join(c for c in raw.lower() if not (c.isascii() and c.isprintable() and not c.isalnum() and c != " "))
        return re.sub(r"(?<!\w)(the|an|a)(?!\w)", " ", kept).split()

    def overlap(ours: list[str], theirs: list[str]) -> float:
        left = list(theirs)
        for word in ours:
            if word in left:
                left.remove(word)
        hits = len(theirs) - len(left)
        if no_answers and not (ours and theirs):
            return float(ours == theirs)
        return 2 * hits / (len(ours) + len(theirs)) if hits else 0.0

    lists = [words(each) for each in golds]
    if no_answers:
        lists = [each for each in lists if each] or [[]]
    ours = words(text)
    return float(any(ours == each for each in lists)), max(overlap(ours, each) for each in lists)


def score_run(folder: Path, file: Path, *, no_answers: bool, threshold: float = 0.0) -> dict[str, float]:
    """The task's metrics, in 0 … 1, of a run's predictions on `file`, SQuAD's JSON.

    The answers are cut from the file's texts at the places that the run's parquet has, and with `no_answers` those of
    more doubt than `threshold` are taken back. A run that read the first questions alone is judged by those.
    """
    asked = {
        each["id"]: (paragraph["context"], [answer["text"] for answer in each["answers"]])
        for article in json.loads(file.read_text(encoding="utf-8"))["data"]
        for paragraph in article["paragraphs"]
        for each in paragraph["qas"]
    }
    rows = pyarrow.parquet.read_table(folder / "predictions-validation.parquet").to_pylist()
    assert [row["id"] for row in rows] == [*asked][: len(rows)]
    answers, nothing, doubts = [], [], []
    for row in rows:
        context, golds = asked[row["id"]]
        text = context[row["start"] : row["end"]] if row["start"] >= 0 else ""
        doubts.append(row["null_score"] - row["score"])
        answers.append(judge(text, golds, no_answers=no_answers))
        nothing.append(judge("", golds, no_answers=no_answers))
        assert row["text"] == ("" if no_answers and doubts[-1] > threshold else text)
    if not no_answers:
        return dict(zip(("exact_match", "f1"), map(fmean, zip(*answers, strict=True)), strict=True))

    def all_of(at: float) -> list[tuple[float, float]]:
        return [none if doubt > at else each for each, none, doubt in zip(answers, nothing, doubts, strict=True)]

    found, is_there = {}, [bool(asked[row["id"]][1]) for row in rows]
    for which, name in enumerate(("exact", "f1")):
        scores = [each[which] for each in all_of(threshold)]
        found[name] = fmean(scores)
        for prefix, kind in (("HasAns", True), ("NoAns", False)):
            found[f"{prefix}_{name}"] = fmean(x for x, there in zip(scores, is_there, strict=True) if there is kind)
        tried = (float("-inf"), *doubts)
        found[f"best_{name}"] = max(fmean(each[which] for each in all_of(at)) for at in tried)
    return found
