"""SQuAD's scores against what the official scripts gave, and against other code for the same rules."""

from __future__ import annotations

import json
import random
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gifine.objectives import squad_scores
from support import squad_by_hand

CLOSE = 1e-9  # the official scripts add F1 up in another order


@cache
def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@cache
def golds(path: Path) -> dict[str, list[str]]:
    questions = [
        each for article in read(path)["data"] for paragraph in article["paragraphs"] for each in paragraph["qas"]
    ]
    return {each["id"]: [answer["text"] for answer in each["answers"]] for each in questions}


def official(result: dict[str, Any]) -> dict[str, float]:
    """Without the counts of lines that the scripts print."""
    others = ("predictions", "warnings", "lines_about_missing")
    return {name: value for name, value in result.items() if name not in others}


def same(found: dict[str, float], result: dict[str, Any]) -> None:
    assert found == pytest.approx(official(result), abs=CLOSE)


@pytest.fixture
def squad(shared: Path) -> Path:
    return shared / "squad"


@pytest.mark.shared
def test_v1_of_real_systems(squad: Path) -> None:
    full, wanted = golds(squad / "full/dev-v1.1.json"), read(squad / "full/golden.json")["v1.1"]
    for name in ("predictions-v1.1-bert.json", "predictions-v1.1-logistic.json"):
        same(squad_scores.v1(read(squad / "full" / name), full), wanted[name])
    bert, ids, cases = read(squad / "full/predictions-v1.1-bert.json"), list(full), wanted["cases"]
    tenth = dict.fromkeys(ids[::10], "")
    made = {
        "bert, every tenth question (ids[::10], file order) missing": {n: t for n, t in bert.items() if n not in tenth},
        "bert, those empty strings": bert | tenth,
        "bert, two extra ids": bert | {"x": "a", "y": "b"},
        "all empty strings": dict.fromkeys(ids, ""),
        "no prediction at all": {},
        "first gold of each": {name: each[0] for name, each in full.items()},
        'last gold of each, upper case, with ". The" behind': {n: f"{e[-1].upper()}. The" for n, e in full.items()},
    }
    for name, predictions in made.items():
        same(squad_scores.v1(predictions, full), cases.pop(name))
    for name, asked in (
        ("bert, data without any question", {}),
        ("dev-v2.0.json judged by the v1.1 script (questions without golds)", golds(squad / "full/dev-v2.0.json")),
    ):
        assert "fails" in cases.pop(name)
        with pytest.raises(ValueError, match="question"):
            squad_scores.v1(bert, asked)
    assert not cases, "all of them were compared"


@pytest.mark.shared
def test_v2_of_real_systems(squad: Path) -> None:
    full, wanted = golds(squad / "full/dev-v2.0.json"), read(squad / "full/golden.json")["v2.0"]
    for system in ("bert", "nlnet"):
        predictions = read(squad / f"full/predictions-v2.0-{system}.json")
        for name, result in wanted[f"predictions-v2.0-{system}.json"].items():
            if name == "predictions":
                continue
            if name == "plain":
                same(squad_scores.v2(predictions, full), result)
                continue
            file, _, rest = name.partition(".json")
            probability = read(squad / "full" / f"{file}.json")
            if "sorted" in rest:
                probability = {each: probability[each] for each in sorted(probability)}
            threshold = float(rest.split()[-1]) if "-t" in rest else squad_scores.NEVER
            same(squad_scores.v2(predictions, full, probability, threshold), result)


@pytest.mark.shared
def test_v2_of_awkward_files(squad: Path) -> None:
    full, cases = golds(squad / "full/dev-v2.0.json"), dict(read(squad / "full/golden.json")["v2.0"]["cases"])
    bert, probability = (read(squad / f"full/{name}-v2.0-bert.json") for name in ("predictions", "na_prob"))
    ids, extra = list(full), {"x": "a", "y": ""}
    tenth = dict.fromkeys(ids[::10], "")
    unsure = dict.fromkeys(extra, 0.5)
    first = {name: each[0] if each else "" for name, each in full.items()}
    the = {name: each[0] if each else "the" for name, each in full.items()}
    kinds = [{name: each for name, each in full.items() if bool(each) is kind} for kind in (True, False)]
    made: dict[str, tuple[Any, ...]] = {
        "bert, every tenth question (ids[::10]) missing": ({n: t for n, t in bert.items() if n not in tenth}, full),
        "bert, those empty strings": (bert | tenth, full),
        "bert, two extra ids": (bert | extra, full),
        "bert, two extra ids in both files": (bert | extra, full, probability | unsure),
        "bert, one na_prob missing": (bert, full, {n: p for n, p in probability.items() if n != ids[0]}),
        "bert, one extra id in na_prob only": (bert, full, probability | unsure),
        "all empty strings": (dict.fromkeys(ids, ""), full),
        "no prediction at all": ({}, full),
        '"the" for each question without an answer, else the first gold': (the, full, probability),
        'the first gold, or ""': (first, full),
        "bert, data with its answerable questions only": (bert, kinds[0], probability),
        "bert, data with its unanswerable questions only": (bert, kinds[1], probability),
        "bert, data without any question": (bert, {}),
    }
    for name, arguments in made.items():
        result = cases.pop(name)
        if "fails" in result:
            with pytest.raises((KeyError, ValueError)):
                squad_scores.v2(*arguments)
        else:
            same(squad_scores.v2(*arguments), result)
    assert not cases, "all of them were compared"


@pytest.mark.shared
def test_parts_of_both_dev_sets(squad: Path) -> None:
    wanted, files = read(squad / "golden.json"), [golds(squad / f"dev-v{n}.part.json") for n in ("1.1", "2.0")]
    draws = random.Random(0)
    drawn = [draws.sample(list(each), 500) for each in files]
    one, two = wanted["v1.1"], dict(wanted["v2.0"])
    for system in ("bert", "logistic"):
        same(squad_scores.v1(read(squad / f"predictions-1.1-{system}.json"), files[0]), one[f"1.1-{system}"])
    bert = read(squad / "predictions-1.1-bert.json")
    empty = dict.fromkeys(drawn[0], "")
    missing = next(name for name in one if "500 missing" in name)
    same(squad_scores.v1({n: t for n, t in bert.items() if n not in empty}, files[0]), one[missing])
    same(squad_scores.v1(bert | empty, files[0]), one["1.1-bert, the 500 empty"])
    for system in ("bert", "nlnet"):
        predictions = read(squad / f"predictions-v2.0-{system}.json")
        probability = read(squad / f"na_prob-v2.0-{system}.json")
        result = two[f"v2.0-{system}"]
        same(squad_scores.v2(predictions, files[1]), result["plain"])
        same(squad_scores.v2(predictions, files[1], probability), result["with_na_prob"])
        same(squad_scores.v2(predictions, files[1], probability, 0.5), result["with_na_prob_threshold_0.5"])
    bert = read(squad / "predictions-v2.0-bert.json")
    result = next(each for name, each in two.items() if "500 empty" in name)
    same(squad_scores.v2(bert | dict.fromkeys(drawn[1], ""), files[1]), result)
    same(squad_scores.v2(dict.fromkeys(files[1], ""), files[1]), two["all empty"])


@pytest.mark.shared
def test_single_answers(squad: Path) -> None:
    full = read(squad / "full/golden.json")
    made_up = [*read(squad / "golden.json")["single"], *full["made_up"]]
    cases = [(each, version, each[version]) for each in made_up for version in ("v1.1", "v2.0") if each[version]]
    cases += [(each, each["version"], each["result"]) for each in full["questions"]]
    assert len(cases) > 200
    for each, version, result in cases:
        (exact,), (f1,) = squad_scores.judge([each["prediction"]], [each["golds"]], no_answers=version == "v2.0")
        wanted = result.get("exact_match", result.get("exact"))
        assert (exact, f1) == (wanted, pytest.approx(result["f1"], abs=1e-12)), (each, version)


@given(
    st.lists(st.sampled_from(["the", "a", "Cat", "cat", "-", "½", "“cat”", "the-cat", "a.", "", "é"]), max_size=5),
    st.lists(st.lists(st.sampled_from(["the", "Cat", "cat", "½", "-", "é", "an"]), max_size=4), min_size=1, max_size=3),
    st.booleans(),
)
def test_other_code_for_the_same_rules(given: list[str], lists: list[list[str]], no_answers: bool) -> None:
    text, wanted = " ".join(given), ["  ".join(each) for each in lists]
    (exact,), (f1,) = squad_scores.judge([text], [wanted], no_answers=no_answers)
    assert (exact, f1) == pytest.approx(squad_by_hand.judge(text, wanted, no_answers=no_answers))


@pytest.mark.long
@pytest.mark.shared
def test_other_code_on_answers_of_real_systems(squad: Path) -> None:
    for system in ("v1.1-bert", "v1.1-logistic", "v2.0-bert", "v2.0-nlnet"):
        given, no_answers = read(squad / f"full/predictions-{system}.json"), system.startswith("v2")
        wanted = golds(squad / f"full/dev-{system[:4]}.json")
        asked = [name for name in wanted if name in given]
        lists = [wanted[name] for name in asked]
        found = squad_scores.judge([given[name] for name in asked], lists, no_answers=no_answers)
        for name, each, exact, f1 in zip(asked, lists, *found, strict=True):
            by_hand = squad_by_hand.judge(given[name], each, no_answers=no_answers)
            assert (exact, f1) == pytest.approx(by_hand, abs=1e-12), (system, name)


def test_rules_that_differ_between_the_versions() -> None:
    for text, wanted, first, second in (
        ("the", ["a"], (1, 0), (1, 1)),  # nothing is left of either
        ("", ["the", "cat"], (1, 0), (0, 0)),  # v2.0 leaves out a gold of which nothing is left
        ("cat", ["the", "cat"], (1, 1), (1, 1)),
    ):
        for no_answers, scores in ((False, first), (True, second)):
            exact, f1 = squad_scores.judge([text], [wanted], no_answers=no_answers)
            assert (exact[0], f1[0]) == scores, (text, wanted, no_answers)


def test_the_best_threshold_is_the_official_one() -> None:
    golds = {"1": ["cat"], "2": [], "3": ["dog"], "4": []}
    predictions = {"1": "cat", "2": "dog", "3": "dog", "4": ""}
    probability = {"1": 0.1, "2": 0.6, "3": 0.4, "4": 0.2}
    found = squad_scores.v2(predictions, golds, probability)
    assert (found["exact"], found["best_exact"], found["best_exact_thresh"]) == (75, 100, 0.4)
    assert squad_scores.v2(predictions, golds, probability, 0.4)["exact"] == 100
    unsure = squad_scores.v2(predictions, golds, dict.fromkeys(golds, 0.5), 0.5)
    assert (unsure["exact"], unsure["best_exact"], unsure["best_exact_thresh"]) == (75, 75, 0.5)


@pytest.mark.long  # evaluate is imported: seconds
def test_as_evaluate(tmp_path: Path) -> None:
    predictions = [{"id": "1", "prediction_text": "The cat"}, {"id": "2", "prediction_text": ""}]
    references = [
        {"id": "1", "answers": {"text": ["cat", "a dog"], "answer_start": [4, 9]}},
        {"id": "2", "answers": {"text": ["big dog"], "answer_start": [1]}},
    ]
    metric = squad_scores.as_evaluate("squad", cache_dir=str(tmp_path))
    assert metric.compute(predictions=predictions, references=references) == {"exact_match": 50.0, "f1": 50.0}
    references[1]["answers"] = {"text": [], "answer_start": []}
    unsure = [{**each, "no_answer_probability": 0.5} for each in predictions]
    metric = squad_scores.as_evaluate("squad_v2", cache_dir=str(tmp_path))
    metric.add_batch(predictions=unsure, references=references)
    found = metric.compute(no_answer_threshold=0.4)
    assert found is not None
    assert found["exact"] == 50
    assert found["best_exact"] == 100
    assert Counter(found)["total"] == 2
    with pytest.raises(ValueError, match="'glue' is none of squad, squad_v2"):
        squad_scores.as_evaluate("glue")
