"""Pre-training in a report: its own scores, and fine-tunings paired by the arm and seed that they start from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gifine.report import contents, settings
from gifine.report.analysis import pairing
from gifine.report.formats import answer, markdown, sheets
from gifine.report.reading import Reader
from gifine.runs import origin
from gifine.runs.records import Record, Status
from support.synthetic import BOTH, PLAIN, Gate, config, record, write

ARMS = (PLAIN, BOTH)
LOSSES = {"rtd_loss": 0.2, "mlm_loss": 4.0, "perplexity": 54.6}


def pretrained(seed: int, gate: Gate, task: str = "rtd") -> Record:
    made = config(f"task={task}", "data=demo", "model=debertav3", seed=seed, **gate)
    fractions = 0.7 + seed / 100 + 0.02 * (gate == BOTH)
    return record(made, [LOSSES.get(metric, fractions) for metric in made.task.metrics])


def fine_tuned(before: Record, seed: int, gate: Gate, score: float, *words: str) -> Record:
    own = config("task=rte", "model=debertav3", *words, seed=seed, **gate)
    own = replace(own, first=replace(own.first, task="rtd", run=before.run_id))
    made = record(own, [score], contents={"model.init_from": before.run_id})
    made.provenance["init_from"] = {"run_id": before.run_id, **origin.as_parent(vars(before))}
    return made


def test_three_runs_after_each_of_three(tmp_path):
    for earlier in (1, 2, 3):
        for gate in ARMS:
            before = pretrained(earlier, gate)
            write(tmp_path, before)
            write(tmp_path, pretrained(earlier, gate, "mlm"))
            for seed in (1, 2, 3):
                score = 0.6 + 0.01 * earlier + 0.001 * seed**2 * (1 + (gate == BOTH))
                made = fine_tuned(before, seed, gate, score)
                write(tmp_path, replace(made, status=Status.DEGENERATE) if seed != earlier == 1 else made)
    reading = Reader([tmp_path]).read()
    assert reading.problems == [], "a loss is above 1, and no fault"
    found = contents.gather(reading)
    of_task = {each.task.title: each for each in found.comparisons if each.is_primary}
    after, own = of_task["RTE after RTD"], of_task["RTD"]
    # Runs that share the one before are no independent draws: the verdict has those of one seed throughout.
    assert [pair.gated.replicate.name for pair in after.pairs] == [1, 2, 3]
    assert all(pair.gated.replicate == pair.baseline.replicate for pair in after.pairs)
    assert len(own.pairs) == 3
    assert [own.task.metric(each) for each in own.task.measures] == ["rtd_accuracy", "auc", "mlm_accuracy"]
    titles = [[each.task.title for each in answer.comparisons] for answer in found.answers]
    assert sorted(titles) == [["MLM"], ["RTD"], ["RTE after RTD"]], (
        "no mean over a text and a task, or two ways to learn"
    )
    levels = {
        each.level
        for each in found.variance
        if each.runs[0].task.title == "RTE after RTD" and settings.is_plain(each.runs[0].gate)
    }
    assert levels == {"both", "own", "before"}
    after_rtd = [row.cells[("rte",)] for row in found.table.rows if ("rte",) in row.cells]
    assert [(len(cell.runs), cell.scores[0].summary.n, cell.failures) for cell in after_rtd] == [(9, 3, {})] * 2, (
        "degenerate runs that are in no mean are not counted beside it"
    )
    of_answers = markdown.text(sheets.make(found, ["answer"]), "")
    assert all(f"| 1 ({title}) |" in of_answers for title in ("RTD", "RTE after RTD")), "rows are told apart"


def test_gates_that_pre_training_had_are_kept_or_dropped(tmp_path):
    """Dropped by `model.drop_change`: an arm of its own beside the one that kept them, and both have the plain twin."""
    for seed in (1, 2, 3):
        plain, gated = (pretrained(seed, gate) for gate in ARMS)
        write(tmp_path, fine_tuned(plain, seed, PLAIN, 0.6 + seed / 100, *["model.drop_change=true"][seed % 2 :]))
        write(tmp_path, fine_tuned(gated, seed, BOTH, 0.7 + seed / 100))
        write(tmp_path, fine_tuned(gated, seed, PLAIN, 0.65 + seed / 100, "model.drop_change=true"))
    found = contents.gather(Reader([tmp_path]).read())
    means = {settings.gate(each.gate): each.effect.summary.mean for each in found.comparisons}
    assert means == pytest.approx({"both 0.3": 0.1, "none first=both 0.3": 0.05})
    assert found.unpaired == []
    assert found.table.rows_by == ("model", "change"), "gi.side, gi.level and gi.layers do not tell all arms"
    assert [row.key[1] for row in found.table.rows] == ["none", "gi both 0.3", "none first=both 0.3"]
    said = " ".join(each.quote for each in answer.answer(found))
    assert "three seeds, the plain model after a run with both 0.3, one of two changes that were tried," in said
    runs = [run for run in Reader([tmp_path]).read().runs if run.task.name == "rte"]
    dropped = settings.find_baseline([run.gate for run in runs], "none first=both 0.3")
    pairs, _ = pairing.pair(runs, against=dropped)
    assert [settings.gate(pair.gated.gate) for pair in pairs] == ["both 0.3"] * 3
