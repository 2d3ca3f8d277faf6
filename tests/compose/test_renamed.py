"""Choices that had other names once go on working, and say how they are called now."""

from __future__ import annotations

import re

import pytest

from gifine.compose import grid, renamed
from gifine.errors import ConfigError
from gifine.runs import identity


@pytest.mark.parametrize(
    ("word", "now"),
    [
        ("recipe=seed", "recipe=original"),
        ("+recipe=seed", "+recipe=original"),
        ("train=base,seed", "train=base,original"),
        ("experiment=[seed_sbatch,smoke]", "experiment=[original_sbatch,smoke]"),
    ],
)
def test_an_old_name_is_told_and_read_as_the_new_one(word, now, caplog):
    assert renamed.current([word]) == [now]
    assert caplog.messages == [f"{word} is called {now} now"]


@pytest.mark.parametrize(
    "word", ["seed=1", "recipe=none", "recipe=seed-2", "task=seed", "tracking.group=seed", "recipe"]
)
def test_other_words_stay_as_they_are(word, caplog):
    assert renamed.current([word]) == [word]
    assert not caplog.messages


def test_a_config_of_ones_own_keeps_its_name(tmp_path, caplog):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "seed.yaml").touch()
    assert renamed.current(["train=seed", "recipe=seed"], str(tmp_path)) == ["train=seed", "recipe=original"]
    assert caplog.messages == ["recipe=seed is called recipe=original now"]


@pytest.mark.parametrize(
    ("defaults", "said"),
    [
        ("override /recipe: seed", "recipe=seed: no such choice (it is called recipe=original now); valid: "),
        ("seed_sbatch", "experiment=mine: its YAML names experiment=seed_sbatch, which is not there (it is called "),
    ],
)
def test_an_old_name_in_ones_own_yaml_is_told(tmp_path, defaults, said):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\ndefaults:\n  - {defaults}\n")
    with pytest.raises(ConfigError, match=re.escape(said)):
        grid.expand(["experiment=mine"], str(tmp_path))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["recipe=seed", "task=rte"], ["recipe=original", "task=rte"]),
        (["experiment=seed_sbatch", "task=rte"], ["experiment=original_sbatch", "task=rte"]),
    ],
)
def test_the_runs_are_the_same(old, new):
    runs = [[identity.run_id(run.config) for run in grid.expand(words)] for words in (old, new)]
    assert runs[0] == runs[1] != []
