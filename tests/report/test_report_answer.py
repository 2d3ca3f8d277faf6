"""One answer over tasks, the sentence to quote, and which epoch its scores are of."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gifine.choices import GateSide
from gifine.report import contents
from gifine.report.analysis import across_tasks
from gifine.report.analysis.comparison import Comparison, Verdict
from gifine.report.analysis.families import Rules
from gifine.report.contents import Contents
from gifine.report.formats import answer, flat, sheets
from gifine.report.formats.words import minus, signed
from gifine.report.reading import Reader
from gifine.report.settings import GLUE
from gifine.runs.records import Status
from support.synthetic import BOTH, KEY, PLAIN, config, measures, record, write
from support.synthetic import given as sure

Score = Callable[[str, int, bool], float]  # of a task, a seed and whether there are gates


def noise(task: str, seed: int, is_gated: bool, spread: float = 0.005) -> float:
    return float(np.random.default_rng([seed, GLUE.index(task), is_gated]).normal(0, spread))


def gather(
    root: Path,
    score: Score,
    tasks=GLUE,
    gates=(PLAIN, BOTH),
    seeds=range(5),
    overrides=(),
    rules: Rules | None = None,
    **entries,
) -> Contents:
    for task in tasks:
        for gate in gates:
            for seed in seeds if not isinstance(seeds, dict) else seeds[task]:
                made = config(f"task={task}", "model=debertav3", *overrides, seed=seed, **gate)
                found = score(task, seed, made.gi.side is not GateSide.none)
                write(root, record(made, [found] * len(measures(made)), **entries))
    return contents.gather(Reader([root]).read(), rules=rules)


def helpful(task: str, seed: int, is_gated: bool) -> float:
    return 0.7 + 0.02 * is_gated + noise(task, seed, is_gated)


def test_nine_tasks_are_one_answer_and_mnli_counts_once(tmp_path):
    found = gather(tmp_path, helpful)
    (given,) = found.answers
    assert [each.task.name for each in given.comparisons] == list(GLUE)
    assert all(each.is_primary for each in given.comparisons)
    mean = sure(across_tasks.combine([sure(each.effect.estimate) for each in given.comparisons]))
    assert given.effect.estimate == mean.estimate
    assert given.effect.verdict is Verdict.HELPS
    assert given.effect.p_holm == mean.estimate.p()
    quote = answer.answer(found)[0].quote
    assert re.fullmatch(
        r"Over nine tasks and five seeds, GI on both sides at level 0\.3 changes the score of deberta-v3-large by "
        r"\+\d\.\d\d points \(95 % interval \+\d\.\d\d … \+\d\.\d\d\), given these development sets, which also chose "
        r"the best epoch: it helps\.",
        quote,
    )


def test_baselines_whose_gated_run_is_not_there_are_told(tmp_path):
    """Whoever deleted the bad ones would have an answer without them."""
    gather(tmp_path, helpful, tasks=("rte",), gates=(PLAIN,), seeds=range(5, 8))
    found = gather(tmp_path, helpful, tasks=("rte", "mrpc"))
    assert ", with 3 baselines that have no changed run: " in answer.answer(found)[0].quote


def test_undecided_by_the_correction_alone_is_told(tmp_path):
    """Its interval leaves out 0, and it would be read as a verdict."""
    spread = {False: 0.0, True: 0.012}
    gates = [{**BOTH, "level": level} for level in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)]
    found = gather(
        tmp_path,
        lambda task, seed, gated: 0.7 + spread[gated] * (0.6 + noise(task, seed, gated, 0.5)),
        tasks=("rte",),
        gates=(PLAIN, *gates),
    )
    clear = [each for each in found.answers if sure(each.effect.interval)[0] > 0 and each.effect.verdict == "undecided"]
    assert clear, "there are such"
    assert "undecided after the correction for all that was tried, which" in answer.sentence(clear[0], found)


def test_no_difference_above_the_margin_is_said(tmp_path):
    found = gather(tmp_path, lambda task, seed, gated: 0.7 + noise(task, seed, gated, 0.001))
    assert ": no difference above 0.5 points" in answer.answer(found)[0].quote
    wide = contents.gather(Reader([tmp_path]).read(), rules=Rules(margin=0.01))
    assert answer.answer(wide)[0].quote.partition(", though")[0].rstrip(".").endswith(": no difference above 1 point")


def test_a_single_task_has_the_answer_of_its_comparison(tmp_path):
    found = gather(tmp_path, helpful, tasks=("rte",))
    (given,), (comparison,) = found.answers, found.comparisons
    assert given.effect is comparison.effect
    assert given.mean is None
    assert answer.answer(found)[0].quote.startswith("Over one task (RTE) and five seeds, GI on both sides")


def test_seeds_that_are_not_as_many_on_each_task(tmp_path):
    found = gather(tmp_path, helpful, tasks=("rte", "mrpc"), seeds={"rte": range(3), "mrpc": range(8)})
    assert answer.answer(found)[0].quote.startswith("Over two tasks and three to eight seeds, ")


def test_one_seed_says_nothing(tmp_path):
    quote = answer.answer(gather(tmp_path, helpful, tasks=("rte",), seeds=range(1)))[0].quote
    assert quote.startswith("Over one task (RTE) and one seed, ")
    assert "by +" in quote
    assert "(no interval: no error can be told), given these development sets, which also chose" in quote
    assert quote.endswith(": undecided, since a verdict needs 3 pairs.")


def test_two_tasks_of_two_seeds_have_no_mean(tmp_path):
    found = gather(tmp_path, helpful, tasks=("rte", "mrpc"), seeds=range(2))
    assert "fewer than two tasks" in answer.answer(found)[0].quote


def test_pairs_without_any_score_are_said(tmp_path):
    made = [config("task=rte", "model=debertav3", **gate) for gate in (PLAIN, BOTH)]
    for each in made:
        write(tmp_path, record(each, [], Status.FAILED))
    found = contents.gather(Reader([tmp_path]).read())
    assert answer.answer(found)[0].quote == (
        "Of GI on both sides at level 0.3 on RTE with deberta-v3-large, no pair of runs has two scores yet."
    )


def test_a_task_on_which_nothing_varies_is_left_out_and_named(tmp_path):
    found = gather(tmp_path, lambda task, seed, gated: 0.56 if task == "wnli" else helpful(task, seed, gated))
    (given,) = found.answers
    assert [each.task.name for each in given.left_out] == ["wnli"]
    (said,) = answer.answer(found)
    assert said.quote.startswith("Over eight tasks and five seeds, ")
    assert "WNLI is not in the mean: nothing varies, so no error can be told." in said.details


def test_changes_of_a_model_are_corrected_together(tmp_path):
    gates = (PLAIN, BOTH, KEY, {"side": GateSide.query, "level": 0.1, "layers": 1})
    found = gather(tmp_path, helpful, tasks=("rte", "mrpc", "cola"), gates=gates)
    assert [each.family for each in found.answers] == [3] * 3
    assert min(sure(each.effect.p_holm) for each in found.answers) == pytest.approx(
        3 * min(sure(each.effect.p) for each in found.answers)
    )
    quotes = [each.quote for each in answer.answer(found)]
    assert any(
        "GI on the key side at level 0.1 in the last six layers, one of three changes" in each for each in quotes
    )
    assert any("GI on the query side at level 0.1 in the last layer, one of" in each for each in quotes)


def test_a_declared_change_is_corrected_alone_and_comes_first(tmp_path):
    rules = Rules(primary=((("gi.side", "both"), ("gi.level", "0.3")),))
    found = gather(tmp_path, helpful, tasks=("rte", "mrpc", "cola"), gates=(PLAIN, KEY, BOTH), rules=rules)
    declared = next(each for each in found.answers if each.is_declared)
    assert declared.family == 1
    assert declared.effect.p_holm == declared.effect.p
    assert "GI on both sides at level 0.3, declared as primary, changes" in answer.answer(found)[0].quote


def test_settings_of_each_tasks_own_make_one_answer_and_others_two(tmp_path):
    for task, epochs in (("rte", 3), ("mrpc", 4), ("cola", 5)):
        own = gather(tmp_path / "own", helpful, tasks=(task,), overrides=(f"train.epochs={epochs}",))
    assert [len(each.comparisons) for each in own.answers] == [3]
    for epochs in (3, 4):
        both = gather(tmp_path / "both", helpful, tasks=("rte", "mrpc"), overrides=(f"train.epochs={epochs}",))
    assert [each.extra for each in both.answers] == [{"train.epochs": 3.0}, {"train.epochs": 4.0}]
    assert "at level 0.3 with train.epochs=3" in answer.answer(both)[0].quote


def test_two_settings_of_one_gate_are_no_two_changes(tmp_path):
    for rate in ("2e-5", "3e-5"):
        found = gather(tmp_path, helpful, tasks=("rte",), overrides=(f"train.learning_rate={rate}",))
    assert ", one of two settings of one change that were tried, " in answer.answer(found)[0].quote
    found = gather(tmp_path, helpful, tasks=("rte",), gates=(PLAIN, KEY), overrides=("train.learning_rate=2e-5",))
    assert ", one of three settings of two changes that were tried, " in answer.answer(found)[0].quote


@pytest.mark.parametrize(
    ("stream", "others"),
    [
        ("head", "order, dropout and change"),
        ("order", "head, dropout and change"),
        ("dropout", "head, order and change"),
    ],
)
def test_what_was_drawn_once_alone_is_in_the_sentence(tmp_path, stream, others):
    for seed in range(4):
        found = gather(tmp_path, draw(seed), tasks=("rte",), seeds=(1,), overrides=(f"seeds.{stream}={seed}",))
    quote = answer.answer(found)[0].quote
    assert quote.startswith(f"Over one task (RTE) and four seeds of {stream} (one seed of {others}), GI on both sides")


def test_tasks_that_varied_other_streams_are_named(tmp_path):
    gather(tmp_path, helpful, tasks=("mrpc",), seeds=range(4))
    for seed in range(4):
        found = gather(tmp_path, draw(seed), tasks=("rte",), seeds=(1,), overrides=(f"seeds.head={seed}",))
    quote = answer.answer(found)[0].quote
    assert quote.startswith("Over two tasks and four seeds (on RTE one seed of order, dropout and change), GI")


def test_pairs_that_share_seeds_allow_no_verdict_over_tasks_either(tmp_path):
    for head in (1, 2):
        for order in (1, 2):
            words = (f"seeds.head={head}", f"seeds.order={order}")
            found = gather(tmp_path, draw(2 * head + order), ("rte", "mrpc", "cola"), seeds=(5,), overrides=words)
    (given,) = found.answers
    assert given.mean is not None
    assert given.effect.verdict is Verdict.UNDECIDED
    assert "since pairs that share seeds of head, order are not independent" in answer.answer(found)[0].quote


def draw(number: int) -> Score:
    """Scores of runs that vary in other streams than `seed`."""
    return lambda task, seed, gated: 0.7 + gated * (0.05 + 0.001 * number)


def test_a_task_that_was_declared_is_named_though_the_answer_is_over_more(tmp_path):
    rules = Rules(primary=((("gi.side", "both"), ("task", "rte")),))
    found = gather(tmp_path, helpful, tasks=("rte", "mrpc", "cola"), gates=(PLAIN, KEY, BOTH), rules=rules)
    quote = answer.answer(found)[0].quote
    assert "GI on both sides" in quote, "what was declared comes first"
    assert re.search(
        r"; on RTE, declared as primary, it changes the score by \+\d\.\d\d points \(95 % interval .*\), it helps\.$",
        quote,
    )
    assert "declared" not in answer.answer(found)[1].quote


def test_many_declared_tasks_are_told_by_their_verdicts(tmp_path):
    tasks = ("rte", "mrpc", "cola", "qnli")
    rules = Rules(primary=tuple((("task", task),) for task in tasks))
    found = gather(tmp_path, helpful, tasks=(*tasks, "sst2"), rules=rules)
    assert answer.answer(found)[0].quote.endswith(
        "; on CoLA, MRPC, QNLI and RTE, one of four comparisons declared as primary, it helps."
    )


def test_records_that_count_nowhere_are_in_the_answer(tmp_path):
    found = gather(tmp_path / "runs", helpful, tasks=("rte",))
    assert len(answer.answer(found)) == 1
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "record.json").write_text("{")
    twin = next((tmp_path / "runs").glob("*_s2-*"))
    shutil.copytree(twin, tmp_path / "runs" / "copy")
    for place in (tmp_path / "runs").glob("*plain*_s4-*"):
        shutil.rmtree(place)
    found = contents.gather(Reader([tmp_path / "runs"]).read())
    assert [each.quote for each in answer.answer(found)[1:]] == [
        "One record cannot be read and one record asks for the same result as another one, and count nowhere: the list "
        "is under “Records left out”.",
        "Of nine runs, one has no partner and is in no comparison: the list is under “Runs without a partner, which no "
        "comparison has”.",
    ]
    titles = [sheet.title for sheet in sheets.make(found)]
    assert {"Records left out", "Runs without a partner, which no comparison has"} <= set(titles)


def test_one_sign_for_people_and_another_for_programs(tmp_path):
    found = gather(tmp_path, lambda task, seed, gated: helpful(task, seed, gated) - 0.08 * gated, tasks=("rte", "mrpc"))
    for sheet in sheets.make(found):
        words = ["".join(piece.text for piece in item) for row in sheet.rows for item in row]
        assert not [each for each in [*words, *sheet.lead, *sheet.notes] if re.search(r"(?<![\w.-])-\d", each)]
    assert any(
        "−" in piece.text for sheet in sheets.make(found) for row in sheet.rows for item in row for piece in item
    )
    assert "−" not in "".join(flat.csv_text(rows) for name, rows in flat.tables(found).items() if name != "answer")
    assert minus("-0.5 … -1, p = 1e-05, 2026-01-02, rte-1") == "−0.5 … −1, p = 1e-05, 2026-01-02, rte-1"


def test_unusual_settings_of_a_gate_are_said(tmp_path):
    found = gather(tmp_path, helpful, tasks=("rte",), overrides=("gi.threshold=token",))
    assert "GI on both sides at level 0.3 with threshold=token changes" in answer.answer(found)[0].quote


def test_nobody_can_say_without_a_pair(tmp_path):
    found = gather(tmp_path, helpful, tasks=("rte",), gates=(PLAIN,))
    assert [each.quote for each in answer.answer(found)] == [
        "Nobody can say: no changed run has a baseline that differs from it in the change alone."
    ]
    assert sheets.make(found, ["answer"]) == []


def test_more_changes_than_are_told_are_counted(tmp_path):
    gates = [PLAIN, *({"side": GateSide.both, "level": level} for level in np.linspace(0.1, 0.8, 8).round(1).tolist())]
    found = gather(tmp_path, helpful, tasks=("rte",), gates=gates, seeds=range(3))
    said = answer.answer(found)
    assert len(said) == 7
    assert said[-1].quote.startswith("Two more changes are in the table, ")


@pytest.mark.parametrize("seed", range(20))
def test_on_at_least_so_many_tasks_is_the_partial_conjunction_test(seed):
    """Of one change: the largest u whose p, (n − u + 1) · p_(u), is below α, and all before it (Dror et al. 2017)."""
    from gifine.report.analysis import statistics

    rng = np.random.default_rng(seed)
    p = rng.uniform(size=9) ** rng.choice([1, 6])
    conjunctions = np.maximum.accumulate((9 - np.arange(9)) * np.sort(p))
    assert sum(sure(each) < 0.05 for each in statistics.holm(p.tolist())) == np.sum(conjunctions < 0.05)


def test_tasks_are_told_by_what_it_does_to_them(tmp_path):
    gaps = {"cola": 0.1, "rte": 0.1, "mrpc": -0.1, "qqp": 0.0, "wnli": 0.0}
    spreads = {"qqp": 0.0004, "wnli": 0.05}
    found = gather(
        tmp_path,
        lambda task, seed, gated: 0.7 + gaps[task] * gated + noise(task, seed, gated, spreads.get(task, 0.003)),
        tasks=gaps,
    )
    details = answer.answer(found)[0].details
    assert details[0] == (
        "Task by task, it helps on CoLA and RTE, hurts on MRPC, makes no difference above 0.5 points on QQP and is "
        "undecided on one: with 95 % confidence it helps on at least two and hurts on at least one of five."
    )
    assert any(each.startswith("On another task like these its true difference would be between −") for each in details)
    assert any(
        re.match(r"In \d+ % of 25 pairs, tasks weighed alike, the changed run has the higher score \(", each)
        for each in details
    )


def test_tasks_of_which_the_answer_is_not_true_are_in_the_sentence(tmp_path):
    def gather_gaps(root: Path, gaps: dict[str, float], margin: float) -> str:
        gather(
            root,
            lambda task, seed, gated: 0.7 + gaps[task] * gated + noise(task, seed, gated, 0.001),
            tasks=gaps,
        )
        found = contents.gather(Reader([root]).read(), rules=Rules(margin=margin))
        return answer.answer(found)[0].quote

    most = dict.fromkeys(("cola", "rte", "mrpc", "qnli", "sst2", "qqp"), 0.02) | {"stsb": -0.02}
    assert gather_gaps(tmp_path / "most", most, 0.005).endswith(": it helps, though it hurts on STS-B.")
    half = dict.fromkeys(("cola", "rte", "mrpc"), 0.02) | dict.fromkeys(("qnli", "sst2", "stsb"), -0.02)
    quote = gather_gaps(tmp_path / "half", half, 0.05)
    assert ": no difference above 5 points, though it helps on CoLA, MRPC and RTE and hurts on " in quote


def test_lost_pairs_that_do_not_decide_are_a_caveat(tmp_path):
    gather(
        tmp_path,
        lambda task, seed, gated: 0.6 + 0.25 * gated + noise(task, seed, gated),
        tasks=("rte",),
        seeds=range(12),
    )
    write(tmp_path, record(config("task=rte", "model=debertav3", seed=12, **BOTH), [], Status.FAILED))
    write(tmp_path, record(config("task=rte", "model=debertav3", seed=12), [0.6]))
    quote = answer.answer(contents.gather(Reader([tmp_path]).read()))[0].quote
    assert quote.endswith(", with 1 of 13 pairs lost: it helps.")


def test_the_sheet_and_the_rows_for_programs_say_the_same(tmp_path):
    found = gather(tmp_path, helpful, tasks=("rte", "mrpc", "cola"))
    (sheet,) = sheets.make(found, ["answer"])
    (row,) = flat.tables(found)["answer"]
    words = ["".join(piece.text for piece in item) for item in sheet.rows[0]]
    assert words[sheet.columns.index("difference")] == signed(row["difference"])
    assert words[sheet.columns.index("next task")].startswith(f"{signed(row['prediction_low'])} … ")
    assert words[sheet.columns.index("helps on")] == str(len(row["helps_on"]))
    assert row["sentence"] in sheet.lead[0]
    assert json.loads(flat.json_text(found, ["answer"]))["answer"][0]["tasks"] == ["cola", "mrpc", "rte"]


def choices(found: Contents) -> list[Comparison]:
    return [each for each in found.comparisons if each.choice is not None]


def test_the_last_epochs_difference_stands_beside_the_bests(tmp_path):
    for gate, last in ((PLAIN, 0.70), (BOTH, 0.69)):
        for seed in range(5):
            made = config("task=rte", "model=debertav3", seed=seed, **gate)
            of_record = {"step": 9, "accuracy": last + 0.001 * seed * (gate is BOTH)}
            write(tmp_path, record(made, [0.75 + noise("rte", seed, gate is BOTH)], last=of_record, evaluations=6))
    found = contents.gather(Reader([tmp_path]).read())
    (comparison,) = choices(found)
    choice = sure(comparison.choice)
    assert (choice.last_mean, choice.pairs) == (pytest.approx(-0.008), 5)
    assert choice.evaluations == ([6] * 5, [6] * 5)
    assert comparison.cautions == []
    details = answer.answer(found)[0].details
    assert any("With the last epoch in the place of the best one it is −0.80 points" in each for each in details)
    (sheet,) = sheets.make(found, ["comparison"])
    assert sheet.rows[0][sheet.columns.index("last epoch")][0].text == "−0.80"
    assert any(
        each.startswith("Scores are of the best epoch, chosen on the dev set that is reported") for each in sheet.notes
    )


def test_older_records_have_it_in_their_curves(tmp_path):
    for gate, counts in ((PLAIN, 3), (BOTH, 5)):
        for seed in range(3):
            folder = write(tmp_path, record(config("task=rte", "model=debertav3", seed=seed, **gate), [0.75]))
            entries = json.loads((folder / "record.json").read_text())
            del entries["last"], entries["evaluations"]
            (folder / "record.json").write_text(json.dumps(entries))
            lines = [{"step": step, "loss": 1.0} for step in range(5)]
            lines += [{"step": 10 * n, "rte/validation/accuracy": 0.6 + 0.01 * n} for n in range(counts)]
            (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (comparison,) = contents.gather(Reader([tmp_path]).read()).comparisons
    choice = sure(comparison.choice)
    assert choice.last_mean == pytest.approx(0.02)
    assert comparison.cautions == ["best of other numbers of evaluations: baseline 3, changed 5"]


def test_what_nobody_recorded_is_left_empty(tmp_path):
    found = gather(tmp_path, helpful, tasks=("rte",))
    choice = sure(choices(found)[0].choice)
    assert (choice.last, choice.last_mean, choice.pairs, choice.evaluations) == (None, None, 0, ([], []))
    assert flat.tables(found)["comparison"][0]["last_epoch"] is None


def test_scores_of_the_last_epoch_are_said_to_be(tmp_path):
    words = ("train.select_best=false",)
    found = gather(tmp_path, helpful, tasks=("rte",), overrides=words)
    assert choices(found) == []
    assert ", given these development sets after the last epoch: " in answer.answer(found)[0].quote
    (sheet,) = sheets.make(found, ["comparison"])
    assert "Scores are of the last epoch (train.select_best=false, or one evaluation alone)." in sheet.notes


def test_one_evaluation_chooses_nothing(tmp_path):
    """As of runs of one epoch. Where one run has two, some were chosen."""
    for gate in (PLAIN, BOTH):
        for seed in range(3):
            made = config("task=rte", "model=debertav3", seed=seed, **gate)
            score = helpful("rte", seed, gate is BOTH)
            write(tmp_path, record(made, [score], last={"step": 9, "accuracy": score}, evaluations=1))
    found = contents.gather(Reader([tmp_path]).read())
    assert choices(found) == []
    assert " also chose the best epoch" not in answer.answer(found)[0].quote
    made = config("task=rte", "model=debertav3", seed=0, **BOTH)
    write(tmp_path, record(made, [0.7], last={"step": 9, "accuracy": 0.6}, evaluations=2))
    (chosen,) = choices(contents.gather(Reader([tmp_path]).read()))
    assert chosen.cautions == ["best of other numbers of evaluations: baseline 1, changed 1–2"]


def test_scores_of_the_half_that_chose_nothing_are_said_to_be(tmp_path):
    for gate in (PLAIN, BOTH):
        for seed in range(3):
            made = config("task=rte", "model=debertav3", "evaluate.split_dev=true", seed=seed, **gate)
            score = helpful("rte", seed, gate is BOTH)
            write(tmp_path, record(made, [], metrics={"rte/validation_report/accuracy": score}))
    found = contents.gather(Reader([tmp_path]).read())
    assert ", which chose the best epoch with their other half: " in answer.answer(found)[0].quote
    (sheet,) = sheets.make(found, ["comparison"])
    assert any("chosen on the other half of dev (evaluate.split_dev)" in each for each in sheet.notes)
