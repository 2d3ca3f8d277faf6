"""Runs on questions: compared by their scores of each question, as far as a measure is a mean of those."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gifine.config import RunConfig
from gifine.objectives import predictions as files
from gifine.objectives import squad_scores
from gifine.report.analysis import comparison, crossed, pairing, predictions, table
from gifine.report.analysis.comparison import Basis, Comparison
from gifine.report.analysis.predictions import Answers
from support.synthetic import BOTH, PLAIN, given, read, record, write
from support.synthetic import config as composed

QUESTIONS = 40
ANSWERABLE = np.arange(QUESTIONS) % 3 > 0


def config(seed: int, **gate: object) -> RunConfig:
    made = composed("task=rte", "model=debertav3", seed=seed, **gate)
    kind = type(made.task.objective).questions
    task = replace(made.task, name="asked", objective=kind, labels=[], metrics=list(squad_scores.V2), select_by="f1")
    return replace(made, task=task)


def scores(seed: int, side: str) -> np.ndarray:
    """Exact match and F1 (Q, 2): all or nothing where there is no answer."""
    rng = np.random.default_rng([seed, *side.encode()])
    exact = (rng.random(QUESTIONS) < 0.5).astype(float)
    return np.stack([exact, np.maximum(exact, np.where(ANSWERABLE, rng.integers(5, size=QUESTIONS) / 5, 0))], axis=1)


def sweep(root: Path) -> Path:
    for gate in (PLAIN, BOTH):
        for seed in (1, 2, 3):
            made = config(seed, **gate)
            each = scores(seed, made.gi.side.value)
            told = squad_scores.tell(each[:, 0], each[:, 1], ANSWERABLE) | {
                "best_exact": 60.0 + seed,
                "best_f1": 70.0 + seed,
            }
            folder = write(root, record(made, [told[name] / 100 for name in squad_scores.V2]))
            order = np.random.default_rng(seed).permutation(QUESTIONS)
            columns = {"answerable": ANSWERABLE, "exact": each[:, 0], "f1": each[:, 1]}
            places = {name: column[order] for name, column in columns.items()}
            files.write_answers(files.locate(folder, "validation"), order, places)
    return root


def compared(root: Path) -> dict[str, Comparison]:
    pairs, _ = pairing.pair(read(root))
    return {each.task.metric(each.measure): each for each in comparison.compare(pairs)}


def test_a_mean_over_questions_is_compared_by_them(tmp_path: Path) -> None:
    found = compared(sweep(tmp_path))
    assert list(found) == list(squad_scores.V2)
    assert found["f1"].is_primary
    assert found["f1"].task.heading == "/".join(squad_scores.V2)
    for column, name in enumerate(("exact", "f1")):
        differences = [scores(seed, "both")[:, column] - scores(seed, "none")[:, column] for seed in (1, 2, 3)]
        effect = found[name].effect
        assert (effect.basis, effect.reason) == (Basis.CROSSED, None)
        assert given(effect.estimate) == crossed.crossed(np.asarray(differences))
    for name in ("HasAns_f1", "NoAns_exact"):
        effect = found[name].effect
        assert effect.basis is Basis.CROSSED, effect.reason
        assert given(effect.estimate).mean == pytest.approx(given(effect.summary.mean))
    for name in ("best_exact", "best_f1"):
        assert found[name].effect.basis is Basis.RUNS
        assert found[name].effect.reason == f"{name} is no mean over questions"


def test_the_best_threshold_is_told_as_an_oracle(tmp_path: Path) -> None:
    notes = table.build(read(sweep(tmp_path))).notes
    assert [note.partition(":")[0] for note in notes if "an oracle" in note] == ["best_exact and best_f1"]


def test_parts_are_what_leaving_one_question_out_gives() -> None:
    answers = Answers(np.arange(QUESTIONS), ANSWERABLE.astype(int), scores(1, "both"))
    for name in ("exact_match", "f1", "HasAns_f1", "NoAns_exact"):
        whole = given(predictions.score(name, answers))
        found = predictions.pseudovalues(name, answers)
        places = np.arange(QUESTIONS)
        without = [given(predictions.score(name, answers.at(places[places != each]))) for each in places]
        expected = QUESTIONS * whole - (QUESTIONS - 1) * np.asarray(without)
        np.testing.assert_allclose(found, expected + (whole - expected.mean()), atol=1e-12)
        assert found.mean() == pytest.approx(whole)
    one = Answers(np.arange(3), np.asarray([1, 1, 0]), np.ones((3, 2)))
    assert np.isnan(predictions.pseudovalues("NoAns_f1", one)).all(), "undefined without the only question of the kind"
    assert predictions.score("NoAns_f1", one.at(np.arange(2))) is None


def test_files_that_say_something_else_are_not_used(tmp_path: Path) -> None:
    (folder,) = sweep(tmp_path).glob("*both*_s2-*")
    path = files.locate(folder, "validation")
    idx, answerable, each = files.parse_answers(path.read_bytes())
    for name, said in (("f1", "do not give the record's score"), ("nan", "have NaN or infinite scores")):
        other = np.where(name == "nan", np.nan, each[::-1] * [1, 0.5])
        files.write_answers(path, idx, {"answerable": answerable, "exact": other[:, 0], "f1": other[:, 1]})
        effect = compared(tmp_path)["f1"].effect
        assert (effect.basis, effect.reason) == (Basis.RUNS, f"predictions {said} ({folder.name})")
