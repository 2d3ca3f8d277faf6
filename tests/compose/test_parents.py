"""`first.task`: what is trained first is composed of the same words, and known before anything is trained."""

from __future__ import annotations

import pytest

from gifine.choices import DataSource
from gifine.compose import grid
from gifine.compose.grid import Cell
from gifine.errors import ConfigError
from gifine.inputs import needs, offline
from gifine.runs import identity
from gifine.sweep.commands import plan

RTE = ["task=rte", "first.task=mnli"]


def cells(*words: str, config_dir: str | None = None) -> tuple[list[Cell], list[Cell]]:
    """What others start from, and what was asked for."""
    found = list(grid.distinct(grid.expand(list(words), config_dir)).values())
    return [cell for cell in found if cell.is_parent], [cell for cell in found if not cell.is_parent]


def test_each_arm_and_seed_starts_from_its_own_run():
    parents, children = cells("experiment=mnli_first")
    assert len(parents) == 10
    assert len(children) == 30
    known = {cell.run_id: cell.config for cell in parents}
    for child in children:
        parent = known[str(child.config.first.run)]
        assert (parent.task.name, parent.train.save_model, parent.first.task) == ("mnli", True, None)
        assert (parent.gi, parent.seed, parent.model) == (child.config.gi, child.config.seed, child.config.model)


def test_a_run_comes_after_the_one_that_it_starts_from():
    order = [*grid.distinct(grid.expand(["experiment=mnli_first"]))]
    runs = grid.distinct(grid.expand(["experiment=mnli_first"]))
    firsts = {run_id: cell.config.first.run for run_id, cell in runs.items()}
    assert all(first is None or order.index(first) < order.index(run_id) for run_id, first in firsts.items())


def test_a_run_first_is_the_run_of_that_task_alone():
    """So that a sweep over MNLI itself, with the same values, is where others start from."""
    ((parent,), _) = cells(*RTE, "seed=3")
    (alone,) = grid.expand(["task=mnli", "seed=3"])
    assert parent.run_id == alone.run_id
    assert parent.folder == alone.folder


def test_the_task_s_own_words_say_nothing_of_what_is_trained_first():
    words = ["task.label=answer", "output_dir=here", "overwrite=true"]
    ((parent,), (child,)) = cells(*RTE, *words)
    assert parent.config == cells(*RTE)[0][0].config
    assert (child.config.overwrite, child.config.output_dir) == (True, "here")


def test_values_of_training_may_be_others_first():
    ((parent,), (child,)) = cells(*RTE, "train.epochs=9", "first.train={epochs: 2, learning_rate: 1e-6}")
    assert (parent.config.train.epochs, parent.config.train.learning_rate, child.config.train.epochs) == (2, 1e-6, 9)
    ((same,), _) = cells(*RTE, "first.train.epochs=2", "first.train.learning_rate=1e-6")
    assert same.run_id == parent.run_id


def test_data_may_be_elsewhere_first(tmp_path):
    """SQuAD's files and MNLI's lie in two folders; the paths decide nothing, nor does a search of them."""
    squad, glue = tmp_path / "squad", tmp_path / "GLUE, my 'own'"
    for folder in (squad, glue / "MNLI"):
        folder.mkdir(parents=True)
    for name in ("train", "dev_matched", "dev_mismatched"):
        (glue / "MNLI" / f"{name}.tsv").touch()
    words = ["data=squad_dir", f"data.dir={squad}", "task=squad", "first.task=mnli"]
    with pytest.raises(ConfigError, match=r"^first.task=mnli: data=squad_dir: task=mnli .* first.data.source and"):
        cells(*words)
    quoted = str(glue).replace("'", "\\'")
    places = ["first.data.source=glue_dir", f"first.data.dir='{quoted}'", "first.data.max_train_rows=9"]
    ((parent,), (child,)) = cells(*words, *places)
    assert (parent.config.data.source, parent.config.data.dir) == (DataSource.glue_dir, str(glue))
    assert (child.config.data.source, child.config.data.dir) == (DataSource.squad_dir, str(squad))
    assert (parent.config.data.max_train_rows, child.config.data.max_train_rows) == (9, None)
    (alone,) = grid.expand(["task=mnli", "data=glue_dir", f"data.dir='{quoted}'", "data.max_train_rows=9"])
    assert parent.run_id == alone.run_id
    (again,) = grid.expand(parent.overrides)  # as a sweep in this process composes it
    assert again.run_id == parent.run_id


def test_published_values_are_those_of_the_task_that_is_trained_first():
    words = ["model=deberta", "model.size=large", "recipe=auto", *RTE]
    ((parent,), (child,)) = cells(*words)
    assert (parent.config.train.epochs, parent.config.train.batch_size) == (3, 64)
    assert child.config.train.batch_size == 32


def test_what_runs_start_from_decides_them():
    ids = [cells(*RTE, *words)[1][0].run_id for words in ([], ["first.train.epochs=2"])]
    ids += [cells("task=rte", word)[1][0].run_id for word in ("first.task=null", "first.task=qnli")]
    assert len(set(ids)) == 4
    (plain,) = grid.expand(["task=rte"])
    assert ids[2] == plain.run_id
    entries = identity.to_dict(cells(*RTE)[1][0].config)  # as a job reads it, with nothing composed
    assert identity.run_id(identity.from_dict(entries)) == ids[0]


def test_a_run_on_the_first_task_itself_keeps_its_weights():
    parents, asked_for = cells("task=rte,mnli", "first.task=mnli", "first.train.epochs=2", "overwrite=true")
    assert parents == []  # asked for, so not only there for others
    (mnli,) = (cell.config for cell in asked_for if cell.config.task.name == "mnli")
    assert (mnli.train.epochs, mnli.train.save_model, mnli.first.task, mnli.overwrite) == (2, True, None, True)
    planned = plan.make(grid.expand(["task=rte,mnli", "first.task=mnli"]))
    assert (planned.cells, planned.runs, planned.parents) == (2, 2, 0)


def test_the_plan_has_both():
    planned = plan.make(grid.expand(["experiment=mnli_first", "model=minilm"]))
    assert (planned.cells, planned.runs, planned.parents, planned.to_do) == (30, 40, 10, 40)
    assert "40 runs, 10 of them for others to start from: 0 finished, 40 to do." in plan.describe(planned)


def test_what_is_wrong_with_the_run_first_is_told_before_anything_starts(tmp_path):
    (tmp_path / "RTE").mkdir()
    official = ["data=glue_dir", f"data.dir={tmp_path}"]
    for words, said in (
        (["first.task=mnlii"], "first.task=mnlii: no such task (did you mean 'mnli'?); valid: cola, "),
        (["first.task=mnli", "first.train.epoch=3"], "first.train.epoch: no such key (did you mean 'epochs'?)"),
        (["first.task=mnli", "first.train.epochs=-1"], "first.task=mnli: train.epochs=-1: must be above 0"),
        (["first.task=mnli", "first.train.epochs=many"], "first.task=mnli: first.train: Value 'many'"),
        (["first.task=mnli", "first.run=0123456789ab"], "first.run=0123456789ab: gifine writes it"),
        (["first.task=mnli", "first.data.folder=here"], "first.data.folder: no such key; valid: source, dir"),
        (["first.task=mnli", f"model.init_from={tmp_path}"], "first.task=mnli: excludes model.init_from="),
        (["first.task=mnli", *official], f"first.task=mnli: no file {tmp_path}/MNLI/train.tsv"),
        (["first.task=demo"], "first.task=demo: task=demo: goes with data=demo, not with data=hub"),
    ):
        with pytest.raises(ConfigError) as raised:
            grid.expand(["task=rte", *words])
        assert any(problem.startswith(said) for problem in raised.value.problems), raised.value.problems


def test_a_problem_of_all_runs_is_told_once():
    with pytest.raises(ConfigError) as raised:
        grid.expand(["experiment=mnli_first", "first.train.epochs=-1"])
    assert raised.value.problems == ("first.task=mnli: train.epochs=-1: must be above 0",)


def test_what_is_trained_first_is_prefetched_too():
    wanted = needs.collect(cell.config for cell in grid.expand(["experiment=mnli_first", "model=bert", "seed=1"]))
    assert {split.name for split in wanted.splits} >= {"mnli", "rte", "mrpc", "stsb"}
    assert {config.task.name for config in wanted.configs} == {"mnli", "rte", "mrpc", "stsb"}


def test_data_of_what_is_trained_first_are_missed_before_anything_starts(tmp_path):
    """Of a prefetched folder, too."""
    offline.write(tmp_path, offline.Manifest())
    with pytest.raises(
        ConfigError, match=r"^first.task=mnli: .* lacks the data of task=mnli, train; on a machine with"
    ):
        grid.expand([*RTE, f"prefetch={tmp_path}"])


def test_all_trials_of_a_search_start_from_the_same():
    words = ["experiment=random_search", "first.task=mnli", "gi.side=none", "search.trial=0,1,2"]
    parents, children = cells(*words)
    assert (len(parents), len(children)) == (1, 3)
    assert len({child.config.train.learning_rate for child in children}) == 3
    (alone,) = grid.expand(["task=mnli", "gi.side=none", "seed=1", "evaluate.split_dev=true"])
    assert parents[0].run_id == alone.run_id
