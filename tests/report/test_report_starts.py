"""Runs that start from other runs: twins are those that start from twins."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import stdev

import numpy as np
import pytest

from gifine.report import __main__ as report
from gifine.report import contents, settings
from gifine.report.analysis import pairing
from gifine.report.analysis.answers import Answer
from gifine.report.analysis.comparison import Verdict
from gifine.report.formats import answer, sheets
from gifine.report.reading import Reader, Run
from gifine.runs import identity, origin, records, replicate
from gifine.runs.records import Record, Status
from support.synthetic import BOTH, PLAIN, Gate, config, given, record, write

ARMS = (PLAIN, BOTH)
MNLI = [0.8, 0.8]


def parent(seed: int, gate: Gate, *words: str) -> Record:
    return record(config("task=mnli", *words, seed=seed, **gate), MNLI)


def child(before: Record, seed: int, gate: Gate, *, noted: bool = True, status: Status = Status.DONE) -> Record:
    """After `before`, as a run of `first.task=mnli` leaves its record; an older version has not `noted` all."""
    own = config("task=rte", seed=seed, **gate)
    own = replace(own, first=replace(own.first, task="mnli", run=before.run_id))
    entries = vars(before)
    made = record(own, [0.7] if status is Status.DONE else [], status, contents={"model.init_from": before.run_id})
    made.provenance["init_from"] = {"run_id": before.run_id, **(origin.as_parent(entries) if noted else {})}
    return made


def read(root: Path) -> list[Run]:
    found = Reader([root]).read()
    assert found.problems == []
    return found.runs


def pairs(root: Path, task: str = "rte") -> tuple[list[tuple[int, str]], list[str]]:
    """Seed and gate of each pair of a task, and why others have no partner."""
    found, unpaired = pairing.pair([run for run in read(root) if run.task.name == task])
    return [(pair.gated.seed, settings.gate(pair.gated.gate)) for pair in found], [each.reason for each in unpaired]


def test_each_arm_after_its_own_runs_pairs_seed_by_seed(tmp_path):
    for seed in (1, 2, 3):
        for gate in ARMS:
            before = parent(seed, gate)
            write(tmp_path, before)
            write(tmp_path, child(before, seed, gate))
    assert pairs(tmp_path) == ([(seed, "both 0.3") for seed in (1, 2, 3)], [])
    setups = {run.setup for run in read(tmp_path) if run.task.name == "rte"}
    assert len(setups) == 1
    assert str(setups.pop().get("model.init_from")).startswith("mnli (")


def test_a_run_that_failed_before_it_began_has_its_twin(tmp_path):
    """As one does whose run before is degenerate: else only survivors would be compared."""
    plain, gated = (parent(1, gate) for gate in ARMS)
    write(tmp_path, child(plain, 1, PLAIN))
    write(tmp_path, child(gated, 1, BOTH, status=Status.FAILED))
    assert pairs(tmp_path) == ([(1, "both 0.3")], [])


def test_all_after_one_plain_run_pair_too_and_are_another_change(tmp_path):
    """Gates that come at the second task alone are not those that were there at the first."""
    plain, gated = parent(1, PLAIN), parent(1, BOTH)
    for made in (child(plain, 1, PLAIN), child(plain, 1, BOTH), child(gated, 1, BOTH)):
        write(tmp_path, made)
    found, reasons = pairs(tmp_path)
    assert sorted(found) == [(1, "both 0.3"), (1, "both 0.3 first=none")]
    assert reasons == []


def test_gates_at_the_first_task_alone_are_no_baseline(tmp_path):
    write(tmp_path, child(parent(1, PLAIN), 1, PLAIN))
    write(tmp_path, child(parent(1, BOTH), 1, PLAIN))
    assert pairs(tmp_path) == ([(1, "none first=both 0.3")], [])


def test_one_run_for_all_seeds_of_an_arm(tmp_path):
    for gate in ARMS:
        before = parent(7, gate)
        for seed in (1, 2):
            write(tmp_path, child(before, seed, gate))
    assert pairs(tmp_path) == ([(1, "both 0.3"), (2, "both 0.3")], [])


def test_runs_after_other_seeds_are_no_twins(tmp_path):
    write(tmp_path, child(parent(1, PLAIN), 1, PLAIN))
    write(tmp_path, child(parent(2, BOTH), 1, BOTH))
    found, reasons = pairs(tmp_path)
    assert found == []
    assert set(reasons) == {
        "no baseline of the same seed after a run of the same seed; there are seeds 1",
        "no changed run of the same seed after a run of the same seed; there are seeds 1 first=2",
    }


def crossed(root: Path, befores: Sequence[int], seeds: Sequence[int], score=lambda gate, before, seed: 0.7) -> None:
    """Each seed after each run before, in both arms."""
    for gate, number in itertools.product(ARMS, befores):
        before = parent(number, gate)
        for seed in seeds:
            made = child(before, seed, gate)
            made.metrics = dict.fromkeys(made.metrics, score(gate, number, seed))
            write(root, made)


def test_each_seed_after_several_runs_is_a_run_of_its_own(tmp_path):
    """And its twin is the run of its seed after the run of the same seed."""
    crossed(tmp_path, (1, 2), (1, 2, 3))
    found, unpaired = pairing.pair(read(tmp_path))
    assert unpaired == []
    assert [str(pair.gated.replicate) for pair in sorted(found, key=lambda pair: pair.gated.replicate)] == [
        "1",
        "1 first=2",
        "2",
        "2 first=1",
        "3 first=1",
        "3 first=2",
    ]
    assert all(pair.baseline.replicate == pair.gated.replicate for pair in found)


def test_a_mean_is_of_independent_runs(tmp_path):
    """Of those crossed, the ones whose seeds are their own at both levels."""
    crossed(tmp_path, (1, 2, 3), (1, 2, 3))
    found = contents.gather(Reader([tmp_path]).read())
    (comparison,) = found.comparisons
    assert [pair.gated.replicate.name for pair in comparison.pairs] == [1, 2, 3]
    assert comparison.doubt is None
    assert found.answers[0].alone == 0
    assert any(note.startswith("12 runs with seeds of single streams") for note in found.table.notes)


def test_runs_after_few_runs_are_not_independent(tmp_path):
    crossed(tmp_path, (1, 2), (11, 12))
    (comparison,) = contents.gather(Reader([tmp_path]).read()).comparisons
    assert len(comparison.pairs) == 4
    said = "pairs that share seeds of head, order, dropout, change, the run that they start from are not independent"
    assert (comparison.effect.verdict, comparison.effect.why) == (Verdict.UNDECIDED, said)


def test_of_pairs_after_one_run_an_arm_it_is_told(tmp_path):
    """They say nothing of other runs before, and are compared all the same."""
    crossed(tmp_path, (7,), (1, 2, 3))
    found = contents.gather(Reader([tmp_path]).read())
    (comparison,) = found.comparisons
    assert (len(comparison.pairs), comparison.doubt) == (3, None)
    assert comparison.cautions == [
        "all pairs have one seed of the run that they start from: of other ones nothing is said"
    ]
    assert found.variance == []  # there is nothing to tell it apart from


def test_the_deviation_by_level(tmp_path):
    """Scores are a sum of what each level draws; so each deviation is known."""
    own, earlier = {1: 0.0, 2: 0.01, 3: 0.03}, {1: 0.0, 2: 0.04, 3: 0.05}
    crossed(tmp_path, (1, 2, 3), (1, 2, 3), lambda _, before, seed: 0.6 + own[seed] + earlier[before])
    found = [each for each in contents.gather(Reader([tmp_path]).read()).variance if each.runs[0].gate.get("gi.level")]
    assert [(each.source, each.level, len(each.runs), each.groups, each.freedom) for each in found] == [
        ("all", "both", 3, 1, 2),
        ("all", "own", 9, 3, 6),
        ("all", "before", 9, 3, 6),
    ]
    both = [own[seed] + earlier[seed] for seed in own]
    expected = [stdev(each) for each in (both, own.values(), earlier.values())]
    assert [each.sd for each in found] == pytest.approx(expected)


def test_one_stream_of_the_run_before_is_told_from_ones_own(tmp_path):
    for order in (1, 2, 3):
        before = parent(1, BOTH, f"seeds.order={order}")
        write(tmp_path, child(before, 1, BOTH))
        both = config("task=rte", f"seeds.order={order}", seed=1, **BOTH)
        made = record(both, [0.7], contents={"model.init_from": before.run_id})
        made.provenance["init_from"] = {"run_id": before.run_id, **origin.as_parent(vars(before))}
        write(tmp_path, made)
    found = contents.gather(Reader([tmp_path]).read()).variance
    assert [(each.source, each.level, len(each.runs)) for each in found] == [
        ("order", "both", 3),
        ("order", "own", 4),  # after the runs of order 2 and 3, two each
        ("order", "before", 3),
    ]


def test_a_baseline_has_the_twin_of_other_gates_before(tmp_path):
    """What the gates of the run before were drawn from is none of the baseline's: it serves both."""
    write(tmp_path, child(parent(1, PLAIN), 1, PLAIN))
    for change in (5, 6):
        write(tmp_path, child(parent(1, BOTH, f"seeds.change={change}"), 1, BOTH))
    found, unpaired = pairing.pair(read(tmp_path))
    assert sorted(str(pair.gated.replicate) for pair in found) == ["1 first=1 change=5", "1 first=1 change=6"]
    assert unpaired == []


def test_the_report_names_both_levels(tmp_path, capsys):
    crossed(tmp_path, (1, 2), (1, 2), lambda _, before, seed: 0.6 + before / 100 + seed / 50)
    assert report.main([str(tmp_path), "--show", "variance", "--format", "markdown"]) == 0
    told = capsys.readouterr().out
    for said in ("all (seed), in both runs", "all (seed), after one and the same run", "all (seed), of the run before"):
        assert told.count(said) == 2  # of each arm
    assert report.main([str(tmp_path), "--show", "variance", "--format", "json"]) == 0
    assert {each["level"] for each in json.loads(capsys.readouterr().out)["variance"]} == {"both", "own", "before"}


@pytest.mark.parametrize("name", [1, "1 order=3", "1 first=2", "1 order=3 change=2 first=2 head=4 first=5"])
def test_names_of_seeds_are_read_again(name):
    assert replicate.parse(name).name == name


@pytest.mark.parametrize("name", ["", "one", "1 order", "1 oder=3", "1 first="])
def test_other_words_are_no_seeds(name):
    with pytest.raises(ValueError, match="no seeds"):
        replicate.parse(name)


def test_a_record_with_other_words_is_left_out(tmp_path):
    made = child(parent(1, PLAIN), 1, PLAIN)
    made.provenance["init_from"]["seed"] = "1 oder=3"
    write(tmp_path, made)
    (problem,) = Reader([tmp_path]).read().problems
    assert problem.reason == "not a record as gifine writes them: no seeds: '1 oder=3'"


@pytest.mark.parametrize("word", ["train.epochs=9", "model.size=base", "evaluate.split_dev=true"])
def test_runs_after_other_values_are_no_twins(tmp_path, word):
    write(tmp_path, child(parent(1, PLAIN), 1, PLAIN))
    write(tmp_path, child(parent(1, BOTH, word), 1, BOTH))
    found, reasons = pairs(tmp_path)
    assert found == []
    assert all("model.init_from mnli (" in reason for reason in reasons)


def test_what_decides_nothing_makes_no_other_role():
    """Where it was, and whether its weights were kept."""
    one, other = parent(1, PLAIN), parent(4, BOTH, "train.save_model=true", "output_root=elsewhere")
    assert origin.as_parent(vars(one))["role"] == origin.as_parent(vars(other))["role"]
    assert origin.as_parent({"run_id": "0"}) == {}


def test_a_run_after_a_run_after_a_run(tmp_path):
    """The role of what it starts from has the role of what that one starts from, and its seeds have its seeds."""
    for gate, first in itertools.product(ARMS, (1, 2)):
        middle = child(parent(first, gate), 1, gate)
        assert middle.provenance["init_from"]["role"]
        write(tmp_path, child(middle, 1, gate))
    found, unpaired = pairing.pair(read(tmp_path))
    assert sorted(str(pair.gated.replicate) for pair in found) == ["1", "1 first=1 first=2"]
    assert unpaired == []


def test_an_older_record_takes_it_from_the_run_that_it_names(tmp_path):
    """While that is there; then it is known by its run_id alone, as it was before."""
    befores = [parent(1, gate) for gate in ARMS]
    folders = [write(tmp_path / "mnli", before) for before in befores]
    for before, folder, gate in zip(befores, folders, ARMS, strict=True):
        made = record(config("task=rte", seed=1, **gate), [0.7])
        made.config["model"]["init_from"] = str(folder)
        made.contents = {"model.init_from": f"{before.run_id}{'0' * 52}"}
        made.provenance["init_from"] = {"folder": f"{folder}/model", "run_id": before.run_id}
        write(tmp_path / "rte", made)
    assert pairs(tmp_path / "rte") == ([(1, "both 0.3")], [])
    shutil.rmtree(tmp_path / "mnli")
    found, _ = pairs(tmp_path / "rte")
    assert found == []
    assert {run.setup.get("model.init_from") for run in read(tmp_path)} == {before.run_id for before in befores}


def test_a_run_beside_it_is_found_by_its_run_id(tmp_path):
    """Also where a record has nothing but the config's word, as of a job that was killed at once."""
    for gate in ARMS:
        before = parent(1, gate)
        write(tmp_path, before)
        made = child(before, 1, gate)
        del made.provenance["init_from"]
        write(tmp_path, made)
    assert pairs(tmp_path) == ([(1, "both 0.3")], [])


def test_the_run_before_may_be_no_record_of_ours(tmp_path):
    before = parent(1, PLAIN)
    folder = write(tmp_path / "mnli", before)
    (folder / records.RECORD).write_text(json.dumps({"run_id": before.run_id, "config": 7}))
    made = child(before, 1, PLAIN, noted=False)
    made.provenance["init_from"]["folder"] = f"{folder}/model"
    write(tmp_path / "rte", made)
    (run,) = read(tmp_path / "rte")
    assert run.setup.get("model.init_from") == before.run_id
    assert identity.deciding(made.config, made.contents)["model"]["init_from"] == before.run_id


def test_streams_of_random_numbers_belong_to_the_seed():
    """What the gates were drawn from as well, which a baseline has not."""
    plain = parent(1, PLAIN, "seeds.order=5", "seeds.change=7")
    gated = parent(1, BOTH, "seeds.order=5", "seeds.change=7")
    names = [origin.as_parent(vars(each))["seed"] for each in (plain, gated)]
    assert names == ["1 order=5", "1 order=5 change=7"]
    assert len({replicate.parse(name).twin for name in names}) == 1
    assert origin.as_parent(vars(plain))["role"] == origin.as_parent(vars(parent(3, PLAIN)))["role"]


def headings(root: Path) -> list[str]:
    (sheet,) = sheets.make(contents.gather(Reader([root]).read()), ["table"])
    return [each for each in sheet.columns if "(" in each]


def test_tables_say_after_which_task(tmp_path):
    """Where a column has both, what they start from is in the rows."""
    before = parent(1, PLAIN)
    write(tmp_path, before)
    write(tmp_path, child(before, 1, PLAIN))
    assert headings(tmp_path) == ["MNLI (accuracy m/mm)", "RTE after MNLI (accuracy)"]
    write(tmp_path, record(config("task=rte", seed=1, **PLAIN), [0.7]))
    assert headings(tmp_path) == ["MNLI (accuracy m/mm)", "RTE (accuracy)"]


def test_an_older_record_has_the_title_from_the_run_that_it_names(tmp_path):
    before = parent(1, PLAIN)
    made = child(before, 1, PLAIN)
    del made.provenance["init_from"]["title"]
    write(tmp_path, made)
    assert headings(tmp_path) == ["RTE after mnli (accuracy)"]
    write(tmp_path, before)
    assert headings(tmp_path)[1] == "RTE after MNLI (accuracy)"


def after_mnli(
    root: Path,
    *,
    of_one: bool = True,
    luck: float = 0.01,
    gain: float = 0.0,
    lost: dict[str, tuple[int, ...]] | None = None,
    others: Sequence[str] = (),
) -> Answer:
    """RTE, MRPC and MNLI, whose scores have luck in common: that `of_one` run on MNLI, as far as records say.

    The gated runs of `lost` are. `others` are tasks that start from no run.
    """
    for gate, seed in itertools.product(ARMS, range(5)):
        common = np.random.default_rng([seed, len(gate)]).normal(0, luck) + gain * (gate is BOTH)
        before = parent(seed, gate)
        scored(before, 0.8 + common)
        write(root, before)
        for place, task in enumerate(("rte", "mrpc", *others)):
            made = record(config(f"task={task}", seed=seed, **gate), [])
            own = np.random.default_rng([seed, len(gate), place]).normal(0, luck / 10 if place < 2 else luck)
            scored(made, 0.7 + own + (common if place < 2 else gain * (gate is BOTH)))
            if of_one and place < 2:
                made.provenance["init_from"] = {"run_id": before.run_id, **origin.as_parent(vars(before))}
            if gate is BOTH and seed in (lost or {}).get(task, ()):
                made.status, made.metrics = Status.FAILED, {}
            write(root, made)
    (made,) = contents.gather(Reader([root]).read()).answers
    return made


def scored(made: Record, score: float) -> None:
    """The same at the last of six evaluations, which is as good as the best one."""
    task = made.config["task"]
    names = [f"{task['name']}/{split}/{metric}" for split in task["evaluation_splits"] for metric in task["metrics"]]
    made.metrics = dict.fromkeys(names, score)
    made.last, made.evaluations = {"step": 9, **dict.fromkeys(task["metrics"], score)}, 6


def test_the_mean_over_tasks_knows_what_they_share(tmp_path):
    """As wide as of one task, where three are hardly more than one; and it is told."""
    shared, apart = after_mnli(tmp_path / "shared"), after_mnli(tmp_path / "apart", of_one=False)
    assert (shared.is_by_run, apart.is_by_run) == (True, False)
    widths = [np.diff(given(each.effect.interval))[0] for each in (shared, apart)]
    single = np.diff(given(shared.comparisons[0].effect.interval))[0]
    assert widths[0] > max(1.2 * widths[1], 0.8 * single)
    assert given(shared.last).interval() == pytest.approx(shared.effect.interval), "of the last epoch it is as true"
    found = contents.gather(Reader([tmp_path / "shared"]).read())
    assert any("start from the same runs" in detail for detail in answer.answer(found)[0].details)


def test_the_worst_case_over_tasks_knows_it_too(tmp_path):
    """It is no surer than what the runs that are left say."""
    made = after_mnli(tmp_path, luck=0.03, lost={"rte": (0,)})
    low, high = (float(end) / 100 for end in re.findall(r"[+-]\d+\.\d\d", given(made.effect.why)))
    assert high - low > np.diff(given(made.effect.interval))[0]


def test_tasks_that_share_no_run_are_judged_with_those_that_do(tmp_path):
    made = after_mnli(tmp_path, gain=0.05, others=("cola", "sst2"))
    assert (made.is_by_run, made.effect.verdict, made.effect.why) == (True, Verdict.HELPS, None)


def test_runs_that_led_to_pairs_on_some_tasks_count_on_these(tmp_path):
    made = after_mnli(tmp_path, lost={"rte": (0, 1), "mrpc": (2, 3)})
    assert given(made.effect.why).startswith("4 of 15 pairs are lost; in the worst case")


def test_what_a_run_comes_from_is_known_over_two_steps(tmp_path):
    """RTE after MNLI, and MRPC after that run on RTE: luck on MNLI is luck on both."""
    for gate, seed in itertools.product(ARMS, range(3)):
        before, score = parent(seed, gate), 0.7 + seed / 100 + 0.01 * seed * (gate is BOTH)
        for task in ("rte", "mrpc"):
            made = record(config(f"task={task}", seed=seed, **gate), [])
            scored(made, score)
            made.provenance["init_from"] = {"run_id": before.run_id, **origin.as_parent(vars(before))}
            write(tmp_path, made)
            before = made
    (made,) = contents.gather(Reader([tmp_path]).read()).answers
    assert made.is_by_run


def test_tasks_after_one_run_an_arm_allow_no_verdict(tmp_path):
    for gate, seed, task in itertools.product(ARMS, range(3), ("rte", "mrpc")):
        before = parent(7, gate)
        made = record(config(f"task={task}", seed=seed, **gate), [])
        scored(made, 0.7 + seed / 100 + 0.01 * seed * (gate is BOTH))
        made.provenance["init_from"] = {"run_id": before.run_id, **origin.as_parent(vars(before))}
        write(tmp_path, made)
    (made,) = contents.gather(Reader([tmp_path]).read()).answers
    assert made.effect.why == "tasks start from the same runs, and only 1 of these led to pairs on MRPC"
