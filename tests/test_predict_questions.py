"""`gifine predict` for questions: what SQuAD's script takes, and that it gives the scores of the record."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY_DEMO
from gifine import predict
from gifine.errors import ExitCode
from gifine.objectives import squad_scores
from support import asked

WORDS = [*TINY_DEMO, "data=squad_dir", "train.save_model=true", "train.epochs=1"]
WORDS += ["train.max_length=14", "task.max_question_tokens=4", "task.stride=4"]  # two windows a question


def golds(path: Path) -> dict[str, list[str]]:
    return {
        each["id"]: [answer["text"] for answer in each["answers"]]
        for paragraph in json.loads(path.read_text())["data"][0]["paragraphs"]
        for each in paragraph["qas"]
    }


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_official_script_gives_the_scores_of_the_record(train, tmp_path, capsys):
    folder = asked.write(tmp_path / "squad", unanswerable=True)
    result = train(*WORDS, "task=squad_v2", f"data.dir={folder}", "evaluate.split_dev=true")
    assert result.code == ExitCode.DONE
    chosen = {*result.record.thresholds.values()}
    assert len(chosen) == 1, "both halves have the one that was chosen on the first"
    capsys.readouterr()
    assert predict.main([str(result.folder), "--out", str(tmp_path / "out")]) == ExitCode.DONE
    path, best, beside = (tmp_path / "out" / f"squad_v2{name}.json" for name in ("", "-nbest", "-na_prob"))
    given = read(path)
    none = [*given.values()].count("")
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: 24 answers, {none} of them none",
        f"{best}: the best answers to each, with scores",
        f"{beside}: how likely each has none",
    ]
    wanted = golds(folder / "dev-v2.0.json")
    assert list(given) == list(wanted), "in the order of the file"
    scores = {half: result.record.metrics[f"squad_v2/validation_{half}/exact"] * 12 for half in ("select", "report")}
    assert squad_scores.v2(given, wanted)["exact"] == pytest.approx(100 * sum(scores.values()) / 24)
    likely = 1 / (1 + math.exp(-chosen.pop()))
    assert all(
        (text == "") == (probability > likely) for text, probability in zip(given.values(), read(beside).values())
    )


def test_another_file_is_predicted_and_v1_has_an_answer_to_everything(train, tmp_path, capsys):
    folder = asked.write(tmp_path / "squad", unanswerable=False)
    result = train(*WORDS, "task=squad", f"data.dir={folder}")
    other = asked.document(5, unanswerable=True, seed=3)
    for paragraph in other["data"][0]["paragraphs"]:
        for question in paragraph["qas"]:
            del question["answers"], question["is_impossible"]
    path = tmp_path / "other.json"
    path.write_text(json.dumps(other))
    assert predict.main([str(result.folder), "--file", str(path)]) == ExitCode.DONE
    best, written = sorted((result.folder / "submission").iterdir())
    assert (best.name, written.name) == ("squad-other-nbest.json", "squad-other.json")
    contexts = [each["context"] for each in other["data"][0]["paragraphs"]]
    assert all(text and text in context for text, context in zip(read(written).values(), contexts, strict=True))
    capsys.readouterr()
    path.write_text('{"data": [{"paragraphs": 3}]}')
    assert predict.main([str(result.folder), "--file", str(path)]) == ExitCode.BAD_INPUT
    assert capsys.readouterr().err == f"error: {path}: data[0].paragraphs is 3, not a list\n"
