"""Reports of runs with other changes than GI: pairs, labels, families, tables and figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gifine.config import RunConfig
from gifine.errors import ArgumentError
from gifine.report import settings
from gifine.report.analysis import cells, comparison, pairing, published, table
from gifine.report.analysis.families import Rules, judge
from gifine.report.contents import gather
from gifine.report.formats import answer, phrases
from gifine.report.plots import panels
from gifine.report.reading import Reader, Run
from support.own_change import MINE
from support.synthetic import BOTH, PLAIN, config, measures, read, record, sweep, write


def score(made: RunConfig) -> list[float]:
    gain = 0.05 * (made.change["name"] == "lora")
    noise = np.random.default_rng([made.seed, *str(made.change).encode()]).normal(0, 0.004)
    return [0.8 + 0.01 * made.seed + gain + noise for _ in measures(made)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """The baseline, GI, three other changes of two kinds, and one of one's own."""
    root = tmp_path_factory.mktemp("runs")
    sweep(root, score, gates=(PLAIN, BOTH))
    for words in (["change=lora"], ["change=lora", "change.rank=4", "change.layers=6"], ["change=ia3"]):
        sweep(root, score, gates=(PLAIN,), overrides=words)
    own = tmp_path_factory.mktemp("own") / "mine.py"
    own.write_text(MINE)
    sweep(root, score, gates=(PLAIN,), overrides=["++change.name=mine", f"++change.file={own}"])
    return read(root)


NAMES = ["both 0.3", "ia3", "lora", "lora last6 rank=4", "mine"]


def test_each_change_is_an_arm_with_its_name_and_the_one_baseline(runs: list[Run]) -> None:
    assert {settings.gate(run.gate) for run in runs} == {"none", *NAMES}
    pairs, unpaired = pairing.pair(runs)
    assert not unpaired
    assert {each.baseline.slug for each in pairs} == {f"rte_debertav3-large_plain_s{seed}" for seed in range(1, 6)}
    found = [each for each in comparison.compare(pairs, with_predictions=False) if each.is_primary]
    assert [(settings.gate(each.gate), len(each.pairs), each.extra) for each in found] == [
        (name, 5, {}) for name in NAMES
    ]
    judge(found, Rules())
    assert {each.family for each in found} == {len(NAMES)}  # all that was tried with the model
    assert [each.effect.verdict for each in found if "lora" in settings.gate(each.gate)] == ["helps", "helps"]


def test_declared_ones_are_a_family_of_their_own(runs: list[Run]) -> None:
    found = [each for each in comparison.compare(pairing.pair(runs)[0], with_predictions=False) if each.is_primary]
    judge(found, Rules(primary=((("change.name", "lora"), ("change.rank", "4")),)))
    assert [(settings.gate(each.gate), each.family) for each in found if each.is_declared] == [("lora last6 rank=4", 1)]


def test_the_table_has_a_row_for_each_change(runs: list[Run]) -> None:
    made = table.build(runs)
    assert (made.rows_by, made.extra) == (("model", "change"), ())
    assert {row.key[1] for row in made.rows} == {"none", "gi both 0.3", *NAMES[1:]}
    of_gi = [run for run in runs if settings.other_change(run.gate) is None]
    assert table.build(of_gi).rows_by == table.ROWS
    assert {cells.value(run, "gi.layers") for run in runs} == {None, cells.ALL}


def test_figures_show_them_beside_gi(runs: list[Run]) -> None:
    [panel] = panels.split(runs)
    assert panel.baseline is not None
    assert sorted(str(side) for side in panel.sides) == sorted(["both", *NAMES[1:]])
    assert [*panel.means()] == [("both", 0.3, "all")]  # the other ones have no level
    assert panel.extra == {}


def test_the_answer_names_them(runs: list[Run], tmp_path: Path) -> None:
    for run in runs:
        (tmp_path / run.folder.name).symlink_to(run.folder)
    contents = gather(Reader([tmp_path]).read(), with_predictions=False)
    quotes = " ".join(each.quote for each in answer.answer(contents))
    assert "lora in the last six layers with rank=4, one of five changes that were tried, changes the score" in quotes
    assert "mine, one of five" in quotes
    assert not [each for each in published.set_beside(runs) if settings.other_change(each.gate) is not None]


def test_two_contents_of_a_file_are_two_changes(tmp_path: Path) -> None:
    own = tmp_path / "mine.py"
    for number in (1, 2):
        own.write_text(MINE + f"NUMBER = {number}\n")
        made = config("++change.name=mine", f"++change.file={own}", "task=rte")
        entries = record(made, [0.8])
        entries.contents = {"change.file": str(number) * 64}
        write(tmp_path / str(number), entries)
    found = read(tmp_path)
    groups = cells.group(found, ["model", "gi", "task"])
    assert groups.extra == ("change.file",)
    [panel] = panels.split(found)
    assert len(panel.gated) == len(groups.runs) == 2


OWN_KEYS = """\
from dataclasses import dataclass, field

from gifine.changes import Settings


@dataclass
class Settings(Settings):
    rank: int = 4
    sides: list[str] = field(default_factory=lambda: ["key"])

"""


def test_one_of_ones_own_is_called_by_what_is_not_its_default(tmp_path: Path) -> None:
    """As those that come with gifine; of a run that did not come so far as of its others, and of older records all."""
    own, made = tmp_path / "mine.py", []
    own.write_text(OWN_KEYS + MINE)
    for seed, words in enumerate([[], ["change.rank=8"], ["change.sides=[query]", "change.layers=6"]], 1):
        run = config("++change.name=mine", f"++change.file={own}", "task=rte", *words, seed=seed)
        made.append(record(run, [0.8], contents={"change.file": "a" * 64}))
    for entries in made:
        write(tmp_path / "older", entries)
    told = [settings.gate(run.gate) for run in read(tmp_path / "older")]
    assert sorted(told) == [
        'mine last6 rank=4 sides=["query"]',
        'mine rank=4 sides=["key"]',
        'mine rank=8 sides=["key"]',
    ]
    defaults = {"layers": None, "rank": 4, "sides": ["key"]}
    made[2].provenance["change"] = {"name": "mine", "defaults": defaults}
    for entries in made:
        write(tmp_path / "newer", entries)
    found = read(tmp_path / "newer")
    assert sorted(settings.gate(run.gate) for run in found) == ["mine", 'mine last6 sides=["query"]', "mine rank=8"]
    assert [phrases.change(run.gate) for run in found if run.seed == 2] == ["mine with rank=8"]


def test_another_change_can_be_the_other_side(runs: list[Run]) -> None:
    gates = [run.gate for run in runs]
    against = settings.find_baseline(gates, "lora")
    pairs, unpaired = pairing.pair(runs, against=against)
    assert not unpaired
    assert {settings.gate(each.baseline.gate) for each in pairs} == {"lora"}
    found = [each for each in comparison.compare(pairs, with_predictions=False) if each.is_primary]
    judge(found, Rules(against="lora"))
    # The plain model is in none of them, and in no family: the report without --against has it.
    assert [(settings.gate(each.gate), each.family) for each in found] == [
        (name, 4) for name in NAMES if name != "lora"
    ]
    assert [each.effect.verdict for each in found] == ["hurts", "hurts", "undecided", "hurts"]
    assert settings.find_baseline(gates, "gi both 0.3") is settings.find_baseline(gates, "both 0.3")
    assert settings.find_baseline(gates, "none") is settings.find_baseline(gates, None) is None
    with pytest.raises(ArgumentError, match=r"--against lara: no run has it \(did you mean 'lora'\?\); there are"):
        settings.find_baseline(gates, "lara")


def test_sentences_name_the_other_side(runs: list[Run], tmp_path: Path) -> None:
    for run in runs:
        (tmp_path / run.folder.name).symlink_to(run.folder)
    contents = gather(Reader([tmp_path]).read(), with_predictions=False, rules=Rules(against="both 0.3"))
    quotes = " ".join(each.quote for each in answer.answer(contents))
    assert "ia3 in the place of GI on both sides at level 0.3, one of four changes that were tried, changes" in quotes


def test_what_trains_is_of_the_arm(tmp_path: Path) -> None:
    """Frozen arms are held against the fully trained model; where that is not there, against the head alone."""
    root = sweep(tmp_path / "runs", score, gates=(PLAIN, BOTH), overrides=["train.parameters=change"])
    sweep(root, score, gates=(PLAIN,), overrides=["change=lora", "train.parameters=change"])
    frozen = read(root)
    assert {settings.gate(run.gate) for run in frozen} == {"head only", "both 0.3 trained alone", "lora trained alone"}
    head = settings.find_baseline((run.gate for run in frozen), None)
    pairs, _ = pairing.pair(frozen, against=head)
    assert {settings.gate(each.baseline.gate) for each in pairs} == {"head only"}
    sweep(root, score, gates=(PLAIN,))
    sweep(root, score, gates=(PLAIN,), overrides=["train.parameters=bias"])
    sweep(root, score, gates=(PLAIN,), overrides=["change=lora", "train.parameters=bias"])
    every = read(root)
    assert settings.find_baseline((run.gate for run in every), None) is None
    pairs, unpaired = pairing.pair(every)
    assert not unpaired
    assert {settings.gate(each.gated.gate) for each in pairs} == {
        "head only",
        "biases only",
        "both 0.3 trained alone",
        "lora trained alone",
        "lora with biases",
    }
    assert [row.key[1] for row in table.build(every).rows].count("head only") == 1
    [panel] = panels.split(every)
    assert len(panel.gated) == 5
