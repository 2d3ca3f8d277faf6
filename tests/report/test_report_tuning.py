"""Searches over hyper-parameters in the report: which runs are trials, what is chosen, and what is judged."""

from __future__ import annotations

import copy
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gifine.compose import search
from gifine.config import RunConfig, SearchConfig
from gifine.objectives.halving import halves
from gifine.report import __main__ as report
from gifine.report import contents, plots, settings
from gifine.report.analysis import best_of, crossed, families, tuning
from gifine.report.analysis.comparison import Basis, Verdict
from gifine.report.analysis.families import Rules
from gifine.report.analysis.tuned_scores import Halves
from gifine.report.contents import Contents
from gifine.report.formats import answer, flat, markdown, sheets, tuned
from gifine.report.reading import Reader
from gifine.report.settings import Settings, Value
from gifine.runs.records import Status
from gifine.runs.replicate import Replicate, replicate
from support import synthetic
from support.synthetic import BOTH, KEY, PLAIN, Gate, given

SPACE = {"train.learning_rate": {"low": 1e-6, "high": 1e-2, "log": True}, "train.batch_size": {"values": [16, 32]}}
SPLIT = "evaluate.split_dev=true"


def trial(number: int | None, seed: int, gate: Gate, *words: str, space: dict[str, Any] | None = None) -> RunConfig:
    config = copy.deepcopy(synthetic.config("task=rte", *words, seed=seed, **gate))
    config.search = SearchConfig(number, 0, space or SPACE)
    return search.apply(config)


def write(root: Path, config: RunConfig, *scores: float | None, status: Status = Status.DONE) -> Path:
    """One score of all of dev, or those of the half that chooses and of the one that is reported."""
    names = ["validation"] if len(scores) == 1 else ["validation_select", "validation_report"]
    metrics = {f"rte/{name}/accuracy": score for name, score in zip(names, scores, strict=True)}
    return synthetic.write(root, synthetic.record(config, [], metrics=metrics, status=status))


def of_seed(seed: int) -> Replicate:
    return replicate(seed, {})


def gathered(root: Path, **how: Any) -> Contents:
    return contents.gather(Reader([root]).read(), **how)


def quality(config: RunConfig) -> float:
    """Best at a learning rate of 1e-4."""
    return 0.7 - 0.02 * abs(math.log10(config.train.learning_rate) + 4)


def noisy(config: RunConfig, gain: float = 0.0, spread: float = 0.004) -> tuple[float, float]:
    name = f"{config.train.learning_rate} {config.seed} {config.gi.side}"
    noise = np.random.default_rng(list(name.encode())).normal(scale=spread, size=3)
    score = quality(config) + (gain if config.gi.side.value != "none" else 0.0) + noise[0]
    return float(score + noise[1]), float(score + noise[2])


def sweep(
    root: Path, trials: int = 8, seeds: int = 5, gain: float = 0.0, gates: tuple[Gate, ...] = (PLAIN, BOTH)
) -> Path:
    for number in range(trials):
        for gate in gates:
            for seed in range(1, seeds + 1):
                config = trial(number, seed, gate, SPLIT)
                write(root, config, *noisy(config, gain))
    return root


def test_arms_are_compared_over_their_trials_and_judged_by_what_each_would_choose(tmp_path):
    found = gathered(sweep(tmp_path, gain=0.05))
    (each,) = found.tunings
    assert found.comparisons == [], "trials are no comparisons of their own"
    assert (len(each.trials), each.k, each.seeds, each.alone, each.halves) == (8, 4, [1, 2, 3, 4, 5], 0, Halves.SPLIT)
    assert [given(one.number)[1] for one in each.trials] == list(range(8))
    assert sorted(each.keys) == ["train.batch_size", "train.learning_rate"]
    for arm, gate, chosen, curve in (("baseline", PLAIN, 0, each.baseline), ("gated", BOTH, 1, each.gated)):
        scores = [np.mean([noisy(trial(n, s, gate, SPLIT), 0.05) for s in range(1, 6)], axis=0) for n in range(8)]
        chooses, reported = np.asarray(scores).T
        np.testing.assert_allclose(curve.means, best_of.expected(chooses, reported), err_msg=arm)
        assert given(each.chosen[chosen].number) == (0, int(np.argmax(chooses)))
    np.testing.assert_allclose(each.difference.means, np.subtract(each.gated.means, each.baseline.means))
    effect = given(each.comparison).effect
    ours, theirs = each.chosen[1].gated, each.chosen[0].baseline
    primary = each.task.primary
    gains = [given(ours[each].score(primary)) - given(theirs[each.twin].score(primary)) for each in ours]
    assert effect.summary.mean == pytest.approx(np.mean(gains))
    assert (effect.verdict, effect.basis) == (Verdict.HELPS, Basis.RUNS)
    assert effect.reason == "no predictions were kept"


def test_against_another_change_a_baseline_is_of_the_same_seed_of_the_change(tmp_path):
    """Of one seed of the head, and three of the change, each arm has three runs."""
    for number in range(3):
        for gate in (BOTH, KEY):
            for change in (2, 3, 4):
                config = trial(number, 1, gate, SPLIT, f"seeds.change={change}")
                write(tmp_path, config, *noisy(replace(config, seed=change)))
    (each,) = gathered(tmp_path, rules=Rules(against="both 0.3")).tunings
    assert [len(one.baseline) for one in each.trials] == [3, 3, 3]
    assert each.seeds == ["1 change=2", "1 change=3", "1 change=4"]
    tried = given(each.comparison).tried
    assert len(tried) == 3
    assert all(pair.baseline.replicate == pair.gated.replicate for pair in tried)


def test_the_choice_knows_nothing_of_the_half_that_is_reported(tmp_path):
    """Trial 2 is best where it was not chosen."""
    for number, (chooses, reported) in enumerate([(0.8, 0.6), (0.7, 0.7), (0.6, 0.9)]):
        for gate in (PLAIN, BOTH):
            write(tmp_path, trial(number, 1, gate, SPLIT), chooses, reported)
    (each,) = gathered(tmp_path).tunings
    assert [given(one.number) for one in each.chosen] == [(0, 0), (0, 0)]
    np.testing.assert_allclose(each.baseline.means, [2.2 / 3, (0.6 + 0.6 + 0.7) / 3, 0.6])


def test_predictions_make_the_halves_that_split_dev_would(tmp_path):
    rng, labels = np.random.default_rng(0), np.random.default_rng(9).integers(2, size=60)
    select, chosen_on_not = halves(labels)
    right: dict[tuple[int, str, int], np.ndarray] = {}
    for number in range(4):
        for gate in (PLAIN, BOTH):
            for seed in (1, 2, 3):
                config = trial(number, seed, gate)
                hits = rng.random(60) < 0.6 + 0.05 * number
                answers = np.where(hits, labels, 1 - labels)
                folder = write(tmp_path, config, float(np.mean(hits)))
                synthetic.add_predictions(folder, "validation", np.eye(2)[answers], labels)
                right[number, config.gi.side.value, seed] = hits
    (each,) = gathered(tmp_path).tunings
    assert (each.halves, each.reason) == (Halves.PREDICTIONS, None)
    best = {}
    for side, curve in (("none", each.baseline), ("both", each.gated)):
        hits = np.asarray([[right[n, side, s] for s in (1, 2, 3)] for n in range(4)]).astype(float)
        chooses, reported = hits[..., select].mean((1, 2)), hits[..., chosen_on_not].mean((1, 2))
        np.testing.assert_allclose(curve.means, best_of.expected(chooses, reported))
        best[side] = int(np.argmax(chooses))
    layout = [
        right[best["both"], "both", s][chosen_on_not] * 1.0 - right[best["none"], "none", s][chosen_on_not]
        for s in (1, 2, 3)
    ]
    effect = given(each.comparison).effect
    assert effect.basis is Basis.CROSSED
    assert effect.estimate == crossed.crossed(np.asarray(layout))
    assert effect.summary.mean == pytest.approx(np.mean(layout))


@pytest.mark.parametrize("how", [{"with_predictions": False}, {}])
def test_without_halves_there_is_no_verdict(tmp_path, how):
    for number in range(4):
        for gate, gain in ((PLAIN, 0.0), (BOTH, 0.2)):
            for seed in (1, 2, 3, 4):
                write(tmp_path, trial(number, seed, gate), 0.5 + gain + 0.01 * number + 0.001 * seed)
    (each,) = gathered(tmp_path, **how).tunings
    effect = given(each.comparison).effect
    assert each.halves is Halves.NONE
    assert each.reason == ("no predictions were kept" if not how else "predictions were not to be read")
    assert (effect.verdict, effect.why) == (Verdict.UNDECIDED, "chosen on the examples that would test it")


def test_settings_of_one_arm_alone_are_left_out_and_counted(tmp_path):
    sweep(tmp_path, trials=5, seeds=1)
    write(tmp_path, trial(5, 1, PLAIN, SPLIT), 0.9, 0.9)
    write(tmp_path, trial(6, 1, BOTH, SPLIT), 0.9, 0.9)
    failed = trial(6, 1, PLAIN, SPLIT)
    synthetic.write(tmp_path, synthetic.record(failed, [], status=Status.FAILED, error="out of memory"))
    found = gathered(tmp_path)
    (each,) = found.tunings
    assert (len(each.trials), each.alone) == (5, 1)
    assert found.comparisons == [], "what is left out of a search is no comparison either"
    assert "1 setting was left out" in markdown.text(sheets.make(found, ["tuning"]), "")


def test_a_diverged_trial_counts_as_the_worst(tmp_path):
    sweep(tmp_path, trials=4, seeds=1)
    config = trial(4, 1, BOTH, SPLIT)
    synthetic.write(tmp_path, synthetic.record(config, [], status=Status.DIVERGED, error="the loss is NaN"))
    write(tmp_path, trial(4, 1, PLAIN, SPLIT), 0.71, 0.72)
    (each,) = gathered(tmp_path).tunings
    scores = [noisy(trial(n, 1, gate, SPLIT))[1] for n in range(4) for gate in (PLAIN, BOTH)]
    worst = min([*scores, 0.72])
    ours = [noisy(trial(n, 1, BOTH, SPLIT))[1] for n in range(4)]
    assert each.gated.means[0] == pytest.approx(np.mean([*ours, worst]))


LOWER: Gate = BOTH | {"level": 0.1}


@pytest.mark.parametrize(
    ("gates", "told"),
    [
        ((BOTH, BOTH | {"side": KEY["side"]}), {"none": "gi.side=none", "both": "gi.side=both", "key": "gi.side=key"}),
        (
            (BOTH, LOWER),
            {"none": "gi.side=none", "both 0.3": "gi.side=both gi.level=0.3", "both 0.1": "gi.side=both gi.level=0.1"},
        ),
    ],
    ids=["sides", "levels"],
)
def test_what_tests_several_arms_is_said_once_and_by_trial(tmp_path, gates, told):
    found = gathered(sweep(tmp_path, seeds=1, gates=(PLAIN, *gates)))
    text = markdown.text(sheets.make(found, ["tuning"]), "").replace("\\", "")
    assert text.count("to test what was chosen") == text.count("a trial's score is the mean") == 1
    asked: dict[int, dict[str, None]] = {}
    for each in found.tunings:
        for one, words in zip(each.chosen, (told["none"], _words(each.gate, told)), strict=True):
            asked.setdefault(given(one.number)[1], {})[words] = None
    assert sum(map(len, asked.values())) == 3
    for number, arms in asked.items():
        alone = [words for words in arms if " " not in words]
        together = [f"gi.side={','.join(words.removeprefix('gi.side=') for words in alone)}"] if alone else []
        for words in [*together, *(words for words in arms if " " in words)]:
            assert f"once with search.trial={number} {words}" in text


def _words(gate: Settings, told: dict[str, str]) -> str:
    return next(words for name, words in told.items() if settings.gate(gate).startswith(name))


def test_arms_of_one_change_are_asked_for_by_the_keys_that_tell_them_apart():
    def lora(rank: int, sites: str = '["query"]', **more: str) -> Settings:
        change: dict[str, Value] = {"name": "lora", "layers": None, "rank": rank, "sites": sites}
        parts = {"change": {f"change.{key}": value for key, value in change.items()}}
        parts["train"] = {f"train.{key}": value for key, value in more.items()}
        return Settings(parts)

    plain, small, large = Settings({"gi": {"gi.side": "none"}}), lora(4), lora(8, parameters="change")
    gates = [plain, small, large]
    assert [tuned._asked(each, gates) for each in gates] == [
        "change=none",
        "change=lora change.rank=4",
        "change=lora change.rank=8 train.parameters=change",
    ]
    wide = lora(4, '["query", "value"]')
    assert tuned._asked(wide, [plain, small, wide]) == """change=lora 'change.sites=["query", "value"]'"""
    assert tuned._asked(small, [plain, small]) == "change=lora"


def test_seeds_that_chose_nothing_test_where_there_are_enough(tmp_path):
    sweep(tmp_path, seeds=1)
    (each,) = gathered(tmp_path).tunings
    effect = given(each.comparison).effect
    assert (effect.verdict, effect.why) == (Verdict.UNDECIDED, "needs 3 pairs")
    text = markdown.text(sheets.make(gathered(tmp_path), ["tuning"]), "").replace("\\", "")
    plain, gated = (given(one.number)[1] for one in each.chosen)
    assert plain == gated
    assert f"once with search.trial={plain} gi.side=none,both." in text
    for number, gate in ((plain, PLAIN), (gated, BOTH)):
        for seed in (2, 3, 4):
            config = trial(number, seed, gate, SPLIT)
            config.search = SearchConfig()  # by hand: the same settings are the same trial
            write(tmp_path, config, *noisy(config))
    (again,) = gathered(tmp_path).tunings
    assert again.seeds == [1], "the choice stays what it was"
    assert again.chosen[0].number == each.chosen[0].number
    assert [pair.gated.replicate.seed for pair in given(again.comparison).pairs] == [2, 3, 4]


def test_a_grid_that_was_given_is_read_as_trials_and_stays_among_the_comparisons(tmp_path):
    for rate in (1e-5, 2e-5, 3e-5):
        for gate in (PLAIN, BOTH):
            for seed in (1, 2, 3):
                config = trial(None, seed, gate, SPLIT, f"train.learning_rate={rate}")
                config.search = SearchConfig()
                write(tmp_path, config, *noisy(config))
    found = gathered(tmp_path)
    (each,) = found.tunings
    assert (each.is_drawn, each.comparison, len(found.comparisons)) == (False, None, 3)
    assert "its settings are among the comparisons" in markdown.text(sheets.make(found, ["tuning"]), "")


def test_two_settings_are_no_search(tmp_path):
    assert gathered(sweep(tmp_path, trials=2, seeds=3)).tunings == []


def test_other_keys_and_other_spaces_are_other_searches(tmp_path):
    sweep(tmp_path, trials=3, seeds=1)
    for number in range(3):
        for gate in (PLAIN, BOTH):
            for words, space in (
                ((SPLIT, "train.max_length=64", "data.max_train_rows=100"), None),
                ((SPLIT,), {"train.warmup": {"low": 0, "high": 0.5}}),
            ):
                config = trial(number, 1, gate, *words, space=space)
                write(tmp_path, config, *noisy(config))
    found = gathered(tmp_path).tunings
    assert sorted(len(each.trials) for each in found) == [3, 3, 3]
    assert sorted(str(each.extra["data.max_train_rows"]) for each in found) == ["100", "None", "None"]
    assert sorted(each.keys for each in found)[-1] == ["train.warmup"]


def test_chosen_recipes_are_of_one_family_with_all_other_comparisons(tmp_path):
    sweep(tmp_path, gain=0.05, gates=(PLAIN, BOTH, KEY))
    for gate in (PLAIN, BOTH):
        for seed in range(1, 6):
            config = replace(synthetic.config("task=mrpc", seed=seed, **gate))
            synthetic.write(tmp_path, synthetic.record(config, [0.8 + 0.001 * seed, 0.85]))
    found = gathered(tmp_path)
    assert len(found.tunings) == 2
    judged = [*tuning.comparisons(found.tunings), *(each for each in found.comparisons if each.is_primary)]
    assert len(judged) == 3
    assert {each.family for each in judged} == {3}


def test_runs_of_other_data_are_no_trials_and_no_test(tmp_path):
    sweep(tmp_path, trials=5, seeds=3)
    (before,) = gathered(tmp_path).tunings
    other = {"data": {"validation": "other"}, "processes": 1, "device": "cpu"}
    place = next(tmp_path.glob(f"*-{before.chosen[1].gated[of_seed(1)].run_id}"))
    entries = json.loads((place / "record.json").read_text())
    (place / "record.json").write_text(json.dumps(entries | {"provenance": other}))
    (each,) = gathered(tmp_path).tunings
    assert each.seeds == [2, 3], "a trial's score is of twins alone"
    effect = given(each.comparison).effect
    assert effect.verdict is Verdict.UNDECIDED
    assert given(effect.why).startswith("it differs in the data's fingerprint")


def test_chosen_recipes_whose_runs_were_lost_have_no_verdict(tmp_path):
    sweep(tmp_path, trials=5, seeds=5, gain=0.03)
    (before,) = gathered(tmp_path).tunings
    assert given(before.comparison).effect.verdict is Verdict.HELPS
    for run in (trial.gated[of_seed(seed)] for trial in before.trials for seed in (4, 5)):
        entries = json.loads((run.folder / "record.json").read_text())
        lost = entries | {"status": "failed", "metrics": {}, "error": "killed"}
        (run.folder / "record.json").write_text(json.dumps(lost))
    (each,) = gathered(tmp_path).tunings
    assert each.seeds == [1, 2, 3]
    effect = given(each.comparison).effect
    assert effect.verdict is Verdict.UNDECIDED
    assert "2 of 5 pairs are lost" in given(effect.why)


@pytest.fixture
def searched(tmp_path) -> Path:
    return sweep(tmp_path / "runs", gain=0.05)


def test_all_formats_have_it(searched, tmp_path, capsys):
    assert report.main([str(searched), "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    names = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {"tuning.csv", "tuning-rte-deberta-v3-large-both-0.3.svg"} <= names
    assert not [name for name in names if name.startswith(("seeds", "curves"))], "no figures of single trials"
    (row,) = json.loads((tmp_path / "out" / "report.json").read_text())["tuning"]
    (each,) = gathered(searched).tunings
    assert row["gated"]["expected_best"] == each.gated.means
    assert row["trials"][row["chosen"]["gated"]]["train.learning_rate"] == each.chosen[1].setup.get(
        "train.learning_rate"
    )
    assert row["comparison"]["verdict"] == "helps"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Changes and their baseline, tuned equally" in page
    assert json.loads(json.dumps(flat.tables(gathered(searched))["tuning"])) == [row]


def test_a_sentence_to_quote(searched):
    found = gathered(searched)
    (each,) = found.tunings
    (said,) = answer.answer(found)
    assert re.fullmatch(
        r"Over one task \(RTE\) and five seeds, GI on both sides at level 0\.3, tuned by eight trials as its baseline "
        r"was, changes the score of deberta-v3-large by \+\d\.\d\d points \(95 % interval \+\d\.\d\d … \+\d\.\d\d\), "
        r"given the half of the development set that chose neither recipe nor epoch: it helps\.",
        said.quote,
    )
    without, gated = (f"{100 * curve.means[3]:.1f}" for curve in (each.baseline, each.gated))
    best = (
        f"The best of four trials is expected to score {without} for the baseline and {gated} for the change "
        "(accuracy): +"
    )
    assert said.details[0].startswith(best)


def test_no_verdict_of_chosen_recipes_in_another_style(tmp_path):
    """Too few seeds are said as of any comparison."""
    found = gathered(sweep(tmp_path, seeds=1))
    assert answer.answer(found)[0].quote.endswith(": undecided, since a verdict needs 3 pairs.")


def test_the_figure_has_both_arms_and_bands_up_to_half_of_the_trials(searched):
    (plot,) = plots.make(gathered(searched))
    above, below = plot.figure.axes
    assert [line.get_label() for line in above.lines] == ["baseline", "both 0.3"]
    assert all(np.size(line.get_xdata()) == 8 for line in above.lines)
    band = below.collections[0].get_paths()[0].get_extents()
    assert (band.x0, band.x1) == (1, 4)


def test_the_verdict_on_what_was_chosen_keeps_its_error():
    """Recipes of unlike worth, seeds and examples that are drawn anew, and no effect: each arm chooses for itself."""
    rng, trials, seeds, examples, claims, sweeps = np.random.default_rng(1), 12, 5, 140, 0, 300
    for _ in range(sweeps):
        recipes = -0.2 * np.abs(rng.normal(size=trials)) ** 1.5
        hard = rng.normal(size=2 * examples)
        arms = []
        for _ in range(2):
            runs = recipes[:, None, None] + 0.1 * rng.normal(size=(trials, seeds, 1))
            hits = 0.8 + runs + hard + 0.6 * rng.normal(size=(trials, seeds, 2 * examples)) > 0
            chosen = best_of.best(hits[..., :examples].mean((1, 2)))
            arms.append(hits[chosen, :, examples:].astype(float))
        estimate = crossed.crossed(arms[1] - arms[0])
        claims += estimate is not None and estimate.p() < families.statistics.ALPHA
    assert claims / sweeps <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / sweeps)


def recorded(folder: Path, **entries: Any) -> None:
    """With other entries of the provenance."""
    found = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps(found | {"provenance": found["provenance"] | entries}))


def test_strict_refuses_pairs_of_chosen_recipes_that_were_not_computed_alike(tmp_path):
    sweep(tmp_path, trials=5, gain=0.05)
    (before,) = gathered(tmp_path).tunings
    for seed in (1, 2):
        recorded(before.chosen[1].gated[of_seed(seed)].folder, cpu="Another Processor")
    (loose,) = gathered(tmp_path).tunings
    assert "2 of 5 pairs differ in CPU" in given(loose.comparison).cautions
    found = gathered(tmp_path, strict=True)
    (each,) = found.tunings
    assert [pair.gated.seed for pair in given(each.comparison).tried] == [3, 4, 5]
    said = " ".join(note for sheet in sheets.make(found, ["tuning"]) for note in sheet.notes)
    assert "2 pairs of the chosen recipes were left out by --strict: it differs in CPU (Another Proc" in said


def test_strict_may_leave_nothing_of_the_chosen_recipes(tmp_path):
    for number in range(3):
        for gate in (PLAIN, BOTH):
            score = 0.8 if number == (gate is BOTH) else 0.6
            folder = write(tmp_path, trial(number, 1, gate, SPLIT), score, score)
            recorded(folder, cpu=f"Processor {number}")
    found = gathered(tmp_path, strict=True)
    assert [each.comparison for each in found.tunings] == [None]
    assert "no runs of the recipes that were chosen were computed alike" in answer.answer(found)[0].quote
    assert "no pair was computed alike" in markdown.text(sheets.make(found, ["tuning"]), "")


def test_gates_that_are_drawn_anew_are_runs_of_their_own(tmp_path):
    """They share the baseline of their other seeds, and none is taken for another."""
    for number in range(4):
        for gate, changes in ((PLAIN, (None,)), (BOTH, (1, 2, 3))):
            for change in changes:
                config = trial(number, 1, gate, SPLIT)
                config.seeds.change = change
                score = quality(config) + 0.001 * (change or 0)
                write(tmp_path, config, score, score)
    (each,) = gathered(tmp_path).tunings
    assert each.seeds == [1, "1 change=2", "1 change=3"]
    assert each.gated.means[-1] - each.baseline.means[-1] == pytest.approx(0.002)
    assert len(given(each.comparison).tried) == 3
    assert "pairs that share" not in (given(each.comparison).effect.why or "")
