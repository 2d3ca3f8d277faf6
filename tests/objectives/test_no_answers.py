"""Thresholds for "there is no answer", scores with them, and what of an answer is kept in files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gifine import squad_submission
from gifine.choices import Objective
from gifine.config import TaskConfig
from gifine.objectives import predictions, squad_scores
from gifine.objectives.question_answering import scoring, thresholds
from gifine.objectives.question_answering.decoding import Answers
from gifine.objectives.question_answering.scoring import Questions

TEXTS = ["red mat", "dog eats", "old bone"]
CONTEXT = ", ".join(TEXTS)


def answered(*doubts: float) -> Answers:
    """ "dog eats", each with so much doubt."""
    start, end = (np.full((len(doubts), 1), CONTEXT.index("dog") + more) for more in (0, 8))
    return Answers(start, end, np.full((len(doubts), 1), 2.0), np.asarray(doubts) + 2.0)


def asked(*golds: list[str]) -> Questions:
    return Questions(np.arange(len(golds)), [f"q{n}" for n in range(len(golds))], [CONTEXT] * len(golds), golds)


def asks(*, unanswerable: bool) -> TaskConfig:
    return TaskConfig(name="asked", objective=Objective.questions, unanswerable=unanswerable)


rows = st.tuples(st.integers(-3, 3), st.sampled_from([0.0, 0.5, 1.0]), st.booleans())


@given(st.lists(rows, min_size=1, max_size=8))
def test_no_threshold_does_better_than_the_chosen_one(cases: list[tuple[int, float, bool]]) -> None:
    doubts, scores, answerable = (np.asarray(each) for each in zip(*cases, strict=True))
    scores = np.where(answerable, scores, 0.0)  # an answer where there is none is wrong

    def mean(threshold: float) -> float:
        return float(squad_scores.without(scores, answerable, doubts > threshold).mean())

    chosen = thresholds.choose(doubts.astype(float), scores, answerable)
    best = max(mean(each) for each in np.arange(-4.5, 4.5))
    assert mean(chosen) == pytest.approx(best)
    assert chosen not in doubts, "in the middle between two, or beyond the last"
    fewer = [each for each in np.arange(-4.5, chosen) if (doubts <= each).sum() < (doubts <= chosen).sum()]
    assert all(mean(each) < best - 1e-9 for each in fewer), "of several that are best, the one that answers least"


def test_thresholds_by_hand() -> None:
    doubts, scores = np.asarray([1.0, 2.0, 2.0, 5.0, np.inf]), np.asarray([1.0, 0.0, 1.0, 0.0, 0.0])
    kinds = np.asarray([True, False, True, False, True])
    assert thresholds.choose(doubts, scores, kinds) == 1.5  # with the two at 2, one is won and one lost
    assert thresholds.choose(doubts, scores, np.full(5, True)) == 3.5
    assert thresholds.choose(doubts, np.zeros(5), np.full(5, False)) == 0.0
    assert thresholds.choose(doubts, np.ones(5), np.full(5, True)) == 6.0
    next_to = np.asarray([1.0, np.nextafter(1.0, 2)])
    assert thresholds.choose(next_to, np.asarray([1.0, 0.0]), np.asarray([True, False])) == 1.0
    assert thresholds.choose(np.asarray([np.inf]), np.zeros(1), np.ones(1, bool)) == 0.0


def test_scores_of_v1_and_v2() -> None:
    questions, answers = asked(["dog eats"], ["the dog"], [], []), answered(-1.0, 0.5, 0.0, 3.0)
    found = scoring.score(questions, answers, no_answers=True)
    assert found.texts == ["dog eats", "", "dog eats", ""]
    assert found.exact.tolist() == found.f1.tolist() == [1, 0, 0, 1]
    assert found.metrics == pytest.approx(
        {
            "exact": 0.5,
            "f1": 0.5,
            "HasAns_exact": 0.5,
            "HasAns_f1": 0.5,
            "NoAns_exact": 0.5,
            "NoAns_f1": 0.5,
            "best_exact": 0.75,
            "best_f1": 0.75,
        }
    )
    assert found.best_threshold == -1.0
    chosen = scoring.choose_threshold(questions, answers, "f1")
    assert chosen == -0.5
    assert scoring.score(questions, answers, no_answers=True, threshold=chosen).metrics["f1"] == 0.75
    assert scoring.score(asked(["dog"]), answered(9.0), no_answers=True, threshold=10.0).metrics == pytest.approx(
        dict.fromkeys(("exact", "HasAns_exact", "best_exact"), 0.0)
        | dict.fromkeys(("f1", "HasAns_f1", "best_f1"), 2 / 3)
        | dict.fromkeys(("NoAns_exact", "NoAns_f1"), None)
    )
    first = scoring.score(asked(["dog eats"], ["dog"]), answered(9.0, -9.0), no_answers=False)
    assert first.metrics == {"exact_match": 0.5, "f1": pytest.approx(5 / 6)}
    assert first.texts == ["dog eats"] * 2, "v1.1 has an answer to every question"


def test_exact_match_chooses_a_threshold_of_its_own() -> None:
    questions, answers = asked(["dog eats"], ["dog"], []), answered(0.0, 1.0, 2.0)
    assert scoring.choose_threshold(questions, answers, "exact") == 0.5
    assert scoring.choose_threshold(questions, answers, "f1") == 1.5


def test_the_best_score_is_what_the_official_script_finds_in_our_files(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    questions = asked(*[[[], ["dog eats"], ["the dog", "old bone"]][each] for each in random.integers(3, size=60)])
    answers = answered(*random.normal(size=60))
    found = scoring.score(questions, answers, no_answers=True)
    path = tmp_path / "made.json"
    written = squad_submission.write(path, (questions, answers), asks(unanswerable=True), {"select": np.inf})
    texts, _, doubts = (json.loads(each.read_text()) for each in written)
    golds = dict(zip(questions.ids, questions.golds, strict=True))
    told = squad_scores.v2(texts, golds, doubts, 0.5)
    for name in squad_scores.V2:
        assert found.metrics[name] == pytest.approx(told[name] / 100), name


def test_files_of_answers(tmp_path: Path) -> None:
    questions, answers = asked(*[[]] * 4), answered(0.0, 1e3, -1e3, np.inf)
    path, best, beside = (tmp_path / f"made{name}.json" for name in ("", "-nbest", "-na_prob"))
    written = squad_submission.write(path, (questions, answers), asks(unanswerable=True), {})
    told = ("4 answers, 2 of them none", "the best answers to each, with scores", "how likely each has none")
    assert written == dict(zip((path, best, beside), told, strict=True))
    assert path.read_text() == '{"q0": "dog eats", "q1": "", "q2": "dog eats", "q3": ""}\n'
    assert json.loads(beside.read_text()) == {"q0": 0.5, "q1": 1.0, "q2": 0.0, "q3": 1.0}
    assert json.loads(best.read_text())["q3"] == [{"text": "dog eats", "start": 9, "end": 17, "score": 2.0}]
    squad_submission.write(path, (questions, answers), asks(unanswerable=True), {"select": -1.0, "report": 5.0})
    assert list(json.loads(path.read_text()).values()) == ["", "", "dog eats", ""]


def test_without_questions_that_have_none_all_are_answered(tmp_path: Path) -> None:
    questions = replace(asked(["d½g"]), contexts=[CONTEXT.replace("dog", "d½g")])
    path = tmp_path / "made.json"
    written = squad_submission.write(path, (questions, answered(9.0)), asks(unanswerable=False), {})
    assert [each.name for each in written] == ["made.json", "made-nbest.json"]
    assert path.read_text(encoding="utf-8") == '{"q0": "d½g eats"}\n'


def test_what_is_kept_of_each_question(tmp_path: Path) -> None:
    questions, answers = asked(["dog eats"], []), answered(-1.0, 3.0)
    questions = Questions(np.asarray([7, 2]), questions.ids, questions.contexts, questions.golds)
    scored = scoring.score(questions, answers, no_answers=True)
    path = predictions.locate(tmp_path, "validation")
    digest = predictions.write_answers(path, questions.idx, scoring.columns(questions, answers, scored))
    assert len(digest) == 64
    idx, answerable, scores = predictions.parse_answers(path.read_bytes())
    assert (idx.tolist(), answerable.tolist(), scores.tolist()) == ([2, 7], [False, True], [[1.0, 1.0], [1.0, 1.0]])
    first, second = pyarrow.parquet.read_table(path).to_pylist()
    assert first == {
        **{"idx": 2, "id": "q1", "text": "", "start": 9, "end": 17, "score": 2.0, "null_score": 5.0},
        **{"answerable": False, "exact": 1.0, "f1": 1.0},
    }
    assert (second["text"], CONTEXT[second["start"] : second["end"]]) == ("dog eats", "dog eats")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"exact": None, "f1": None}, "there is no column exact, f1"),
        ({"idx": [0.5]}, "idx is no column of whole numbers"),
        ({"answerable": [1]}, "answerable is no column of truth values"),
        ({"exact": [1]}, "exact and f1 are no columns of numbers"),
        ({"f1": pyarrow.array([None], "float64")}, "questions without a score"),
    ],
)
def test_damaged_files_of_answers(tmp_path: Path, columns: dict[str, Any], said: str) -> None:
    path = tmp_path / "damaged.parquet"
    good: dict[str, Any] = {"idx": [0], "answerable": [True], "exact": [1.0], "f1": [1.0]}
    table = {name: column for name, column in (good | columns).items() if column is not None}
    pyarrow.parquet.write_table(pyarrow.table(table), path)
    with pytest.raises(ValueError, match=said):
        predictions.parse_answers(path.read_bytes())
    with pytest.raises(ValueError, match="damaged, or no Parquet file"):
        predictions.parse_answers(b"PAR1")
