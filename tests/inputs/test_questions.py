"""SQuAD's JSON and the Hub's rows: what is read, what is mended and told, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import datasets
import pytest

from gifine import cli
from gifine.choices import DataSource, Objective
from gifine.config import DataConfig, TaskConfig
from gifine.errors import DataError
from gifine.inputs import hub, needs, origins, questions
from gifine.inputs.questions import Question, Trouble
from gifine.task_config import HubConfig, SplitConfig

CONTEXT = "The 😀 dog sleeps. The cat sleeps."


def task(*, unanswerable: bool = False) -> TaskConfig:
    found = TaskConfig(name="squad_v2" if unanswerable else "squad", inputs=["question", "context"], label="answers")
    return replace(found, unanswerable=unanswerable)


def asked(*answers: tuple[Any, Any], name: Any = "a", **entries: Any) -> dict[str, Any]:
    golds = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": name, "question": "Who?", "answers": golds, **entries}


def document(*qas: Any, context: Any = CONTEXT) -> dict[str, Any]:
    return {"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": list(qas)}]}]}


def read(tmp_path, content: Any, **options: bool) -> list[Question]:
    path = tmp_path / "dev.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    labelled = options.pop("labelled", True)
    return questions.read(path, task(**options), labelled=labelled)


def test_a_question_has_its_answers_and_their_place(tmp_path):
    (found,) = read(tmp_path, document(asked(("dog", 6), (" dog ", 5))))
    assert found.texts == ("Who?", CONTEXT)
    assert (found.id, found.answers, found.span, found.trouble) == ("a", ("dog", " dog "), (6, 9), None)
    assert CONTEXT[slice(*found.span or (0, 0))] == "dog"


@pytest.mark.parametrize(
    ("answers", "span", "trouble"),
    [
        ([("dog", 7)], (6, 9), Trouble.moved),  # counted in UTF-16: the emoji is two
        ([("cat", 99)], (22, 25), Trouble.moved),  # there once
        ([("sleeps", 20)], None, Trouble.nowhere),  # there twice, and at neither place
        ([("sleeps", 11)], (10, 16), Trouble.moved),
        ([("sleeps", 29)], (26, 32), Trouble.moved),  # in bytes of UTF-8
        ([("horse", 6)], None, Trouble.nowhere),
        ([("dog", -1)], (6, 9), Trouble.moved),
        ([("horse", 6), ("cat", 22)], (22, 25), None),  # the first that is where it is said to be
        ([(" ", 3)], None, Trouble.nowhere),
    ],
)
def test_an_answer_at_another_place(tmp_path, answers, span, trouble):
    (found,) = read(tmp_path, document(asked(*answers)))
    assert (found.span, found.trouble) == (span, trouble)
    assert found.answers == tuple(text for text, _ in answers), "scores compare all of them"


def test_letters_of_two_code_points_are_counted_as_two(tmp_path):
    context = "Café cafe\u0301 cafe"  # é in one, and in two
    (found,) = read(tmp_path, document(asked(("cafe\u0301", 5)), context=context))
    assert (found.span, found.trouble) == ((5, 10), None)
    (found,) = read(tmp_path, document(asked(("cafe\u0301", 0)), context=context))
    assert (found.span, found.trouble) == ((5, 10), Trouble.moved)
    (found,) = read(tmp_path, document(asked(("cafés", 0)), context=context))
    assert found.trouble is Trouble.nowhere


def test_no_answer_is_an_answer_of_version_2(tmp_path):
    nothing = asked(name="b", is_impossible=True, plausible_answers=[{"text": "cat", "answer_start": 22}])
    content = document(asked(("dog", 6), is_impossible=False), nothing)
    _, second = read(tmp_path, content, unanswerable=True)
    assert (second.answers, second.span, second.trouble) == ((), None, None)
    with pytest.raises(
        DataError, match=r"qas\[1\]: no answers, and task=squad is of questions that have one; task.una"
    ):
        read(tmp_path, content)
    assert [each.answers for each in read(tmp_path, content, labelled=False)] == [(), ()]


def test_version_1_is_not_taken_for_version_2(tmp_path):
    with pytest.raises(DataError, match="all questions have answers, and nothing says that one could have none"):
        read(tmp_path, document(asked(("dog", 6))), unanswerable=True)
    assert read(tmp_path, document(asked(("dog", 6), is_impossible=False)), unanswerable=True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([{"question": "Who?"}], "a list, not SQuAD's JSON"),
        ("id,question\n", r"line 1: not JSON \(Expecting value\); questions are in SQuAD's JSON"),
        ('{"data": []}\n{"data": []}', r"line 2: not JSON \(Extra data\); questions are in SQuAD's JSON"),
        ({"dat": []}, "the file has no 'data'; it has: dat"),
        ({"data": {}}, "data is {}, not a list"),
        ({"data": []}, "has no questions"),
        ({"data": [{"paragraphs": [3]}]}, r"data\[0\].paragraphs\[0\] is 3, not an object with 'context'"),
        (document({"id": "a", "answers": []}), r"data\[0\].paragraphs\[0\].qas\[0\] has no 'question'"),
        (document({"id": "a", "question": "Who?"}), r"qas\[0\] has no 'answers'"),
        (document(asked(("dog", 6)), asked(("cat", 22))), r"qas\[1\]: id 'a' is there twice, first .*qas\[0\]"),
        (document(asked(("dog", "6"))), r"qas\[0\]: answer_start is '6', not a whole number"),
        (document(asked(("dog", True))), "answer_start is true, not a whole number"),
        (document(asked((3, 6))), r"qas\[0\]: column 'text' holds 3, not text"),
        (document(asked(("dog", 6), name=3)), "column 'id' holds 3, not text"),
        (document(asked(("dog", 6), name=" ")), "its id is empty"),
        (document(asked(("dog", 6)), context=" \n"), r"qas\[0\]: its context is empty"),
        (document(asked(("dog", 6)), context=None), "column 'context' holds null, not text"),
        (document(asked(("\ud83d", 4))), r"column 'text' holds \\ud83d, half of a character"),
        (document(asked(is_impossible=False)), "is_impossible is false, and it has no answers"),
        (document(asked(("dog", 6), is_impossible=True)), "is_impossible is true, and it has answers"),
        (document(asked(("dog", 6), is_impossible="no")), "is_impossible: 'no' is neither true nor false"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(tmp_path, content, said):
    with pytest.raises(DataError, match=said):
        read(tmp_path, content)


def test_a_question_that_is_no_object_is_refused_without_labels_too(tmp_path):
    with pytest.raises(DataError, match=r"qas\[0\] is 'Who\?', not an object with 'id'"):
        read(tmp_path, document("Who?"), labelled=False)


@pytest.mark.parametrize(
    "answers",
    [{"text": ["dog"], "answer_start": [6]}, [{"text": "dog", "answer_start": 6}]],
    ids=["lists", "objects"],
)
def test_rows_of_the_hub_hold_the_same(answers):
    cells = {"id": "a", "question": "Who?", "context": CONTEXT, "answers": answers}
    (found,) = questions.of_cells([cells], task(), "squad/train")
    assert (found.answers, found.span) == (("dog",), (6, 9))


@pytest.mark.parametrize("answers", [None, "dog", {"text": ["dog"]}, {"text": ["dog"], "answer_start": []}, [3]])
def test_rows_of_the_hub_that_hold_something_else(answers):
    cells = {"id": "a", "question": "Who?", "context": CONTEXT, "answers": answers}
    with pytest.raises(DataError, match=r"squad/train, row 0: answers holds .*, not lists `text` and `answer_start`"):
        questions.of_cells([cells], task(), "squad/train")


def test_a_missing_column_is_named():
    assert questions.columns(task(), ["id", "question", "context"], "x", labelled=False) == [
        "id",
        "question",
        "context",
    ]
    with pytest.raises(DataError, match="x: no column 'answers'"):
        questions.columns(task(), ["id", "question", "context"], "x", labelled=True)


def test_a_data_set_of_the_hub_is_read_and_fetched_once(tmp_path):
    answers = {"text": ["dog"], "answer_start": [6]}
    cells = {"id": "a", "title": "t", "question": "Who?", "context": CONTEXT, "answers": answers}
    for split in ("train", "validation"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(cells) + "\n")
    config = cli.config_from(cli.compose(["task=squad", "model=bert", f"task.hub.path={tmp_path}"]))
    origin = origins.find(config.task, config.data, "validation", None, labelled=True)
    (found,) = origin.read_rows()
    assert isinstance(found, Question)
    assert (found.texts, found.answers, found.span) == (("Who?", CONTEXT), ("dog",), (6, 9))
    plain = cli.config_from(cli.compose(["task=squad_v2", "model=bert"]))
    splits = [str(split) for split in needs.collect([plain]).splits]
    assert splits == [f"rajpurkar/squad_v2/default/{split}" for split in ("train", "validation")]


def test_official_files_are_found_below_their_folder(tmp_path):
    for name in ("train-v1.1.part.json", "dev-v1.1.json"):
        (tmp_path / name).write_text(json.dumps(document(asked(("dog", 6)))))
    words = ["task=squad", "model=bert", "data=squad_dir", f"data.dir={tmp_path}"]
    config = cli.config_from(cli.compose(words))
    with pytest.raises(DataError, match=r"only the partial train-v1.1.part.json: data.allow_partial=true takes it"):
        origins.find(config.task, config.data, "train", None, labelled=True)
    config = cli.config_from(cli.compose([*words, "data.allow_partial=true"]))
    for split in ("train", "validation"):
        (found,) = origins.find(config.task, config.data, split, None, labelled=True).read_rows()
        assert isinstance(found, Question)
        assert found.answers == ("dog",)
    assert {*needs.collect([config]).files} == {"train-v1.1.part.json", "dev-v1.1.json"}


def test_the_cache_tells_another_column_of_answers(monkeypatch):
    answers = {"text": ["dog"], "answer_start": [6]}
    row = {"id": "a", "question": "Who?", "context": CONTEXT, "answers": answers, "others": answers}
    examples = datasets.Dataset.from_list([row])
    monkeypatch.setattr(hub, "load_split", lambda where: examples)
    place = {"hub": HubConfig(path="me/questions"), "splits": {"train": SplitConfig(hub="train")}}
    asks = replace(task(), objective=Objective.questions, **place)
    tasks = (asks, replace(asks, label="others"))
    found = [origins.find(each, DataConfig(source=DataSource.hub), "train", None, labelled=True) for each in tasks]
    assert found[0].fingerprint == found[1].fingerprint
    assert found[0].reader != found[1].reader
